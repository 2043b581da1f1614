"""`exam report`: a page for people and the same as JSON, with the hash of every file they were made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import sha256_file, write_json, write_text
from medalpaca_data.exams.exam import Exam

from ..contamination_split import exam_asked, overlap
from ..results import Run, read_run, refuse_changed
from ..runs import family
from ..stress.figures import problems
from .figures import excluded, figures, stressed
from .page import page


def make(
    results: Sequence[Path],
    out: Path,
    *,
    task: str | None,
    meadow: Path | None,
    exam: str | None,
    stress: Sequence[Path] = (),
) -> tuple[Path, Path]:
    """Write the page of one model, or of several against the first, to `out`, the JSON beside it; return both.

    Raises CheckFailed when the runs may not be compared, their samples are not those that were logged, or a stress
    result is of another exam or model, or its figures are not what its scores give.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out}: name a .html file; the JSON is written beside it")
    runs = [read_run(path, task) for path in results]
    for run in runs:
        refuse_changed(run)
    found = family(runs)
    place, asked = _exam(found.first, exam)
    covered = overlap(found.first, meadow, exam) if meadow else None
    unscored = excluded(found.first, asked, place) if asked else None
    tried = stressed(stress, found.runs)
    for one in tried:
        if wrong := next(problems(one.stress, one.stated, asked), None):
            raise CheckFailed(f"{one.file}: {wrong}")
    report = figures(found, overlap=covered, unscored=unscored, stress=tried) | {
        "version": version("medalpaca-evalharness"),
        "files": {name: file_list(run, out.parent) for name, run in found.runs.items()},
        "stress_at": [relative(one.file, out.parent) for one in tried],
        "rows": relative(covered.rows, out.parent) if covered else None,
        "exam_at": relative(Path(place).expanduser(), out.parent) if place else None,
    }
    data = out.with_suffix(".json")
    write_json(data, report)
    write_text(out, page(report))
    return out, data


def _exam(run: Run, named: str | None) -> tuple[str | None, Exam | None]:
    """The exam and where it is; nothing when nobody named it and it is not where the run found it."""
    try:
        return exam_asked(run, named)
    except UserError:
        if named is not None:
            raise
        return None, None


def file_list(run: Run, start: Path) -> list[dict[str, Any]]:
    """The results file and the samples, relative to `start`, each with its SHA-256."""
    return [{"path": relative(file, start), "sha256": sha256_file(file)} for file in (run.file, *run.samples)]


def relative(path: Path, start: Path) -> str:
    """From the report to `path`, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()
