"""Attention over one row of packed documents, none of which sees another: one function for every architecture.

Registered with transformers under `NAME`. Under that name transformers builds no mask, and hands on the ends of the
documents that `batches.packed` gives with the row.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import torch
from torch.nn import functional

NAME = "medalpaca_packed"
# Arguments by which a model asks for more than causal attention with a window; none of them is computed here.
UNKNOWN = ("softcap", "s_aux", "position_bias")


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
    """Causal attention inside each document, in the form that transformers calls.

    `query` is (1, heads, tokens, size), `key` and `value` the same with as many or fewer heads; the result is
    (1, tokens, heads, size). `sliding_window` counts the token itself. Raises NotImplementedError for what it would
    otherwise compute wrongly; `exactness.py` then takes another path.
    """
    asked = [name for name in UNKNOWN if others.get(name) is not None]
    if cu_seq_lens_q is None or asked or not getattr(module, "is_causal", True):
        raise NotImplementedError(asked[0] if asked else "attention that is not causal over packed documents")
    if torch.is_autocast_enabled(query.device.type):
        half = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(half), key.to(half), value.to(half)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        if dropout:
            raise NotImplementedError("dropout in attention")
        return _kernels(query, key, value, scaling, sliding_window, cu_seq_lens_q, max_length_q), None
    return _one_by_one(query, key, value, dropout, scaling, sliding_window, cu_seq_lens_q.tolist()), None


def _kernels(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    ends: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """All documents in one launch."""
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)  # noqa: S101 - a pair only where its second half is asked for
    return out[None]


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    ends: list[int],
) -> torch.Tensor:
    """One call per document; neighbours of equal length share one."""
    runs = [
        (length, len(list(same))) for length, same in groupby(end - start for start, end in pairwise(ends))
    ]
    # split, not slices: the gradient of a slice is as large as the whole row, and there is one per document.
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    done = []
    for (length, count), (q, k, v) in zip(runs, parts, strict=True):
        out = functional.scaled_dot_product_attention(
            _apart(q, length, count),
            _apart(k, length, count),
            _apart(v, length, count),
            attn_mask=_band(length, window, query.device) if window and window < length else None,
            dropout_p=dropout,
            is_causal=not (window and window < length),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        done.append(out.transpose(1, 2).flatten(0, 1)[None])
    return torch.cat(done, dim=1)


def _apart(part: torch.Tensor, length: int, count: int) -> torch.Tensor:
    """(1, heads, count * length, size) as (count, heads, length, size)."""
    return part.view(part.shape[1], count, length, -1).transpose(0, 1) if count > 1 else part


def _band(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Which token sees which: itself and the `window - 1` before it."""
    places = torch.arange(length, device=device)
    behind = places[:, None] - places
    return (behind >= 0) & (behind < window)


def register() -> str:
    """Make the function known to transformers; returns its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    return NAME
