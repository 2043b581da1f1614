"""The loss: cross-entropy of the learned tokens, summed, so that the caller divides by what a whole step holds.

Dividing by each micro-batch's own count instead would weigh tokens by the company they were batched with. Prompt and
padding never reach the output layer, which for a small model is a third to a half of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ..hardware.device import Hardware
from ..rows.batches import Batch, alike, cut, packed, padded
from ..rows.tokens import Sample
from .cross_entropy import linear_cross_entropy

CACHED = (
    2_048  # tokens that a CPU takes at once: of more, less stays in its cache; fewer are dearer to add up
)


@dataclass(frozen=True, slots=True)
class Objective:
    """How a model's loss is computed: the fast way, or a slower one for a model that the fast one would get wrong.

    `packing`: a micro-batch is one row of documents; else groups of like length, padded. `one_pass`: output layer and
    loss in one; else the model's own logits, with whatever it does to them.
    """

    model: Any
    hardware: Hardware
    packing: bool
    one_pass: bool
    own_attention: str | None = None  # what the model computes with outside this objective

    def release(self) -> None:
        """Give the model its own attention back."""
        if self.packing:
            self.model.set_attn_implementation(self.own_attention)

    def losses(self, samples: Sequence[Sample]) -> Iterator[torch.Tensor]:
        """Summed losses of parts of `samples`, in nats, each with its gradient; together, those of all.

        In parts, so that the caller can free each part's memory before the next takes its own.
        """
        for part in self.parts(samples):
            yield self.loss(part)

    def parts(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """`samples` as the parts that are computed one after the other; lengths alone decide."""
        lengths = [sample.length for sample in samples]
        if not self.packing:
            groups = alike(range(len(samples)), lengths)
        elif self.hardware.device.type == "cpu":
            groups = cut(range(len(samples)), lengths, CACHED)
        else:
            return [list(samples)]
        return [[samples[i] for i in group] for group in groups]

    def loss(self, part: Sequence[Sample]) -> torch.Tensor:
        """Summed loss of one of `parts`, in nats, with its gradient."""
        batch = (packed if self.packing else padded)(part, self.hardware.device)
        return self.summed(batch)

    def summed(self, batch: Batch) -> torch.Tensor:
        """Sum over `batch.targets` of -log p(target), in nats; a scalar with gradient."""
        with self.hardware.autocast():
            if self.one_pass:
                hidden = learned_hidden(self.model, batch)
                return linear_cross_entropy(hidden, self.model.get_output_embeddings().weight, batch.targets)
            logits = learned_logits(self.model, batch)
            wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
            return functional.cross_entropy(wide, batch.targets, reduction="sum")


def learned_hidden(model: Any, batch: Batch) -> torch.Tensor:
    """What the output layer would get at `batch.positions`: (supervised, size).

    Taken by a hook in front of that layer, so the model's own forward runs. The layer itself is given one token.
    """
    kept: list[torch.Tensor] = []

    def keep(hidden: torch.Tensor) -> torch.Tensor:
        kept.append(hidden)
        return hidden[:, :1]

    with _before_head(model, keep):
        forward(model, batch)
    return kept[-1].flatten(0, 1).index_select(0, batch.positions)


def learned_logits(model: Any, batch: Batch) -> torch.Tensor:
    """The model's own logits at `batch.positions`: (supervised, vocabulary).

    Whatever it does to logits after its output layer (scaling, soft-capping) stays done.
    """
    rows, width = batch.inputs.shape

    def pick(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.shape[:2] != (rows, width):
            return hidden
        return hidden.flatten(0, 1).index_select(0, batch.positions).unsqueeze(0)

    with _before_head(model, pick):
        logits: torch.Tensor = forward(model, batch)
    if logits.shape[:2] == (rows, width) and (rows, width) != (1, len(batch.positions)):
        # A model that computes its logits without its output layer being called: pick afterwards.
        return logits.flatten(0, 1).index_select(0, batch.positions)
    return logits.squeeze(0)


def forward(model: Any, batch: Batch) -> Any:
    """The model's logits. use_cache=False is no matter of taste: with a cache, transformers would let packed
    documents see each other.
    """
    return model(input_ids=batch.inputs, use_cache=False, **(batch.packing or {})).logits


@contextmanager
def _before_head(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Have `change` called on what enters the output layer while the block runs."""
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()
