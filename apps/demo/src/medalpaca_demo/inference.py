"""Log-likelihoods of the options, equal to lm-eval's, and streaming of the written answers.

Each prompt is read once (`run_prefill`); the scores of the options and the start of the answer come from that pass.
In letter scoring, the letters' log-likelihoods are in its last logits. In text scoring, further
passes read the options after the cached prompts, 32 options per pass (`option_loglikelihoods`).

If an option's tokens do not continue the prompt's tokens, `find_option_tokens` returns None, and `score_options`
encodes prompt and option together, as lm-eval does. Reasons: the tokenizer merges characters across the boundary, or
lm-eval would cut off the beginning of the input.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import log_softmax
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from .job import REFRESH_SECONDS, SIDES, Answer, EndReason, Job, OptionScores, Request, Scoring, Side
from .sides import ModelCall, ModelPair

LM_EVAL_DEFAULT_LENGTH = 2048
# The value of `model_max_length` that transformers uses for "no limit known".
UNSET_LENGTH = 1000000000000000019884624838656
# Options in one pass after the prefill. Each of them needs a copy of its prompt's cache.
OPTION_BATCH_SIZE = 32
# Rows in one pass of `score_options`.
SCORE_BATCH_SIZE = 16
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text, as lm-eval's `HFLM.tok_encode`: with special tokens, but one BOS at most."""
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if prefix is not None and text.startswith(tokenizer.decode([prefix])):
        return list(tokenizer.encode(text, add_special_tokens=False))
    return list(tokenizer.encode(text))


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Return the token ids of context and continuation, encoded as one text, as lm-eval's `HFLM._encode_pair`.

    Spaces at the end of the context become part of the continuation.
    """
    bare = context.rstrip()
    both = encode(tokenizer, context + continuation)
    before = encode(tokenizer, bare)
    return before, both[len(before) :]


def max_length(config: Any, tokenizer: Any) -> int:
    """Return the longest input of the model in tokens, found in the same order as in lm-eval."""
    config = getattr(config, "text_config", None) or config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if (value := getattr(config, name, None)) is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return int(value) if value is not None and value != UNSET_LENGTH else LM_EVAL_DEFAULT_LENGTH


@dataclass(frozen=True, slots=True)
class OptionTokens:
    """Tokens of one option after the prompt.

    lm-eval counts the last `in_prompt` tokens of the prompt as part of the option; `tokens` are the tokens after it.
    """

    in_prompt: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefill:
    """Result of one pass over the prompts.

    `ids` and `mask` are left-padded, of shape (rows, width). `logits` (rows, kept, vocabulary) are those of the last
    positions of each row. `cache` holds keys and values of all positions.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    cache: Any

    def select(self, rows: Sequence[int]) -> Prefill:
        """Return the given rows only. The cache is changed in place, so this object cannot be used afterwards."""
        chosen = torch.tensor(rows, device=self.ids.device)
        self.cache.batch_select_indices(chosen)
        return Prefill(self.ids[chosen], self.mask[chosen], self.logits[chosen], self.cache)

    def cache_for_generation(self) -> Any:
        """Return the cache, cropped in place by one token, as `generate` needs it; None if it cannot be cropped."""
        try:
            self.cache.crop(-1)
        except (AttributeError, NotImplementedError, ValueError):
            return None
        return self.cache


def find_option_tokens(
    tokenizer: Any, request: Request, prompt: Sequence[int], limit: int
) -> tuple[OptionTokens, ...] | None:
    """Split each option's tokens into those inside and those after the prompt.

    Returns None if the tokens of an option do not continue the prompt, or exceed `limit` tokens.
    """
    options = []
    for choice in request.choices:
        context, continuation = encode_pair(tokenizer, request.prompt, choice)
        both = context + continuation
        fits = len(both) - 1 <= limit and len(context) <= len(prompt) < len(both)
        if not fits or both[: len(prompt)] != list(prompt):
            return None
        options.append(OptionTokens(len(prompt) - len(context), tuple(both[len(prompt) :])))
    return tuple(options)


def run_prefill(call: ModelCall, prompts: Sequence[Sequence[int]], pad: int, keep: int) -> Prefill:
    """Return the result of one pass over all prompts, with the logits of the last `keep` positions.

    `pad` is the token id that fills shorter prompts on the left.
    """
    model, extra = call
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
    # A model without `logits_to_keep` returns all positions.
    return Prefill(ids, mask, out.logits[:, -keep:], out.past_key_values)


