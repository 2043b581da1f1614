"""What of an exam has no score: items that cannot be scored, of other steps, or that nobody asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.exams.exam import Exam, Excluded, load_exam

from ..asked.catalogue import TASKS
from ..logged.run import Run

PICTURE = "needs an image"  # as `medalpaca_data.exams.exam` says it


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An exam's items, accounted for: `read` are the scored, the excluded, those elsewhere and the unasked."""

    source_sha256: str  # of the files that the exam was read from
    read: int
    scored: int
    excluded: tuple[Excluded, ...]  # of what the task asks
    elsewhere: int  # items of steps or parts that the task does not ask, scorable or not
    unasked: tuple[str, ...]  # could have been scored; the run was limited
    warnings: tuple[str, ...]  # of whoever read the exam
    without_picture: tuple[str, ...]  # scored, though their text needs a picture that the model did not get


def left_out(run: Run, exam: Exam, place: str | None) -> LeftOut:
    """Hold the run's answers against `exam`, which lies at `place` (None: bundled)."""
    tasks = [TASKS[name] for name in run.tasks if name in TASKS]
    excluded = [entry for entry in exam.excluded if not tasks or any(task.asks(entry) for task in tasks)]
    asked = [item for item in exam.items if not tasks or any(task.asks(item) for task in tasks)]
    plain = load_exam(Path(place).expanduser() if place else run.exam)
    pictures = {entry.id for entry in plain.excluded if entry.reason == PICTURE}
    return LeftOut(
        source_sha256=exam.source_sha256,
        read=exam.read,
        scored=len(run.answers),
        excluded=tuple(excluded),
        elsewhere=exam.read - len(excluded) - len(asked),
        unasked=tuple(item.id for item in asked if item.id not in run.answers),
        warnings=tuple(warning.removeprefix(f"{place}: ") for warning in exam.warnings),
        without_picture=tuple(item for item in run.answers if item in pictures),
    )


def as_json(found: LeftOut) -> dict[str, Any]:
    """For a report."""
    return {
        "source_sha256": found.source_sha256,
        "read": found.read,
        "scored": found.scored,
        "reasons": dict(sorted(Counter(entry.reason for entry in found.excluded).items())),
        "excluded": [
            {"item": entry.id, "step": entry.step, "reason": entry.reason} for entry in found.excluded
        ],
        "elsewhere": found.elsewhere,
        "unasked": list(found.unasked),
        "warnings": list(found.warnings),
        "without_picture": list(found.without_picture),
    }
