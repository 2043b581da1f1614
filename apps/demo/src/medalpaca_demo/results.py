"""The examination's own numbers, item by item: read from two results of lm_eval, never made here.

Which questions are listed, in which order: filters over the examination's numbers. Nothing is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import exam_prompt_id
from medalpaca_evalharness.calibration import softmax
from medalpaca_evalharness.compare import Comparison, compare
from medalpaca_evalharness.results import Run, read_run
from medalpaca_evalharness.samples import Answer

from .endpoint import Address
from .job import Scoring
from .models import Pair


@dataclass(frozen=True, slots=True)
class Seen:
    """How one arm did on one item in the examination. `shares` are what the bars show."""

    shares: tuple[float, ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class Results:
    """Both arms on the exam's items, or in `trouble` why there is nothing to show. Items that were not asked
    are in neither mapping."""

    base: Mapping[str, Seen] = field(default_factory=dict)
    tuned: Mapping[str, Seen] = field(default_factory=dict)
    comparison: Comparison | None = None
    trouble: str = ""
    notes: tuple[str, ...] = ()


def load_results(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    """Read and compare two results; what does not belong to this exam is said in `trouble`, in one line."""
    try:
        return _load(base, tuned, exam, scoring, pair)
    except (UserError, CheckFailed) as error:
        return Results(trouble=str(error))


def _load(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    runs = read_run(base), read_run(tuned)
    comparison = compare(*runs)
    run = runs[0]
    if run.exam_sha256 != exam.sha256:
        raise UserError(
            f"results of another exam: they are of {run.exam} ({run.exam_sha256[:12]}), "
            f"and this is {exam.name} ({exam.sha256[:12]})"
        )
    if run.prompt_id != exam_prompt_id(scoring):
        raise UserError(
            f"results of another way of asking: {run.prompt_id}, and this page asks by "
            f"{exam_prompt_id(scoring)}; see --scoring"
        )
    notes = (*comparison.notes, *_strangers(runs, pair))
    return Results(_seen(runs[0]), _seen(runs[1]), comparison, notes=notes)


def _seen(run: Run) -> dict[str, Seen]:
    return {name: _of(answer) for name, answer in run.answers.items()}


def _of(answer: Answer) -> Seen:
    return Seen(softmax(answer.scores, answer.item_id), answer.scores.index(max(answer.scores)))


def _strangers(runs: tuple[Run, Run], pair: Pair) -> list[str]:
    """Results of other weights than those that answer on Compare."""
    base, tuned = runs
    unknown = [
        f"the {side} answers here come from an endpoint, and whether its weights are those examined is not known"
        for side, source in (("base", pair.base), ("fine-tuned", pair.adapter))
        if isinstance(source, Address)
    ]
    found = [
        f"the {side} results are of other weights ({examined[:8]}) than the ones loaded here ({here[:8]})"
        for side, examined, here in (
            ("base", base.base_sha256, pair.base_sha256),
            ("fine-tuned", tuned.adapter_sha256 or tuned.base_sha256, pair.adapter_sha256),
        )
        if examined and here and examined != here
    ]
    return unknown + found


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
