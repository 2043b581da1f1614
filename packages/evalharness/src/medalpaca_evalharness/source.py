"""Where a task's exam is found: bundled, else named by --metadata or by MEDALPACA_EXAM, else on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalpaca_data.exam import Exam, find_exam, load_exam
from medalpaca_data.ground.errors import UserError

from . import hub

HOW = (
    """pass --metadata '{"exam": "PATH"}' or set MEDALPACA_EXAM=PATH """
    "(a directory with step1.json and step1_solutions.json, or an exam file)"
)


def exam_of(task: str, metadata: Mapping[str, Any], *, bundled: str | None, on_hub: bool) -> Exam:
    """The exam that `task` asks. A bundled one ignores `metadata`; `on_hub` allows the hub, last.

    Raises UserError, one line that says what to do, when there is none or it cannot be read.
    """
    if bundled is not None:
        return load_exam(bundled)
    named = find_exam(_text(task, metadata, "exam"))
    images = _text(task, metadata, "images") or "exclude"
    if named is not None:
        return load_exam(Path(named).expanduser(), images=images)
    if not on_hub:
        raise UserError(f"{task}: no exam named; {HOW}")
    if reason := hub.why_not():
        raise UserError(f"{task}: no exam named, and the hub was not asked because {reason}; {HOW}")
    try:
        directory = hub.fetch()
    except UserError as error:
        raise UserError(f"{task}: no exam named, and {error}; {HOW}") from None
    return load_exam(directory, images=images)


def _text(task: str, metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{task}: metadata {key!r} is {value!r}, text was expected")
    return value
