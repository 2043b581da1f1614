"""MinHash signatures: keys that similar texts probably share.

Texts are compared by their sets of three-word sequences (shingles). MinHash (Broder 1997, "On the resemblance and
containment of documents") and bands (Indyk and Motwani 1998) choose candidate pairs, which `jaccard` verifies. A
signature depends on no other text, so texts are processed in batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    range_indices,
)

# With five words, a copy with one word in twenty changed would hardly be similar.
SHINGLE_WORDS = 3
# Minima in a band; shingles in a part of a long text; largest probability that a pair at the threshold is missed.
ROWS_PER_BAND, PART_SIZE, MAX_MISS_RATE = 4, 256, 1e-7


@dataclass(frozen=True, slots=True)
class Signatures:
    """MinHash signatures of n texts.

    keys: (bands, n); two texts with the same key in a band are a candidate pair.
    words: (n,); hash of all words of a text, in order.
    has_shingle: (n,); false for a text of fewer than `SHINGLE_WORDS` words, whose keys have no meaning.
    """

    keys: NDArray[np.uint32]
    words: Hashes
    has_shingle: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shingles:
    """Hashes of the shingles of texts, with repetitions; text t has `hashes[offsets[t]:offsets[t + 1]]`."""

    hashes: Hashes
    offsets: Offsets


def band_count(threshold: float) -> int:
    """Return the number of bands that miss a pair at the threshold with a probability of at most `MAX_MISS_RATE`."""
    differ = 1 - threshold**ROWS_PER_BAND
    return max(1, math.ceil(math.log(MAX_MISS_RATE) / math.log(differ))) if differ > 0 else 1


def compute_signatures(texts: Sequence[str], threshold: float) -> Signatures:
    """Return signatures with enough bands to find pairs with a Jaccard similarity of at least `threshold`."""
    count = band_count(threshold)
    result = Signatures(
        np.empty((count, len(texts)), np.uint32),
        np.empty(len(texts), np.uint64),
        np.empty(len(texts), np.bool_),
    )
    done = 0
    for batch in batches(texts):
        part = slice(done, done := done + len(batch))
        hashed = hash_words(batch)
        shingles = shingle_hashes(hashed)
        result.keys[:, part] = _band_keys(shingles, count)
        result.words[part] = mix(hash_runs(hashed.hashes, hashed.offsets[:-1], hashed.offsets[1:]))
        result.has_shingle[part] = np.diff(shingles.offsets) > 0
    return result


def shingle_hashes(hashed: HashedWords) -> Shingles:
    """Return the shingles of texts; a text of fewer than `SHINGLE_WORDS` words has none."""
    lengths = np.diff(hashed.offsets)
    windows = mix(hash_windows(hashed.hashes, SHINGLE_WORDS))
    # A window that starts in the last words of a text extends into the next text.
    inside = np.ones(len(hashed.hashes), np.bool_)
    for back in range(1, SHINGLE_WORDS):
        inside[hashed.offsets[1:][lengths >= back] - back] = False
    inside = inside[: len(windows)]
    return Shingles(
        windows[inside], np.concatenate(([0], np.cumsum(np.maximum(lengths - (SHINGLE_WORDS - 1), 0))))
    )


def _band_keys(shingles: Shingles, count: int) -> NDArray[np.uint32]:
    """Return one key per band and text, shape (count, texts); a key combines `ROWS_PER_BAND` minima."""
    # Long texts are cut into parts, and the parts sorted by length, longest first. The parts that have a p-th shingle
    # are then the first ones, and each step covers all of them and all permutations.
    sizes = np.diff(shingles.offsets)
    parts = np.maximum(1, -(-sizes // PART_SIZE))
    firsts = np.cumsum(parts) - parts
    within = range_indices(np.zeros_like(parts), parts) * PART_SIZE
    starts = np.repeat(shingles.offsets[:-1], parts) + within
    lengths = np.minimum(np.repeat(sizes, parts) - within, PART_SIZE)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    values = (shingles.hashes >> np.uint64(32)).astype(np.uint32)
    factors = _odd_factors(count * ROWS_PER_BAND)[:, None]
    lowest = np.full((count * ROWS_PER_BAND, len(order)), 0xFFFFFFFF, np.uint32)
    products = np.empty_like(lowest)
    for p, alive in enumerate(np.searchsorted(-lengths, -np.arange(lengths.max(initial=0)), side="left")):
        here = products[:, :alive]
        np.multiply(factors, values[starts[:alive] + p], out=here)
        np.minimum(lowest[:, :alive], here, out=lowest[:, :alive])
    products[:, order] = lowest
    minima = products if len(order) == len(sizes) else np.minimum.reduceat(products, firsts, axis=1)
    folded = np.zeros((count, len(sizes)), np.uint64)
    for row in range(ROWS_PER_BAND):
        folded ^= minima[row::ROWS_PER_BAND]
        folded = mix(folded * np.uint64(0x9E3779B97F4A7C15))
    return (folded >> np.uint64(32)).astype(np.uint32)


def _odd_factors(count: int) -> NDArray[np.uint32]:
    """Return `count` fixed odd factors; multiplication by an odd factor modulo 2^32 permutes the numbers below it."""
    return (mix(np.arange(1, count + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
