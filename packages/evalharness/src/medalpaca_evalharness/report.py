"""`exam report`: a page for people and the same as JSON, with the hash of every file they were made from."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import CheckFailed, UserError
from medalpaca_data.ground.files import sha256_file, write_json, write_text

from .clean import contamination
from .compare import compare
from .figures import figures
from .integrity import refuse_changed
from .page import page
from .results import Run, read_run


def make(
    base: Path, tuned: Path, out: Path, *, task: str | None, meadow: Path | None, exam: str | None
) -> tuple[Path, Path]:
    """Write the page to `out` and the JSON beside it, and return both.

    Raises CheckFailed when the runs may not be compared, or their samples are not those that were logged.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out}: name a .html file; the JSON is written beside it")
    runs = {"base": read_run(base, task), "tuned": read_run(tuned, task)}
    for run in runs.values():
        if run.generated:
            raise CheckFailed(
                f"{run.file}: {run.task} let the model write its answers, and a report needs their log-likelihoods; "
                "use `exam compare`"
            )
        refuse_changed(run)
    comparison = compare(runs["base"], runs["tuned"])
    found = contamination(comparison, meadow, exam) if meadow else None
    report = figures(comparison, found) | {
        "version": version("medalpaca-evalharness"),
        "files": {name: file_list(run, out.parent) for name, run in runs.items()},
        "rows": relative(found.rows, out.parent) if found else None,
        "exam_at": relative(Path(found.exam).expanduser(), out.parent) if found and found.exam else None,
    }
    data = out.with_suffix(".json")
    write_json(data, report)
    write_text(out, page(report))
    return out, data


def file_list(run: Run, start: Path) -> list[dict[str, Any]]:
    """The results file and the samples, relative to `start`, each with its SHA-256."""
    return [{"path": relative(file, start), "sha256": sha256_file(file)} for file in (run.file, *run.samples)]


def relative(path: Path, start: Path) -> str:
    """From the report to `path`, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()
