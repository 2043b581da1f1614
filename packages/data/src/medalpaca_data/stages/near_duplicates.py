"""Search for near-duplicates: pairs of similar texts, their clusters, and the texts that restate an earlier one.

Memory use is about 250 bytes for each text, whatever its length: the keys of its bands and a few numbers. The texts
themselves are read part by part, twice. The shingles of candidates are written to a temporary file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.words import Hashes, Offsets, mix, range_indices
from .jaccard import ShingleFile
from .minhash import band_count, compute_signatures

DEFAULT_THRESHOLD = 0.8
# Smaller thresholds would need so many bands that comparing all pairs is as fast.
MIN_THRESHOLD = 0.5
# Candidate pairs that are processed at once, and slots of the table of pairs that are known not to be similar.
PAIR_BATCH, REJECTED_SLOTS = 1 << 17, 1 << 20

# Positions of texts, which are fewer than 2^31.
Positions = NDArray[np.int32]


class Texts(Protocol):
    """Texts in parts, such as shards. They are numbered through all parts."""

    @property
    def sizes(self) -> Sequence[int]:
        """Number of texts of each part."""

    def read(self, part: int) -> Sequence[str]:
        """Return all texts of a part."""

    def select(self, part: int, positions: NDArray[np.int64]) -> tuple[Sequence[str], Sequence[int] | None]:
        """Return the texts at some positions of a part, and the numbers that restatements have in common.

        Without these numbers (None), no text restates another one.
        """


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Similar texts among n texts, by position.

    Attributes:
        dropped: Texts that restate an earlier one, ascending, shape (k,).
        keeper: For each dropped text, the first text that it restates and that is kept, (k,).
        jaccard: Similarity of the dropped text to its keeper, (k,).
        cluster: The first text to which a text is linked, directly or through others, or the text itself, (n,).
        first: The first text to which a text is similar, or the text itself, (n,).
    """

    dropped: Positions
    keeper: Positions
    jaccard: NDArray[np.float64]
    cluster: Positions
    first: Positions


def near_duplicates(
    texts: Texts,
    threshold: float = DEFAULT_THRESHOLD,
    folder: Path | None = None,
    on_part: Callable[[int, int], None] = lambda done, of: None,
) -> NearDuplicates:
    """Find similar texts.

    Two texts are similar if the Jaccard similarity of their three-word shingles is at least `threshold` (0.5 to 1), or
    if they have the same words. MinHash only selects the pairs, and misses a pair at the threshold with a probability
    of at most 1e-7. A text is dropped if it is similar to an earlier one that is kept, and has the same number from
    `texts.select`.

    `folder` is a folder for the temporary file. `on_part` is called with the numbers of parts read and of all readings.
    Raises ValueError for another threshold.
    """
    if not MIN_THRESHOLD <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: must be from {MIN_THRESHOLD} to 1")
    sizes = texts.sizes
    ends = np.cumsum(sizes, dtype=np.int64)
    count = int(ends[-1]) if len(ends) else 0
    keys = [np.empty(count, np.uint32) for _ in range(band_count(threshold))]
    words, has_shingle = np.empty(count, np.uint64), np.empty(count, np.bool_)
    for part, size in enumerate(sizes):
        here = slice(int(ends[part]) - size, int(ends[part]))
        signatures = compute_signatures(texts.read(part), threshold)
        for band, found in zip(keys, signatures.keys, strict=True):
            band[here] = found
        words[here], has_shingle[here] = signatures.words, signatures.has_shingle
        on_part(part + 1, 2 * len(sizes))
    original, chosen = equal_values(words)
    del words
    searched = np.flatnonzero((original == np.arange(count)) & has_shingle).astype(np.int32)
    buckets = []
    while keys:
        buckets.append(_make_buckets(keys.pop(), searched))
        chosen[np.abs(buckets[-1]) - 1] = True
    with ShingleFile(folder) as shingles:
        rows, forms = [], []
        for part, size in enumerate(sizes):
            start = int(ends[part]) - size
            positions = np.flatnonzero(chosen[start : start + size])
            some, numbers = texts.select(part, positions)
            positions += start
            distinct = original[positions] == positions
            shingles.add(positions[distinct], compress(some, distinct.tolist()))
            if numbers is not None:
                rows.append(positions)
                forms.append(np.array(numbers, np.uint64))
            on_part(len(sizes) + part + 1, 2 * len(sizes))
        del chosen

        def similarity(left: Offsets, right: Offsets) -> NDArray[np.float64]:
            return shingles.similarity(left, right, threshold)

        dropped, keeper, jaccard = _restatements(rows, forms, original, threshold, similarity)
        links = _Links(count, threshold, similarity)
        while buckets:
            links.add(buckets.pop())
    return NearDuplicates(dropped, keeper, jaccard, links.clusters()[original], links.first[original])


