"""Log-likelihoods of the options under base and tuned by passes of their own, and the shares that the bars show.

For options that `prefill.py` cannot read off the prompt. The numbers are lm-eval's: same tokens, same truncation from
the left, same right padding without a mask, same log-softmax in the logits' own type. What is saved on the way changes
no number: inputs that two options share run once, and logits are made for the options' positions only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import log_softmax

from .arms import Arms
from .encode import encode_pair
from .request import ARMS, Arm, OptionScores, Request, Scoring

ROWS_PER_PASS = 16


def score_options(
    arms: Arms, tokenizer: Any, request: Request, limit: int, asked: Sequence[Arm] = ARMS
) -> dict[Arm, OptionScores]:
    """The arms' ratings of one request's options, by passes of their own."""
    pairs = [encode_pair(tokenizer, request.prompt, choice) for choice in request.choices]
    sums: dict[Arm, list[float]] = {}
    for together in (asked,) if arms.together else tuple((arm,) for arm in asked):
        sums |= _loglikelihoods(arms, together, pairs, limit)
    return {arm: rate(sums[arm], request.choices, request.scoring) for arm in asked}


def rate(
    loglikelihoods: Sequence[float],
    choices: Sequence[str],
    scoring: Scoring,
    *,
    from_endpoint: bool = False,
) -> OptionScores:
    """lm-eval's choice (`acc` for letters, `acc_norm` for texts), and the softmax over what it compares."""
    lengths = [len(choice) if scoring == "text" else 1 for choice in choices]
    compared = [value / length for value, length in zip(loglikelihoods, lengths, strict=True)]
    best = max(compared)
    weights = [math.exp(value - best) for value in compared]
    total = sum(weights)
    return OptionScores(
        loglikelihoods=tuple(loglikelihoods),
        shares=tuple(weight / total for weight in weights),
        chosen=compared.index(best),
        mass=min(1.0, sum(math.exp(value) for value in loglikelihoods)),
        from_endpoint=from_endpoint,
    )


@torch.inference_mode()
def _loglikelihoods(
    arms: Arms, asked: Sequence[Arm], pairs: Sequence[tuple[list[int], list[int]]], limit: int
) -> dict[Arm, list[float]]:
    inputs = [tuple((context + continuation)[-(limit + 1) :][:-1]) for context, continuation in pairs]
    targets = [continuation[-limit:] for _, continuation in pairs]
    rows = [(arm, tokens) for arm in asked for tokens in dict.fromkeys(inputs)]
    found: dict[tuple[Arm, int], float] = {}
    for start in range(0, len(rows), ROWS_PER_PASS):
        part = rows[start : start + ROWS_PER_PASS]
        width = max(len(tokens) for _, tokens in part)
        first = min(len(i) - len(t) for i, t in zip(inputs, targets, strict=True))
        with arms.speak([arm for arm, _ in part]) as (model, extra):
            logits = model(
                input_ids=torch.tensor([[*tokens, *[0] * (width - len(tokens))] for _, tokens in part]).to(
                    model.device
                ),
                logits_to_keep=width - first,
                use_cache=False,
                **extra,
            ).logits
        # A model that knows no `logits_to_keep` returns all positions; count from the end either way.
        offset = width - logits.shape[1]
        logs = log_softmax(logits, dim=-1)
        for row, (arm, tokens) in enumerate(part):
            for option, target in enumerate(targets):
                if inputs[option] == tokens:
                    begin = len(tokens) - len(target) - offset
                    span = logs[row, begin : begin + len(target)]
                    wanted = torch.tensor(target, device=span.device).unsqueeze(-1)
                    found[arm, option] = float(span.gather(-1, wanted).sum())
    return {arm: [found[arm, option] for option in range(len(pairs))] for arm in asked}
