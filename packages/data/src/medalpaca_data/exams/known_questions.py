"""Known test questions: a row that holds one is found by content, whatever file it came in and whatever surrounds it.

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

from ..words import Hashes, Places, batches, hash_windows, hash_words, mix, places_in, words

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
    of_set: Places  # (questions,) index into names
    needed: Places  # (questions,) pieces that a text must hold
    hashes: Hashes  # (pieces,) sorted, distinct
    starts: Places  # (pieces + 1,) where each piece's questions begin in `questions`
    questions: Places

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

    def _held(self, indices: Places, words_: Hashes, size: int, table: NDArray[np.bool_]) -> Places:
        """(2, hits) text and piece for every run of `size` words that is a known piece."""
        pieces = _pieces(words_, size)
        at = np.flatnonzero(table[(pieces & np.uint64(LOW)).astype(np.intp)])
        at = at[indices[at] == indices[at + size - 1]]  # not across two texts
        place = np.minimum(np.searchsorted(self.hashes, pieces[at]), len(self.hashes) - 1)
        same = self.hashes[place] == pieces[at]
        return np.stack([indices[at[same]], place[same]])

    def _decide(self, held: Places) -> Iterator[tuple[int, int]]:
        """(text, question) for every question of which the text holds enough distinct pieces."""
        texts, pieces = np.unique(held, axis=1)
        many = self.starts[pieces + 1] - self.starts[pieces]
        questions = self.questions[places_in(self.starts[pieces], many)]
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


def _words(texts: Sequence[str]) -> tuple[Places, Hashes]:
    """(index of its text, hash) of every word that is not passed over."""
    hashed = hash_words([_plain(text) for text in texts])
    indices = np.repeat(np.arange(len(texts)), np.diff(hashed.offsets))
    place = np.minimum(np.searchsorted(PASSED_HASHES, hashed.hashes), len(PASSED_HASHES) - 1)
    kept = PASSED_HASHES[place] != hashed.hashes
    return indices[kept], hashed.hashes[kept]


def _pieces(hashes: Hashes, size: int) -> Hashes:
    """(words - size + 1,) hash of every run of `size` words."""
    return mix(hash_windows(hashes, size)) >> np.uint64(64 - 8 * BYTES)
