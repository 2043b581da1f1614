"""Write a report as an HTML page and as JSON, with the SHA-256 of every file it was computed from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import sha256_file, write_json, write_text
from medalpaca_data.exams.exam import Exam

from ..contamination_split import check_training_rows, find_overlap, find_run_exam, trained_runs
from ..plan import Criterion
from ..results import Run, check_samples_unchanged, read_run
from ..runs import compare_runs, compare_sides
from ..stress.figures import find_problems
from .figures import account_for_items, match_stress_results, report_figures
from .page import render_page


def write_report(
    results: Sequence[Path],
    out: Path,
    *,
    task: str | None,
    meadow: Path | None,
    exam: str | None,
    stress: Sequence[Path] = (),
    criterion: Criterion | None = None,
    base_runs: int | None = None,
) -> tuple[Path, Path]:
    """Write the page of one model, or of several compared with the first, to `out`, and the JSON beside it.

    Existing files are replaced. Returns (page, JSON file). `task` selects one exam of the results. `meadow` is the path
    of training rows, `exam` that of the exam if it has moved, `stress` those of results of `exam stress`. With
    `base_runs`, so many of the first results are runs of base, and the others are runs of tuned.
    `criterion` is a plan or a margin, for which every comparison gets an answer. Raises
    UserError if an input cannot be read or `out` is not an .html file. Raises CheckFailed if the runs cannot be
    compared or logged samples were changed. Also if a stress result belongs to another exam or model, or if its figures
    do not match its scores.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"--out {out}: the file name must end in .html or .htm; the JSON is written beside it"
        )
    runs = [read_run(path, task) for path in results]
    for run in runs:
        check_samples_unchanged(run)
    compared = compare_runs(runs) if base_runs is None else compare_sides(runs[:base_runs], runs[base_runs:])
    exam_location, loaded_exam = _find_exam(compared.first, exam)
    if meadow:
        check_training_rows(trained_runs(compared.runs), meadow)
    covered = find_overlap(compared.first, meadow, exam) if meadow else None
    account = account_for_items(compared.first, loaded_exam, exam_location) if loaded_exam else None
    matches = match_stress_results(stress, compared.runs)
    for match in matches:
        if problem := next(find_problems(match.stress, match.stored_figures, loaded_exam), None):
            raise CheckFailed(f"{match.file}: {problem}; run `exam stress` again")
    report = report_figures(
        compared, overlap=covered, account=account, stress=matches, criterion=criterion
    ) | {
        "version": version("medalpaca-evalharness"),
        "files": {name: hashed_files(run, out.parent) for name, run in compared.runs.items()},
        "stress_at": [relative_path(match.file, out.parent) for match in matches],
        "rows": relative_path(covered.rows, out.parent) if covered else None,
        "exam_at": relative_path(Path(exam_location).expanduser(), out.parent) if exam_location else None,
    }
    data = out.with_suffix(".json")
    write_json(data, report)
    write_text(out, render_page(report))
    return out, data


def _find_exam(run: Run, named: str | None) -> tuple[str | None, Exam | None]:
    """Return location and exam of the run; (None, None) if `named` is None and the run's own exam is not found."""
    try:
        return find_run_exam(run, named)
    except UserError:
        if named is not None:
            raise
        return None, None


def hashed_files(run: Run, start: Path) -> list[dict[str, Any]]:
    """Return path, relative to the directory `start`, and SHA-256 of the results file and of each samples file."""
    files = (run.file, *run.samples)
    return [{"path": relative_path(file, start), "sha256": sha256_file(file)} for file in files]


def relative_path(path: Path, start: Path) -> str:
    """Return `path` relative to the directory `start`, so that report and results can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    except ValueError:
        # On Windows, a path on another drive has no relative form.
        return path.resolve().as_posix()
