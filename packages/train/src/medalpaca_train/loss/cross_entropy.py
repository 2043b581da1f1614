"""Output layer and cross-entropy in one pass over chunks of tokens: the logits of a whole batch never exist.

Each chunk's gradients are made right after its loss, while its logits are still there, and the logits forgotten
(the scheme of Liger kernel's FusedLinearCrossEntropy, in plain torch).
"""

from __future__ import annotations

from typing import Any

import torch

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
