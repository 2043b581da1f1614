"""Read the prompts once, and take from that reading both the options' ratings and the start of the answers.

Where the exam scores letters, a letter's log-likelihood stands in the prefill's last logits. Where it scores texts,
the options of all rows are read in one more pass that continues from the prefill's cache, so that no prompt is read
once per option. The numbers are lm-eval's for the item; where its tokens do not continue the prompt's (a tokenizer that
merges over the seam, an input that it would cut), `follow` gives None, and `score.py` asks as lm-eval does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import log_softmax

from .arms import Voice
from .encode import encode_pair
from .request import Request

ROWS_PER_PASS = 32  # of options; each carries a copy of its prompt's cache


@dataclass(frozen=True, slots=True)
class Tail:
    """One option after the prompt: how many tokens of lm-eval's continuation the prompt holds, and the rest."""

    inside: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts as read: left-padded `ids` and `mask` of shape (rows, width), logits of the last positions, cache."""

    ids: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    cache: Any

    def only(self, rows: Sequence[int]) -> Prefill:
        """Some of the rows; the cache is cut in place."""
        chosen = torch.tensor(rows, device=self.ids.device)
        self.cache.batch_select_indices(chosen)
        return Prefill(self.ids[chosen], self.mask[chosen], self.logits[chosen], self.cache)

    def continued(self) -> Any:
        """The cache for `generate`, which wants one token left to read; None where a cache cannot be cut."""
        try:
            self.cache.crop(-1)
        except (AttributeError, NotImplementedError, ValueError):
            return None
        return self.cache


def follow(tokenizer: Any, request: Request, prompt: Sequence[int], limit: int) -> tuple[Tail, ...] | None:
    """The options as tails of the prompt's own tokens; None where one of them is not. `limit` in tokens."""
    tails = []
    for choice in request.choices:
        context, continuation = encode_pair(tokenizer, request.prompt, choice)
        whole = context + continuation
        fits = len(whole) - 1 <= limit and len(context) <= len(prompt) < len(whole)
        if not fits or whole[: len(prompt)] != list(prompt):
            return None
        tails.append(Tail(len(prompt) - len(context), tuple(whole[len(prompt) :])))
    return tuple(tails)


def read(voice: Voice, prompts: Sequence[Sequence[int]], pad: int, keep: int) -> Prefill:
    """One pass over the prompts that keeps the logits of the last `keep` positions."""
    model, extra = voice
    width = max(map(len, prompts))
    ids = torch.tensor([[*[pad] * (width - len(p)), *p] for p in prompts], device=model.device)
    mask = torch.tensor([[*[0] * (width - len(p)), *[1] * len(p)] for p in prompts], device=model.device)
    out = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=keep,
        use_cache=True,
        **extra,
    )
    # A model that knows no `logits_to_keep` returns all positions.
    return Prefill(ids, mask, out.logits[:, -keep:], out.past_key_values)


def loglikelihoods(
    voice: Voice, prefill: Prefill, tails: Sequence[Sequence[Tail]], prompts: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Per row, the log-likelihood of each of its options; rows without options get an empty list."""
    logs = log_softmax(prefill.logits, dim=-1)
    sums = [[_begun(logs[row], prompts[row], tail) for tail in options] for row, options in enumerate(tails)]
    longer = [
        (row, option, tail.tokens)
        for row, options in enumerate(tails)
        for option, tail in enumerate(options)
        if len(tail.tokens) > 1
    ]
    for start in range(0, len(longer), ROWS_PER_PASS):
        part = longer[start : start + ROWS_PER_PASS]
        for (row, option, _), value in zip(part, _rest(voice, prefill, part), strict=True):
            sums[row][option] += value
    return sums


def _begun(logs: torch.Tensor, prompt: Sequence[int], tail: Tail) -> float:
    """What the prefill says of an option: its tokens inside the prompt, and the first one after it."""
    first = len(prompt) - tail.inside
    seen = [*prompt[first:], tail.tokens[0]]
    return float(sum(logs[n - len(seen), token] for n, token in enumerate(seen)))


def _rest(voice: Voice, prefill: Prefill, part: Sequence[tuple[int, int, tuple[int, ...]]]) -> list[float]:
    """The log-likelihoods of all tokens but the first, after the cached prompts."""
    model, extra = voice
    rows = torch.tensor([row for row, _, _ in part], device=model.device)
    if "adapter_names" in extra:
        extra = {**extra, "adapter_names": [extra["adapter_names"][row] for row, _, _ in part]}
    cache = copy.deepcopy(prefill.cache)
    cache.batch_select_indices(rows)
    width = max(len(tokens) for _, _, tokens in part) - 1
    ids = torch.tensor(
        [[*tokens[:-1], *[0] * (width + 1 - len(tokens))] for _, _, tokens in part], device=model.device
    )
    mask = prefill.mask[rows]
    out = model(
        input_ids=ids,
        attention_mask=torch.cat([mask, torch.ones_like(ids)], dim=-1),
        position_ids=mask.sum(-1, keepdim=True) + torch.arange(width, device=model.device),
        past_key_values=cache,
        **extra,
    )
    logs = log_softmax(out.logits, dim=-1)
    return [
        float(sum(logs[n, at, token] for at, token in enumerate(tokens[1:])))
        for n, (_, _, tokens) in enumerate(part)
    ]
