"""Cost of rephrasing: an estimate before any request is sent, and the usage of the stored completions.

Both have numbers of rows and tokens and, if the recipe has a price, the cost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import UserError
from .core.files import existing
from .rephrase.prompts import Price

if TYPE_CHECKING:
    from rich.console import Console

    from .rephrase.run import RowAttempts
    from .rephrase.store import TokenTotals
    from .shard import Shard
    from .stages.rephrase import RephraseStage


# Used without a tokenizer: a rule of thumb for English.
CHARACTERS_PER_TOKEN = 4
# Estimated tokens of a completion without its answer: a question and the JSON around it.
QUESTION_TOKENS = 40
# Prompts whose tokens are counted at once.
PROMPTS_PER_COUNT = 1_000

TokenCounter = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated requests and tokens of rephrasing.

    rows: rows to rephrase.
    requests: different first requests of these rows; equal rows have the same.
    completed: requests with an accepted completion in the store, or with no attempt left; `to_send` are the others.
    counted: how tokens were counted, as text.
    first_*: tokens of one attempt for each request in `to_send`.
    most_*: tokens if all attempts are needed, with completions of maximal length.
    """

    rows: int
    requests: int
    completed: int
    to_send: int
    counted: str
    first_prompt_tokens: int
    first_completion_tokens: int
    most_prompt_tokens: int
    most_completion_tokens: int
    price: Price | None

    def cost(self, *, most: bool = False) -> float | None:
        """Return the estimated cost in the currency of the price, or None without a price."""
        if most:
            return token_cost(self.price, self.most_prompt_tokens, self.most_completion_tokens)
        return token_cost(self.price, self.first_prompt_tokens, self.first_completion_tokens)


