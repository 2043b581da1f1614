"""Existing lm-eval results of both models, item by item, and the filters of Browse. No model runs here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item, exam_prompt_id
from medalpaca_evalharness.calibration import softmax
from medalpaca_evalharness.comparison import Comparison, compare
from medalpaca_evalharness.endpoint import Endpoint
from medalpaca_evalharness.results import Run, read_run
from medalpaca_evalharness.samples import Answer

from .job import Scoring
from .models import Pair


@dataclass(frozen=True, slots=True)
class ItemResult:
    """Logged answer of one model to one item: softmax of the options' scores, and index of the chosen option."""

    shares: tuple[float, ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class Results:
    """Results of both models by item id, and their comparison.

    `comparison` is None without results. `error` explains why results cannot be shown, and is empty otherwise. Items
    without a logged answer are missing in the mappings. `notes` are remarks on the comparison and on the weights.
    """

    base: Mapping[str, ItemResult] = field(default_factory=dict)
    tuned: Mapping[str, ItemResult] = field(default_factory=dict)
    comparison: Comparison | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


def load_results(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    """Return two lm-eval results and their comparison.

    If they cannot be read or compared, or do not fit exam or prompt, only `error` is set, with the reason in one line.
    """
    try:
        return _load(base, tuned, exam, scoring, pair)
    except (UserError, CheckFailed) as error:
        return Results(error=str(error))


def _load(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    runs = read_run(base), read_run(tuned)
    comparison = compare(*runs)
    run = runs[0]
    if run.exam_sha256 != exam.sha256:
        raise UserError(
            f"results of another exam: they belong to {run.exam} ({run.exam_sha256[:12]}), "
            f"and the page shows {exam.name} ({exam.sha256[:12]}); choose another --exam or --results"
        )
    if run.prompt_id != exam_prompt_id(scoring):
        raise UserError(
            f"results of another prompt: they were made with {run.prompt_id}, and the page uses "
            f"{exam_prompt_id(scoring)}; choose the other value of --scoring"
        )
    notes = (*comparison.notes, *_weights_notes(runs, pair))
    return Results(_item_results(runs[0]), _item_results(runs[1]), comparison, notes=notes)


def _item_results(run: Run) -> dict[str, ItemResult]:
    return {name: _item_result(answer) for name, answer in run.answers.items()}


def _item_result(answer: Answer) -> ItemResult:
    return ItemResult(softmax(answer.scores, answer.item_id), answer.scores.index(max(answer.scores)))


def _weights_notes(runs: tuple[Run, Run], pair: Pair) -> list[str]:
    """Return notes on results that belong to other weights than those that answer in Compare."""
    base, tuned = runs
    unknown = [
        f"the {side} model is behind an endpoint; whether it has the weights of these results is not known"
        for side, source in (("base", pair.base), ("fine-tuned", pair.adapter))
        if isinstance(source, Endpoint)
    ]
    different = [
        f"the {side} results are of other weights ({logged[:8]}) than the loaded model ({loaded[:8]})"
        for side, logged, loaded in (
            ("base", base.base_sha256, pair.base_sha256),
            ("fine-tuned", tuned.adapter_sha256 or tuned.base_sha256, pair.adapter_sha256),
        )
        if logged and loaded and logged != loaded
    ]
    return unknown + different


FilterKind = Literal["all", "disagree", "fixed", "broken", "wrong", "right", "unread"]
SortOrder = Literal["exam", "up", "down"]
KIND_LABELS: dict[FilterKind, str] = {
    "all": "All",
    "disagree": "Models disagree",
    "fixed": "Fixed by tuning",
    "broken": "Broken by tuning",
    "wrong": "Both wrong",
    "right": "Both right",
    "unread": "No answer",
}
ORDER_LABELS: dict[SortOrder, str] = {
    "exam": "exam order",
    "up": "largest gain by tuning first",
    "down": "largest loss by tuning first",
}
ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """Filter, sort order and page of the list in Browse. `step` and `subject` are empty for all.

    `search` has words that all must occur in id, subject, question or options. `page` counts from 0.
    """

    kind: FilterKind = "all"
    step: str = ""
    subject: str = ""
    search: str = ""
    order: SortOrder = "exam"
    page: int = 0

    def update(self, fields: dict[str, str]) -> Filter:
        """Return the filter with the form's fields, on the first page; an invalid kind or order becomes the default."""
        kind = fields.get("kind", self.kind)
        order = fields.get("order", self.order)
        return Filter(
            kind=kind if kind in get_args(FilterKind) else "all",  # type: ignore[arg-type]
            step=fields.get("step", self.step),
            subject=fields.get("subject", self.subject),
            search=fields.get("search", self.search)[:200],
            order=order if order in get_args(SortOrder) else "exam",  # type: ignore[arg-type]
        )

    def move_page(self, pages: int) -> Filter:
        """Return the filter `pages` pages later, or earlier if negative, but not before the first page."""
        return replace(self, page=max(0, self.page + pages))


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One question with the logged answer of each model, None if there is none. `index` is its position in the exam."""

    index: int
    item: Item
    base: ItemResult | None
    tuned: ItemResult | None

    @property
    def key_index(self) -> int:
        """Index of the correct option."""
        return list(self.item.options).index(self.item.answer)

    @property
    def gain(self) -> float | None:
        """Share of the correct option, tuned minus base, between -1 and 1; None without both answers."""
        if self.base is None or self.tuned is None:
            return None
        return self.tuned.shares[self.key_index] - self.base.shares[self.key_index]

    @property
    def kinds(self) -> frozenset[FilterKind]:
        """Filter kinds that include this question."""
        if self.base is None or self.tuned is None:
            return frozenset({"all", "unread"})
        kinds: set[FilterKind] = {"all"}
        if self.base.chosen != self.tuned.chosen:
            kinds.add("disagree")
        match self.base.chosen == self.key_index, self.tuned.chosen == self.key_index:
            case True, True:
                kinds.add("right")
            case False, False:
                kinds.add("wrong")
            case False, True:
                kinds.add("fixed")
            case _:
                kinds.add("broken")
        return frozenset(kinds)


def list_items(items: Sequence[Item], results: Results) -> tuple[ItemRow, ...]:
    """Return all questions with their logged answers, in the exam's order."""
    return tuple(
        ItemRow(index, item, results.base.get(item.id), results.tuned.get(item.id))
        for index, item in enumerate(items)
    )


def filter_items(rows: Iterable[ItemRow], filter_: Filter) -> list[ItemRow]:
    """Return the rows that pass the filter, sorted. If sorted by gain, rows without one come last.

    The page number is not applied.
    """
    passing = [row for row in rows if filter_.kind in row.kinds and _passes(row.item, filter_)]
    if filter_.order == "exam":
        return passing
    sign = -1 if filter_.order == "up" else 1
    return sorted(passing, key=lambda row: (row.gain is None, sign * (row.gain or 0.0), row.index))


def _passes(item: Item, filter_: Filter) -> bool:
    if filter_.step and str(item.step) != filter_.step:
        return False
    if filter_.subject and item.subject != filter_.subject:
        return False
    words = filter_.search.casefold().split()
    text = " ".join(_texts(item)).casefold() if words else ""
    return all(word in text for word in words)


def _texts(item: Item) -> Iterator[str]:
    yield from (item.id, item.subject or "", item.question, *item.options.values())


def list_subjects(items: Iterable[Item]) -> list[str]:
    """Return the exam's subjects, sorted."""
    return sorted({item.subject for item in items if item.subject})
