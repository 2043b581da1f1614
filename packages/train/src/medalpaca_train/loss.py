"""Output layer and cross-entropy in one pass over chunks of tokens: the logits of a whole batch never exist.

Each chunk's gradients are made right after its loss, while its logits are still there, and the logits forgotten
(the scheme of Liger kernel's FusedLinearCrossEntropy, in plain torch).

The loss: cross-entropy of the learned tokens, summed, so that the caller divides by what a whole step holds.

Dividing by each micro-batch's own count instead would weigh tokens by the company they were batched with. Prompt and
padding never reach the output layer, which for a small model is a third to a half of the work.

At start-up: would the fast path train this model as its own code does? If not, the slower one is taken, and said.

One packed row is compared with its documents one by one, in the model's own attention and with its own logits. Sharp
where arithmetic is not: a document's loss may not change at all when the text before it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from medalpaca_data.core.errors import one_line

from .attention import register
from .hardware import Hardware
from .model import rowwise
from .packing import Batch, alike, cut, packed, padded
from .tokenize import Sample

CHUNK = {"cuda": 2_048, "cpu": 256}  # tokens: enough to fill a GPU, few enough for a CPU's cache


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over tokens of -log softmax(hidden @ weight.T)[target], in nats.

    `hidden` is (tokens, size), `weight` (vocabulary, size), `targets` (tokens,). Half precision is summed in fp32.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    if torch.is_grad_enabled():
        return _Summed.apply(hidden, weight, targets)  # type: ignore[no-any-return]
    total = _zero(hidden)
    for rows, wanted, _ in _chunks(hidden, targets):
        logits = _wide(rows @ weight.to(hidden.dtype).T)
        total += (logits.logsumexp(-1) - logits.gather(-1, wanted[:, None])[:, 0]).sum()
    return total


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        matrix = weight.to(hidden.dtype)
        total = _zero(hidden)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight: torch.Tensor | None = None
        # One place for the logits of every chunk: new memory would cost more than the exponentials.
        space = hidden.new_empty(min(len(targets), _size(hidden)), len(weight))
        for rows, correct, place in _chunks(hidden, targets):
            logits = _wide(torch.mm(rows, matrix.T, out=space[: len(rows)]))
            wanted = correct[:, None]
            right, top = logits.gather(-1, wanted), logits.amax(-1, keepdim=True)
            powers = logits.sub_(top).exp_()
            sums = powers.sum(-1, keepdim=True)
            total += (top + sums.log() - right).sum()
            slope = powers.div_(sums).scatter_add_(-1, wanted, torch.full_like(right, -1)).to(hidden.dtype)
            if of_hidden is not None:
                torch.mm(slope, matrix, out=of_hidden[place])
            if ctx.needs_input_grad[1]:
                if of_weight is None:
                    of_weight = _wide(slope.T @ rows)
                elif of_weight.dtype == slope.dtype:
                    of_weight.addmm_(slope.T, rows)
                else:
                    of_weight += slope.T @ rows
        ctx.gradients = (of_hidden, None if of_weight is None else of_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        # In place: nobody else holds them, and a backward comes once.
        of_hidden, of_weight = (None if g is None else g.mul_(outer[0]) for g in ctx.gradients)
        ctx.gradients = None
        return of_hidden, of_weight, None


def _chunks(hidden: torch.Tensor, targets: torch.Tensor) -> Any:
    size = _size(hidden)
    for start in range(0, len(targets), size):
        place = slice(start, start + size)
        yield hidden[place], targets[place], place


def _size(hidden: torch.Tensor) -> int:
    return CHUNK.get(hidden.device.type, CHUNK["cpu"])


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """At least fp32."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _zero(hidden: torch.Tensor) -> torch.Tensor:
    return _wide(torch.zeros((), dtype=hidden.dtype, device=hidden.device))


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
