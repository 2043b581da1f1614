"""Near-duplicate detection: MinHash signatures, LSH bands, and verification of the candidate pairs.

Texts are compared by their sets of three-word sequences (shingles). MinHash (Broder 1997, "On the resemblance and
containment of documents") and bands (Indyk and Motwani 1998) choose candidate pairs; the Jaccard similarity of each
pair is then computed, not estimated. A signature depends on no other text, so texts are processed in batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

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


def all_shingles(texts: Iterable[str]) -> Shingles:
    """Return the shingles of all texts; the words are hashed in batches, the shingles are held in memory."""
    parts = [shingle_hashes(hash_words(batch)) for batch in batches(texts)]
    counts = [np.diff(part.offsets) for part in parts]
    return Shingles(
        np.concatenate([part.hashes for part in parts] or [np.empty(0, np.uint64)]),
        np.concatenate(([0], np.cumsum(np.concatenate(counts or [np.empty(0, np.int64)])))),
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


# Pairs that are verified at once (a code has 15 bits for the pair), and shingles that are sorted for them.
MAX_PAIRS, MAX_SHINGLES = 1 << 15, 1 << 17
# Bits of the bitmap of a text, and bitmaps that are made or compared at once.
BITMAP_BITS, BITMAP_BATCH = 2048, 1 << 13


@dataclass(frozen=True, slots=True)
class Buckets:
    """Texts that share a key in a band, bucket after bucket, ascending in each. A text can be in many buckets.

    `texts` and `ends`, both (entries,): index of the text of an entry, and index after the last entry of its bucket.
    """

    texts: NDArray[np.int32]
    ends: NDArray[np.int32]


def make_buckets(keys: NDArray[np.uint32], texts: Offsets) -> Buckets:
    """Return the buckets with at least two texts. `keys` has the shape (bands, len(texts)).

    `texts` are the indices of the texts, ascending. They and the number of entries must be below 2^31.
    """
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


def jaccard_similarity(shingles: Shingles, left: Offsets, right: Offsets) -> NDArray[np.float64]:
    """Return the Jaccard similarity of the texts `left[k]` and `right[k]`, for every k; one or both have a shingle.

    48 bits of each hash are compared. In about one of 10^9 pairs of 300-word texts, two different shingles are equal.
    """
    sizes = np.diff(shingles.offsets)
    parts = [
        _jaccard(shingles, sizes, left[part], right[part]) for part in _slices(sizes[left] + sizes[right])
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _slices(sizes: Offsets) -> Iterator[slice]:
    """Yield slices of at most `MAX_PAIRS` pairs and `MAX_SHINGLES` shingles; a larger single pair is a slice itself."""
    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = min(int(np.searchsorted(total, before + MAX_SHINGLES, side="right")), start + MAX_PAIRS)
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


DEFAULT_THRESHOLD = 0.8
# Smaller thresholds would need so many bands that comparing all pairs is as fast.
MIN_THRESHOLD = 0.5
# Candidate pairs, and bucket entries for them, that are processed at once.
CANDIDATE_BATCH = 1 << 21


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Which of n texts to keep. Of similar texts, an earlier one that is kept may drop a later one.

    keeper: (n,); index of the text that drops it, or its own index if it is kept.
    jaccard: (n,); similarity to `keeper`, 1.0 if it is kept.
    cluster: (n,); the smallest index of the texts that it is linked to, directly or through others, or its own.
    """

    keeper: Offsets
    jaccard: NDArray[np.float64]
    cluster: Offsets

    @property
    def dropped(self) -> Offsets:
        """Indices of the texts that are not kept, ascending."""
        return np.flatnonzero(self.keeper != np.arange(len(self.keeper)))


def near_duplicates(
    texts: Sequence[str],
    threshold: float = DEFAULT_THRESHOLD,
    tasks: Hashes | None = None,
    may_drop: Callable[[int, int], bool] = lambda kept, dropped: True,
) -> NearDuplicates:
    """Find the texts to drop, and the clusters of similar texts that a split must not separate.

    Two texts are similar if the Jaccard similarity of their three-word shingles is at least `threshold` (0.5 to 1).
    MinHash only selects the pairs, and misses a pair at the threshold with a probability of at most 1e-7. The texts are
    read twice, and their shingles are held in memory. Texts of fewer than three words are similar only if equal.

    A text drops a later similar one only if both have the same value in `tasks` and `may_drop(kept, dropped)` is true.
    `may_drop` is not called if the words are equal. Clusters link all similar texts, but those of fewer than three
    words only with equal `tasks`. Raises ValueError for another threshold.
    """
    if not MIN_THRESHOLD <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: must be from {MIN_THRESHOLD} to 1")
    signatures = compute_signatures(texts, threshold)
    # Texts with equal words and task are treated as one; otherwise a thousand copies would be half a million pairs.
    task_ids = np.zeros(len(texts), np.uint64) if tasks is None else tasks
    same = signatures.words ^ mix(task_ids.copy())
    _, first, group = np.unique(same, return_index=True, return_inverse=True)
    original = first[group]
    candidates = np.flatnonzero((original == np.arange(len(texts))) & signatures.has_shingle)
    shared = make_buckets(signatures.keys[:, candidates], candidates)
    del signatures
    state = _State(task_ids, may_drop)
    _verify_candidates(texts, shared, threshold, state)
    keeper, similarity = state.keeper[original], state.similarity[original]
    return NearDuplicates(keeper, similarity, state.cluster[original])


