"""Plan which rows go into which step, and turn rows into tensors, packed or padded.

The plan depends only on lengths, recipe and seed, so that a resumed run needs one number: its step. Whole rows are
packed into micro-batches of a token budget. They come from shuffled pools, and the micro-batches are shuffled again, so
that no part of a run sees only short or only long rows. With `batch_rows`, each step instead packs the next rows of the
shuffled order.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medalpaca_data.core.files import sha256_json

from .recipe import Recipe
from .tokenize import Sample

# Rows packed together: enough to leave only 0.2 % of the token budget empty, few enough to keep them mixed.
POOL_SIZE = 4_096

# Indices of samples.
MicroBatch = list[int]
Step = list[MicroBatch]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, and the number of steps in one epoch.

    It does not depend on hardware: processes that share a step's micro-batches compute the same sum.
    """

    steps: list[Step]
    steps_per_epoch: int

    @property
    def sha256(self) -> str:
        """Hash of the steps; equal plans put the same rows into the same steps."""
        return sha256_json(self.steps)


def make_plan(lengths: Sequence[int], recipe: Recipe) -> Plan:
    """Return the steps of `recipe` for samples of `lengths` tokens; a full epoch has every sample once.

    A part of an epoch is rounded to whole steps, at least one. `max_steps` limits the total.
    """
    steps: list[Step] = []
    per_epoch = 0
    for epoch in range(math.ceil(recipe.epochs)):
        epoch_steps = _plan_epoch(lengths, recipe, np.random.default_rng([recipe.seed, epoch]))
        per_epoch = per_epoch or len(epoch_steps)
        fraction = min(1.0, recipe.epochs - epoch)
        steps += epoch_steps[: max(1, round(fraction * len(epoch_steps)))]
    return Plan(steps[: recipe.max_steps], per_epoch)


def best_fit(indices: Sequence[int], lengths: Sequence[int], budget: int) -> list[MicroBatch]:
    """Pack `indices` into micro-batches of at most `budget` tokens by best-fit decreasing.

    Samples are placed from longest to shortest, each into the fullest micro-batch with room for it. No sample may be
    longer than `budget`.
    """
    micro: list[MicroBatch] = []
    # Sorted pairs of tokens left and index of the micro-batch.
    room: list[tuple[int, int]] = []
    for index in sorted(indices, key=lambda i: -lengths[i]):
        position = bisect_left(room, (lengths[index], -1))
        left, number = room.pop(position) if position < len(room) else (budget, len(micro))
        if number == len(micro):
            micro.append([])
        micro[number].append(index)
        insort(room, (left - lengths[index], number))
    return micro


def _plan_epoch(lengths: Sequence[int], recipe: Recipe, rng: np.random.Generator) -> list[Step]:
    order = [int(i) for i in rng.permutation(len(lengths))]
    if rows := recipe.batch_rows:
        # The order decides which rows a step has; packing only decides which of them share a micro-batch.
        groups = [order[start : start + rows] for start in range(0, len(order), rows)]
        return [best_fit(group, lengths, recipe.batch_tokens) for group in groups]
    micro: list[MicroBatch] = []
    for start in range(0, len(order), POOL_SIZE):
        micro += best_fit(order[start : start + POOL_SIZE], lengths, recipe.batch_tokens)
    micro = [micro[int(i)] for i in rng.permutation(len(micro))]
    return [micro[i : i + recipe.accumulate] for i in range(0, len(micro), recipe.accumulate)]


# Shortest over longest row of a padded group: at most a fifth of its tokens is padding.
MIN_LENGTH_RATIO = 0.8


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors, without their last tokens, which are targets only.

    `inputs` is (1, tokens) if packed, or (rows, longest) if padded on the right. `positions` (supervised,) are flat
    indices into `inputs` whose next token is supervised; `targets` (supervised,) are those next tokens.
    `packing_kwargs` are the model arguments for a packed row (position ids and document boundaries); None if padded,
    because causal attention never reads padding on the right. No attention mask is used: a mask of ones would let
    packed documents attend to each other.
    """

    inputs: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    packing_kwargs: dict[str, Any] | None = None


def make_packed_batch(samples: Sequence[Sample], device: torch.device) -> Batch:
    """Return `samples` as one packed row on `device`, one after the other."""
    lengths = np.array([sample.length - 1 for sample in samples])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    tensor = _tensor_maker(device)
    bounds = torch.from_numpy(ends.astype(np.int32)).to(device)
    longest = int(lengths.max())
    positions = [_supervised_positions(sample) + end for sample, end in zip(samples, ends[:-1], strict=True)]
    return Batch(
        tensor(np.concatenate([sample.ids[:-1] for sample in samples])[None]),
        tensor(np.concatenate(positions)),
        tensor(np.concatenate([sample.ids[max(sample.prompt_length, 1) :] for sample in samples])),
        {
            "position_ids": tensor(np.concatenate([np.arange(length) for length in lengths])[None]),
            # The names under which transformers passes document boundaries to attention.
            **{"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds},
            **{"max_length_q": longest, "max_length_k": longest},
        },
    )


def make_padded_batch(samples: Sequence[Sample], device: torch.device) -> Batch:
    """Return each of `samples` as a row on `device`, padded on the right to the longest."""
    width = max(sample.length for sample in samples) - 1
    inputs = np.zeros((len(samples), width), np.int64)
    for n, sample in enumerate(samples):
        inputs[n, : sample.length - 1] = sample.ids[:-1]
    tensor = _tensor_maker(device)
    return Batch(
        tensor(inputs),
        tensor(
            np.concatenate([_supervised_positions(sample) + n * width for n, sample in enumerate(samples)])
        ),
        tensor(np.concatenate([sample.ids[max(sample.prompt_length, 1) :] for sample in samples])),
    )


def group_by_length(micro: Sequence[int], lengths: Sequence[int]) -> list[MicroBatch]:
    """Split a micro-batch into groups, longest first; `lengths` are the tokens of all samples.

    Within a group, each row has at least the share `MIN_LENGTH_RATIO` of the tokens of the longest.
    """
    groups: list[MicroBatch] = []
    for index in sorted(micro, key=lambda i: -lengths[i]):
        if groups and lengths[index] >= MIN_LENGTH_RATIO * lengths[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def split_by_tokens(micro: Sequence[int], lengths: Sequence[int], tokens: int) -> list[MicroBatch]:
    """Split a micro-batch, in its order, into parts of at most `tokens` tokens; a longer document is a part alone."""
    parts: list[MicroBatch] = []
    left = 0
    for index in micro:
        if lengths[index] > left:
            parts.append([])
            left = tokens
        parts[-1].append(index)
        left -= lengths[index]
    return parts


def _supervised_positions(sample: Sample) -> np.ndarray[Any, Any]:
    """Return the positions in a sample whose next token is supervised."""
    return np.arange(max(sample.prompt_length, 1) - 1, sample.length - 1)


def _tensor_maker(device: torch.device) -> Callable[[np.ndarray[Any, Any]], torch.Tensor]:
    def tensor(values: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64, copy=False)).to(device, non_blocking=True)

    return tensor
