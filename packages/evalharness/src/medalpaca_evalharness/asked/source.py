"""Where a task's exam is found: bundled, else named by --metadata or by MEDALPACA_EXAM, else on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalpaca_data.exams.exam import Exam, find_exam, load_exam
from medalpaca_data.ground.errors import UserError

from . import hub
from .catalogue import EXAM_KEYS, Task

HOW = (
    """pass --metadata '{"exam": "PATH"}' or set MEDALPACA_EXAM=PATH """
    "(a directory with step1.json and step1_solutions.json, or an exam file)"
)


def exam_of(name: str, task: Task, metadata: Mapping[str, Any]) -> Exam:
    """The exam that the task `name` asks. A bundled one ignores `metadata`; the hub comes last.

    Raises UserError, one line that says what to do, when there is none or it cannot be read.
    """
    if task.bundled is not None:
        return load_exam(task.bundled)
    images = _text(name, metadata, "images") or "exclude"
    named, how = told(name, task, metadata), HOW
    if task.key is None:
        named = find_exam(named)
    else:
        how = f"""pass --metadata '{{"exams": {{"{task.key}": "PATH"}}}}'"""
    if named is not None:
        return load_exam(Path(named).expanduser(), images=images)
    if task.hub is None:
        raise UserError(f"{name}: no exam named; {how}")
    if reason := hub.why_not():
        raise UserError(f"{name}: no exam named, and the hub was not asked because {reason}; {how}")
    try:
        place = hub.fetch(task.hub)
    except UserError as error:
        raise UserError(f"{name}: no exam named, and {error}; {how}") from None
    return load_exam(place, images=images)


def told(name: str, task: Task, metadata: Mapping[str, Any]) -> str | None:
    """Where `metadata` says that the exam is; None when it says nothing."""
    return _text(name, metadata, "exam") if task.key is None else _among(name, metadata, task)


def _among(name: str, metadata: Mapping[str, Any], task: Task) -> str | None:
    """The task's exam among those in the metadata's "exams"; of several files in a directory, the task's own."""
    exams = metadata.get("exams") or {}
    if not isinstance(exams, Mapping):
        raise UserError(f"{name}: metadata 'exams' is {exams!r}, an object of names to paths was expected")
    if unknown := [key for key in exams if key not in EXAM_KEYS]:
        raise UserError(f"{name}: metadata 'exams' names {unknown[0]!r}, known are {', '.join(EXAM_KEYS)}")
    named = _text(name, exams, str(task.key))
    if named is None or task.file is None:
        return named
    directory = Path(named).expanduser()
    places = [directory / task.file, directory / "test" / task.file]
    return str(next((place for place in places if place.is_file()), places[0]))


def _text(name: str, metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{name}: metadata {key!r} is {value!r}, text was expected")
    return value
