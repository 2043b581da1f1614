"""Words, and 64-bit hashes of runs of words: the one way in which texts are cut up to be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
BATCH = 1 << 19  # characters hashed at once: what is made of them stays near the processor

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
INVERSE = pow(BASE, -1, 1 << 64)


def words(text: str) -> list[str]:
    """The words that runs are made of."""
    return WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All runs of `n` words, in order."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


@dataclass(frozen=True, slots=True)
class HashedWords:
    """The words of some texts as hashes: those of text t are `hashes[offsets[t]:offsets[t + 1]]`, in order.

    A word has the same hash in every text, batch, process and machine.
    """

    hashes: Hashes  # (words,)
    offsets: Places  # (texts + 1,)


def batches(texts: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """The texts in lists of about `size` characters, so that memory does not grow with their number."""
    batch: list[str] = []
    room = size
    for text in texts:
        batch.append(text)
        room -= len(text)
        if room <= 0:
            yield batch
            batch, room = [], size
    if batch:
        yield batch


def hash_words(texts: Sequence[str]) -> HashedWords:
    """Hash exactly the words that `words` finds in each text.

    ASCII is cut up as bytes; of other texts Python finds the words, because no other reading of Unicode is the same.
    """
    pieces = [
        (text if text.isascii() else " ".join(words(text))).encode(errors="surrogatepass") for text in texts
    ]
    letters = LETTERS[np.frombuffer(b" ".join((b"", *pieces, b"")), np.uint8)]
    inside = letters != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    texts_at = np.concatenate(([0], np.cumsum(lengths + 1)))
    return HashedWords(mix(hash_runs(letters, starts, ends)), np.searchsorted(starts, texts_at))


def hash_runs(values: NDArray[np.uint8] | Hashes, starts: Places, ends: Places) -> Hashes:
    """A polynomial hash, modulo 2^64, of each `values[start:end]`; it does not depend on where a run stands."""
    sums, inverse = _sums(values)
    return (sums[ends] - sums[starts]) * inverse[starts]


def hash_windows(values: Hashes, n: int) -> Hashes:
    """What `hash_runs` gives for every run of `n` values, those across the border of two texts included."""
    if len(values) < n:
        return np.empty(0, np.uint64)
    sums, inverse = _sums(values)
    return (sums[n:] - sums[:-n]) * inverse[: len(values) + 1 - n]


def places_in(starts: Places, lengths: Places) -> Places:
    """The places in runs, one run after the other: `start, start + 1, ...`, as many as its length says."""
    ends = np.cumsum(lengths)
    starts = starts - (ends - lengths)
    return np.repeat(starts, lengths) + np.arange(lengths.sum())


def mix(values: Hashes) -> Hashes:
    """Spread what distinguishes hashes over all their bits, in place (the finaliser of SplitMix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values


def _sums(values: NDArray[np.uint8] | Hashes) -> tuple[Hashes, Hashes]:
    """Running sums of values times powers of BASE, and the powers that take a run back to its own start."""
    size = 1 << max(len(values), 1).bit_length()
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(BASE, size)[: len(values)], out=sums[1:])
    return sums, _powers(INVERSE, size)


@lru_cache(maxsize=8)  # a batch asks for four
def _powers(base: int, size: int) -> Hashes:
    powers = np.full(size, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _letters() -> NDArray[np.uint8]:
    """For every byte what it adds to a word, in lower case; 0 where it ends one."""
    table = np.zeros(256, np.uint8)
    table[128:] = np.arange(128, 256)  # part of a letter, where Python has found the words
    for byte in range(128):
        if WORD.match(chr(byte)):
            table[byte] = ord(chr(byte).lower())
    return table


LETTERS = _letters()
