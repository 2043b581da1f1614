"""Jaccard similarity of pairs of texts, from the shingles that a temporary file holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..core.words import Offsets, batches, hash_words, range_indices
from .minhash import Shingles, shingle_hashes

# Pairs that are verified at once (a code has 15 bits for the pair), and shingles that are sorted for them.
MAX_PAIRS, MAX_SHINGLES = 1 << 15, 1 << 17
# Shingles of pairs that are read from the file at once, with repetitions.
MAX_READ = 1 << 21
# Bits of the bitmap of a text, and bitmaps that are made or compared at once.
BITMAP_BITS, BITMAP_BATCH = 2048, 1 << 13


@dataclass(frozen=True, slots=True)
class Bitmaps:
    """Sets of shingles as bitmaps, which give an upper bound for the similarity of two texts.

    bits: (texts, BITMAP_BITS / 64); each shingle sets one bit, and several shingles may set the same.
    counts, sizes: (texts,); the number of bits set, and of shingles with repetitions.
    """

    bits: NDArray[np.uint64]
    counts: Offsets
    sizes: Offsets


def make_bitmaps(shingles: Shingles) -> Bitmaps:
    """Return one bitmap for each text of `shingles`."""
    sizes = np.diff(shingles.offsets)
    bits = np.zeros((len(sizes), BITMAP_BITS // 64), np.uint64)
    counts = np.empty(len(sizes), np.int64)
    for start in range(0, len(sizes), BITMAP_BATCH):
        rows = bits[start : start + BITMAP_BATCH]
        hashes = shingles.hashes[shingles.offsets[start] : shingles.offsets[start + len(rows)]]
        words = np.repeat(np.arange(len(rows)) * rows.shape[1], sizes[start : start + BITMAP_BATCH])
        words += (hashes % np.uint64(rows.shape[1])).astype(np.int64)
        np.bitwise_or.at(rows.reshape(-1), words, np.uint64(1) << (hashes >> np.uint64(58)))
        counts[start : start + BITMAP_BATCH] = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    return Bitmaps(bits, counts, sizes)


def may_reach_threshold(
    bitmaps: Bitmaps, left: Offsets, right: Offsets, threshold: float
) -> NDArray[np.bool_]:
    """Return false for each pair whose Jaccard similarity is certainly below `threshold`, else true; shape (pairs,)."""
    result = np.empty(len(left), np.bool_)
    for start in range(0, len(left), BITMAP_BATCH):
        part = slice(start, start + BITMAP_BATCH)
        a, b = left[part], right[part]
        # Common shingles have common bits. The shingles that share a bit with another one are added as an upper bound.
        common = np.bitwise_count(bitmaps.bits[a] & bitmaps.bits[b]).sum(axis=1, dtype=np.int64)
        common += np.minimum(bitmaps.sizes[a] - bitmaps.counts[a], bitmaps.sizes[b] - bitmaps.counts[b])
        union = bitmaps.counts[a] + bitmaps.counts[b] - common
        result[part] = common / np.maximum(union, 1) >= threshold
    return result


def jaccard_similarity(
    shingles: Shingles, left: Offsets, right: Offsets, threshold: float = 0
) -> NDArray[np.float64]:
    """Return the Jaccard similarity of the texts `left[k]` and `right[k]`, for every k.

    It is 0 for two texts without shingles, and for a pair that is certainly below `threshold`. 48 bits of each hash are
    compared. In about one of 10^9 pairs of 300-word texts, two different shingles are equal.
    """
    result = np.zeros(len(left))
    sizes = np.diff(shingles.offsets)
    near = np.flatnonzero(sizes[left] + sizes[right])
    if threshold:
        near = near[may_reach_threshold(make_bitmaps(shingles), left[near], right[near], threshold)]
    for part in _slices(sizes[left[near]] + sizes[right[near]], MAX_SHINGLES, MAX_PAIRS):
        here = near[part]
        result[here] = _jaccard(shingles, sizes, left[here], right[here])
    return result


def _slices(sizes: Offsets, most: int, pairs: int) -> Iterator[slice]:
    """Yield slices of at most `pairs` sizes with a sum of at most `most`; a larger single size is a slice itself."""
    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = min(int(np.searchsorted(total, before + most, side="right")), start + pairs)
        yield slice(start, stop := max(stop, start + 1))
        start = stop


def _jaccard(shingles: Shingles, sizes: Offsets, left: Offsets, right: Offsets) -> NDArray[np.float64]:
    # A code holds the pair (15 bits), the shingle (48) and the side (1). The number of distinct codes of a pair is
    # |A| + |B|, and without the side |A or B|. Repeated shingles of one text count once.
    codes = []
    for side, texts in enumerate((left, right)):
        lengths = sizes[texts]
        pair = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
        values = shingles.hashes[range_indices(shingles.offsets[texts], lengths)]
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


class ShingleFile:
    """Shingles of texts in a temporary file, which is deleted at the end of the context."""

    def __init__(self, folder: Path | None = None) -> None:
        # The context of this class closes it.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._texts: list[Offsets] = []
        self._ends: list[Offsets] = [np.zeros(1, np.int64)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, numbers: Offsets, texts: Iterable[str]) -> None:
        """Write the shingles of texts with ascending numbers, above those of all texts so far."""
        self._texts.append(numbers)
        for batch in batches(texts):
            shingles = shingle_hashes(hash_words(batch))
            self._file.write(shingles.hashes.tobytes())
            self._ends.append(shingles.offsets[1:] + self._ends[-1][-1])

    def similarity(self, left: Offsets, right: Offsets, threshold: float) -> NDArray[np.float64]:
        """Return the similarity of pairs of texts, given by their numbers (see `jaccard_similarity`)."""
        result = np.zeros(len(left))
        if not len(left):
            return result
        if len(self._ends) > 1:
            self._texts, self._ends = [np.concatenate(self._texts)], [np.concatenate(self._ends)]
        one, other = (np.searchsorted(self._texts[0], texts) for texts in (left, right))
        sizes = np.diff(self._ends[0])
        for part in _slices(sizes[one] + sizes[other], MAX_READ, len(one)):
            distinct, places = np.unique(np.concatenate((one[part], other[part])), return_inverse=True)
            a, b = np.split(places, 2)
            result[part] = jaccard_similarity(self._read(distinct), a, b, threshold)
        return result

    def _read(self, places: Offsets) -> Shingles:
        ends = self._ends[0]
        starts, stops = ends[places], ends[places + 1]
        pieces = []
        # Adjacent texts are read at once.
        first = np.flatnonzero(np.append(True, starts[1:] != stops[:-1]))
        last = np.append(first[1:], len(places)) - 1
        for start, stop in zip(starts[first].tolist(), stops[last].tolist(), strict=True):
            self._file.seek(8 * start)
            pieces.append(self._file.read(8 * (stop - start)))
        offsets = np.concatenate(([0], np.cumsum(stops - starts)))
        return Shingles(np.frombuffer(b"".join(pieces), np.uint64), offsets)
