"""Which rows go into which step: a pure function of lengths, seed and epoch, so that a resumed run needs one integer.

Rows are packed whole into micro-batches of a token budget. They come from shuffled pools, and the micro-batches are
shuffled again, so that no stretch of the run sees only short or only long rows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medalpaca_data.ground.files import sha256_json

from ..recipe import Recipe

POOL = 4_096  # rows packed together: enough to leave 0.2 % of the budget empty, few enough to mix

MicroBatch = list[int]  # indices of samples
Step = list[MicroBatch]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, and how many of them make one epoch.

    Nothing in it depends on the machine: processes that share a step's micro-batches compute the same sum.
    """

    steps: list[Step]
    steps_per_epoch: int

    @property
    def sha256(self) -> str:
        """Names the plan: the same rows in the same steps."""
        return sha256_json(self.steps)


def make_plan(lengths: Sequence[int], recipe: Recipe) -> Plan:
    """The steps of `recipe` over samples of `lengths` tokens. Every sample occurs once per whole epoch."""
    steps: list[Step] = []
    per_epoch = 0
    for epoch in range(math.ceil(recipe.epochs)):
        epoch_steps = _epoch(lengths, recipe, np.random.default_rng([recipe.seed, epoch]))
        per_epoch = per_epoch or len(epoch_steps)
        share = min(1.0, recipe.epochs - epoch)
        steps += epoch_steps[: max(1, round(share * len(epoch_steps)))]
    return Plan(steps[: recipe.max_steps], per_epoch)


def best_fit(indices: Sequence[int], lengths: Sequence[int], budget: int) -> list[MicroBatch]:
    """Pack `indices` into micro-batches of at most `budget` tokens by best-fit-decreasing: the longest sample first,
    each into the fullest micro-batch that still has room for it. A sample alone always fits.
    """
    micro: list[MicroBatch] = []
    room: list[tuple[int, int]] = []  # (tokens left, which micro-batch), sorted
    for index in sorted(indices, key=lambda i: -lengths[i]):
        place = bisect_left(room, (lengths[index], -1))
        left, number = room.pop(place) if place < len(room) else (budget, len(micro))
        if number == len(micro):
            micro.append([])
        micro[number].append(index)
        insort(room, (left - lengths[index], number))
    return micro


def _epoch(lengths: Sequence[int], recipe: Recipe, draw: np.random.Generator) -> list[Step]:
    order = [int(i) for i in draw.permutation(len(lengths))]
    if rows := recipe.batch_rows:
        # So many rows a step, in the order drawn; packing decides only which of them share a micro-batch.
        groups = [order[start : start + rows] for start in range(0, len(order), rows)]
        return [best_fit(group, lengths, recipe.batch_tokens) for group in groups]
    micro: list[MicroBatch] = []
    for start in range(0, len(order), POOL):
        micro += best_fit(order[start : start + POOL], lengths, recipe.batch_tokens)
    micro = [micro[int(i)] for i in draw.permutation(len(micro))]
    return [micro[i : i + recipe.accumulate] for i in range(0, len(micro), recipe.accumulate)]
