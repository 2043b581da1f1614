"""MinHash signatures of texts over runs of three words, folded into the keys of LSH bands.

Broder 1997, "On the resemblance and containment of documents"; bands after Indyk and Motwani 1998. What is done to
a text depends on it alone, so signatures of shards put side by side are the signatures of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..words import HashedWords, Hashes, Places, batches, hash_runs, hash_windows, hash_words, mix, places_in

N = 3  # words in a shingle; with five, a copy with one word in twenty changed would hardly look like one
ROWS = 4  # minima in a band
PART = 256  # shingles of a long text that are taken together, as if they were a text
MISSED = 1e-7  # most probable share of the pairs just at the threshold that share no band


@dataclass(frozen=True, slots=True)
class Signatures:
    """What is kept of n texts to find those that may be alike."""

    keys: NDArray[np.uint32]  # (bands, n): texts with the same key in a band may be alike
    words: Hashes  # (n,): of all words in order; equal where the words are the same
    long: NDArray[np.bool_]  # (n,): has a shingle; keys of other texts mean nothing


@dataclass(frozen=True, slots=True)
class Shingles:
    """Runs of N words as hashes, repeated ones too: those of text t are `hashes[offsets[t]:offsets[t + 1]]`."""

    hashes: Hashes
    offsets: Places


def bands(threshold: float) -> int:
    """How many bands it takes to miss a pair at the threshold with a probability of at most `MISSED`."""
    differ = 1 - threshold**ROWS
    return max(1, math.ceil(math.log(MISSED) / math.log(differ))) if differ > 0 else 1


def sign(texts: Sequence[str], threshold: float) -> Signatures:
    """Signatures for finding pairs of a Jaccard similarity of `threshold` or more among `texts`."""
    count = bands(threshold)
    result = Signatures(
        np.empty((count, len(texts)), np.uint32),
        np.empty(len(texts), np.uint64),
        np.empty(len(texts), np.bool_),
    )
    done = 0
    for batch in batches(texts):
        part = slice(done, done := done + len(batch))
        hashed = hash_words(batch)
        found = shingles(hashed)
        result.keys[:, part] = _keys(found, count)
        result.words[part] = mix(hash_runs(hashed.hashes, hashed.offsets[:-1], hashed.offsets[1:]))
        result.long[part] = np.diff(found.offsets) > 0
    return result


def shingles(hashed: HashedWords) -> Shingles:
    """The shingles of texts; a text of fewer than N words has none."""
    lengths = np.diff(hashed.offsets)
    windows = mix(hash_windows(hashed.hashes, N))
    # A window is of no text when it starts in a text's last N - 1 words.
    whole = np.ones(len(hashed.hashes), np.bool_)
    for back in range(1, N):
        whole[hashed.offsets[1:][lengths >= back] - back] = False
    whole = whole[: len(windows)]
    return Shingles(windows[whole], np.concatenate(([0], np.cumsum(np.maximum(lengths - (N - 1), 0)))))


def shingles_of(texts: Iterable[str]) -> Shingles:
    """The shingles of texts of any number."""
    parts = [shingles(hash_words(batch)) for batch in batches(texts)]
    counts = [np.diff(part.offsets) for part in parts]
    return Shingles(
        np.concatenate([part.hashes for part in parts] or [np.empty(0, np.uint64)]),
        np.concatenate(([0], np.cumsum(np.concatenate(counts or [np.empty(0, np.int64)])))),
    )


def _keys(found: Shingles, count: int) -> NDArray[np.uint32]:
    """(count, texts): ROWS minima folded into one key per band."""
    # Long texts are cut into parts, and the parts ordered from the longest to the shortest: those that still have a
    # p-th shingle are the first ones, and a step is taken for all of them and all permutations at once.
    sizes = np.diff(found.offsets)
    parts = np.maximum(1, -(-sizes // PART))
    firsts = np.cumsum(parts) - parts
    within = places_in(np.zeros_like(parts), parts) * PART
    starts = np.repeat(found.offsets[:-1], parts) + within
    lengths = np.minimum(np.repeat(sizes, parts) - within, PART)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    values = (found.hashes >> np.uint64(32)).astype(np.uint32)
    factors = _factors(count * ROWS)[:, None]
    lowest = np.full((count * ROWS, len(order)), 0xFFFFFFFF, np.uint32)
    products = np.empty_like(lowest)
    for p, alive in enumerate(np.searchsorted(-lengths, -np.arange(lengths.max(initial=0)), side="left")):
        here = products[:, :alive]
        np.multiply(factors, values[starts[:alive] + p], out=here)
        np.minimum(lowest[:, :alive], here, out=lowest[:, :alive])
    products[:, order] = lowest
    minima = products if len(order) == len(sizes) else np.minimum.reduceat(products, firsts, axis=1)
    folded = np.zeros((count, len(sizes)), np.uint64)
    for row in range(ROWS):
        folded ^= minima[row::ROWS]
        folded = mix(folded * np.uint64(0x9E3779B97F4A7C15))
    return (folded >> np.uint64(32)).astype(np.uint32)


def _factors(count: int) -> NDArray[np.uint32]:
    """Odd factors: multiplying by one permutes the numbers below 2^32."""
    return (mix(np.arange(1, count + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
