"""The loss: cross-entropy of the learned tokens, summed, so that the caller divides by what a whole step holds.

Dividing by each micro-batch's own count instead would weigh tokens by the company they were batched with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from .batches import Batch


def summed_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Sum over `batch.targets` of -log p(target), in nats; a scalar with gradient."""
    logits = learned_logits(model, batch)
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


def learned_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Logits (supervised, vocabulary) at `batch.positions`.

    Prompt and padding never reach the output layer, which for a small model is a third to a half of the work. The
    rows are picked by a hook in front of that layer, so the model's own forward runs and whatever it does to
    logits afterwards (scaling, soft-capping) stays done.
    """
    rows, width = batch.inputs.shape

    def pick(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = args[0]
        if hidden.shape[:2] != (rows, width):
            return None
        return (hidden.flatten(0, 1).index_select(0, batch.positions).unsqueeze(0), *args[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(pick) if head is not None else None
    try:
        # use_cache=False: keys and values of a finished forward are of no use to training.
        logits: torch.Tensor = model(input_ids=batch.inputs, use_cache=False).logits
    finally:
        if handle is not None:
            handle.remove()
    if logits.shape[:2] == (rows, width) and (rows, width) != (1, len(batch.positions)):
        # A model that computes its logits without its output layer being called: pick afterwards.
        return logits.flatten(0, 1).index_select(0, batch.positions)
    return logits.squeeze(0)
