"""Log-likelihoods of continuations: shared beginnings are encoded once, and only needed logits are computed.

Requests are token ids. Common beginnings are encoded once (`prefix_tree`). The output embedding, and the feed-forward
part of the last layer, run only at the positions whose prediction is needed. The module does not use tokenizers or
lm-eval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from .prefix_tree import AttentionCost, TreeRow, group_by_prefix, make_batches, pack_rows

Request = tuple[Sequence[int], Sequence[int]]
LogLikelihood = tuple[float, bool]

Prefix = list[tuple[Tensor, Tensor]]

# A batch of several rows is split if its logits have more elements: half a GiB in fp32.
MAX_LOGITS = 1 << 27
# A tree may have this many tokens even if the batch size is smaller.
MIN_ROW_TOKENS = 4096


def score(model: Any, requests: Sequence[Request], **options: Any) -> list[LogLikelihood]:
    """Return (log-likelihood, whether greedy decoding gives the continuation) for each request, in their order.

    A request is a pair of token ids, (context, continuation). See `score_batches` for `options` and errors.
    """
    by_index = {
        index: one
        for batch in score_batches(model, requests, **options)
        for index, one in batch.answers.items()
    }
    return [by_index[index] for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Results of one batch by index of their request, and the methods that it used.

    "tree": several sequences in one row share a beginning. "prefix": the rows follow a prefix that was encoded before.
    """

    answers: dict[int, LogLikelihood]
    methods: frozenset[str]


def score_batches(
    model: Any,
    requests: Sequence[Request],
    *,
    tokens: int = 4096,
    longest: int | None = None,
    softmax_dtype: torch.dtype | None = None,
) -> Iterator[ScoredBatch]:
    """Yield the results batch by batch; among sequences with a common prefix, the longest rows come first.

    `model`: a causal language model of transformers, with or without an adapter. `tokens`: maximal number in one
    batch of several rows, padding included; a single row may be longer. A batch that exceeds the memory is split.
    `longest`: maximal number in one sequence; a longer one loses its beginning, as in lm-eval. `softmax_dtype`: None
    for the dtype of the logits. Raises ValueError for a request without a context or a continuation, or with a
    continuation longer than `longest`. Raises torch.OutOfMemoryError if a single row exceeds the memory.
    """
    inputs = [_Input.of(context, continuation, longest) for context, continuation in requests]
    if not inputs:
        return
    config = model.config.get_text_config()
    for group in group_by_prefix([one.stem for one in inputs], tokens):
        own = [inputs[index] for index in group.members]
        prefix = _encode_prefix(model, own[0].sequence[: group.prefix])
        sequences = [one.sequence[group.prefix :] for one in own]
        rows = pack_rows(
            sequences, AttentionCost(6 * config.hidden_size + group.prefix), max(tokens, MIN_ROW_TOKENS)
        )
        pending = list(make_batches(rows, tokens))[::-1]
        while pending:
            batch = pending.pop()
            half = len(batch) // 2
            predictions = sum(len(own[index].targets) for row in batch for index in row.positions)
            if not half or predictions * config.vocab_size <= MAX_LOGITS:
                try:
                    scored = _score_batch(model, batch, own, prefix, softmax_dtype)
                except torch.OutOfMemoryError:
                    if not half:
                        raise
                else:
                    methods = frozenset(
                        name for name, used in (("tree", _has_branches(batch)), ("prefix", prefix)) if used
                    )
                    yield ScoredBatch({group.members[index]: one for index, one in scored.items()}, methods)
                    continue
            pending += [batch[half:], batch[:half]]


@dataclass(frozen=True, slots=True)
class _Input:
    """Input ids of one request, and the target ids of its last `len(targets)` predictions."""

    sequence: list[int]
    targets: list[int]

    @classmethod
    def of(cls, context: Sequence[int], continuation: Sequence[int], longest: int | None) -> _Input:
        if not context or not continuation:
            raise ValueError("context and continuation of a request need at least one token each")
        ids = [*context, *continuation]
        if longest is not None:
            if len(continuation) > longest:
                raise ValueError(f"a continuation has {len(continuation)} tokens; the model allows {longest}")
            ids = ids[-(longest + 1) :]
        return cls(ids[:-1], list(continuation))

    @property
    def stem(self) -> list[int]:
        """Input ids before the first position whose prediction is needed."""
        return self.sequence[: -len(self.targets)]