# Jaccard similarity of the pairs left[k], right[k]; it may be 0 for a pair below the threshold.
Similarity = Callable[[Offsets, Offsets], NDArray[np.float64]]


def equal_values(values: Hashes) -> tuple[Positions, NDArray[np.bool_]]:
    """Return the position of the first equal value for each value, and whether another value is equal."""
    order = np.argsort(values, kind="stable").astype(np.int32)
    new = np.ones(len(values), np.bool_)
    new[1:] = values[order[1:]] != values[order[:-1]]
    starts = np.flatnonzero(new)
    lengths = np.diff(starts, append=len(values))
    original = np.empty(len(values), np.int32)
    original[order] = np.repeat(order[starts], lengths)
    repeated = np.empty(len(values), np.bool_)
    repeated[order] = np.repeat(lengths > 1, lengths)
    return original, repeated


def _make_buckets(band: NDArray[np.uint32], texts: Positions) -> Positions:
    """Return the texts that share their key in a band with another text, bucket after bucket, ascending in each.

    `band` has the keys of all texts, `texts` the positions to search. A position p is coded as p + 1, or as -(p + 1)
    at the beginning of a bucket.
    """
    code = band[texts].astype(np.uint64)
    code <<= np.uint64(32)
    code |= texts.astype(np.uint64)
    code.sort()
    keys = (code >> np.uint64(32)).astype(np.uint32)
    same = keys[1:] == keys[:-1]
    before, after = np.zeros(len(code), np.bool_), np.zeros(len(code), np.bool_)
    before[1:], after[:-1] = same, same
    shared = before | after
    coded = (code[shared] & np.uint64(0xFFFFFFFF)).astype(np.int32) + np.int32(1)
    return np.where(before[shared], coded, -coded)


def _restatements(
    rows: list[Offsets],
    forms: list[Hashes],
    original: Positions,
    threshold: float,
    similarity: Similarity,
) -> tuple[Positions, Positions, NDArray[np.float64]]:
    """Return the dropped texts, their keepers and similarities: of similar texts with one form the first is kept."""
    left = np.concatenate([*rows, np.empty(0, np.int64)])
    form = np.concatenate([*forms, np.empty(0, np.uint64)])
    order = np.argsort(form, kind="stable")
    left, form = left[order], form[order]
    found: list[tuple[Offsets, Offsets, NDArray[np.float64]]] = []
    while len(left):
        new = np.ones(len(form), np.bool_)
        new[1:] = form[1:] != form[:-1]
        # The first text that is left of each form is kept, and drops what is similar to it.
        first = np.repeat(left[new], np.diff(np.flatnonzero(new), append=len(left)))[~new]
        left, form = left[~new], form[~new]
        values = np.ones(len(left))
        differ = np.flatnonzero(original[first] != original[left])
        values[differ] = similarity(original[first][differ], original[left][differ])
        similar = values >= threshold
        found.append((left[similar], first[similar], values[similar]))
        left, form = left[~similar], form[~similar]
    dropped, keeper, jaccard = (np.concatenate([f[k] for f in found] or [np.empty(0)]) for k in range(3))
    order = np.argsort(dropped)
    return dropped[order].astype(np.int32), keeper[order].astype(np.int32), jaccard[order]


