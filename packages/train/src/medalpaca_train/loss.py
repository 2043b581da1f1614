"""The training loss: cross-entropy of supervised tokens, without the logits of a whole batch in memory.

`linear_cross_entropy` computes output layer and loss in chunks of tokens. `Objective` computes the loss of packed or
padded rows, summed, so that the caller divides by the supervised tokens of a whole step; dividing by each micro-batch's
own count would weight tokens by their batch. Prompt and padding never reach the output layer, which for a small model
is a third to a half of the work.

`choose_objective` tests at the start of a run whether the fast path computes the same loss as the model's own code. If
not, it returns a slower path. A packed row is compared with its documents one by one, up to rounding. A second test
needs no tolerance: the loss of a document must not change at all when the text before it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from medalpaca_data.core.errors import UserError, one_line

from .attention import register_packed_attention
from .hardware import Hardware
from .model import rowwise_int8
from .packing import Batch, group_by_length, make_packed_batch, make_padded_batch, split_by_tokens
from .tokenize import Sample

# Tokens per chunk: enough to fill a GPU, few enough for a CPU's cache.
CHUNK_TOKENS = {"cuda": 2_048, "cpu": 256}


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the sum over tokens of -log softmax(hidden @ weight.T)[target], in nats.

    `hidden` is (tokens, size), `weight` (vocabulary, size), `targets` (tokens,). Half precision is summed in fp32. Each
    chunk's gradients are computed with its loss, then its logits are discarded, as in Liger Kernel's
    FusedLinearCrossEntropy, in plain torch.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-any-return]
    total = _zero_loss(hidden)
    for rows, target_ids, _ in _chunks(hidden, targets):
        logits = _to_fp32(rows @ weight.to(hidden.dtype).T)
        total += (logits.logsumexp(-1) - logits.gather(-1, target_ids[:, None])[:, 0]).sum()
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        matrix = weight.to(hidden.dtype)
        total = _zero_loss(hidden)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight: torch.Tensor | None = None
        # One buffer for the logits of every chunk: allocating new memory would cost more than the exponentials.
        buffer = hidden.new_empty(min(len(targets), _chunk_size(hidden)), len(weight))
        for rows, chunk_targets, chunk in _chunks(hidden, targets):
            logits = _to_fp32(torch.mm(rows, matrix.T, out=buffer[: len(rows)]))
            target_ids = chunk_targets[:, None]
            target_logits, max_logits = logits.gather(-1, target_ids), logits.amax(-1, keepdim=True)
            exp_logits = logits.sub_(max_logits).exp_()
            sum_exp = exp_logits.sum(-1, keepdim=True)
            total += (max_logits + sum_exp.log() - target_logits).sum()
            # Softmax minus the one-hot target.
            grad_logits = exp_logits.div_(sum_exp)
            grad_logits = grad_logits.scatter_add_(-1, target_ids, torch.full_like(target_logits, -1))
            grad_logits = grad_logits.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad_logits, matrix, out=grad_hidden[chunk])
            if ctx.needs_input_grad[1]:
                if grad_weight is None:
                    grad_weight = _to_fp32(grad_logits.T @ rows)
                elif grad_weight.dtype == grad_logits.dtype:
                    grad_weight.addmm_(grad_logits.T, rows)
                else:
                    grad_weight += grad_logits.T @ rows
        ctx.gradients = (grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        # In place: there is no other reference to them, and backward runs once.
        grad_hidden, grad_weight = (None if g is None else g.mul_(outer[0]) for g in ctx.gradients)
        ctx.gradients = None
        return grad_hidden, grad_weight, None


def _chunks(hidden: torch.Tensor, targets: torch.Tensor) -> Any:
    size = _chunk_size(hidden)
    for start in range(0, len(targets), size):
        chunk = slice(start, start + size)
        yield hidden[chunk], targets[chunk], chunk


def _chunk_size(hidden: torch.Tensor) -> int:
    return CHUNK_TOKENS.get(hidden.device.type, CHUNK_TOKENS["cpu"])


def _to_fp32(tensor: torch.Tensor) -> torch.Tensor:
    """Return half precision as fp32, other dtypes unchanged."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _zero_loss(hidden: torch.Tensor) -> torch.Tensor:
    return _to_fp32(torch.zeros((), dtype=hidden.dtype, device=hidden.device))


# Tokens per forward pass on a CPU. More would not fit its cache; fewer make summing gradients too costly.
CPU_BATCH_TOKENS = 2_048


