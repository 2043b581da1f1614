"""Which rows go into which step: a pure function of lengths and seed, so that a resumed run needs one integer.

Rows of similar length share a micro-batch (3-6 % padding instead of 65 %), but are drawn from shuffled pools and
the micro-batches are shuffled again, so that no stretch of the run sees only short or only long rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medalpaca_data.ground.files import sha256_json

from .recipe import Recipe
from .tokens import Sample

POOL = 2_048  # rows sorted together; larger pads less, smaller mixes more

MicroBatch = list[int]  # indices of samples
Step = list[MicroBatch]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, and how many of them make one epoch."""

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
        micro = _epoch(lengths, recipe.batch_tokens, np.random.default_rng([recipe.seed, epoch]))
        epoch_steps = [micro[i : i + recipe.accumulate] for i in range(0, len(micro), recipe.accumulate)]
        per_epoch = per_epoch or len(epoch_steps)
        share = min(1.0, recipe.epochs - epoch)
        steps += epoch_steps[: max(1, round(share * len(epoch_steps)))]
    return Plan(steps[: recipe.max_steps], per_epoch)


def in_order(lengths: Sequence[int], batch_tokens: int) -> list[MicroBatch]:
    """Micro-batches of everything by length, longest first: if memory is too small, it shows at once."""
    return _cut(sorted(range(len(lengths)), key=lambda i: -lengths[i]), lengths, batch_tokens)


def _epoch(lengths: Sequence[int], batch_tokens: int, draw: np.random.Generator) -> list[MicroBatch]:
    order = [int(i) for i in draw.permutation(len(lengths))]
    micro: list[MicroBatch] = []
    for start in range(0, len(order), POOL):
        micro += _cut(sorted(order[start : start + POOL], key=lambda i: -lengths[i]), lengths, batch_tokens)
    return [micro[int(i)] for i in draw.permutation(len(micro))]


def _cut(longest_first: list[int], lengths: Sequence[int], batch_tokens: int) -> list[MicroBatch]:
    """Fill each micro-batch up to `batch_tokens`, its first row being the longest; a row alone always fits."""
    micro: list[MicroBatch] = []
    for index in longest_first:
        if micro and lengths[micro[-1][0]] * (len(micro[-1]) + 1) <= batch_tokens:
            micro[-1].append(index)
        else:
            micro.append([index])
    return micro


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch as tensors.

    `inputs` (rows, longest - 1) token ids, padded on the right; `positions` (supervised,) flat places in `inputs`
    after which a learned token follows; `targets` (supervised,) those tokens. There is no attention mask: under
    causal attention nothing looks right, so padding on the right is never seen, and a mask would only cost time.
    """

    inputs: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    tokens: int  # without padding


def collate(samples: Sequence[Sample], device: torch.device) -> Batch:
    """Pad `samples` to the longest of them. The last token of a row is only ever a target."""
    width = max(sample.length for sample in samples) - 1
    inputs = np.zeros((len(samples), width), np.int64)
    positions, targets = [], []
    for n, sample in enumerate(samples):
        inputs[n, : sample.length - 1] = sample.ids[:-1]
        start = max(sample.given, 1)
        positions.append(np.arange(start - 1, sample.length - 1) + n * width)
        targets.append(sample.ids[start:])

    def tensor(values: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64, copy=False)).to(device, non_blocking=True)

    return Batch(
        tensor(inputs),
        tensor(np.concatenate(positions)),
        tensor(np.concatenate(targets)),
        sum(sample.length for sample in samples),
    )
