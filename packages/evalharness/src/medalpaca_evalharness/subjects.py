"""Items by subject, for the tables of `exam show`, `exam compare`, `exam report` and the demo."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from .samples import Answer
from .statistics import holm
from .task_data import MEDQA_PARTS

# Below this number of items, a subject has counts only: no interval, no test.
MIN_ITEMS = 30
NO_SUBJECT = "no subject"


class Testable(Protocol):
    """A row of a table with a number of items and a p-value."""

    @property
    def n(self) -> int: ...

    @property
    def p(self) -> float: ...


class Sized(Protocol):
    """A row of a table with a label and a number of items."""

    @property
    def label(self) -> str: ...

    @property
    def n(self) -> int: ...


TestableRow = TypeVar("TestableRow", bound=Testable)
SizedRow = TypeVar("SizedRow", bound=Sized)


def items_by_subject(answers: Iterable[Answer]) -> dict[str, list[str]]:
    """Return the item ids of each subject, sorted by subject; empty if there are fewer than two subjects.

    The parts of MedQA are not subjects: their tables are those of the steps. Items without a subject come last, under
    `NO_SUBJECT`.
    """
    found: dict[str, list[str]] = {}
    without: list[str] = []
    for answer in answers:
        if answer.subject is None or answer.subject in MEDQA_PARTS.values():
            without.append(answer.item_id)
        else:
            found.setdefault(answer.subject, []).append(answer.item_id)
    if len(found) < 2:
        return {}
    return dict(sorted(found.items())) | ({NO_SUBJECT: without} if without else {})


def split_small(rows: Iterable[SizedRow]) -> tuple[list[SizedRow], list[SizedRow]]:
    """Return the rows with at least `MIN_ITEMS` items, and the others."""
    listed = list(rows)
    return [row for row in listed if row.n >= MIN_ITEMS], [row for row in listed if row.n < MIN_ITEMS]


def counts_only(value: dict[str, Any], counts: Container[str]) -> dict[str, Any]:
    """Return the JSON `value` of a subject; below `MIN_ITEMS` items, every key that is not in `counts` is None."""
    if value["n"] >= MIN_ITEMS:
        return value
    return {name: one if name in counts else None for name, one in value.items()}


def adjust_subjects(rows: Sequence[TestableRow]) -> list[float | None]:
    """Return the p-value of each row, adjusted (Holm) for the number of rows with `MIN_ITEMS` items; else None."""
    tested = [row.p for row in rows if row.n >= MIN_ITEMS]
    adjusted = iter(holm(tested))
    return [next(adjusted) if row.n >= MIN_ITEMS else None for row in rows]
