"""At start-up: would the fast path train this model as its own code does? If not, the slower one is taken, and said.

One packed row is compared with its documents one by one, in the model's own attention and with its own logits. Sharp
where arithmetic is not: a document's loss may not change at all when the text before it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from medalpaca_data.ground.errors import one_line

from ..hardware.device import Hardware
from ..model.quantization import rowwise
from ..rows.batches import Batch, packed, padded
from ..rows.tokens import Sample
from .attention import register
from .objective import Objective, forward, learned_logits

DOCUMENTS = 4
# Of a document's mean loss, relative: rounding, and far above it. Quantised bases need no more: on Llama, Qwen3 and
# GPT-NeoX, NF4 was measured to differ by 1e-7, and int8 by 2e-7 row by row, by 5e-3 as it comes.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
REFUSALS = (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The objective for a model, and one line for each part of it that is the slower one."""

    objective: Objective
    reasons: list[str]


def choose_objective(model: Any, samples: Sequence[Sample], hardware: Hardware) -> Verdict:
    """The fastest objective that is exact for `model`, tried on a few of `samples`. Leaves the model set up for it."""
    model.eval()
    own = model.config._attn_implementation
    some = _some(samples)
    reasons = []
    with torch.no_grad(), hardware.autocast(), rowwise(model):
        alone = [padded([sample], hardware.device) for sample in some]
        head = _head_is_not_all(model, alone[0])
        expected = [_losses(model, batch) for batch in alone]
        leak = _packing_is_not_exact(model, some, expected, hardware)
    if leak:
        model.set_attn_implementation(own)
        reasons.append(f"slower path: {leak}; rows are padded in groups of like length instead of packed")
    if head:
        reasons.append(f"slower path: {head}; all logits of a micro-batch are held at once")
    return Verdict(Objective(model, hardware, not leak, not head, own), reasons)


def _some(samples: Sequence[Sample]) -> list[Sample]:
    """A few documents, the longest (which a window would cut) not in front."""
    longest = max(range(len(samples)), key=lambda i: samples[i].length)
    others = [i for i in range(min(DOCUMENTS, len(samples))) if i != longest][: DOCUMENTS - 1]
    # Alone, it is its own company: attention that leaks does so into a copy as well.
    first, *rest = others or [longest]
    return [samples[i] for i in (first, longest, *rest)]


def _head_is_not_all(model: Any, batch: Batch) -> str | None:
    """Why logits are more than one product with the output layer's weights, or None."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return "the output layer is not a plain matrix"
    if head.bias is not None:
        return "the output layer has a bias"
    made: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda _, __, out: made.append(out))
    try:
        logits = forward(model, batch)
    finally:
        handle.remove()
    # To the last bit, because a soft cap far above the first logits changes them by less than any tolerance.
    if len(made) != 1 or made[0].shape != logits.shape or not torch.equal(made[0].to(logits.dtype), logits):
        return "the model changes its logits after the output layer (scaling or soft-capping)"
    return None


def _packing_is_not_exact(
    model: Any, samples: list[Sample], expected: list[torch.Tensor], hardware: Hardware
) -> str | None:
    """Why packed documents would not be learned as they are alone, or None."""
    if getattr(model.config, "attn_logit_softcapping", None):
        return "the model caps its attention scores"
    try:
        model.set_attn_implementation(register())
        together = _losses(model, packed(samples, hardware.device))
        first = samples[0]
        changed = Sample(first.row_id, (first.ids + 1) % (first.ids.max() + 1), first.given)
        other = _losses(model, packed([changed, *samples[1:]], hardware.device))
    except REFUSALS as error:
        return f"this model cannot be packed ({one_line(error)[:120]})"
    count = [sample.supervised for sample in samples]
    if not torch.equal(together[count[0] :], other[count[0] :]):
        return "packed rows would see each other in this model"
    for here, there in zip(torch.split(together, count), expected, strict=True):
        if not torch.isclose(here.mean(), there.mean(), rtol=TOLERANCE[hardware.precision]):
            return f"a packed row's loss is {here.mean():.4f} and alone {there.mean():.4f} in this model's own code"
    return None


def _losses(model: Any, batch: Batch) -> torch.Tensor:
    """-log p of each learned token."""
    return functional.cross_entropy(learned_logits(model, batch).float(), batch.targets, reduction="none")