@torch.no_grad()
def _score_batch(
    model: Any,
    batch: list[TreeRow],
    inputs: Sequence[_Input],
    prefix: Prefix,
    softmax_dtype: torch.dtype | None,
) -> dict[int, LogLikelihood]:
    device = _device(model)
    length = len(batch[0])
    # Each position whose prediction is needed, once, even if several requests need it.
    order: dict[int, int] = {}
    predicted = {
        index: [
            order.setdefault(number * length + position, len(order))
            for position in row.positions[index][-len(inputs[index].targets) :]
        ]
        for number, row in enumerate(batch)
        for index in row.positions
    }
    given: dict[str, Any] = {"input_ids": _pad([row.tokens for row in batch], length, device)}
    seen = prefix[0][0].shape[-2] if prefix else 0
    if seen or _has_branches(batch):
        given["position_ids"] = seen + _pad([row.depths for row in batch], length, device)
        mixed = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if mixed else model.dtype
        given["attention_mask"] = _attention_mask(batch, seen, device, dtype)
    if seen:
        given["past_key_values"] = _expand_prefix(prefix, len(batch))
    with _logits_only_at(model, torch.tensor(list(order), device=device)):
        logits = model(**given, use_cache=bool(seen)).logits[0]
    scores = torch.log_softmax(logits, dim=-1, dtype=softmax_dtype)
    at = torch.tensor(
        [position for positions in predicted.values() for position in positions], device=scores.device
    )
    targets = [target for index in predicted for target in inputs[index].targets]
    target = torch.tensor(targets, device=scores.device)
    lengths = [len(positions) for positions in predicted.values()]
    # One transfer from the GPU: a transfer per request would take longer than the sums.
    likelihoods = torch.split(scores[at, target].cpu(), lengths)
    greedy = torch.split((scores.argmax(dim=-1)[at] == target).cpu(), lengths)
    return {
        index: (float(likelihood.sum()), bool(same.all()))
        for index, likelihood, same in zip(predicted, likelihoods, greedy, strict=True)
    }


def _has_branches(batch: list[TreeRow]) -> bool:
    return any(row.branches for row in batch)


def _device(model: Any) -> torch.device:
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def _pad(rows: list[list[int]], length: int, device: torch.device) -> Tensor:
    return torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device)


def _attention_mask(batch: list[TreeRow], seen: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the additive mask, [rows, 1, tokens, seen + tokens]: 0 for attention, else the minimum of the dtype."""
    length = len(batch[0])
    # Padding attends to itself, so that no row of the softmax is empty.
    ends = torch.tensor([[*row.ends, *range(len(row) + 1, length + 1)] for row in batch], device=device)
    position = torch.arange(length, device=device)
    hidden = (position[:, None] < position) | (position[:, None] >= ends[:, None, :])
    mask = torch.zeros(len(batch), 1, length, seen + length, dtype=dtype, device=device)
    mask[:, 0, :, seen:].masked_fill_(hidden, torch.finfo(dtype).min)
    return mask


@torch.no_grad()
def _encode_prefix(model: Any, tokens: list[int]) -> Prefix:
    """Return keys and values of each layer, [1, heads, tokens, width]; an empty list without tokens."""
    if not tokens:
        return []
    cache = DynamicCache()
    device = _device(model)
    with _logits_only_at(model, torch.tensor([len(tokens) - 1], device=device)):
        model(input_ids=torch.tensor([tokens], device=device), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def _expand_prefix(prefix: Prefix, rows: int) -> Any:
    return DynamicCache(
        [
            (keys.expand(rows, *keys.shape[1:]), values.expand(rows, *values.shape[1:]))
            for keys, values in prefix
        ]
    )


@contextmanager
def _logits_only_at(model: Any, positions: Tensor) -> Iterator[None]:
    """Compute logits only at `positions` of the flattened batch, inside the context: [1, positions, vocabulary].

    Hooks do this, so that the model's own scaling and capping of logits stay in effect.
    """
    with ExitStack() as hooks:
        head = model.get_output_embeddings()
        hooks.callback(head.register_forward_pre_hook(lambda _, given: _gather(given, positions)).remove)
        if (last := _last_feed_forward(model)) is not None:
            shapes: list[torch.Size] = []

            def gather(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
                shapes.append(given[0].shape)
                return _gather(given, positions)

            def scatter(_: Any, __: Any, output: Tensor) -> Tensor:
                full = output.new_zeros(shapes.pop())
                full.flatten(0, 1)[positions.to(output.device)] = output[0]
                return full

            hooks.callback(last.register_forward_pre_hook(gather).remove)
            hooks.callback(last.register_forward_hook(scatter).remove)
        yield


def _gather(given: tuple[Any, ...], positions: Tensor) -> tuple[Any, ...]:
    hidden, *others = given
    return hidden.flatten(0, 1)[positions.to(hidden.device)][None], *others


def _last_feed_forward(model: Any) -> Any:
    """Return the feed-forward module after the last attention; None if layers or `mlp` have other names."""
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
    return getattr(layers[-1], "mlp", None) if layers else None