class _State:
    """The dropped and linked texts so far; valid only for the first of all texts with equal words and task."""

    def __init__(self, tasks: Hashes, may_drop: Callable[[int, int], bool]) -> None:
        self.tasks, self._may_drop = tasks, may_drop
        self.keeper = np.arange(len(tasks))
        self.similarity = np.ones(len(tasks))
        self.cluster = np.arange(len(tasks))

    def add(self, left: Offsets, right: Offsets, similarity: NDArray[np.float64]) -> None:
        """Add similar pairs, `left < right`, sorted; all pairs with a smaller `left` have been added before."""
        for i, j, value in zip(left.tolist(), right.tolist(), similarity.tolist(), strict=True):
            both_kept = self.keeper[i] == i and self.keeper[j] == j
            if both_kept and self.tasks[i] == self.tasks[j] and self._may_drop(i, j):
                self.keeper[j], self.similarity[j] = i, value
        while True:
            a, b = self.cluster[left], self.cluster[right]
            apart = a != b
            if not apart.any():
                break
            left, right, a, b = left[apart], right[apart], a[apart], b[apart]
            np.minimum.at(self.cluster, np.maximum(a, b), np.minimum(a, b))
            while (further := self.cluster[self.cluster] != self.cluster).any():
                self.cluster[further] = self.cluster[self.cluster[further]]


def _verify_candidates(texts: Sequence[str], shared: Buckets, threshold: float, state: _State) -> None:
    """Compute the similarity of the candidate pairs in order of their first text; add similar ones to `state`."""
    chosen = np.zeros(len(texts), np.bool_)
    chosen[shared.texts] = True
    position = np.cumsum(chosen) - 1
    shingles = all_shingles(compress(texts, chosen.tolist()))
    bitmaps = make_bitmaps(shingles)
    for left, right in _candidate_pairs(shared, state):
        a, b = position[left], position[right]
        near = np.flatnonzero(may_reach_threshold(bitmaps, a, b, threshold))
        similarity = jaccard_similarity(shingles, a[near], b[near])
        similar = similarity >= threshold
        near = near[similar]
        state.add(left[near], right[near], similarity[similar])


def _candidate_pairs(shared: Buckets, state: _State) -> Iterator[tuple[Offsets, Offsets]]:
    """Yield batches of pairs `left < right`, each pair once, in the order of `left`; `state` may change in between.

    A pair is skipped if both texts are linked already and neither can drop the other. So ten thousand texts of one
    form do not become fifty million pairs: the first text drops the others.
    """
    order = np.argsort(shared.texts, kind="stable").astype(np.int32)
    left = shared.texts[order]
    bucket_starts = np.flatnonzero(np.diff(shared.ends, prepend=-1))
    numbers = np.arange(len(bucket_starts), dtype=np.int32)
    bucket = np.repeat(numbers, np.diff(bucket_starts, append=len(order)))
    done = 0
    while done < len(order):
        clusters = state.cluster.astype(np.int32)[shared.texts]
        linked = np.minimum.reduceat(clusters, bucket_starts) == np.maximum.reduceat(clusters, bucket_starts)
        dropped = state.keeper != np.arange(len(state.keeper))
        # Take as many texts as fit, each with all its entries, which are adjacent.
        window = min(done + CANDIDATE_BATCH, len(order))
        window = int(np.searchsorted(left, left[window - 1], side="right"))
        entries = order[done:window].astype(np.int64)
        finished = dropped[left[done:window]] & linked[bucket[entries]]
        counts = np.where(finished, 0, shared.ends[entries] - entries - 1)
        fitting = int(np.searchsorted(np.cumsum(counts), CANDIDATE_BATCH, side="right"))
        stop = int(np.searchsorted(left, left[done + max(fitting, 1) - 1], side="right"))
        entries, counts = entries[: stop - done], counts[: stop - done]
        a = np.repeat(left[done:stop], counts).astype(np.int64)
        b = shared.texts[range_indices(entries + 1, counts)]
        may_drop = ~(dropped[a] | dropped[b]) & (state.tasks[a] == state.tasks[b])
        needed = (state.cluster[a] != state.cluster[b]) | may_drop
        code = np.unique((a[needed] << 32) | b[needed])
        if len(code):
            yield code >> 32, code & 0xFFFFFFFF
        done = stop
