"""What rephrasing would take, before anybody is asked: rows, requests, tokens and, at a given price, money.

What rephrasing took, from the store: answers, tokens by the servers' own count and, at a given price, money.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import UserError
from .core.files import existing
from .rephrase.prompts import Price
from .rephrase.run import RowAttempts
from .rephrase.store import TokenTotals

if TYPE_CHECKING:
    from rich.console import Console

    from .shard import Shard
    from .stages.rephrase import RephraseStage


CHARACTERS_PER_TOKEN = 4  # to a token of English, as a rule of thumb
QUESTION_TOKENS = 40  # tokens of a question and the JSON around it
PROMPTS_PER_COUNT = 1_000  # prompts counted at once

TokenCounter = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """`first` is one try a row that is not in the store yet; `most` is every try, each as long as it may be."""

    rows: int
    requests: int  # first tries that differ from each other
    settled: int  # of these, by answers in the store
    to_send: int
    counted: str  # how tokens were counted
    first_prompt_tokens: int
    first_completion_tokens: int
    most_prompt_tokens: int
    most_completion_tokens: int
    price: Price | None

    def cost(self, *, most: bool = False) -> float | None:
        """In the price's currency; None without a price."""
        if most:
            return token_cost(self.price, self.most_prompt_tokens, self.most_completion_tokens)
        return token_cost(self.price, self.first_prompt_tokens, self.first_completion_tokens)


def token_cost(price: Price | None, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Of tokens at a price per million."""
    if price is None:
        return None
    return (price.input * prompt_tokens + price.output * completion_tokens) / 1e6


def estimate(stage: RephraseStage, shards: Sequence[Shard], root: Path) -> Estimate:
    """Of the rows in `shards`, those of the stage before. Nothing is sent; a tokenizer's path is taken from `root`."""
    asked = stage.asked
    if not asked.endpoints:
        raise UserError("rephrase: no endpoints in the recipe, so it is done by rule and takes no tokens")
    count, counted = _token_counter(asked.tokenizer, root)
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
            min(asked.max_tokens, QUESTION_TOKENS + (long if "answer" in one.prompt.asks else 0))
            for one, long in zip(open_rows, outputs, strict=True)
        )
        open_rows.clear()

    to_send = 0
    with stage.store() as store:
        for one in stage.tries(shards):
            rows += 1
            key = one.request(0).key
            if key in seen:
                continue
            seen.add(key)
            requests += 1
            if one.outcome(store.answer).next is not None:
                to_send += 1
                open_rows.append(one)
            if len(open_rows) == PROMPTS_PER_COUNT:
                add()
        add()
    return Estimate(
        rows=rows,
        requests=requests,
        settled=requests - to_send,
        to_send=to_send,
        counted=counted,
        first_prompt_tokens=sums[0],
        first_completion_tokens=sums[1],
        most_prompt_tokens=sums[0] * asked.tries,
        most_completion_tokens=to_send * asked.tries * asked.max_tokens,
        price=asked.price,
    )


def estimate_as_json(found: Estimate) -> dict[str, Any]:
    """The same for scripts."""
    price = found.price.model_dump() if found.price else None
    return {**asdict(found), "price": price, "first_cost": found.cost(), "most_cost": found.cost(most=True)}


def show_estimate(found: Estimate, console: Console) -> None:
    """The figures, and how they were come by."""
    console.print(f"rows to rephrase     {found.rows:>14,}")
    console.print(f"requests             {found.requests:>14,}  (equal rows are asked for once)")
    console.print(f"answered already     {found.settled:>14,}")
    console.print(f"to send              {found.to_send:>14,}")
    console.print(f"{'':<21}{'one try each':>14}  {'at the very most':>16}")
    for name in ("prompt_tokens", "completion_tokens"):
        first, most = getattr(found, f"first_{name}"), getattr(found, f"most_{name}")
        console.print(f"{name.replace('_', ' '):<21}{first:>14,}  {most:>16,}")
    if found.price is not None:
        console.print(f"{'cost':<21}{found.cost():>14,.4f}  {found.cost(most=True):>16,.4f}")
    console.print(f"tokens: {found.counted}, without the chat template's own")


def _token_counter(tokenizer: str | None, root: Path) -> tuple[TokenCounter, str]:
    """How tokens are counted, and how that is said."""
    if tokenizer is None:
        return (lambda texts: [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]), (
            f"one for every {CHARACTERS_PER_TOKEN} characters, a rule of thumb for English"
        )
    path = existing(root / Path(tokenizer).expanduser(), "tokenizer")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError("tokenizer: needs the package tokenizers; install it or leave the key out") from None
    try:
        counting = Tokenizer.from_str(json.dumps(json.loads(path.read_text(encoding="utf-8"))))
    except Exception:  # the library raises nothing narrower
        raise UserError(f"{path}: not a tokenizer.json") from None
    return (
        lambda texts: [len(one.ids) for one in counting.encode_batch(list(texts))]
    ), f"counted with {path.name}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Over all rows of a recipe, whenever they were asked for."""

    rows: int
    rephrased: int
    taken: TokenTotals
    refused: dict[str, int]  # answers that may not stand, by the kind of fault
    price: Price | None

    @property
    def cost(self) -> float | None:
        """In the price's currency; None without a price."""
        return token_cost(self.price, self.taken.prompt_tokens, self.taken.completion_tokens)


def usage(stage: RephraseStage, shards: Sequence[Shard]) -> Usage:
    """For the rows in `shards`, those of the stage before. Sends nothing."""
    if not stage.asked.endpoints:
        raise UserError("rephrase: no endpoints in the recipe, so it is done by rule and takes no tokens")
    rows = rephrased = 0
    refused: Counter[str] = Counter()
    keys: dict[str, None] = {}
    with stage.store() as store:
        for one in stage.tries(shards):
            found = one.outcome(store.answer)
            rows += 1
            rephrased += found.texts is not None
            if found.keys and found.keys[0] not in keys:
                refused.update(found.faults)
            keys.update(dict.fromkeys(found.keys))
        taken = store.taken(keys)
    return Usage(rows, rephrased, taken, dict(refused.most_common()), stage.asked.price)


def usage_as_json(found: Usage) -> dict[str, Any]:
    """The same for scripts."""
    return {**asdict(found), "price": found.price.model_dump() if found.price else None, "cost": found.cost}


def show_usage(found: Usage, console: Console) -> None:
    """The figures, and what answers were refused for."""
    console.print(f"rows rephrased       {found.rephrased:>14,} of {found.rows:,}")
    console.print(f"answers              {found.taken.answers:>14,}")
    console.print(f"prompt tokens        {found.taken.prompt_tokens:>14,}")
    console.print(f"completion tokens    {found.taken.completion_tokens:>14,}")
    if found.taken.uncounted:
        console.print(f"without a count      {found.taken.uncounted:>14,} answers, whose server does not say")
    if found.cost is not None:
        console.print(f"cost                 {found.cost:>14,.4f}")
    for reason, count in found.refused.items():
        console.print(f"refused              {count:>14,} answers: {reason}")
