"""Log-likelihoods of continuations, with nothing encoded twice and no logits that nobody asked for.

Contexts and continuations go in as token ids. What several of them begin with is encoded once (`prefix_tree`);
the output embedding, and the feed-forward part of the last layer, see only the positions whose prediction is
asked. Knows no tokenizer and no harness.
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

MAX_LOGITS = 1 << 27  # elements in one tensor of logits: half a gibibyte in fp32
MIN_ROW_TOKENS = 4096  # tokens that a tree may have where a batch has fewer


def score(model: Any, requests: Sequence[Request], **options: Any) -> list[LogLikelihood]:
    """(log-probability of the continuation, whether greedy decoding gives it) of each (context, continuation).

    See `answers` for `options` and errors.
    """
    found = {
        index: one
        for batch in score_batches(model, requests, **options)
        for index, one in batch.answers.items()
    }
    return [found[index] for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Answers by their requests' indices, and what they took besides rows of text: "tree", "prefix"."""

    answers: dict[int, LogLikelihood]
    ways: frozenset[str]


def score_batches(
    model: Any,
    requests: Sequence[Request],
    *,
    tokens: int = 4096,
    longest: int | None = None,
    softmax_dtype: torch.dtype | None = None,
) -> Iterator[ScoredBatch]:
    """The answers as they come, batch by batch, the longest first.

    `model`: a causal language model of transformers, with an adapter or without. `tokens`: of one batch, padding
    counted; halved where memory runs out. `longest`: of one sequence; what is longer loses its beginning, as in
    lm-eval. `softmax_dtype`: None for the logits' own. Raises ValueError for a request without a context or
    without a continuation.
    """
    asked = [_Input.of(context, continuation, longest) for context, continuation in requests]
    if not asked:
        return
    config = model.config.get_text_config()
    for family in group_by_prefix([one.stem for one in asked], tokens):
        own = [asked[index] for index in family.members]
        prefix = _encode_prefix(model, own[0].sequence[: family.prefix])
        sequences = [one.sequence[family.prefix :] for one in own]
        rows = pack_rows(
            sequences, AttentionCost(6 * config.hidden_size + family.prefix), max(tokens, MIN_ROW_TOKENS)
        )
        waiting = list(make_batches(rows, tokens))[::-1]
        while waiting:
            batch = waiting.pop()
            half = len(batch) // 2
            predictions = sum(len(own[index].targets) for row in batch for index in row.places)
            if not half or predictions * config.vocab_size <= MAX_LOGITS:
                try:
                    found = _score_batch(model, batch, own, prefix, softmax_dtype)
                except torch.OutOfMemoryError:
                    if not half:
                        raise
                else:
                    ways = frozenset(
                        way for way, taken in (("tree", _has_branches(batch)), ("prefix", prefix)) if taken
                    )
                    yield ScoredBatch({family.members[index]: one for index, one in found.items()}, ways)
                    continue
            waiting += [batch[half:], batch[:half]]


@dataclass(frozen=True, slots=True)
class _Input:
    """One request as the model sees it: its input, and what the last `len(targets)` predictions should be."""

    sequence: list[int]
    targets: list[int]

    @classmethod
    def of(cls, context: Sequence[int], continuation: Sequence[int], longest: int | None) -> _Input:
        if not context or not continuation:
            raise ValueError("a request needs a context and a continuation of a token at least")
        whole = [*context, *continuation]
        if longest is not None:
            if len(continuation) > longest:
                raise ValueError(f"a continuation of {len(continuation)} tokens; the model sees {longest}")
            whole = whole[-(longest + 1) :]
        return cls(whole[:-1], list(continuation))

    @property
    def stem(self) -> list[int]:
        """What comes before the first position whose prediction is asked."""
        return self.sequence[: -len(self.targets)]


# One batch --------------------------------------------------------------------------------------------------


@torch.no_grad()
def _score_batch(
    model: Any,
    batch: list[TreeRow],
    asked: Sequence[_Input],
    prefix: Prefix,
    softmax_dtype: torch.dtype | None,
) -> dict[int, LogLikelihood]:
    device = _device(model)
    length = len(batch[0])
    # Each position whose prediction is asked, once, however many ask it.
    order: dict[int, int] = {}
    predicted = {
        index: [
            order.setdefault(number * length + place, len(order))
            for place in row.places[index][-len(asked[index].targets) :]
        ]
        for number, row in enumerate(batch)
        for index in row.places
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
    at = torch.tensor([place for places in predicted.values() for place in places], device=scores.device)
    targets = [target for index in predicted for target in asked[index].targets]
    target = torch.tensor(targets, device=scores.device)
    lengths = [len(places) for places in predicted.values()]
    # On the way out, since a question to a GPU for each request would take longer than the sums.
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
    """What is added to attention's scores, [rows, 1, tokens, seen + tokens]: nothing, or as good as -infinity."""
    length = len(batch[0])
    # Padding sees itself, so that no row of the softmax is empty.
    ends = torch.tensor([[*row.ends, *range(len(row) + 1, length + 1)] for row in batch], device=device)
    place = torch.arange(length, device=device)
    hidden = (place[:, None] < place) | (place[:, None] >= ends[:, None, :])
    mask = torch.zeros(len(batch), 1, length, seen + length, dtype=dtype, device=device)
    mask[:, 0, :, seen:].masked_fill_(hidden, torch.finfo(dtype).min)
    return mask


@torch.no_grad()
def _encode_prefix(model: Any, tokens: list[int]) -> Prefix:
    """Keys and values of each layer, [1, heads, tokens, width]; none for no tokens."""
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


# Only what is asked -----------------------------------------------------------------------------------------


@contextmanager
def _logits_only_at(model: Any, positions: Tensor) -> Iterator[None]:
    """Within it, logits are computed at `positions` of the flattened batch alone: [1, positions, vocabulary].

    Done from outside, by hooks, so that the model's own scaling and capping of logits stay what they are.
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
                whole = output.new_zeros(shapes.pop())
                whole.flatten(0, 1)[positions.to(output.device)] = output[0]
                return whole

            hooks.callback(last.register_forward_pre_hook(gather).remove)
            hooks.callback(last.register_forward_hook(scatter).remove)
        yield


def _gather(given: tuple[Any, ...], positions: Tensor) -> tuple[Any, ...]:
    hidden, *others = given
    return hidden.flatten(0, 1)[positions.to(hidden.device)][None], *others


def _last_feed_forward(model: Any) -> Any:
    """The module that works on each position by itself after the last attention; None where it has another name."""
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
    return getattr(layers[-1], "mlp", None) if layers else None
