"""Text to tokens as lm-eval's `HFLM` does it, so that demo and examination ask the same thing.

Read the prompts once, and take from that reading both the options' ratings and the start of the answers.

Where the exam scores letters, a letter's log-likelihood stands in the prefill's last logits. Where it scores texts,
the options of all rows are read in one more pass that continues from the prefill's cache, so that no prompt is read
once per option. The numbers are lm-eval's for the item; where its tokens do not continue the prompt's (a tokenizer that
merges over the seam, an input that it would cut), `follow` gives None, and `score.py` asks as lm-eval does.

Log-likelihoods of the options under base and tuned by passes of their own, and the shares that the bars show.

For options that `prefill.py` cannot read off the prompt. The numbers are lm-eval's: same tokens, same truncation from
the left, same right padding without a mask, same log-softmax in the logits' own type. What is saved on the way changes
no number: inputs that two options share run once, and logits are made for the options' positions only.

Tokens out of one `generate` call to the rows they belong to, and the per-row stop that goes back in.

`TextIteratorStreamer` serves one row; a mixed batch has two per user. Nothing here may raise into `generate`:
that is what leaves peft's hooks behind, so a failure is kept, every row is stopped, and the engine reports it
afterwards.
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

from .job import ARMS, REDRAW_SECONDS, Answer, Arm, Ended, Job, OptionScores, Request, Scoring
from .sides import Arms, Voice

LM_EVAL_DEFAULT_LENGTH = 2048
UNSET_LENGTH = 1000000000000000019884624838656  # what transformers writes for "no limit known"


def encode(tokenizer: Any, text: str) -> list[int]:
    """`HFLM.tok_encode`: special tokens as the tokenizer adds them, but never a second BOS."""
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if prefix is not None and text.startswith(tokenizer.decode([prefix])):
        return list(tokenizer.encode(text, add_special_tokens=False))
    return list(tokenizer.encode(text))


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """`HFLM._encode_pair`: space at the context's end goes to the continuation; encode whole, then cut."""
    bare = context.rstrip()
    whole = encode(tokenizer, context + continuation)
    before = encode(tokenizer, bare)
    return before, whole[len(before) :]


def max_length(config: Any, tokenizer: Any) -> int:
    """The longest input the model takes, looked for where lm-eval looks for it."""
    config = getattr(config, "text_config", None) or config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if (value := getattr(config, name, None)) is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return int(value) if value is not None and value != UNSET_LENGTH else LM_EVAL_DEFAULT_LENGTH


PREFILL_ROWS = 32  # of options; each carries a copy of its prompt's cache


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
    for start in range(0, len(longer), PREFILL_ROWS):
        part = longer[start : start + PREFILL_ROWS]
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


SCORE_ROWS = 16


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
    for start in range(0, len(rows), SCORE_ROWS):
        part = rows[start : start + SCORE_ROWS]
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


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class Row:
    """One arm of one job inside a batch."""

    job: Job
    arm: Arm
    limit: int
    prompt: tuple[int, ...] = ()
    tails: tuple[Tail, ...] = ()
    tokens: list[int] = field(default_factory=list)
    ended: Ended | None = None
    seconds: float = 0.0

    def answer(self, tokenizer: Any) -> Answer:
        """The row as the page sees it."""
        text = tokenizer.decode(self.tokens, skip_special_tokens=True)
        if self.ended is None:
            # A character of several bytes may have arrived in part; show it when it is whole.
            text = text.rstrip(REPLACEMENT)
        return Answer(text=text, tokens=len(self.tokens), seconds=self.seconds, ended=self.ended)


class FanOut(BaseStreamer):
    """Gives each row its token and publishes now and then."""

    def __init__(
        self, rows: Sequence[Row], eos: Collection[int], publish: Callable[[Sequence[Row]], None]
    ) -> None:
        self.rows = rows
        self.error: Exception | None = None
        self._eos = eos
        self._publish = publish
        self._prompt_seen = False
        self._began = time.perf_counter()
        self._published = 0.0

    def put(self, value: torch.Tensor) -> None:
        """The prompts once, then one token per row and step."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        try:
            self._take(value.tolist())
        except Exception as error:  # see the module's docstring
            self.error = error

    def end(self) -> None:
        """Nothing is held back, so nothing is left."""

    def _take(self, tokens: list[int]) -> None:
        now = time.perf_counter()
        ended = False
        for row, token in zip(self.rows, tokens, strict=True):
            if row.ended is not None:
                continue  # `generate` pads finished rows
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
        if ended or now - self._published >= REDRAW_SECONDS:
            self._published = now
            self._publish(self.rows)


class StopRows(StoppingCriteria):
    """Ends a row whose user has left or whose limit is reached, and all rows once the stream has failed."""

    def __init__(self, stream: FanOut) -> None:
        self._stream = stream

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """One flag per row."""
        failed = self._stream.error is not None
        stop = [failed or row.ended is not None or row.job.cancelled.is_set() for row in self._stream.rows]
        return torch.tensor(stop, device=input_ids.device)
