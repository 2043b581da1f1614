"""`data check`: contamination of training rows with the questions of an exam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .core.records import FileNote, read_all_rows
from .core.row import Row
from .exams.contamination import ItemCoverage, coverage, too_short
from .exams.exam import Exam, load_exam

# Thresholds of coverage in the report.
HALF, MOST = 0.5, 0.8
# What is printed of items whose question is too short to judge inside a line.
TOO_SHORT = (
    "Too short to judge: {count} of {items} items, because the question has few words or only general words. They are "
    "found only as a line or sentence of a question, or with their options."
)


@dataclass(frozen=True, slots=True)
class Check:
    """Coverage of every scorable item of an exam by the rows of a file or Meadow directory."""

    path: Path
    exam: Exam
    rows: tuple[Row, ...]
    items: tuple[ItemCoverage, ...]
    notes: tuple[FileNote, ...] = ()

    @property
    def too_short(self) -> frozenset[str]:
        """Ids of the items whose question is too short to judge inside a line."""
        return too_short(self.exam.items)

    def steps(self) -> list[int | None]:
        """Return the steps of the exam in order; None is for items without a step."""
        return sorted({item.step for item in self.items}, key=lambda step: (step is None, step))

    def count(self, threshold: float, step: int | None, *, tokens: bool = False) -> int:
        """Return the number of items of a step with a coverage of at least `threshold`.

        With `tokens`, `ItemCoverage.token_coverage` is compared instead of `ItemCoverage.coverage`.
        """
        return sum(
            (item.token_coverage if tokens else item.coverage) >= threshold
            for item in self.items
            if item.step == step
        )


def check(path: Path, exam_path: str) -> Check:
    """Return the coverage of all scorable items, including those with pictures, by all rows of `path`.

    `exam_path` is a file, a directory or the name of a bundled exam. A Meadow directory has train and validation rows.
    """
    exam = load_exam(exam_path, images="keep")
    notes: list[FileNote] = []
    rows = read_all_rows(path, notes.append)
    return Check(path, exam, tuple(rows), tuple(coverage(exam, (row.parts() for row in rows))), tuple(notes))


def as_json(result: Check) -> dict[str, Any]:
    """Return the result of `data check` as a JSON object: the counts by step, and the most similar row of every item.

    Rows are numbered from 1; the number is null if no row shares an n-gram with the question.
    """
    short = result.too_short
    return {
        "path": str(result.path),
        "rows": len(result.rows),
        "notes": [note.as_json() for note in result.notes],
        "exam": {"name": result.exam.name, "sha256": result.exam.sha256, "items": len(result.items)},
        "excluded": [{"id": e.id, "reason": e.reason} for e in result.exam.excluded],
        "too_short": len(short),
        "steps": {
            _step(step): {
                "items": sum(item.step == step for item in result.items),
                "coverage>=0.5": result.count(HALF, step),
                "coverage>=0.8": result.count(MOST, step),
                "token_coverage>=0.5": result.count(HALF, step, tokens=True),
                "token_coverage>=0.8": result.count(MOST, step, tokens=True),
            }
            for step in result.steps()
        },
        "items": [
            {
                "id": item.item_id,
                "step": item.step,
                "coverage": item.coverage,
                "token_coverage": item.token_coverage,
                "too_short": item.item_id in short,
                "row": None if item.text_index is None else item.text_index + 1,
                "row_id": None if item.text_index is None else result.rows[item.text_index].id,
            }
            for item in result.items
        ],
    }


def show(result: Check, console: Console) -> None:
    """Print the counts per step and the items with a coverage of at least 50 %."""
    table = Table(title=f"Coverage of {result.exam.name} by {result.path.name}", title_justify="left")
    table.add_column("step")
    for name in ("items", ">= 50 %", ">= 80 %", "words >= 50 %", "words >= 80 %"):
        table.add_column(name, justify="right")
    for step in result.steps():
        table.add_row(
            _step(step),
            str(sum(item.step == step for item in result.items)),
            *(str(result.count(t, step)) for t in (HALF, MOST)),
            *(str(result.count(t, step, tokens=True)) for t in (HALF, MOST)),
        )
    console.print(table)
    for note in result.notes:
        console.print(f"{note.file}: {note.text}", highlight=False, markup=False)
    console.print(
        f"{len(result.rows):,} rows against {len(result.items)} items (exam {result.exam.sha256[:12]}); "
        "coverage = share of a question's word 13-grams that occur in one row."
    )
    if short := len(result.too_short):
        console.print(TOO_SHORT.format(count=short, items=len(result.items)))
    for entry in result.exam.excluded:
        console.print(f"not checked: {entry.id} ({entry.reason})")
    covered = sorted(
        (item for item in result.items if item.coverage >= HALF), key=lambda item: -item.coverage
    )
    if not covered:
        console.print("No item has a coverage of 50 % or more.")
        return
    details = Table(title="Items with a coverage of 50 % or more", title_justify="left")
    details.add_column("item", overflow="fold")
    for name in ("coverage", "words", "row"):
        details.add_column(name, justify="right", no_wrap=True)
    for item in covered:
        details.add_row(
            item.item_id,
            f"{item.coverage:.0%}",
            f"{item.token_coverage:.0%}",
            str((item.text_index or 0) + 1),
        )
    console.print(details)


def _step(step: int | None) -> str:
    return "none" if step is None else str(step)
