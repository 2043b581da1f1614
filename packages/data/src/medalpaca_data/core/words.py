"""Words and 64-bit hashes of word n-grams, for decontamination and near-duplicate removal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
# Characters that are hashed at once, approximately, so that intermediate arrays fit into the processor cache.
BATCH = 1 << 19

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

# Base of the polynomial hash. It is odd, so that it has an inverse modulo 2^64.
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 1 << 64)


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, without punctuation."""
    return WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Return an iterator over every run of `n` consecutive tokens, in order; it is empty for fewer than `n` tokens."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


@dataclass(frozen=True, slots=True)
class HashedWords:
    """Word hashes of several texts: text t has `hashes[offsets[t]:offsets[t + 1]]`, in order.

    A word has the same hash in every text, process and machine. Shapes: hashes (words,), offsets (texts + 1,).
    """

    hashes: Hashes
    offsets: Offsets


def batches(texts: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    """Yield the texts in lists, so that memory use is bounded.

    A list ends with the text that brings it to `size` characters or more; the last list may have fewer.
    """
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

    ASCII texts are split as bytes, for speed. Other texts are split by `words` itself; the result is the same.
    """
    pieces = [
        (text if text.isascii() else " ".join(words(text))).encode(errors="surrogatepass") for text in texts
    ]
    letters = _letters()[np.frombuffer(b" ".join((b"", *pieces, b"")), np.uint8)]
    inside = letters != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    texts_at = np.concatenate(([0], np.cumsum(lengths + 1)))
    return HashedWords(mix(hash_runs(letters, starts, ends)), np.searchsorted(starts, texts_at))


def hash_runs(values: NDArray[np.uint8] | Hashes, starts: Offsets, ends: Offsets) -> Hashes:
    """Return the polynomial hash modulo 2^64 of each `values[start:end]`; shape (starts,).

    Equal values have the same hash at every position.
    """
    sums, inverse = _sums(values)
    return (sums[ends] - sums[starts]) * inverse[starts]


def hash_windows(values: Hashes, n: int) -> Hashes:
    """Return the hash (as of `hash_runs`) of every window of `n` values, also across two texts.

    The shape is (values - n + 1,); the result is empty for fewer than `n` values.
    """
    if len(values) < n:
        return np.empty(0, np.uint64)
    sums, inverse = _sums(values)
    return (sums[n:] - sums[:-n]) * inverse[: len(values) + 1 - n]


def range_indices(starts: Offsets, lengths: Offsets) -> Offsets:
    """Return the indices `start, start + 1, ..., start + length - 1` of every range, concatenated."""
    ends = np.cumsum(lengths)
    starts = starts - (ends - lengths)
    return np.repeat(starts, lengths) + np.arange(lengths.sum())


def mix(values: Hashes) -> Hashes:
    """Mix the bits of hashes in place with the finaliser of SplitMix64 (Steele, Lea and Flood, 2014); return them."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values


def _sums(values: NDArray[np.uint8] | Hashes) -> tuple[Hashes, Hashes]:
    """Return the cumulative sums of `values[i] * BASE**i`, shape (values + 1,), and at least as many inverse powers."""
    size = 1 << max(len(values), 1).bit_length()
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(BASE, size)[: len(values)], out=sums[1:])
    return sums, _powers(INVERSE, size)


@lru_cache(maxsize=8)
def _powers(base: int, size: int) -> Hashes:
    powers = np.full(size, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


@cache
def _letters() -> NDArray[np.uint8]:
    """Return for every byte its lower-case value if it is part of a word, else 0."""
    table = np.zeros(256, np.uint8)
    # Bytes of a multi-byte character; `hash_words` has already split those texts.
    table[128:] = np.arange(128, 256)
    for byte in range(128):
        if WORD.match(chr(byte)):
            table[byte] = ord(chr(byte).lower())
    return table
