"""What rephrasing took, from the store: answers, tokens by the servers' own count and, at a given price, money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..ground.errors import UserError
from ..rephrase.settings import Price
from ..rephrase.store import Taken
from .estimate import cost

if TYPE_CHECKING:
    from rich.console import Console

    from ..shard import Shard
    from ..stages.rephrase import Rephrasing


@dataclass(frozen=True, slots=True)
class Spent:
    """Over all rows of a recipe, whenever they were asked for."""

    rows: int
    rephrased: int
    taken: Taken
    refused: dict[str, int]  # answers that may not stand, by the kind of fault
    price: Price | None

    @property
    def cost(self) -> float | None:
        """In the price's currency; None without a price."""
        return cost(self.price, self.taken.prompt_tokens, self.taken.completion_tokens)


def spent(stage: Rephrasing, shards: Sequence[Shard]) -> Spent:
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
    return Spent(rows, rephrased, taken, dict(refused.most_common()), stage.asked.price)


def as_json(found: Spent) -> dict[str, Any]:
    """The same for scripts."""
    return {**asdict(found), "price": found.price.model_dump() if found.price else None, "cost": found.cost}


def show(found: Spent, console: Console) -> None:
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
