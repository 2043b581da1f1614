"""Which rows go into which step: a pure function of lengths, seed and epoch, so that a resumed run needs one integer.

Rows are packed whole into micro-batches of a token budget. They come from shuffled pools, and the micro-batches are
shuffled again, so that no stretch of the run sees only short or only long rows.

Samples as tensors: packed into one row without padding, or padded to the longest of a few of like length.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medalpaca_data.core.files import sha256_json

from .recipe import Recipe
from .tokenize import Sample

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


SHORTEST = 0.8  # of the longest in its group: padding stays below a fifth


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors, without their last tokens, which are only ever targets.

    `inputs` (1, tokens) packed or (rows, longest) padded on the right; `positions` (supervised,) flat places in
    `inputs` after which a learned token follows; `targets` (supervised,) those tokens. `packing` is what a packed
    row needs beyond that (places of the tokens, ends of the documents); None when padded: under causal attention
    nothing looks right, so padding on the right is never seen. There is never an attention mask: one of ones would
    let packed documents see each other, and none is needed.
    """

    inputs: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    packing: dict[str, Any] | None = None


def packed(samples: Sequence[Sample], device: torch.device) -> Batch:
    """All `samples` one after the other in a single row."""
    lengths = np.array([sample.length - 1 for sample in samples])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    on = _mover(device)
    bounds = torch.from_numpy(ends.astype(np.int32)).to(device)
    longest = int(lengths.max())
    return Batch(
        on(np.concatenate([sample.ids[:-1] for sample in samples])[None]),
        on(np.concatenate([_learned(s) + end for s, end in zip(samples, ends[:-1], strict=True)])),
        on(np.concatenate([sample.ids[max(sample.given, 1) :] for sample in samples])),
        {
            "position_ids": on(np.concatenate([np.arange(length) for length in lengths])[None]),
            # The names under which transformers hands document ends to attention.
            **{"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds},
            **{"max_length_q": longest, "max_length_k": longest},
        },
    )


def padded(samples: Sequence[Sample], device: torch.device) -> Batch:
    """`samples` in a row each, filled up to the longest of them."""
    width = max(sample.length for sample in samples) - 1
    inputs = np.zeros((len(samples), width), np.int64)
    for n, sample in enumerate(samples):
        inputs[n, : sample.length - 1] = sample.ids[:-1]
    on = _mover(device)
    return Batch(
        on(inputs),
        on(np.concatenate([_learned(sample) + n * width for n, sample in enumerate(samples)])),
        on(np.concatenate([sample.ids[max(sample.given, 1) :] for sample in samples])),
    )


def alike(micro: Sequence[int], lengths: Sequence[int]) -> list[MicroBatch]:
    """A packed micro-batch as groups of like length, which are worth padding."""
    groups: list[MicroBatch] = []
    for index in sorted(micro, key=lambda i: -lengths[i]):
        if groups and lengths[index] >= SHORTEST * lengths[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def cut(micro: Sequence[int], lengths: Sequence[int], tokens: int) -> list[MicroBatch]:
    """A packed micro-batch in its own order, as parts of at most `tokens`, or of one document."""
    parts: list[MicroBatch] = []
    left = 0
    for index in micro:
        if lengths[index] > left:
            parts.append([])
            left = tokens
        parts[-1].append(index)
        left -= lengths[index]
    return parts


def _learned(sample: Sample) -> np.ndarray[Any, Any]:
    """Places in a sample after which a learned token follows."""
    return np.arange(max(sample.given, 1) - 1, sample.length - 1)


def _mover(device: torch.device) -> Any:
    def on(values: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64, copy=False)).to(device, non_blocking=True)

    return on
