"""Which questions are listed, in which order: filters over the examination's numbers. Nothing is generated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from medalpaca_data.exams.item import Item

from ..results import Results, Seen

Kind = Literal["all", "disagree", "fixed", "broken", "wrong", "right", "unread"]
Order = Literal["exam", "up", "down"]
KINDS: dict[Kind, str] = {
    "all": "All",
    "disagree": "Models disagree",
    "fixed": "Fixed by tuning",
    "broken": "Broken by tuning",
    "wrong": "Both wrong",
    "right": "Both right",
    "unread": "Not parsed",
}
ORDERS: dict[Order, str] = {
    "exam": "exam order",
    "up": "most gained by tuning",
    "down": "most lost by tuning",
}
ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """What somebody asked to see. `step` and `subject` are empty for all."""

    kind: Kind = "all"
    step: str = ""
    subject: str = ""
    search: str = ""
    order: Order = "exam"
    page: int = 0

    def told(self, said: dict[str, str]) -> Filter:
        """The fields of the form, as far as they make sense; any change leads back to the first page."""
        kind = said.get("kind", self.kind)
        order = said.get("order", self.order)
        return Filter(
            kind=kind if kind in get_args(Kind) else "all",  # type: ignore[arg-type]
            step=said.get("step", self.step),
            subject=said.get("subject", self.subject),
            search=said.get("search", self.search)[:200],
            order=order if order in get_args(Order) else "exam",  # type: ignore[arg-type]
        )

    def turned(self, pages: int) -> Filter:
        """Some pages on or back."""
        return replace(self, page=max(0, self.page + pages))


@dataclass(frozen=True, slots=True)
class Line:
    """One question with both arms' examined answers; None where the examination has none."""

    index: int  # in the exam
    item: Item
    base: Seen | None
    tuned: Seen | None

    @property
    def key(self) -> int:
        """Index of the right option."""
        return list(self.item.options).index(self.item.answer)

    @property
    def gain(self) -> float | None:
        """How much more probability the tuned arm gives the key, as a share of 1."""
        if self.base is None or self.tuned is None:
            return None
        return self.tuned.shares[self.key] - self.base.shares[self.key]

    @property
    def kinds(self) -> frozenset[Kind]:
        """The filters that let it pass."""
        if self.base is None or self.tuned is None:
            return frozenset({"all", "unread"})
        found: set[Kind] = {"all"}
        if self.base.chosen != self.tuned.chosen:
            found.add("disagree")
        match self.base.chosen == self.key, self.tuned.chosen == self.key:
            case True, True:
                found.add("right")
            case False, False:
                found.add("wrong")
            case False, True:
                found.add("fixed")
            case _:
                found.add("broken")
        return frozenset(found)


def lines(items: Sequence[Item], results: Results) -> tuple[Line, ...]:
    """All of them, in the exam's order."""
    return tuple(
        Line(index, item, results.base.get(item.id), results.tuned.get(item.id))
        for index, item in enumerate(items)
    )


def select(listed: Iterable[Line], wanted: Filter) -> list[Line]:
    """The lines that pass, in the order asked for. What the examination did not ask has no gain and comes last."""
    found = [line for line in listed if wanted.kind in line.kinds and _passes(line.item, wanted)]
    if wanted.order == "exam":
        return found
    sign = -1 if wanted.order == "up" else 1
    return sorted(found, key=lambda line: (line.gain is None, sign * (line.gain or 0.0), line.index))


def _passes(item: Item, wanted: Filter) -> bool:
    if wanted.step and str(item.step) != wanted.step:
        return False
    if wanted.subject and item.subject != wanted.subject:
        return False
    words = wanted.search.casefold().split()
    text = " ".join(_texts(item)).casefold() if words else ""
    return all(word in text for word in words)


def _texts(item: Item) -> Iterator[str]:
    yield from (item.id, item.subject or "", item.question, *item.options.values())


def steps(items: Iterable[Item]) -> list[str]:
    """The steps there are."""
    return [str(step) for step in sorted({item.step for item in items if item.step is not None})]


def subjects(items: Iterable[Item]) -> list[str]:
    """The subjects there are."""
    return sorted({item.subject for item in items if item.subject})
