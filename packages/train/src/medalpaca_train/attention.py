"""Causal attention within each document of a packed row, for every architecture of transformers.

`packed_attention` is registered with transformers under `ATTENTION_NAME`. For an implementation under a name of its
own, transformers builds no mask and passes on the document boundaries that `packing.make_packed_batch` gives with the
row.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import torch
from torch.nn import functional

ATTENTION_NAME = "medalpaca_packed"
# Arguments of models that need more than causal attention with a sliding window. None of them is computed here.
UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias")


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Compute causal attention inside each document, with the signature that transformers calls.

    `query` is (1, heads, tokens, size); `key` and `value` have the same shape with as many or fewer heads. The result
    is (1, tokens, heads, size). `attention_mask` is ignored. `sliding_window` counts the token itself. Raises
    NotImplementedError without document boundaries, for models that need more than causal attention
    (`UNSUPPORTED_ARGUMENTS`), and for dropout in half precision on a GPU; `loss.choose_objective` then pads rows
    instead of packing them.
    """
    unsupported = [name for name in UNSUPPORTED_ARGUMENTS if others.get(name) is not None]
    if cu_seq_lens_q is None or unsupported or not getattr(module, "is_causal", True):
        raise NotImplementedError(
            unsupported[0] if unsupported else "attention that is not causal over packed documents"
        )
    if torch.is_autocast_enabled(query.device.type):
        half = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(half), key.to(half), value.to(half)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        if dropout:
            raise NotImplementedError("dropout in attention")
        return _varlen_attention(
            query, key, value, scaling, sliding_window, cu_seq_lens_q, max_length_q
        ), None
    return _per_document_attention(
        query, key, value, dropout, scaling, sliding_window, cu_seq_lens_q.tolist()
    ), None


def _varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    bounds: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Compute all documents in one variable-length kernel; `bounds` are their cumulative lengths, from 0."""
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    # A tuple is returned only if auxiliary outputs are requested.
    assert isinstance(out, torch.Tensor)  # noqa: S101
    return out[None]


def _per_document_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    bounds: list[int],
) -> torch.Tensor:
    """Compute one document per call; neighbours of equal length share a call."""
    runs = [
        (length, len(list(same))) for length, same in groupby(end - start for start, end in pairwise(bounds))
    ]
    # split instead of slices: the gradient of each slice would be as large as the whole row.
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = []
    for (length, count), (q, k, v) in zip(runs, parts, strict=True):
        masked = bool(window and window < length)
        out = functional.scaled_dot_product_attention(
            _split_documents(q, length, count),
            _split_documents(k, length, count),
            _split_documents(v, length, count),
            attn_mask=_sliding_window_mask(length, window, query.device) if masked and window else None,
            dropout_p=dropout,
            is_causal=not masked,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        outputs.append(out.transpose(1, 2).flatten(0, 1)[None])
    return torch.cat(outputs, dim=1)


def _split_documents(part: torch.Tensor, length: int, count: int) -> torch.Tensor:
    """Return (1, heads, count * length, size) as (count, heads, length, size)."""
    return part.view(part.shape[1], count, length, -1).transpose(0, 1) if count > 1 else part


def _sliding_window_mask(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Return a (length, length) mask in which a token attends to itself and the `window - 1` tokens before it."""
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions
    return (distance >= 0) & (distance < window)


def register_packed_attention() -> str:
    """Register `packed_attention` with transformers and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, packed_attention)
    return ATTENTION_NAME
