"""Attention over one row of packed documents, none of which sees another: one function for every architecture.

Registered with transformers under `NAME`. Under that name transformers builds no mask, and hands on the ends of the
documents that `batches.packed` gives with the row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

NAME = "medalpaca_packed"
# Documents up to this length share a call on a CPU, if padding them to the longest costs less than this factor: a call
# has a price of its own, of which a tiny model pays dozens per step.
SHORT, WASTE = 256, 1.5
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
    """One call per document; short neighbours share one."""
    groups = _groups([end - start for start, end in pairwise(ends)])
    # split, not slices: the gradient of a slice is as large as the whole row, and there is one per document.
    sizes = [sum(group) for group in groups]
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    done = []
    for group, three in zip(groups, parts, strict=True):
        length = max(group)
        places, real = _places(group, query.device) if len(group) > 1 else (None, None)
        q, k, v = (part if places is None else _apart(part, places) for part in three)
        out = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_band(length, window, query.device) if window and window < length else None,
            dropout_p=dropout,
            is_causal=not (window and window < length),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        out = out.transpose(1, 2).flatten(0, 1)
        done.append((out if real is None else out.index_select(0, real))[None])
    return torch.cat(done, dim=1)


def _groups(lengths: list[int]) -> list[list[int]]:
    """Neighbours that are cheaper in one call, padded, than in one call each."""
    groups: list[list[int]] = []
    for length in lengths:
        near = [*groups[-1], length] if groups else []
        if near and max(near) <= SHORT and max(near) * len(near) <= WASTE * sum(near):
            groups[-1] = near
        else:
            groups.append([length])
    return groups


def _places(group: list[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which token of the group is at each place of its padded form, (documents, longest), and which flat places are
    real. Padding repeats a document's last token, behind it: under causal attention no real token sees it.
    """
    sizes = torch.tensor(group, device=device)
    at = torch.arange(max(group), device=device)
    places = (sizes.cumsum(0) - sizes)[:, None] + torch.minimum(at, sizes[:, None] - 1)
    return places, (at < sizes[:, None]).flatten().nonzero()[:, 0]


def _apart(part: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(1, heads, tokens, size) as (documents, heads, longest, size)."""
    return part[0].index_select(1, places.flatten()).view(part.shape[1], *places.shape, -1).transpose(0, 1)


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
