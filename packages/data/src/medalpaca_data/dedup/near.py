"""Near duplicates: which texts say in nearly the same words what an earlier one says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from ..words import Hashes, Places, mix, places_in
from .minhash import shingles_of, sign
from .pairs import Buckets, buckets, jaccard, may_reach, outlines

THRESHOLD = 0.8
LOWEST = 0.5  # below it the bands become so many that comparing all pairs would be the honest way
CANDIDATES = 1 << 21  # pairs laid out at once, and entries of buckets looked at for them


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """For every text, what becomes of it. A text is kept unless it is alike to an earlier one that is kept."""

    keeper: Places  # (n,): the first kept text that it is alike to; itself where it is kept
    jaccard: NDArray[np.float64]  # (n,): similarity to `keeper`; 1.0 where it is kept
    cluster: Places  # (n,): smallest index among all texts it is linked to, through others too

    @property
    def dropped(self) -> Places:
        """The texts that are not kept, in order."""
        return np.flatnonzero(self.keeper != np.arange(len(self.keeper)))


def near_duplicates(
    texts: Sequence[str], threshold: float = THRESHOLD, tasks: Hashes | None = None
) -> NearDuplicates:
    """Find the texts to drop, and the clusters that a split must not cut through.

    With `tasks`, a number for each text, only a text of the same task can drop another: the same sentence to be judged
    in two ways is two texts. Clusters link texts of all tasks.

    Two texts are alike when the Jaccard similarity of their sets of three-word runs is at least `threshold` (0.5 to
    1), computed and not estimated; texts of the same words, fewer than three or none, are alike too. MinHash only
    chooses the pairs to compute: one just at the threshold is overlooked with a probability of at most 1e-7. The texts
    are gone through twice. Raises ValueError for another threshold.
    """
    if not LOWEST <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: a number from {LOWEST} to 1")
    signatures = sign(texts, threshold)
    # Texts of the same words are one text from here on, else a thousand copies would be half a million pairs.
    kinds = np.zeros(len(texts), np.uint64) if tasks is None else tasks
    same = signatures.words ^ mix(kinds.copy())
    _, first, group = np.unique(same, return_index=True, return_inverse=True)
    original = first[group]
    candidates = np.flatnonzero((original == np.arange(len(texts))) & signatures.long)
    shared = buckets(signatures.keys[:, candidates], candidates)
    del signatures
    state = _State(kinds)
    _compare(texts, shared, threshold, state)
    keeper, similarity = state.keeper[original], state.similarity[original]
    return NearDuplicates(keeper, similarity, state.cluster[original])


class _State:
    """What is decided so far, for texts that stand for all of their words."""

    def __init__(self, tasks: Hashes) -> None:
        self.tasks = tasks
        self.keeper = np.arange(len(tasks))
        self.similarity = np.ones(len(tasks))
        self.cluster = np.arange(len(tasks))

    def add(self, left: Places, right: Places, similarity: NDArray[np.float64]) -> None:
        """Take in pairs that are alike, `left < right`, sorted; all pairs of smaller `left` have been taken in."""
        for i, j, value in zip(left.tolist(), right.tolist(), similarity.tolist(), strict=True):
            if self.keeper[i] == i and self.keeper[j] == j and self.tasks[i] == self.tasks[j]:
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


def _compare(texts: Sequence[str], shared: Buckets, threshold: float, state: _State) -> None:
    """Verify the pairs in the buckets, those of the first text first, and leave out what cannot change anything."""
    chosen = np.zeros(len(texts), np.bool_)
    chosen[shared.texts] = True
    place = np.cumsum(chosen) - 1
    shingles = shingles_of(compress(texts, chosen.tolist()))
    known = outlines(shingles)
    for left, right in _candidates(shared, state):
        a, b = place[left], place[right]
        near = np.flatnonzero(may_reach(known, a, b, threshold))
        similarity = jaccard(shingles, a[near], b[near])
        alike = similarity >= threshold
        near = near[alike]
        state.add(left[near], right[near], similarity[alike])


def _candidates(shared: Buckets, state: _State) -> Iterator[tuple[Places, Places]]:
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
        window = min(done + CANDIDATES, len(order))
        window = int(np.searchsorted(left, left[window - 1], side="right"))
        entries = order[done:window].astype(np.int64)
        idle = dropped[left[done:window]] & linked[bucket[entries]]
        counts = np.where(idle, 0, shared.ends[entries] - entries - 1)
        room = int(np.searchsorted(np.cumsum(counts), CANDIDATES, side="right"))
        stop = int(np.searchsorted(left, left[done + max(room, 1) - 1], side="right"))
        entries, counts = entries[: stop - done], counts[: stop - done]
        a = np.repeat(left[done:stop], counts).astype(np.int64)
        b = shared.texts[places_in(entries + 1, counts)]
        may_drop = ~(dropped[a] | dropped[b]) & (state.tasks[a] == state.tasks[b])
        needed = (state.cluster[a] != state.cluster[b]) | may_drop
        code = np.unique((a[needed] << 32) | b[needed])
        if len(code):
            yield code >> 32, code & 0xFFFFFFFF
        done = stop