def token_cost(price: Price | None, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Return the cost of tokens at a price per million, or None without a price."""
    if price is None:
        return None
    return (price.input * prompt_tokens + price.output * completion_tokens) / 1e6


def estimate(stage: RephraseStage, shards: Sequence[Shard], root: Path) -> Estimate:
    """Estimate the cost of rephrasing the rows in `shards`, the input of the stage. Sends nothing.

    A relative path of the tokenizer starts at `root`. Raises UserError if the recipe has no endpoints.
    """
    config = stage.config
    if not config.endpoints:
        raise UserError(
            "rephrase.endpoints: none in the recipe, so rows are rephrased by rules and no tokens are needed"
        )
    count, counted = _token_counter(config.tokenizer, root)
    rows = requests = 0
    open_rows: list[RowAttempts] = []
    seen: set[str] = set()
    sums = [0, 0]

    def add() -> None:
        prompts = count(
            ["\n".join(m["content"] for m in one.prompt.messages(one.texts)) for one in open_rows]
        )
        outputs = count([one.texts["output"] for one in open_rows])
        sums[0] += sum(prompts)
        sums[1] += sum(
            min(config.max_tokens, QUESTION_TOKENS + (long if "answer" in one.prompt.asks else 0))
            for one, long in zip(open_rows, outputs, strict=True)
        )
        open_rows.clear()

    to_send = 0
    with stage.store() as store:
        for one in stage.attempts(shards):
            rows += 1
            key = one.request(0).key
            if key in seen:
                continue
            seen.add(key)
            requests += 1
            if one.outcome(store.completion).next is not None:
                to_send += 1
                open_rows.append(one)
            if len(open_rows) == PROMPTS_PER_COUNT:
                add()
        add()
    return Estimate(
        rows=rows,
        requests=requests,
        completed=requests - to_send,
        to_send=to_send,
        counted=counted,
        first_prompt_tokens=sums[0],
        first_completion_tokens=sums[1],
        most_prompt_tokens=sums[0] * config.tries,
        most_completion_tokens=to_send * config.tries * config.max_tokens,
        price=config.price,
    )


def estimate_as_json(result: Estimate) -> dict[str, Any]:
    """Return the result of `data rephrase --estimate` as a JSON object: requests, tokens, price and cost."""
    return {
        "rows": result.rows,
        "requests": result.requests,
        "settled": result.completed,
        "to_send": result.to_send,
        "counted": result.counted,
        "first_prompt_tokens": result.first_prompt_tokens,
        "first_completion_tokens": result.first_completion_tokens,
        "most_prompt_tokens": result.most_prompt_tokens,
        "most_completion_tokens": result.most_completion_tokens,
        "price": result.price.model_dump() if result.price else None,
        "first_cost": result.cost(),
        "most_cost": result.cost(most=True),
    }


def show_estimate(result: Estimate, console: Console) -> None:
    """Print the estimate and how tokens were counted."""
    console.print(f"rows to rephrase     {result.rows:>14,}")
    console.print(f"requests             {result.requests:>14,}  (equal rows are requested once)")
    console.print(f"already completed    {result.completed:>14,}")
    console.print(f"to send              {result.to_send:>14,}")
    console.print(f"{'':<21}{'one attempt':>14}  {'all attempts':>16}")
    for name in ("prompt_tokens", "completion_tokens"):
        first, most = getattr(result, f"first_{name}"), getattr(result, f"most_{name}")
        console.print(f"{name.replace('_', ' '):<21}{first:>14,}  {most:>16,}")
    if result.price is not None:
        console.print(f"{'cost':<21}{result.cost():>14,.4f}  {result.cost(most=True):>16,.4f}")
    console.print(f"tokens: {result.counted}, without those of the chat template")


def _token_counter(tokenizer: str | None, root: Path) -> tuple[TokenCounter, str]:
    """Return the function that counts tokens, and its description. Raises UserError if the tokenizer cannot be read."""
    if tokenizer is None:
        return (lambda texts: [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]), (
            f"one for every {CHARACTERS_PER_TOKEN} characters, a rule of thumb for English"
        )
    path = existing(root / Path(tokenizer).expanduser(), "tokenizer")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(
            "rephrase.tokenizer needs the package tokenizers, which is not installed; install it or remove the key"
        ) from None
    try:
        counting = Tokenizer.from_str(json.dumps(json.loads(path.read_text(encoding="utf-8"))))
    # The library raises no narrower class.
    except Exception:
        raise UserError(f"{path}: not a tokenizer.json of the package tokenizers") from None
    return (
        lambda texts: [len(one.ids) for one in counting.encode_batch(list(texts))]
    ), f"counted with {path.name}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Completions and tokens for all rows of a recipe, from this and earlier runs.

    rows: rows to rephrase, of which `rephrased` have an accepted completion.
    refused: number of completions that were not accepted, by reason.
    """

    rows: int
    rephrased: int
    totals: TokenTotals
    refused: dict[str, int]
    price: Price | None

    @property
    def cost(self) -> float | None:
        """Return the cost in the currency of the price, or None without a price."""
        return token_cost(self.price, self.totals.prompt_tokens, self.totals.completion_tokens)


def usage(stage: RephraseStage, shards: Sequence[Shard]) -> Usage:
    """Return the usage for the rows in `shards`, the input of the stage. Sends nothing.

    Raises UserError if the recipe has no endpoints.
    """
    if not stage.config.endpoints:
        raise UserError(
            "rephrase.endpoints: none in the recipe, so rows are rephrased by rules and no tokens are needed"
        )
    rows = rephrased = 0
    refused: Counter[str] = Counter()
    keys: dict[str, None] = {}
    with stage.store() as store:
        for one in stage.attempts(shards):
            outcome = one.outcome(store.completion)
            rows += 1
            rephrased += outcome.texts is not None
            if outcome.keys and outcome.keys[0] not in keys:
                refused.update(outcome.faults)
            keys.update(dict.fromkeys(outcome.keys))
        totals = store.totals(keys)
    return Usage(rows, rephrased, totals, dict(refused.most_common()), stage.config.price)


def usage_as_json(result: Usage) -> dict[str, Any]:
    """Return completions, tokens, refusals and cost of rephrasing as a JSON object, a part of `data build --json`."""
    return {
        "rows": result.rows,
        "rephrased": result.rephrased,
        "taken": {
            "answers": result.totals.completions,
            "prompt_tokens": result.totals.prompt_tokens,
            "completion_tokens": result.totals.completion_tokens,
            "uncounted": result.totals.uncounted,
        },
        "refused": dict(result.refused),
        "price": result.price.model_dump() if result.price else None,
        "cost": result.cost,
    }


def show_usage(result: Usage, console: Console) -> None:
    """Print the usage and the reasons of refused completions."""
    console.print(f"rows rephrased       {result.rephrased:>14,} of {result.rows:,}")
    console.print(f"completions          {result.totals.completions:>14,}")
    console.print(f"prompt tokens        {result.totals.prompt_tokens:>14,}")
    console.print(f"completion tokens    {result.totals.completion_tokens:>14,}")
    if result.totals.uncounted:
        console.print(
            f"without a count      {result.totals.uncounted:>14,} completions, because the server gives none"
        )
    if result.cost is not None:
        console.print(f"cost                 {result.cost:>14,.4f}")
    for reason, count in result.refused.items():
        console.print(f"refused              {count:>14,} completions: {reason}")
