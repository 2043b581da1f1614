"""Pairs of texts that may be alike, bucket by bucket, and their true Jaccard similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..words import Places, places_in
from .minhash import Shingles

PAIRS = 1 << 15  # verified at once: what the code of a pair has room for
VALUES = 1 << 17  # shingles that are sorted at once to verify pairs
OUTLINE = 2048  # bits
OUTLINES = 1 << 13  # made, or compared, at once


@dataclass(frozen=True, slots=True)
class Buckets:
    """Texts that share a key in some band, bucket after bucket, ascending in each. A text stands in many buckets."""

    texts: NDArray[np.int32]  # (entries,)
    ends: NDArray[np.int32]  # (entries,): where the bucket of the entry ends


def buckets(keys: NDArray[np.uint32], texts: Places) -> Buckets:
    """The buckets of two texts or more. `keys` is (bands, len(texts)); texts and entries are below 2^31."""
    members, ends, done = [], [], 0
    for band in keys:
        code = (band.astype(np.uint64) << np.uint64(32)) | texts.astype(np.uint64)
        code.sort()
        same = (code[1:] >> np.uint64(32)) == (code[:-1] >> np.uint64(32))
        shared = np.zeros(len(code), np.bool_)
        shared[1:] |= same
        shared[:-1] |= same
        code = code[shared]
        last = np.append((code[1:] >> np.uint64(32)) != (code[:-1] >> np.uint64(32)), True)[: len(code)]
        stops = np.flatnonzero(last) + 1
        members.append((code & np.uint64(0xFFFFFFFF)).astype(np.int32))
        ends.append((done + np.repeat(stops, np.diff(stops, prepend=0))).astype(np.int32))
        done += len(code)
    return Buckets(np.concatenate(members), np.concatenate(ends))


@dataclass(frozen=True, slots=True)
class Outlines:
    """Sets of shingles as bits: what two of them cannot have in common is seen without laying them out."""

    bits: NDArray[np.uint64]  # (texts, OUTLINE / 64): a bit for every shingle, several may share one
    taken: Places  # (texts,): how many bits are set
    sizes: Places  # (texts,): how many shingles there are, repeated ones too


def outlines(shingles: Shingles) -> Outlines:
    """The outlines of texts."""
    sizes = np.diff(shingles.offsets)
    bits = np.zeros((len(sizes), OUTLINE // 64), np.uint64)
    for start in range(0, len(sizes), OUTLINES):
        rows = bits[start : start + OUTLINES]
        hashes = shingles.hashes[shingles.offsets[start] : shingles.offsets[start + len(rows)]]
        words = np.repeat(np.arange(len(rows)) * rows.shape[1], sizes[start : start + OUTLINES])
        words += (hashes % np.uint64(rows.shape[1])).astype(np.int64)
        np.bitwise_or.at(rows.reshape(-1), words, np.uint64(1) << (hashes >> np.uint64(58)))
    taken = np.concatenate(
        [
            np.bitwise_count(bits[start : start + OUTLINES]).sum(axis=1, dtype=np.int64)
            for start in range(0, len(sizes) + 1, OUTLINES)
        ]
    )
    return Outlines(bits, taken, sizes)


def may_reach(known: Outlines, left: Places, right: Places, threshold: float) -> NDArray[np.bool_]:
    """Whether the Jaccard similarity may be `threshold` or more; false only where it is certainly less."""
    result = np.empty(len(left), np.bool_)
    for start in range(0, len(left), OUTLINES):
        part = slice(start, start + OUTLINES)
        a, b = left[part], right[part]
        # Shingles in common take common bits; how many share a bit with another is known for either side.
        common = np.bitwise_count(known.bits[a] & known.bits[b]).sum(axis=1, dtype=np.int64)
        common += np.minimum(known.sizes[a] - known.taken[a], known.sizes[b] - known.taken[b])
        union = known.taken[a] + known.taken[b] - common
        result[part] = common / np.maximum(union, 1) >= threshold
    return result


def jaccard(shingles: Shingles, left: Places, right: Places) -> NDArray[np.float64]:
    """The Jaccard similarity of the sets of shingles of `left[k]` and `right[k]`, for every k.

    Of a shingle 48 bits are compared; among pairs of 300 words, one in 10^9 has two different ones taken for the same.
    """
    sizes = np.diff(shingles.offsets)
    parts = [
        _jaccard(shingles, sizes, left[part], right[part]) for part in _slices(sizes[left] + sizes[right])
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _slices(sizes: Places) -> Iterator[slice]:
    """Cut pairs into slices of at most PAIRS pairs and, but for a single pair, VALUES shingles."""
    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = min(int(np.searchsorted(total, before + VALUES, side="right")), start + PAIRS)
        yield slice(start, stop := max(stop, start + 1))
        start = stop


def _jaccard(shingles: Shingles, sizes: Places, left: Places, right: Places) -> NDArray[np.float64]:
    # One number says which pair (15 bits), which shingle (48) and on which side (1). Sorted, what is new is counted
    # with the side, |A| + |B|, and without it, |A or B|; that also takes each set's repeated shingles away.
    codes = []
    for side, texts in enumerate((left, right)):
        lengths = sizes[texts]
        pair = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
        values = shingles.hashes[places_in(shingles.offsets[texts], lengths)]
        codes.append((pair << np.uint64(49)) | ((values >> np.uint64(16)) << np.uint64(1)) | np.uint64(side))
    code = np.concatenate(codes)
    code.sort()
    new = np.append(True, code[1:] != code[:-1])
    code = code[new]
    pair = (code >> np.uint64(49)).astype(np.int64)
    code >>= np.uint64(1)
    both = np.bincount(pair, minlength=len(left))
    union = np.bincount(pair[np.append(True, code[1:] != code[:-1])], minlength=len(left))
    return (both - union) / union