class _Links:
    """The similar pairs found so far: for each text its first similar one, and clusters as trees of parents."""

    def __init__(self, count: int, threshold: float, similarity: Similarity) -> None:
        self._threshold, self._similarity = threshold, similarity
        self.first = np.arange(count, dtype=np.int32)
        self._parent = np.arange(count, dtype=np.int32)
        # A pair that is not similar may share several bands. The table forgets pairs, which costs time only.
        self._rejected = np.zeros(REJECTED_SLOTS, np.uint64)

    def add(self, buckets: Positions) -> None:
        """Add the similar pairs of all buckets of a band (see `_make_buckets`).

        In each bucket, the pairs of its first text come first. The others are compared only if they can still change
        the result, so that ten thousand texts of one form do not become fifty million pairs.
        """
        starts = np.flatnonzero(buckets < 0)
        stops = np.append(starts[1:], len(buckets))
        texts = np.abs(buckets) - np.int32(1)
        rank, width = 0, 1
        while True:
            active = self._unfinished(texts, starts, stops) & (stops - starts > rank + 1)
            starts, stops, texts = _select_buckets(texts, starts, stops, active)
            if not len(starts):
                return
            ends = np.minimum(starts + rank + width, stops - 1)
            entries = range_indices(starts + rank, ends - starts - rank)
            counts = np.repeat(stops, ends - starts - rank) - entries - 1
            for part in _batches(counts):
                left = np.repeat(texts[entries[part]], counts[part])
                self._compare(left, texts[range_indices(entries[part] + 1, counts[part])])
            rank, width = rank + width, 2 * width

    def _unfinished(self, texts: Positions, starts: Offsets, stops: Offsets) -> NDArray[np.bool_]:
        """Return whether a pair in a bucket can change the result; shape (buckets,)."""
        if not len(starts):
            return np.empty(0, np.bool_)
        roots = self._roots(texts)
        unfinished: NDArray[np.bool_] = np.maximum.reduceat(self.first[texts], starts) > texts[starts]
        unfinished |= np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
        return unfinished

    def _compare(self, first: Positions, second: Positions) -> None:
        left, right = first.astype(np.int64), second.astype(np.int64)
        needed = (left < self.first[right]) | (self._roots(left) != self._roots(right))
        code = ((left[needed] << 32) | right[needed]).astype(np.uint64)
        slots = (mix(code.copy()) % np.uint64(len(self._rejected))).astype(np.int64)
        new = self._rejected[slots] != code
        code, slots = code[new], slots[new]
        left = (code >> np.uint64(32)).astype(np.int64)
        right = (code & np.uint64(0xFFFFFFFF)).astype(np.int64)
        similar = self._similarity(left, right) >= self._threshold
        self._rejected[slots[~similar]] = code[~similar]
        left, right = left[similar], right[similar]
        np.minimum.at(self.first, right, left.astype(np.int32))
        while True:
            one, other = self._roots(left), self._roots(right)
            apart = one != other
            if not apart.any():
                return
            left, right, one, other = left[apart], right[apart], one[apart], other[apart]
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))

    def _roots(self, texts: Positions | Offsets) -> Positions:
        found: Positions = self._parent[texts]
        while ((above := self._parent[found]) != found).any():
            found = above
        self._parent[texts] = found
        return found

    def clusters(self) -> Positions:
        """Return the first text of the cluster of each text."""
        while (further := self._parent[self._parent] != self._parent).any():
            self._parent[further] = self._parent[self._parent[further]]
        return self._parent


def _select_buckets(
    texts: Positions, starts: Offsets, stops: Offsets, chosen: NDArray[np.bool_]
) -> tuple[Offsets, Offsets, Positions]:
    """Return the starts, the stops and the texts of some buckets."""
    lengths = (stops - starts)[chosen]
    texts = texts[range_indices(starts[chosen], lengths)]
    stops = np.cumsum(lengths)
    return stops - lengths, stops, texts


def _batches(counts: Offsets) -> Iterator[slice]:
    """Yield slices with at most `PAIR_BATCH` pairs, or with one larger count."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, before + PAIR_BATCH, side="right")), start + 1)
        yield slice(start, stop)
        start = stop
