"""Contamination: the score on all items beside the score on items that do not stand in the training data."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medalpaca_data.check import HALF
from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.records import read_all_rows, rows_sha256
from medalpaca_data.exams.contamination import ItemCoverage, coverage
from medalpaca_data.exams.exam import BUNDLED, Exam, find_exam, load_exam

from .comparison import Comparison, Row, compare, row_json
from .results import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What of the items that were asked stands in some training data."""

    rows: Path
    rows_sha256: str
    rows_read: int
    exam: str | None  # where it was read from; None: bundled
    covered: tuple[ItemCoverage, ...]  # items with half or more of their stem in one row

    @property
    def ids(self) -> frozenset[str]:
        """Of the covered items."""
        return frozenset(item.item_id for item in self.covered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination(Overlap):
    """The same with the comparison on all items, on those that are clean, and on the others."""

    full: Row
    clean: Row | None  # None when no item is clean
    touched: Row | None  # None when every item is


def measure_contamination(comparison: Comparison, rows: Path, exam: str | None = None) -> Contamination:
    """Hold every item that was asked against the rows of a Meadow directory or a file; `overlap` says how."""
    found = find_overlap(comparison.base, rows, exam)
    clean, touched = split_rows(comparison, found.ids)
    return Contamination(
        rows=found.rows,
        rows_sha256=found.rows_sha256,
        rows_read=found.rows_read,
        exam=found.exam,
        covered=found.covered,
        full=comparison.pooled,
        clean=clean,
        touched=touched,
    )


def find_overlap(run: Run, rows: Path, exam: str | None = None) -> Overlap:
    """Find the items of `run` that stand in `rows`.

    The exam is `exam`, else what the run was told. Raises CheckFailed when that is not the exam that the
    results are of, by SHA-256, and UserError when nothing is there.
    """
    place, found = find_run_exam(run, exam)
    known = read_all_rows(rows)
    everything = coverage(found, (row.text() for row in known))
    return Overlap(
        rows=rows,
        rows_sha256=rows_sha256(rows),
        rows_read=len(known),
        exam=place,
        covered=tuple(item for item in everything if item.coverage >= HALF and item.item_id in run.answers),
    )


def split_rows(comparison: Comparison, covered: Container[str]) -> tuple[Row | None, Row | None]:
    """The comparison on the clean and on the covered items; None where there are none."""
    base, tuned = comparison.base, comparison.tuned
    clean = {item for item in base.answers if item not in covered}
    return _compare_items(base, tuned, clean), _compare_items(base, tuned, base.answers.keys() - clean)


def find_run_exam(run: Run, named: str | None) -> tuple[str | None, Exam]:
    """The exam with the SHA-256 that the run's samples carry, and where it is (None: bundled)."""
    if named is None and has_bundled_exam(run):
        return None, load_exam(run.exam)
    place = find_exam(named or run.exam_path)
    if place is None:
        raise UserError(f"{run.file}: does not say where its exam {run.exam} lies; name it with --exam PATH")
    # Whether items with pictures were asked is part of what the hash names.
    for images in ("exclude", "keep"):
        exam = load_exam(Path(place).expanduser(), images=images)
        if exam.sha256 == run.exam_sha256:
            return place, exam
    raise CheckFailed(
        f"{place}: is exam {exam.sha256[:12]}, but the results are of {run.exam} {run.exam_sha256[:12]}; "
        "name the right one with --exam PATH"
    )


def has_bundled_exam(run: Run) -> bool:
    """Whether the run's exam is one that comes with the package, whose texts anybody may see: by hash."""
    return run.exam in BUNDLED and load_exam(run.exam).sha256 == run.exam_sha256


def as_json(found: Contamination) -> dict[str, Any]:
    """Without the places, which differ from machine to machine."""
    return overlap_json(found) | {
        "full": row_json(found.full),
        "clean": row_json(found.clean) if found.clean else None,
        "touched": row_json(found.touched) if found.touched else None,
    }


def overlap_json(found: Overlap) -> dict[str, Any]:
    """What was found, without scores."""
    return {
        "rows_name": found.rows.name,
        "rows_sha256": found.rows_sha256,
        "rows": found.rows_read,
        "threshold": HALF,
        "covered": [
            {"item": item.item_id, "step": item.step, "coverage": item.coverage} for item in found.covered
        ],
    }


def _compare_items(base: Run, tuned: Run, ids: Container[str]) -> Row | None:
    sides = [
        replace(run, answers={item: answer for item, answer in run.answers.items() if item in ids})
        for run in (base, tuned)
    ]
    return compare(*sides).pooled if sides[0].answers else None