def option_loglikelihoods(
    call: ModelCall,
    prefill: Prefill,
    options: Sequence[Sequence[OptionTokens]],
    prompts: Sequence[Sequence[int]],
) -> list[list[float]]:
    """Return for each row the log-likelihoods of its options in nats; an empty list for a row without options.

    `options` and `prompts` have one entry for each row of `prefill`.
    """
    logs = log_softmax(prefill.logits, dim=-1)
    sums = [
        [_sum_in_prefill(logs[row], prompts[row], option) for option in row_options]
        for row, row_options in enumerate(options)
    ]
    longer = [
        (row, number, option.tokens)
        for row, row_options in enumerate(options)
        for number, option in enumerate(row_options)
        if len(option.tokens) > 1
    ]
    for start in range(0, len(longer), OPTION_BATCH_SIZE):
        part = longer[start : start + OPTION_BATCH_SIZE]
        for (row, number, _), value in zip(part, _sum_after_prefill(call, prefill, part), strict=True):
            sums[row][number] += value
    return sums


def _sum_in_prefill(logs: torch.Tensor, prompt: Sequence[int], option: OptionTokens) -> float:
    """Sum the log-probabilities of an option's tokens inside the prompt and of the first one after it."""
    first = len(prompt) - option.in_prompt
    targets = [*prompt[first:], option.tokens[0]]
    return float(sum(logs[n - len(targets), token] for n, token in enumerate(targets)))


def _sum_after_prefill(
    call: ModelCall, prefill: Prefill, part: Sequence[tuple[int, int, tuple[int, ...]]]
) -> list[float]:
    """Sum the log-probabilities of all tokens but the first; `part` holds (row, option number, tokens)."""
    model, extra = call
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
        float(sum(logs[n, position, token] for position, token in enumerate(tokens[1:])))
        for n, (_, _, tokens) in enumerate(part)
    ]


def score_options(
    pair: ModelPair, tokenizer: Any, request: Request, limit: int, sides: Sequence[Side] = SIDES
) -> dict[Side, OptionScores]:
    """Return the scores of one request's options by side, computed without a prefill, as in lm-eval.

    Same tokens, truncation from the left to `limit` tokens, right padding without a mask, and log-softmax in the
    logits' dtype. Inputs that several options share are computed once, and logits only where they are needed.
    """
    pairs = [encode_pair(tokenizer, request.prompt, choice) for choice in request.choices]
    sums: dict[Side, list[float]] = {}
    for batch in (sides,) if pair.shares_batch else tuple((side,) for side in sides):
        sums |= _loglikelihoods(pair, batch, pairs, limit)
    return {side: compute_option_scores(sums[side], request.choices, request.scoring) for side in sides}


def compute_option_scores(
    loglikelihoods: Sequence[float],
    choices: Sequence[str],
    scoring: Scoring,
    *,
    from_endpoint: bool = False,
) -> OptionScores:
    """Return the scores of options with these log-likelihoods in nats.

    Letters are compared by their log-likelihood (lm-eval's `acc`), texts by their log-likelihood per character
    (`acc_norm`). The option with the highest value is chosen; the shares are the softmax over these values.
    """
    lengths = [len(choice) if scoring == "text" else 1 for choice in choices]
    compared = [value / length for value, length in zip(loglikelihoods, lengths, strict=True)]
    best = max(compared)
    weights = [math.exp(value - best) for value in compared]
    total = sum(weights)
    return OptionScores(
        loglikelihoods=tuple(loglikelihoods),
        shares=tuple(weight / total for weight in weights),
        chosen=compared.index(best),
        total_probability=min(1.0, sum(math.exp(value) for value in loglikelihoods)),
        from_endpoint=from_endpoint,
    )


