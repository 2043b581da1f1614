"""Contamination: scores on all items, on items whose question is in the training data, and on the clean others."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medalpaca_data.check import HALF
from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import read_json
from medalpaca_data.core.records import read_all_rows, rows_sha256
from medalpaca_data.exams.contamination import ItemCoverage, coverage, too_short
from medalpaca_data.exams.exam import BUNDLED, Exam, find_exam, load_exam

from .comparison import Comparison, Row, compare, row_json
from .results import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Items of a run whose question is in the training data.

    `rows` is a file or a Meadow directory (written by `data build`), `rows_read` its number of rows. `exam` is the path
    of the exam, or None for a bundled exam. `covered` holds the items with half or more of the question's word
    13-grams in one row. `too_short` is the number of items whose question is too short to judge inside a line.
    """

    rows: Path
    rows_sha256: str
    rows_read: int
    exam: str | None
    covered: tuple[ItemCoverage, ...]
    too_short: int

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the covered items."""
        return frozenset(item.item_id for item in self.covered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination(Overlap):
    """Overlap, with the paired counts on all items (`full`), the clean items, and the covered items (`touched`).

    `clean` or `touched` is None if there are no such items.
    """

    full: Row
    clean: Row | None
    touched: Row | None


def measure_contamination(comparison: Comparison, rows: Path, exam: str | None = None) -> Contamination:
    """Return a comparison split by overlap with `rows`, a Meadow directory or file.

    Raises as `check_training_rows` and `find_overlap` do.
    """
    check_training_rows((comparison.tuned,), rows)
    overlap = find_overlap(comparison.base, rows, exam)
    clean, touched = split_rows(comparison, overlap.ids)
    return Contamination(
        rows=overlap.rows,
        rows_sha256=overlap.rows_sha256,
        rows_read=overlap.rows_read,
        exam=overlap.exam,
        covered=overlap.covered,
        too_short=overlap.too_short,
        full=comparison.pooled,
        clean=clean,
        touched=touched,
    )


def find_overlap(run: Run, rows: Path, exam: str | None = None) -> Overlap:
    """Return the items of `run` whose question is in `rows`, a file or a Meadow directory with both splits.

    The exam is found as in `find_run_exam`, and must have the SHA-256 of the results. Raises CheckFailed if it differs,
    and UserError if there is no exam or the rows cannot be read.
    """
    path, exam_items = find_run_exam(run, exam)
    rows_read = read_all_rows(rows)
    coverages = coverage(exam_items, (row.parts() for row in rows_read))
    return Overlap(
        rows=rows,
        rows_sha256=rows_sha256(rows),
        rows_read=len(rows_read),
        exam=path,
        covered=tuple(item for item in coverages if item.coverage >= HALF and item.item_id in run.answers),
        too_short=len(too_short(exam_items.items) & run.answers.keys()),
    )


def check_training_rows(runs: Iterable[Run], rows: Path) -> list[str]:
    """Check that the models of `runs` were trained on `rows`, by the hash in the manifests of their run directories.

    Returns the names of the models that were compared: a model without a manifest is not. Raises UserError if a
    manifest has the hash of other rows, because the overlap with `rows` does not concern such a model.
    """
    compared = []
    for run in runs:
        if (trained := _trained_on(run)) is None:
            continue
        manifest, data, validation = trained
        given = rows_sha256(rows, *validation)
        if given != data["sha256"]:
            raise UserError(
                f"{rows}: SHA-256 {given[:12]}, but {run.model} was trained on the rows {data['sha256'][:12]} of "
                f"{data.get('path')} ({manifest}); pass these with --meadow"
            )
        compared.append(run.model)
    return compared


def trained_runs(runs: Mapping[str, Run]) -> tuple[Run, ...]:
    """Return the runs of a report whose training rows are concerned: all but the base, or the only one."""
    return tuple(runs.values())[1:] or tuple(runs.values())


def _trained_on(run: Run) -> tuple[Path, Mapping[str, Any], tuple[Path, ...]] | None:
    """Return manifest, its part on the data, and the extra file of validation rows, which are in the data's hash.

    The manifest is that of the adapter, or of the model without an adapter. Returns None if there is none, for example
    after the run was moved, or if the file of validation rows is missing.
    """
    directory = Path(run.adapter or run.base or "").expanduser()
    files = (directory / "manifest.json", directory.parent / "manifest.json")
    # The best checkpoint is a directory in the run directory.
    file = next((file for file in files[: 1 + (directory.name == "best")] if file.is_file()), None)
    content = read_json(file) if file else None
    data = content.get("data") if isinstance(content, dict) else None
    if file is None or not isinstance(data, dict) or not isinstance(data.get("sha256"), str):
        return None
    recipe = content.get("recipe") if isinstance(content, dict) else None
    validation = recipe.get("validation") if isinstance(recipe, dict) else None
    extra = (Path(validation),) if isinstance(validation, str) else ()
    return (file, data, extra) if all(path.is_file() for path in extra) else None


def split_rows(comparison: Comparison, covered: Container[str]) -> tuple[Row | None, Row | None]:
    """Return the paired counts on the clean and on the covered items; None where there are no such items.

    `covered` holds item ids.
    """
    base, tuned = comparison.base, comparison.tuned
    clean = {item for item in base.answers if item not in covered}
    return _compare_items(base, tuned, clean), _compare_items(base, tuned, base.answers.keys() - clean)


def find_run_exam(run: Run, named: str | None) -> tuple[str | None, Exam]:
    """Return the path of the run's exam (None if bundled) and the exam, which has the SHA-256 of the results.

    The exam is `named`. If that is None, it is the bundled exam of the run, else the path in the results, else
    MEDALPACA_EXAM. Raises CheckFailed if its SHA-256 differs, and UserError if there is no exam.
    """
    if named is None and has_bundled_exam(run):
        return None, load_exam(run.exam)
    path = find_exam(named or run.exam_path)
    if path is None:
        raise UserError(f"{run.file}: holds no path of its exam {run.exam}; pass --exam PATH")
    # The hash depends on whether items with images were included.
    for images in ("exclude", "keep"):
        exam = load_run_exam(run, path, images=images)
        if exam.sha256 == run.exam_sha256:
            return path, exam
    raise CheckFailed(
        f"{path}: exam {exam.sha256[:12]}, but {run.file} was evaluated on {run.exam} {run.exam_sha256[:12]}; "
        "pass the exam of the results with --exam PATH"
    )


def load_run_exam(run: Run, path: str, *, images: str = "exclude") -> Exam:
    """Return the exam at `path`, read with the columns that the metadata of the run name, else in its own layout."""
    file = Path(path).expanduser()
    if run.exam_fields is not None:
        try:
            return load_exam(file, images=images, fields=run.exam_fields)
        except UserError:
            # The exam may have been moved as the file that `exam import` wrote, which needs no names.
            pass
    return load_exam(file, images=images)


def has_bundled_exam(run: Run) -> bool:
    """Return whether the run's exam is bundled, by name and SHA-256. The texts of bundled exams are public."""
    return run.exam in BUNDLED and load_exam(run.exam).sha256 == run.exam_sha256


def as_json(contamination: Contamination) -> dict[str, Any]:
    """Return the key "contamination" of `exam compare --json`: overlap and scores, without machine-dependent paths."""
    return overlap_json(contamination) | {
        "full": row_json(contamination.full),
        "clean": row_json(contamination.clean) if contamination.clean else None,
        "touched": row_json(contamination.touched) if contamination.touched else None,
    }


def overlap_json(overlap: Overlap) -> dict[str, Any]:
    """Return the rows' file name, hash and number, the threshold, and the items concerned as JSON, without scores."""
    return {
        "rows_name": overlap.rows.name,
        "rows_sha256": overlap.rows_sha256,
        "rows": overlap.rows_read,
        "threshold": HALF,
        "too_short": overlap.too_short,
        "covered": [
            {"item": item.item_id, "step": item.step, "coverage": item.coverage} for item in overlap.covered
        ],
    }


def _compare_items(base: Run, tuned: Run, ids: Container[str]) -> Row | None:
    base, tuned = (
        replace(run, answers={item: answer for item, answer in run.answers.items() if item in ids})
        for run in (base, tuned)
    )
    return compare(base, tuned).pooled if base.answers else None
