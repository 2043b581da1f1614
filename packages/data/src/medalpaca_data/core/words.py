"""Words and 64-bit hashes of word n-grams, for decontamination and near-duplicate removal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
# Characters that are hashed at once, so that intermediate arrays fit into the processor cache.
BATCH = 1 << 19

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

# Odd, so that it has an inverse modulo 2^64.
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 1 << 64)


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, without punctuation."""
    return WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield all n-grams of `n` tokens, in order."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


@dataclass(frozen=True, slots=True)
class HashedWords:
    """Word hashes of several texts: text t has `hashes[offsets[t]:offsets[t + 1]]`, in order.

    A word has the same hash in every text, process and machine. Shapes: hashes (words,), offsets (texts + 1,).
    """

    hashes: Hashes
    offsets: Offsets


def batches(texts: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Yield lists of texts with about `size` characters each, so that memory use is bounded."""
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
    """Return the hashes of the words that `words` returns for each text.

    ASCII texts are split as bytes. Other texts are split by Python's `re`, whose definition of a word is used.
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


def hash_runs(values: NDArray[np.uint8] | Hashes, starts: Offsets, ends: Offsets) -> Hashes:
    """Return the polynomial hash modulo 2^64 of each `values[start:end]`, independent of its offset."""
    sums, inverse = _sums(values)
    return (sums[ends] - sums[starts]) * inverse[starts]


def hash_windows(values: Hashes, n: int) -> Hashes:
    """Return the `hash_runs` value of every window of `n` values, including windows that span two texts."""
    if len(values) < n:
        return np.empty(0, np.uint64)
    sums, inverse = _sums(values)
    return (sums[n:] - sums[:-n]) * inverse[: len(values) + 1 - n]


def range_indices(starts: Offsets, lengths: Offsets) -> Offsets:
    """Return the concatenated index ranges `start, start + 1, ..., start + length - 1`."""
    ends = np.cumsum(lengths)
    starts = starts - (ends - lengths)
    return np.repeat(starts, lengths) + np.arange(lengths.sum())


def mix(values: Hashes) -> Hashes:
    """Mix the bits of hashes in place with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values


def _sums(values: NDArray[np.uint8] | Hashes) -> tuple[Hashes, Hashes]:
    """Return cumulative sums of values times powers of BASE, and the powers of its inverse."""
    size = 1 << max(len(values), 1).bit_length()
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(BASE, size)[: len(values)], out=sums[1:])
    return sums, _powers(INVERSE, size)


@lru_cache(maxsize=8)
def _powers(base: int, size: int) -> Hashes:
    powers = np.full(size, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _letters() -> NDArray[np.uint8]:
    """Return for every byte its lower-case value if it is part of a word, else 0."""
    table = np.zeros(256, np.uint8)
    # Bytes of a multi-byte character; `hash_words` has already split those texts.
    table[128:] = np.arange(128, 256)
    for byte in range(128):
        if WORD.match(chr(byte)):
            table[byte] = ord(chr(byte).lower())
    return table


LETTERS = _letters()
