"""Contamination: how much of an exam's question stands in a text, by shared runs of words.

Known test questions: a row that holds one is found by content, whatever file it came in and whatever surrounds it.

Only hashes are shipped, no text: `tools/hash_test_questions.py` makes them from the exams' files. A question is kept as
the hashes of its 8-word pieces, so that it is found behind "Q:" or an instruction, before options in any lettering,
and with a few words changed. Paraphrases and translations are not found.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from string import ascii_lowercase, digits

import numpy as np
from numpy.typing import NDArray

from ..core.words import (
    HashedWords,
    Hashes,
    Offsets,
    batches,
    hash_runs,
    hash_windows,
    hash_words,
    mix,
    ngrams,
    range_indices,
    words,
)
from .exam import Exam
from .item import Item

N = 13  # words in a run; stems that are shorter are looked for whole
MIN_WORDS = 8  # below this a stem is too generic for runs: only a text that is the question counts
FILTER_BITS = 24  # at most: 16 MB


@dataclass(frozen=True, slots=True)
class ItemCoverage:
    """One exam item against all texts: how much of it the text that covers it best holds."""

    item_id: str
    step: int | None
    coverage: float  # share of the stem's word 13-grams found in the text; decides
    token_coverage: float  # share of the stem's words inside a found 13-gram; reported beside it
    text_index: int | None  # which text; None when none shares a run


@dataclass(frozen=True, slots=True)
class Hit:
    """One exam item in one text."""

    exam: Exam
    item_id: str
    row: int  # which text
    coverage: float
    token_coverage: float


def coverage(exam: Exam, texts: Iterable[str]) -> list[ItemCoverage]:
    """For every item of `exam`, in its order, the text that covers its stem best.

    Texts are gone through once and not kept, so a corpus may be of any size. Stems of 8 to 12 words count as one run;
    shorter ones are covered only by a text that contains a whole line equal to them.
    """
    best = [ItemCoverage(item.id, item.step, 0.0, 0.0, None) for item in exam.items]
    for match in _matches(exam.items, texts):
        if match.coverage > best[match.item].coverage:
            item = exam.items[match.item]
            best[match.item] = ItemCoverage(
                item.id, item.step, match.coverage, match.token_coverage, match.text
            )
    return best


def hits(exams: Sequence[Exam], texts: Iterable[str], floor: float) -> Iterator[Hit]:
    """Every item of any of the exams with a coverage of at least `floor` by one text, in the order of the texts.

    Coverage is as in `coverage`; what shares no run with a text is no hit, whatever the floor.
    """
    owners = [(exam, item) for exam in exams for item in exam.items]
    for match in _matches([item for _, item in owners], texts):
        if match.coverage >= floor:
            exam, item = owners[match.item]
            yield Hit(exam, item.id, match.text, match.coverage, match.token_coverage)


@dataclass(frozen=True, slots=True)
class _Match:
    item: int
    text: int
    coverage: float
    token_coverage: float


def _matches(items: Sequence[Item], texts: Iterable[str]) -> Iterator[_Match]:
    """All pairs that share a run. Hashes say which pairs to look at, the words themselves what they share."""
    stems = [words(item.question) for item in items]
    sizes = [min(N, len(stem)) if len(stem) >= MIN_WORDS else 0 for stem in stems]
    indexes = [_index(stems, sizes, n) for n in sorted(set(sizes))]
    if not indexes:
        return
    done = 0
    for batch in batches(texts):
        # Only a short stem asks where lines end.
        lines = [text.splitlines() for text in batch] if 0 in sizes else [[text] for text in batch]
        starts = np.concatenate(([0], np.cumsum([len(part) for part in lines])))
        hashed = hash_words([line for part in lines for line in part])
        codes = [_look_up(index, hashed, starts) for index in indexes]
        known = -1
        for code in np.unique(np.concatenate(codes)).tolist():
            t, i = divmod(code, 1 << 32)
            if t != known:
                known, tokens = t, words(batch[t])
                grams: dict[int, set[tuple[str, ...]]] = {}
            n = sizes[i]
            if n not in grams:
                grams[n] = set(ngrams(tokens, n)) if n else {tuple(words(line)) for line in lines[t]}
            share, token_share = _shares(stems[i], n, grams[n])
            if share:
                yield _Match(i, done + t, share, token_share)
        done += len(batch)


@dataclass(frozen=True, slots=True)
class _Index:
    """The runs of n words in the stems; with n = 0 whole stems, to be compared with whole lines."""

    n: int
    runs: Hashes  # sorted
    items: Offsets  # the item that the run is in
    filter: NDArray[np.bool_]  # whether a run has these first bits; rules out nearly all of a text
    shift: np.uint64  # leaves the first bits of a hash


def _index(stems: Sequence[list[str]], sizes: Sequence[int], n: int) -> _Index:
    chosen = [i for i, stem in enumerate(stems) if sizes[i] == n and stem]
    parts, owners, done = [], [], 0
    for batch in batches(" ".join(stems[i]) for i in chosen):
        hashed = hash_words(batch)
        found = _runs(hashed, n)
        whole, part = _owners(hashed, np.arange(len(batch) + 1), n, np.arange(len(found)))
        parts.append(found[whole])
        owners.append(part + done)
        done += len(batch)
    runs = np.concatenate(parts or [np.empty(0, np.uint64)])
    items = np.array(chosen, np.int64)[np.concatenate(owners or [np.empty(0, np.int64)])]
    order = np.argsort(runs, kind="stable")
    bits = min(FILTER_BITS, (64 * len(runs)).bit_length())
    marked = np.zeros(1 << bits, np.bool_)
    marked[runs >> (shift := np.uint64(64 - bits))] = True
    return _Index(n, runs[order], items[order], marked, shift)


def _look_up(index: _Index, lines: HashedWords, starts: Offsets) -> Offsets:
    """`text << 32 | item` wherever a run of an item is in a text; text t is lines `starts[t]` to `starts[t + 1]`."""
    runs = _runs(lines, index.n)
    places = np.flatnonzero(index.filter[runs >> index.shift])
    places, texts = _owners(lines, starts, index.n, places)
    first = np.searchsorted(index.runs, runs[places], side="left")
    counts = np.searchsorted(index.runs, runs[places], side="right") - first
    return np.repeat(texts, counts) << 32 | index.items[range_indices(first, counts)]


def _runs(lines: HashedWords, n: int) -> Hashes:
    """Every run of n words, those across two texts too; with n = 0 every line."""
    if n:
        return mix(hash_windows(lines.hashes, n))
    return mix(hash_runs(lines.hashes, lines.offsets[:-1], lines.offsets[1:]))


def _owners(lines: HashedWords, starts: Offsets, n: int, places: Offsets) -> tuple[Offsets, Offsets]:
    """Those of the places whose runs stand in one text, and that text."""
    borders = lines.offsets[starts] if n else starts
    texts = np.searchsorted(borders, places, side="right") - 1
    whole = places + max(n, 1) <= borders[texts + 1]
    return places[whole], texts[whole]


def _shares(stem: list[str], n: int, grams: set[tuple[str, ...]]) -> tuple[float, float]:
    if not n:
        return (1.0, 1.0) if tuple(stem) in grams else (0.0, 0.0)
    found = [gram in grams for gram in ngrams(stem, n)]
    covered = bytearray(len(stem))
    for start, hit in enumerate(found):
        if hit:
            covered[start : start + n] = b"\x01" * n
    return sum(found) / len(found), sum(covered) / len(stem)


FILE = "known_questions.bin"
# Labels of options, and words that stand around options or do not.
PASSED_OVER = frozenset(ascii_lowercase + digits) | {
    "answer",
    "answers",
    "choice",
    "choices",
    "option",
    "options",
}
PASSED_HASHES = np.sort(hash_words([" ".join(sorted(PASSED_OVER))]).hashes)
PIECE = 8  # words; questions under it are kept with their options or answer
SHORT = 4  # words in a piece of what is still under 8 words with its options
MOST_PIECES = 10  # kept of one question, evenly spread: enough to tell it, however long it is
SHARE = 0.7  # of a question's pieces that a row must hold
BYTES = 5  # of a hash: by chance 3 pieces in 60 million words, and a row has to hold most of a question's
LOW = (1 << 22) - 1  # a piece's low bits look it up in a table of this size before the exact search


@dataclass(frozen=True, slots=True, eq=False)
class KnownQuestions:
    """Hashes of the questions of known test sets, ready to be looked for."""

    names: tuple[str, ...]  # of the sets
    of_set: Offsets  # (questions,) index into names
    needed: Offsets  # (questions,) pieces that a text must hold
    hashes: Hashes  # (pieces,) sorted, distinct
    starts: Offsets  # (pieces + 1,) where each piece's questions begin in `questions`
    questions: Offsets

    @classmethod
    def load(cls) -> KnownQuestions:
        """The shipped list."""
        return unpack(files(__package__).joinpath(FILE).read_bytes())

    def find(self, texts: Iterable[str]) -> list[tuple[int, str]]:
        """(index of the text, name of the set) for every text that holds a known question, in order, once per text."""
        found: list[tuple[int, str]] = []
        table = np.zeros(LOW + 1, dtype=bool)
        table[(self.hashes & np.uint64(LOW)).astype(np.intp)] = True
        before = 0
        for batch in batches(texts):
            indices, hashes = _words(batch)
            held = [self._held(indices, hashes, size, table) for size in (PIECE, SHORT)]
            first: dict[int, int] = {}
            for index, question in self._decide(np.concatenate(held, axis=1)):
                first.setdefault(index, question)
            found += [(before + index, self.names[self.of_set[first[index]]]) for index in sorted(first)]
            before += len(batch)
        return found

    def _held(self, indices: Offsets, words_: Hashes, size: int, table: NDArray[np.bool_]) -> Offsets:
        """(2, hits) text and piece for every run of `size` words that is a known piece."""
        pieces = _pieces(words_, size)
        at = np.flatnonzero(table[(pieces & np.uint64(LOW)).astype(np.intp)])
        at = at[indices[at] == indices[at + size - 1]]  # not across two texts
        place = np.minimum(np.searchsorted(self.hashes, pieces[at]), len(self.hashes) - 1)
        same = self.hashes[place] == pieces[at]
        return np.stack([indices[at[same]], place[same]])

    def _decide(self, held: Offsets) -> Iterator[tuple[int, int]]:
        """(text, question) for every question of which the text holds enough distinct pieces."""
        texts, pieces = np.unique(held, axis=1)
        many = self.starts[pieces + 1] - self.starts[pieces]
        questions = self.questions[range_indices(self.starts[pieces], many)]
        pairs, counts = np.unique(np.stack([np.repeat(texts, many), questions]), axis=1, return_counts=True)
        enough = counts >= self.needed[pairs[1]]
        yield from zip(pairs[0, enough].tolist(), pairs[1, enough].tolist(), strict=True)


def words_of(text: str) -> list[str]:
    """The words that pieces are made of."""
    return [word for word in words(_plain(text)) if word not in PASSED_OVER]


def question_pieces(question: Sequence[str]) -> tuple[int, ...]:
    """The hashes that stand for a question, given in words: of runs from first to last, at most `MOST_PIECES`."""
    size = PIECE if len(question) >= PIECE else SHORT
    pieces = _pieces(hash_words([" ".join(question)]).hashes, size)
    if not len(pieces):
        return ()
    count = min(ceil(len(question) / size), MOST_PIECES)
    places = [round(i * (len(pieces) - 1) / max(count - 1, 1)) for i in range(count)]
    return tuple(sorted({int(pieces[place]) for place in places}))


def pack(sets: Sequence[tuple[str, Sequence[tuple[int, ...]]]]) -> bytes:
    """The shipped file: a line of JSON with the sets' sizes, a byte per question (its pieces), the pieces' hashes."""
    head = {"format": 1, "sets": [[name, len(questions)] for name, questions in sets]}
    every = [question for _, questions in sets for question in questions]
    hashes = b"".join(piece.to_bytes(BYTES, "little") for question in every for piece in question)
    return json.dumps(head).encode() + b"\n" + bytes(map(len, every)) + hashes


def unpack(data: bytes) -> KnownQuestions:
    """What `pack` packed."""
    line, _, body = data.partition(b"\n")
    sets = json.loads(line)["sets"]
    total = sum(count for _, count in sets)
    sizes = np.frombuffer(body[:total], dtype=np.uint8).astype(np.int64)
    wide = np.zeros((int(sizes.sum()), 8), dtype=np.uint8)
    wide[:, :BYTES] = np.frombuffer(body[total:], dtype=np.uint8).reshape(-1, BYTES)
    pieces = wide.view("<u8").reshape(-1)
    order = np.argsort(pieces, kind="stable")
    hashes, first = np.unique(pieces[order], return_index=True)
    return KnownQuestions(
        names=tuple(name for name, _ in sets),
        of_set=np.repeat(np.arange(len(sets)), [count for _, count in sets]),
        needed=np.ceil(sizes * SHARE).astype(np.int64),
        hashes=hashes,
        starts=np.append(first, len(pieces)),
        questions=np.repeat(np.arange(total), sizes)[order],
    )


def _plain(text: str) -> str:
    """One writing for what is written in several: widths, ligatures, blanks to be filled in."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text).casefold()).replace("_", " ")


def _words(texts: Sequence[str]) -> tuple[Offsets, Hashes]:
    """(index of its text, hash) of every word that is not passed over."""
    hashed = hash_words([_plain(text) for text in texts])
    indices = np.repeat(np.arange(len(texts)), np.diff(hashed.offsets))
    place = np.minimum(np.searchsorted(PASSED_HASHES, hashed.hashes), len(PASSED_HASHES) - 1)
    kept = PASSED_HASHES[place] != hashed.hashes
    return indices[kept], hashed.hashes[kept]


def _pieces(hashes: Hashes, size: int) -> Hashes:
    """(words - size + 1,) hash of every run of `size` words."""
    return mix(hash_windows(hashes, size)) >> np.uint64(64 - 8 * BYTES)
