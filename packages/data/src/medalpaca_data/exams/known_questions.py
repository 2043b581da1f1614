"""Detection of published test questions without their text.

The package contains hashes of pieces of 8 words (4 of short questions), which `tools/hash_test_questions.py` computes
from the files of the test sets. A question is detected after "Q:" or an instruction, before options in any lettering,
and with a few words changed. Paraphrases and translations are not detected.
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

from ..core.words import Hashes, Offsets, batches, hash_windows, hash_words, mix, range_indices, words

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
