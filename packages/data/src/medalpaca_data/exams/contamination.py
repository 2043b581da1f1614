"""Decontamination: coverage of exam questions by texts, and detection of published test questions.

Coverage is the share of a question's word 13-grams that occur in a text. Published test questions are detected without
their text: the package contains hashes of pieces of 8 words (4 of short questions), which
`tools/hash_test_questions.py` computes from the files of the test sets. A question is detected after "Q:" or an
instruction, before options in any lettering, and with a few words changed. Paraphrases and translations are not
detected.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
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

# Words of an n-gram. A question of 8 to 12 words is one n-gram.
N = 13
# A shorter question is too generic for n-grams; only a line that equals the question covers it.
MIN_WORDS = 8
# Largest number of leading bits of a hash that the filter of an index distinguishes; it then takes 16 MB.
FILTER_BITS = 24


@dataclass(frozen=True, slots=True)
class ItemCoverage:
    """Coverage of one exam item by the text that covers it most.

    `coverage` is the share (0 to 1) of the question's word 13-grams found in the text; decisions use it.
    `token_coverage` is the share of the question's words inside a found 13-gram. `text_index` is the position of the
    text, from 0, or None if no text shares a 13-gram.
    """

    item_id: str
    step: int | None
    coverage: float
    token_coverage: float
    text_index: int | None


@dataclass(frozen=True, slots=True)
class Hit:
    """Coverage of one exam item by one text; `row` is the position of the text, from 0."""

    exam: Exam
    item_id: str
    row: int
    coverage: float
    token_coverage: float


def coverage(exam: Exam, texts: Iterable[str]) -> list[ItemCoverage]:
    """Return the highest coverage by one text for every item of `exam`, in the order of the items.

    `texts` is read once and not stored, so a corpus may have any size. A question of 8 to 12 words is one n-gram.
    A shorter question is covered only by a line with the same words. Of equal coverages, the first text is returned.
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
    """Yield every item with a coverage of at least `floor` by one text, in the order of the texts.

    An item without a shared n-gram is never a hit, even if `floor` is 0.
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
    """Yield all pairs of item and text with a shared n-gram. Pairs are found by hash and compared by words."""
    stems = [words(item.question) for item in items]
    sizes = [min(N, len(stem)) if len(stem) >= MIN_WORDS else 0 for stem in stems]
    indexes = [_index(stems, sizes, n) for n in sorted(set(sizes))]
    if not indexes:
        return
    done = 0
    for batch in batches(texts):
        # Only short questions are compared with whole lines.
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
    """Sorted n-gram hashes of the questions; with n = 0 the hashes of whole questions.

    `items[i]` is the position of the item with the hash `runs[i]`. `filter[hash >> shift]` is true for every hash in
    `runs` and few others, so that nearly all n-grams of a text need no exact search.
    """

    n: int
    runs: Hashes
    items: Offsets
    filter: NDArray[np.bool_]
    shift: np.uint64


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
    """Return `text << 32 | item` for every shared n-gram. Text t has the lines `starts[t]:starts[t + 1]`."""
    runs = _runs(lines, index.n)
    places = np.flatnonzero(index.filter[runs >> index.shift])
    places, texts = _owners(lines, starts, index.n, places)
    first = np.searchsorted(index.runs, runs[places], side="left")
    counts = np.searchsorted(index.runs, runs[places], side="right") - first
    return np.repeat(texts, counts) << 32 | index.items[range_indices(first, counts)]


def _runs(lines: HashedWords, n: int) -> Hashes:
    """Return the hash of every n-gram, also across two texts; with n = 0 of every line."""
    if n:
        return mix(hash_windows(lines.hashes, n))
    return mix(hash_runs(lines.hashes, lines.offsets[:-1], lines.offsets[1:]))


def _owners(lines: HashedWords, starts: Offsets, n: int, places: Offsets) -> tuple[Offsets, Offsets]:
    """Return those of `places` whose n-gram lies in one text, and the index of that text for each."""
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


KNOWN_QUESTIONS = "known_questions.bin"
# Labels of options and words around them, which differ between copies of a question.
IGNORED_WORDS = frozenset(ascii_lowercase + digits) | {
    "answer",
    "answers",
    "choice",
    "choices",
    "option",
    "options",
}
# Words of a piece. Shorter questions are stored together with their options or answer.
PIECE_WORDS = 8
# Words of a piece of a question that has fewer than 8 words even with its options.
SHORT_PIECE_WORDS = 4
# Pieces stored per question, evenly spaced; they identify a question of any length.
MAX_PIECES = 10
# Share of a question's pieces that a row must contain.
MIN_SHARE = 0.7
# Bytes of a stored hash. Random matches: 3 pieces in 60 million words, and most pieces of a question are required.
HASH_BYTES = 5
# Low bits of a piece, for a table look-up before the exact search.
LOW_BITS = (1 << 22) - 1


@dataclass(frozen=True, slots=True, eq=False)
class KnownQuestions:
    """Hashes of the questions of published test sets.

    Attributes:
        names: Names of the test sets.
        of_set: (questions,) index into `names`.
        needed: (questions,) number of pieces that a text must contain.
        hashes: (pieces,) sorted, distinct hashes of pieces.
        starts: (pieces + 1,) offsets: piece p is in the questions `questions[starts[p]:starts[p + 1]]`.
        questions: Indices into `of_set` and `needed`.
    """

    names: tuple[str, ...]
    of_set: Offsets
    needed: Offsets
    hashes: Hashes
    starts: Offsets
    questions: Offsets

    @classmethod
    def load(cls) -> KnownQuestions:
        """Return the hashes that are part of the package."""
        return unpack(files(__package__).joinpath(KNOWN_QUESTIONS).read_bytes())

    def find(self, texts: Iterable[str]) -> list[tuple[int, str]]:
        """Return (index of the text, name of the test set) for every text with a published question, in order.

        If a text has questions of several sets, the set that is first in `names` is returned.
        """
        found: list[tuple[int, str]] = []
        table = np.zeros(LOW_BITS + 1, dtype=bool)
        table[(self.hashes & np.uint64(LOW_BITS)).astype(np.intp)] = True
        before = 0
        for batch in batches(texts):
            indices, hashes = _words(batch)
            held = [self._held(indices, hashes, size, table) for size in (PIECE_WORDS, SHORT_PIECE_WORDS)]
            first: dict[int, int] = {}
            for index, question in self._decide(np.concatenate(held, axis=1)):
                first.setdefault(index, question)
            found += [(before + index, self.names[self.of_set[first[index]]]) for index in sorted(first)]
            before += len(batch)
        return found

    def _held(self, indices: Offsets, words_: Hashes, size: int, table: NDArray[np.bool_]) -> Offsets:
        """Return text and piece of every n-gram of `size` words that is a stored piece; shape (2, hits)."""
        pieces = _pieces(words_, size)
        at = np.flatnonzero(table[(pieces & np.uint64(LOW_BITS)).astype(np.intp)])
        # An n-gram must not span two texts.
        at = at[indices[at] == indices[at + size - 1]]
        place = np.minimum(np.searchsorted(self.hashes, pieces[at]), len(self.hashes) - 1)
        same = self.hashes[place] == pieces[at]
        return np.stack([indices[at[same]], place[same]])

    def _decide(self, held: Offsets) -> Iterator[tuple[int, int]]:
        """Yield (text, question) for every question with enough distinct pieces in the text."""
        texts, pieces = np.unique(held, axis=1)
        many = self.starts[pieces + 1] - self.starts[pieces]
        questions = self.questions[range_indices(self.starts[pieces], many)]
        pairs, counts = np.unique(np.stack([np.repeat(texts, many), questions]), axis=1, return_counts=True)
        enough = counts >= self.needed[pairs[1]]
        yield from zip(pairs[0, enough].tolist(), pairs[1, enough].tolist(), strict=True)


def words_of(text: str) -> list[str]:
    """Return the words of a text from which pieces are formed: all but `IGNORED_WORDS`."""
    return [word for word in words(_plain(text)) if word not in IGNORED_WORDS]


def question_pieces(question: Sequence[str]) -> tuple[int, ...]:
    """Return the hashes of at most `MAX_PIECES` evenly spaced pieces of a question, given as words.

    The result is empty for fewer than `SHORT_PIECE_WORDS` words.
    """
    size = PIECE_WORDS if len(question) >= PIECE_WORDS else SHORT_PIECE_WORDS
    pieces = _pieces(hash_words([" ".join(question)]).hashes, size)
    if not len(pieces):
        return ()
    count = min(ceil(len(question) / size), MAX_PIECES)
    places = [round(i * (len(pieces) - 1) / max(count - 1, 1)) for i in range(count)]
    return tuple(sorted({int(pieces[place]) for place in places}))


def pack(sets: Sequence[tuple[str, Sequence[tuple[int, ...]]]]) -> bytes:
    """Return the bytes of a file of hashed questions: a JSON line with the sets, a byte per question, the hashes.

    `sets` has the name of each set and the hashes of the pieces of its questions. The byte of a question is its number
    of pieces.
    """
    head = {"format": 1, "sets": [[name, len(questions)] for name, questions in sets]}
    every = [question for _, questions in sets for question in questions]
    hashes = b"".join(piece.to_bytes(HASH_BYTES, "little") for question in every for piece in question)
    return json.dumps(head).encode() + b"\n" + bytes(map(len, every)) + hashes


def unpack(data: bytes) -> KnownQuestions:
    """Return the content of a file written by `pack`."""
    line, _, body = data.partition(b"\n")
    sets = json.loads(line)["sets"]
    total = sum(count for _, count in sets)
    sizes = np.frombuffer(body[:total], dtype=np.uint8).astype(np.int64)
    wide = np.zeros((int(sizes.sum()), 8), dtype=np.uint8)
    wide[:, :HASH_BYTES] = np.frombuffer(body[total:], dtype=np.uint8).reshape(-1, HASH_BYTES)
    pieces = wide.view("<u8").reshape(-1)
    order = np.argsort(pieces, kind="stable")
    hashes, first = np.unique(pieces[order], return_index=True)
    return KnownQuestions(
        names=tuple(name for name, _ in sets),
        of_set=np.repeat(np.arange(len(sets)), [count for _, count in sets]),
        needed=np.ceil(sizes * MIN_SHARE).astype(np.int64),
        hashes=hashes,
        starts=np.append(first, len(pieces)),
        questions=np.repeat(np.arange(total), sizes)[order],
    )


def _plain(text: str) -> str:
    """Return `text` in lower case with compatible characters, such as ligatures, replaced and without underscores."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text).casefold()).replace("_", " ")


@cache
def _ignored_hashes() -> Hashes:
    """Return the sorted hashes of `IGNORED_WORDS`."""
    return np.sort(hash_words([" ".join(sorted(IGNORED_WORDS))]).hashes)


def _words(texts: Sequence[str]) -> tuple[Offsets, Hashes]:
    """Return the text index and the hash of every word that is not ignored."""
    hashed = hash_words([_plain(text) for text in texts])
    indices = np.repeat(np.arange(len(texts)), np.diff(hashed.offsets))
    ignored = _ignored_hashes()
    place = np.minimum(np.searchsorted(ignored, hashed.hashes), len(ignored) - 1)
    kept = ignored[place] != hashed.hashes
    return indices[kept], hashed.hashes[kept]


def _pieces(hashes: Hashes, size: int) -> Hashes:
    """Return the hash of every n-gram of `size` words; shape (words - size + 1,)."""
    return mix(hash_windows(hashes, size)) >> np.uint64(64 - 8 * HASH_BYTES)
