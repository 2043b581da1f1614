"""MinHash signatures of texts over runs of three words, folded into the keys of LSH bands.

Broder 1997, "On the resemblance and containment of documents"; bands after Indyk and Motwani 1998. What is done to
a text depends on it alone, so signatures of shards put side by side are the signatures of the whole.

Pairs of texts that may be alike, bucket by bucket, and their true Jaccard similarity.

Near duplicates: which texts say in nearly the same words what an earlier one says.

Near duplicates among texts: MinHash, bands and verified pairs.
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

SHINGLE_WORDS = (
    3  # words in a shingle; with five, a copy with one word in twenty changed would hardly look like one
)
ROWS_PER_BAND = 4  # minima in a band
PART_SIZE = 256  # shingles of a long text that are taken together, as if they were a text
MAX_MISS_RATE = 1e-7  # most probable share of the pairs just at the threshold that share no band


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
    offsets: Offsets


def band_count(threshold: float) -> int:
    """How many bands it takes to miss a pair at the threshold with a probability of at most `MISSED`."""
    differ = 1 - threshold**ROWS_PER_BAND
    return max(1, math.ceil(math.log(MAX_MISS_RATE) / math.log(differ))) if differ > 0 else 1


def compute_signatures(texts: Sequence[str], threshold: float) -> Signatures:
    """Signatures for finding pairs of a Jaccard similarity of `threshold` or more among `texts`."""
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
        found = shingle_hashes(hashed)
        result.keys[:, part] = _band_keys(found, count)
        result.words[part] = mix(hash_runs(hashed.hashes, hashed.offsets[:-1], hashed.offsets[1:]))
        result.long[part] = np.diff(found.offsets) > 0
    return result


def shingle_hashes(hashed: HashedWords) -> Shingles:
    """The shingles of texts; a text of fewer than N words has none."""
    lengths = np.diff(hashed.offsets)
    windows = mix(hash_windows(hashed.hashes, SHINGLE_WORDS))
    # A window is of no text when it starts in a text's last N - 1 words.
    whole = np.ones(len(hashed.hashes), np.bool_)
    for back in range(1, SHINGLE_WORDS):
        whole[hashed.offsets[1:][lengths >= back] - back] = False
    whole = whole[: len(windows)]
    return Shingles(
        windows[whole], np.concatenate(([0], np.cumsum(np.maximum(lengths - (SHINGLE_WORDS - 1), 0))))
    )


def all_shingles(texts: Iterable[str]) -> Shingles:
    """The shingles of texts of any number."""
    parts = [shingle_hashes(hash_words(batch)) for batch in batches(texts)]
    counts = [np.diff(part.offsets) for part in parts]
    return Shingles(
        np.concatenate([part.hashes for part in parts] or [np.empty(0, np.uint64)]),
        np.concatenate(([0], np.cumsum(np.concatenate(counts or [np.empty(0, np.int64)])))),
    )


def _band_keys(found: Shingles, count: int) -> NDArray[np.uint32]:
    """(count, texts): ROWS minima folded into one key per band."""
    # Long texts are cut into parts, and the parts ordered from the longest to the shortest: those that still have a
    # p-th shingle are the first ones, and a step is taken for all of them and all permutations at once.
    sizes = np.diff(found.offsets)
    parts = np.maximum(1, -(-sizes // PART_SIZE))
    firsts = np.cumsum(parts) - parts
    within = range_indices(np.zeros_like(parts), parts) * PART_SIZE
    starts = np.repeat(found.offsets[:-1], parts) + within
    lengths = np.minimum(np.repeat(sizes, parts) - within, PART_SIZE)
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    values = (found.hashes >> np.uint64(32)).astype(np.uint32)
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
    """Odd factors: multiplying by one permutes the numbers below 2^32."""
    return (mix(np.arange(1, count + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


MAX_PAIRS = 1 << 15  # verified at once: what the code of a pair has room for
MAX_SHINGLES = 1 << 17  # shingles that are sorted at once to verify pairs
BITMAP_BITS = 2048  # bits
BITMAP_BATCH = 1 << 13  # made, or compared, at once


@dataclass(frozen=True, slots=True)
class Buckets:
    """Texts that share a key in some band, bucket after bucket, ascending in each. A text stands in many buckets."""

    texts: NDArray[np.int32]  # (entries,)
    ends: NDArray[np.int32]  # (entries,): where the bucket of the entry ends


def make_buckets(keys: NDArray[np.uint32], texts: Offsets) -> Buckets:
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
class Bitmaps:
    """Sets of shingles as bits: what two of them cannot have in common is seen without laying them out."""

    bits: NDArray[np.uint64]  # (texts, OUTLINE / 64): a bit for every shingle, several may share one
    taken: Offsets  # (texts,): how many bits are set
    sizes: Offsets  # (texts,): how many shingles there are, repeated ones too


def make_bitmaps(shingles: Shingles) -> Bitmaps:
    """The outlines of texts."""
    sizes = np.diff(shingles.offsets)
    bits = np.zeros((len(sizes), BITMAP_BITS // 64), np.uint64)
    for start in range(0, len(sizes), BITMAP_BATCH):
        rows = bits[start : start + BITMAP_BATCH]
        hashes = shingles.hashes[shingles.offsets[start] : shingles.offsets[start + len(rows)]]
        words = np.repeat(np.arange(len(rows)) * rows.shape[1], sizes[start : start + BITMAP_BATCH])
        words += (hashes % np.uint64(rows.shape[1])).astype(np.int64)
        np.bitwise_or.at(rows.reshape(-1), words, np.uint64(1) << (hashes >> np.uint64(58)))
    taken = np.concatenate(
        [
            np.bitwise_count(bits[start : start + BITMAP_BATCH]).sum(axis=1, dtype=np.int64)
            for start in range(0, len(sizes) + 1, BITMAP_BATCH)
        ]
    )
    return Bitmaps(bits, taken, sizes)


def may_reach_threshold(known: Bitmaps, left: Offsets, right: Offsets, threshold: float) -> NDArray[np.bool_]:
    """Whether the Jaccard similarity may be `threshold` or more; false only where it is certainly less."""
    result = np.empty(len(left), np.bool_)
    for start in range(0, len(left), BITMAP_BATCH):
        part = slice(start, start + BITMAP_BATCH)
        a, b = left[part], right[part]
        # Shingles in common take common bits; how many share a bit with another is known for either side.
        common = np.bitwise_count(known.bits[a] & known.bits[b]).sum(axis=1, dtype=np.int64)
        common += np.minimum(known.sizes[a] - known.taken[a], known.sizes[b] - known.taken[b])
        union = known.taken[a] + known.taken[b] - common
        result[part] = common / np.maximum(union, 1) >= threshold
    return result


def jaccard_similarity(shingles: Shingles, left: Offsets, right: Offsets) -> NDArray[np.float64]:
    """The Jaccard similarity of the sets of shingles of `left[k]` and `right[k]`, for every k.

    Of a shingle 48 bits are compared; among pairs of 300 words, one in 10^9 has two different ones taken for the same.
    """
    sizes = np.diff(shingles.offsets)
    parts = [
        _jaccard(shingles, sizes, left[part], right[part]) for part in _slices(sizes[left] + sizes[right])
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _slices(sizes: Offsets) -> Iterator[slice]:
    """Cut pairs into slices of at most PAIRS pairs and, but for a single pair, VALUES shingles."""
    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = min(int(np.searchsorted(total, before + MAX_SHINGLES, side="right")), start + MAX_PAIRS)
        yield slice(start, stop := max(stop, start + 1))
        start = stop


def _jaccard(shingles: Shingles, sizes: Offsets, left: Offsets, right: Offsets) -> NDArray[np.float64]:
    # One number says which pair (15 bits), which shingle (48) and on which side (1). Sorted, what is new is counted
    # with the side, |A| + |B|, and without it, |A or B|; that also takes each set's repeated shingles away.
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
MIN_THRESHOLD = 0.5  # below it the bands become so many that comparing all pairs would be the honest way
CANDIDATE_BATCH = 1 << 21  # pairs laid out at once, and entries of buckets looked at for them


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """For every text, what becomes of it. A text is kept unless it is alike to an earlier one that is kept."""

    keeper: Offsets  # (n,): the first kept text that it is alike to; itself where it is kept
    jaccard: NDArray[np.float64]  # (n,): similarity to `keeper`; 1.0 where it is kept
    cluster: Offsets  # (n,): smallest index among all texts it is linked to, through others too

    @property
    def dropped(self) -> Offsets:
        """The texts that are not kept, in order."""
        return np.flatnonzero(self.keeper != np.arange(len(self.keeper)))


def near_duplicates(
    texts: Sequence[str],
    threshold: float = DEFAULT_THRESHOLD,
    tasks: Hashes | None = None,
    may_drop: Callable[[int, int], bool] = lambda kept, dropped: True,
) -> NearDuplicates:
    """Find the texts to drop, and the clusters that a split must not cut through.

    Only a text of the same task can drop another, and only if `may_drop` says so of the two: the same sentence to be
    judged in two ways is two texts. Clusters link all that are alike.

    Two texts are alike when the Jaccard similarity of their sets of three-word runs is at least `threshold` (0.5 to
    1), computed and not estimated; texts of the same words, fewer than three or none, are alike too. MinHash only
    chooses the pairs to compute: one just at the threshold is overlooked with a probability of at most 1e-7. The texts
    are gone through twice. Raises ValueError for another threshold.
    """
    if not MIN_THRESHOLD <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: a number from {MIN_THRESHOLD} to 1")
    signatures = compute_signatures(texts, threshold)
    # Texts of the same words are one text from here on, else a thousand copies would be half a million pairs.
    kinds = np.zeros(len(texts), np.uint64) if tasks is None else tasks
    same = signatures.words ^ mix(kinds.copy())
    _, first, group = np.unique(same, return_index=True, return_inverse=True)
    original = first[group]
    candidates = np.flatnonzero((original == np.arange(len(texts))) & signatures.long)
    shared = make_buckets(signatures.keys[:, candidates], candidates)
    del signatures
    state = _State(kinds, may_drop)
    _verify_candidates(texts, shared, threshold, state)
    keeper, similarity = state.keeper[original], state.similarity[original]
    return NearDuplicates(keeper, similarity, state.cluster[original])


class _State:
    """What is decided so far, for texts that stand for all of their words."""

    def __init__(self, tasks: Hashes, may_drop: Callable[[int, int], bool]) -> None:
        self.tasks, self._may_drop = tasks, may_drop
        self.keeper = np.arange(len(tasks))
        self.similarity = np.ones(len(tasks))
        self.cluster = np.arange(len(tasks))

    def add(self, left: Offsets, right: Offsets, similarity: NDArray[np.float64]) -> None:
        """Take in pairs that are alike, `left < right`, sorted; all pairs of smaller `left` have been taken in."""
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
    """Verify the pairs in the buckets, those of the first text first, and leave out what cannot change anything."""
    chosen = np.zeros(len(texts), np.bool_)
    chosen[shared.texts] = True
    place = np.cumsum(chosen) - 1
    shingles = all_shingles(compress(texts, chosen.tolist()))
    known = make_bitmaps(shingles)
    for left, right in _candidate_pairs(shared, state):
        a, b = place[left], place[right]
        near = np.flatnonzero(may_reach_threshold(known, a, b, threshold))
        similarity = jaccard_similarity(shingles, a[near], b[near])
        alike = similarity >= threshold
        near = near[alike]
        state.add(left[near], right[near], similarity[alike])


def _candidate_pairs(shared: Buckets, state: _State) -> Iterator[tuple[Offsets, Offsets]]:
    """Pairs `left < right`, each once, in the order of `left`; between two of them `state` may change.

    A pair is left out when both are linked already and neither can drop the other. That is what keeps ten thousand
    texts from one mould from being fifty million pairs: the first one drops the rest.
    """
    order = np.argsort(shared.texts, kind="stable").astype(np.int32)
    left = shared.texts[order]
    bucket_starts = np.flatnonzero(np.diff(shared.ends, prepend=-1))
    bucket = np.repeat(
        np.arange(len(bucket_starts), dtype=np.int32), np.diff(bucket_starts, append=len(order))
    )
    done = 0
    while done < len(order):
        clusters = state.cluster.astype(np.int32)[shared.texts]
        linked = np.minimum.reduceat(clusters, bucket_starts) == np.maximum.reduceat(clusters, bucket_starts)
        dropped = state.keeper != np.arange(len(state.keeper))
        # As many texts as have room, each with all its entries: they stand together.
        window = min(done + CANDIDATE_BATCH, len(order))
        window = int(np.searchsorted(left, left[window - 1], side="right"))
        entries = order[done:window].astype(np.int64)
        idle = dropped[left[done:window]] & linked[bucket[entries]]
        counts = np.where(idle, 0, shared.ends[entries] - entries - 1)
        room = int(np.searchsorted(np.cumsum(counts), CANDIDATE_BATCH, side="right"))
        stop = int(np.searchsorted(left, left[done + max(room, 1) - 1], side="right"))
        entries, counts = entries[: stop - done], counts[: stop - done]
        a = np.repeat(left[done:stop], counts).astype(np.int64)
        b = shared.texts[range_indices(entries + 1, counts)]
        may_drop = ~(dropped[a] | dropped[b]) & (state.tasks[a] == state.tasks[b])
        needed = (state.cluster[a] != state.cluster[b]) | may_drop
        code = np.unique((a[needed] << 32) | b[needed])
        if len(code):
            yield code >> 32, code & 0xFFFFFFFF
        done = stop