@torch.inference_mode()
def _loglikelihoods(
    pair: ModelPair, sides: Sequence[Side], pairs: Sequence[tuple[list[int], list[int]]], limit: int
) -> dict[Side, list[float]]:
    inputs = [tuple((context + continuation)[-(limit + 1) :][:-1]) for context, continuation in pairs]
    targets = [continuation[-limit:] for _, continuation in pairs]
    rows = [(side, tokens) for side in sides for tokens in dict.fromkeys(inputs)]
    sums: dict[tuple[Side, int], float] = {}
    for start in range(0, len(rows), SCORE_BATCH_SIZE):
        part = rows[start : start + SCORE_BATCH_SIZE]
        width = max(len(tokens) for _, tokens in part)
        first = min(len(i) - len(t) for i, t in zip(inputs, targets, strict=True))
        with pair.activate([side for side, _ in part]) as (model, extra):
            logits = model(
                input_ids=torch.tensor([[*tokens, *[0] * (width - len(tokens))] for _, tokens in part]).to(
                    model.device
                ),
                logits_to_keep=width - first,
                use_cache=False,
                **extra,
            ).logits
        # A model without `logits_to_keep` returns all positions; count from the end in both cases.
        offset = width - logits.shape[1]
        logs = log_softmax(logits, dim=-1)
        for row, (side, tokens) in enumerate(part):
            for option, target in enumerate(targets):
                if inputs[option] == tokens:
                    begin = len(tokens) - len(target) - offset
                    span = logs[row, begin : begin + len(target)]
                    target_ids = torch.tensor(target, device=span.device).unsqueeze(-1)
                    sums[side, option] = float(span.gather(-1, target_ids).sum())
    return {side: [sums[side, option] for option in range(len(pairs))] for side in sides}


@dataclass(eq=False)
class BatchRow:
    """One side of one job in a batch. `limit` is the largest number of new tokens; 0 means that nothing is written.

    `tokens` are those written so far, `seconds` the time that they took; `ended` is None while the model writes.
    """

    job: Job
    side: Side
    limit: int
    prompt: tuple[int, ...] = ()
    options: tuple[OptionTokens, ...] = ()
    tokens: list[int] = field(default_factory=list)
    ended: EndReason | None = None
    seconds: float = 0.0

    def answer(self, tokenizer: Any) -> Answer:
        """Return the answer so far as text. A character of several bytes appears once all its bytes have arrived."""
        text = tokenizer.decode(self.tokens, skip_special_tokens=True)
        if self.ended is None:
            text = text.rstrip(REPLACEMENT)
        return Answer(text=text, tokens=len(self.tokens), seconds=self.seconds, ended=self.ended)


class BatchStreamer(BaseStreamer):
    """Streamer that gives each row of a batch its tokens; transformers' own streamers serve one row only.

    `eos` are the token ids that end an answer; `publish` receives the rows when the page is to show new text.
    It never raises into `generate`, which would leave peft's hooks on the model. An exception is kept in `error`,
    `StopRows` then stops all rows, and the engine reports the error.
    """

    def __init__(
        self, rows: Sequence[BatchRow], eos: Collection[int], publish: Callable[[Sequence[BatchRow]], None]
    ) -> None:
        self.rows = rows
        self.error: Exception | None = None
        self._eos = eos
        self._publish = publish
        self._prompt_seen = False
        self._began = time.perf_counter()
        self._published = 0.0

    def put(self, value: torch.Tensor) -> None:
        """Receive the prompts in the first call, then one token for each row."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        try:
            self._take(value.tolist())
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Do nothing: every token has been published already."""

    def _take(self, tokens: list[int]) -> None:
        now = time.perf_counter()
        ended = False
        for row, token in zip(self.rows, tokens, strict=True):
            # `generate` pads rows that have ended.
            if row.ended is not None:
                continue
            row.seconds = now - self._began
            if row.job.cancelled.is_set():
                row.ended = "stopped"
            elif token in self._eos:
                row.ended = "end"
            else:
                row.tokens.append(token)
                if len(row.tokens) >= row.limit:
                    row.ended = "length"
            ended = ended or row.ended is not None
        if ended or now - self._published >= REFRESH_SECONDS:
            self._published = now
            self._publish(self.rows)


class StopRows(StoppingCriteria):
    """Stops a row that has ended or was cancelled, and all rows if the streamer has failed."""

    def __init__(self, stream: BatchStreamer) -> None:
        self._stream = stream

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        failed = self._stream.error is not None
        stop = [failed or row.ended is not None or row.job.cancelled.is_set() for row in self._stream.rows]
        return torch.tensor(stop, device=input_ids.device)