@dataclass(frozen=True, slots=True)
class Objective:
    """How a model's loss is computed: the fast path, or a slower one for a model whose loss it would change.

    `packing`: documents share a row; otherwise rows of similar length are padded. `fused_loss`: output
    layer and loss in one function; otherwise the model's own logits, with its scaling or soft-capping. `padding`: rows
    of different length share a batch; otherwise, without `packing`, each row has its own forward pass.
    `default_attention` is the model's attention implementation outside this objective.
    """

    model: Any
    hardware: Hardware
    packing: bool
    fused_loss: bool
    default_attention: str | None = None
    padding: bool = True

    def restore_attention(self) -> None:
        """Set the model back to its default attention implementation, in which it is saved and used."""
        if self.packing:
            self.model.set_attn_implementation(self.default_attention)

    def losses(self, samples: Sequence[Sample]) -> Iterator[torch.Tensor]:
        """Yield the summed loss of each part of `samples`: a scalar in nats with its autograd graph.

        The caller can free each part's memory before the next part is computed.
        """
        for part in self.split(samples):
            yield self.loss(part)

    def split(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """Return `samples` as parts for one forward pass each; the split depends on lengths and device only."""
        lengths = [sample.length for sample in samples]
        if not self.packing and not self.padding:
            return [[sample] for sample in samples]
        if not self.packing:
            groups = group_by_length(range(len(samples)), lengths)
        elif self.hardware.device.type == "cpu":
            groups = split_by_tokens(range(len(samples)), lengths, CPU_BATCH_TOKENS)
        else:
            return [list(samples)]
        return [[samples[i] for i in group] for group in groups]

    def loss(self, part: Sequence[Sample]) -> torch.Tensor:
        """Return the summed loss of one part of `split`: a scalar in nats with its autograd graph."""
        batch = (make_packed_batch if self.packing else make_padded_batch)(part, self.hardware.device)
        return self.batch_loss(batch)

    def batch_loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum over `batch.targets` of -log p(target): a scalar in nats with its autograd graph."""
        with self.hardware.autocast():
            if self.fused_loss:
                hidden = supervised_hidden_states(self.model, batch)
                return linear_cross_entropy(hidden, self.model.get_output_embeddings().weight, batch.targets)
            logits = _to_fp32(supervised_logits(self.model, batch))
            return functional.cross_entropy(logits, batch.targets, reduction="sum")


def supervised_hidden_states(model: Any, batch: Batch) -> torch.Tensor:
    """Return the output layer's input at `batch.positions`: (supervised, size).

    A hook before the output layer records it, so that the model's own forward method runs. The output layer itself then
    computes a single token.
    """
    recorded: list[torch.Tensor] = []

    def record(hidden: torch.Tensor) -> torch.Tensor:
        recorded.append(hidden)
        return hidden[:, :1]

    with _hook_before_output_layer(model, record):
        forward(model, batch)
    return recorded[-1].flatten(0, 1).index_select(0, batch.positions)


def supervised_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the model's own logits at `batch.positions`: (supervised, vocabulary).

    They include what the model does after its output layer, such as scaling or soft-capping.
    """
    rows, width = batch.inputs.shape

    def select(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.shape[:2] != (rows, width):
            return hidden
        return hidden.flatten(0, 1).index_select(0, batch.positions).unsqueeze(0)

    with _hook_before_output_layer(model, select):
        logits: torch.Tensor = forward(model, batch)
    if logits.shape[:2] == (rows, width) and (rows, width) != (1, len(batch.positions)):
        # This model computes logits without calling its output layer: select afterwards.
        return logits.flatten(0, 1).index_select(0, batch.positions)
    return logits.squeeze(0)


def forward(model: Any, batch: Batch) -> Any:
    """Return the model's logits, without a cache: with a cache, packed documents attend to each other."""
    return model(input_ids=batch.inputs, use_cache=False, **(batch.packing_kwargs or {})).logits


@contextmanager
def _hook_before_output_layer(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Apply `change` to the output layer's input while the block runs."""
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


PROBE_DOCUMENTS = 4
# Largest relative difference of a document's mean loss, well above rounding. Measured for quantised bases on Llama,
# Qwen3 and GPT-NeoX: 1e-7 for NF4; for int8 2e-7 with `rowwise_int8` and 5e-3 without.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
UNSUPPORTED_ERRORS = (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class ObjectiveChoice:
    """The objective for a model, and one line for each slower path that it takes."""

    objective: Objective
    reasons: list[str]


def choose_objective(model: Any, samples: Sequence[Sample], hardware: Hardware) -> ObjectiveChoice:
    """Return the fastest objective whose loss on a few of `samples` equals that of `model`'s own code up to rounding.

    Values are compared in evaluation mode, because dropout is random; the chosen path then runs once in training mode.
    Sets the model to evaluation mode, and its attention implementation to that of the objective. Raises UserError if
    the model's position encoding depends on earlier rows.
    """
    _refuse_dynamic_positions(model, samples)
    model.eval()
    default_attention = model.config._attn_implementation
    probe = _choose_probe_samples(samples)
    reasons = []
    with torch.no_grad(), hardware.autocast(), rowwise_int8(model):
        single = [make_padded_batch([sample], hardware.device) for sample in probe]
        loss_problem = _find_fused_loss_problem(model, single[0])
        expected = [_token_losses(model, batch) for batch in single]
        packing_problem = _find_packing_problem(model, probe, expected, hardware)
    padding_problem = None
    if packing_problem:
        model.set_attn_implementation(default_attention)
        with torch.no_grad(), hardware.autocast(), rowwise_int8(model):
            padding_problem = _find_padding_problem(model, probe, expected, hardware)
    if padding_problem:
        reasons.append(
            f"slower path: {packing_problem}, and {padding_problem}; each row has its own forward pass"
        )
    elif packing_problem:
        reasons.append(f"slower path: {packing_problem}; rows of similar length are padded instead of packed")
    if loss_problem:
        reasons.append(f"slower path: {loss_problem}; all logits of a micro-batch are held in memory at once")
    return ObjectiveChoice(
        Objective(
            model, hardware, not packing_problem, not loss_problem, default_attention, not padding_problem
        ),
        reasons,
    )


def _choose_probe_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return a few documents; the longest, which a sliding window would cut, is not the first."""
    longest = max(range(len(samples)), key=lambda i: samples[i].length)
    others = [i for i in range(min(PROBE_DOCUMENTS, len(samples))) if i != longest][: PROBE_DOCUMENTS - 1]
    # A single document is packed with a copy of itself: attention across documents shows there as well.
    first, *rest = others or [longest]
    return [samples[i] for i in (first, longest, *rest)]


def _find_fused_loss_problem(model: Any, batch: Batch) -> str | None:
    """Return why logits are not just hidden states times the output layer's weights, or None if they are."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return "the output layer is not a plain matrix"
    if head.bias is not None:
        return "the output layer has a bias"
    outputs: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda _, __, out: outputs.append(out))
    try:
        logits = forward(model, batch)
    finally:
        handle.remove()
    # Compared bit by bit: a soft cap far above the first logits changes them by less than any tolerance.
    equal = len(outputs) == 1 and outputs[0].shape == logits.shape
    if not (equal and torch.equal(outputs[0].to(logits.dtype), logits)):
        return "the model changes its logits after the output layer (scaling or soft-capping)"
    return None


def _find_packing_problem(
    model: Any, samples: list[Sample], expected: list[torch.Tensor], hardware: Hardware
) -> str | None:
    """Return why the loss of packed documents differs from that of single documents, or None if it does not."""
    if getattr(model.config, "attn_logit_softcapping", None):
        return "the model caps its attention scores"
    try:
        model.set_attn_implementation(register_packed_attention())
        packed = _token_losses(model, make_packed_batch(samples, hardware.device))
        first = samples[0]
        changed = Sample(first.row_id, (first.ids + 1) % (first.ids.max() + 1), first.prompt_length)
        after_change = _token_losses(model, make_packed_batch([changed, *samples[1:]], hardware.device))
        # Attention has dropout in training only, and not every kernel supports it.
        _token_losses(model.train(), make_packed_batch(samples, hardware.device))
    except UNSUPPORTED_ERRORS as error:
        return f"this model cannot be packed ({one_line(error)[:120]})"
    finally:
        model.eval()
    counts = [sample.supervised for sample in samples]
    if not torch.equal(packed[counts[0] :], after_change[counts[0] :]):
        return "packed documents attend to each other in this model"
    return _find_difference(packed, samples, expected, hardware, "packed")


def _find_padding_problem(
    model: Any, samples: list[Sample], expected: list[torch.Tensor], hardware: Hardware
) -> str | None:
    """Return why the loss of padded documents differs from that of single documents, or None if it does not."""
    padded = _token_losses(model, make_padded_batch(samples, hardware.device))
    return _find_difference(padded, samples, expected, hardware, "padded")


def _find_difference(
    losses: torch.Tensor, samples: list[Sample], expected: list[torch.Tensor], hardware: Hardware, way: str
) -> str | None:
    """Return a text if the mean loss of a document in `losses` is not its `expected` one, else None."""
    counts = [sample.supervised for sample in samples]
    for here, single in zip(torch.split(losses, counts), expected, strict=True):
        if not torch.isclose(here.mean(), single.mean(), rtol=TOLERANCE[hardware.precision]):
            return (
                f"the loss of a document is {here.mean():.4f} {way} and {single.mean():.4f} alone "
                "in this model's own code"
            )
    return None


def _refuse_dynamic_positions(model: Any, samples: Sequence[Sample]) -> None:
    """Raise UserError if dynamic RoPE scaling would compute a row's positions from the rows before it.

    transformers keeps the frequencies of the longest row so far, so the loss of a row would depend on the order.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    longest = max(sample.length for sample in samples)
    if rope.get("rope_type") != "dynamic":
        return
    limit = int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    if longest > limit:
        raise UserError(
            f"a row has {longest} tokens, and the model scales its positions dynamically above {limit}, by the rows "
            f"before; set max_tokens={limit}"
        )


def _token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Return -log p of each supervised token."""
    logits = supervised_logits(model, batch).float()
    return functional.cross_entropy(logits, batch.targets, reduction="none")
