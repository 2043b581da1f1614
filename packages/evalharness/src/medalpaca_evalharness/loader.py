"""The tasks' `custom_dataset` functions: from exam and model arguments to the documents that lm-eval asks.

lm-eval calls them with the task's metadata, what `--metadata` gave, and all model arguments as keywords.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medalpaca_data.exam import POCKET, Exam, Item
from medalpaca_data.exam_prompt import Scoring, ask, exam_prompt_id
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.sealed import is_sealed, seal

from .examined import Examined, examined
from .source import exam_of

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True, slots=True)
class Task:
    """What one task asks of which exam. `step` None: all items."""

    scoring: Scoring
    step: int | None = None
    bundled: str | None = None
    on_hub: bool = False


TASKS = {
    "medalpaca_usmle_step1": Task("letter", step=1, on_hub=True),
    "medalpaca_usmle_step2": Task("letter", step=2, on_hub=True),
    "medalpaca_usmle_step3": Task("letter", step=3, on_hub=True),
    "medalpaca_exam": Task("letter"),
    "medalpaca_pocket": Task("text", bundled=POCKET),
}
GROUPS = {"medalpaca_usmle": ("medalpaca_usmle_step1", "medalpaca_usmle_step2", "medalpaca_usmle_step3")}


@dataclass(frozen=True, slots=True)
class Prepared:
    """All a task needs, found and checked, before any of it is asked."""

    exam: Exam
    items: tuple[Item, ...]
    examined: Examined


def usmle_step1(**metadata: Any) -> DatasetDict:
    """Step 1 of the USMLE sample exam."""
    return _documents("medalpaca_usmle_step1", metadata)


def usmle_step2(**metadata: Any) -> DatasetDict:
    """Step 2 of the USMLE sample exam."""
    return _documents("medalpaca_usmle_step2", metadata)


def usmle_step3(**metadata: Any) -> DatasetDict:
    """Step 3 of the USMLE sample exam."""
    return _documents("medalpaca_usmle_step3", metadata)


def exam(**metadata: Any) -> DatasetDict:
    """Any exam, all its items."""
    return _documents("medalpaca_exam", metadata)


def pocket(**metadata: Any) -> DatasetDict:
    """The bundled pocket exam."""
    return _documents("medalpaca_pocket", metadata)


def prepare(name: str, metadata: Mapping[str, Any]) -> Prepared:
    """Find and check exam, base and adapter of the task `name`. Raises UserError, one line."""
    if is_sealed():
        seal()  # the bootstrap may be switched off
    task = TASKS[name]
    found = exam_of(name, metadata, bundled=task.bundled, on_hub=task.on_hub)
    items = (
        found.items if task.step is None else tuple(item for item in found.items if item.step == task.step)
    )
    if not items:
        held = ", ".join(_steps(found))
        raise UserError(
            f"{name}: exam {found.name} has no scorable item of step {task.step} (it has {held}); "
            "run the tasks of the steps it has, or medalpaca_exam for all its items"
        )
    # Last: the hash of a large model takes half a minute.
    return Prepared(found, items, examined(metadata))


def documents(name: str, prepared: Prepared) -> list[dict[str, Any]]:
    """One document per item: the columns that the task's YAML reads, and the receipt for the samples."""
    scoring = TASKS[name].scoring
    identity = prepared.examined
    receipt = {
        "exam": prepared.exam.name,
        "exam_sha256": prepared.exam.sha256,
        "prompt_id": exam_prompt_id(scoring),
        "scoring": scoring,
        "base": identity.base,
        "base_sha256": identity.base_sha256,
        "adapter": identity.adapter,
        "adapter_sha256": identity.adapter_sha256,
    }
    rows = []
    for item in prepared.items:
        asked = ask(item, scoring)
        letters = list(item.options)
        row = {
            "item_id": item.id,
            "step": item.step,
            "subject": item.subject,
            "prompt": asked.prompt,
            "choices": list(asked.choices),
            "letters": letters,
            "gold": letters.index(item.answer),
        }
        rows.append(row | receipt)
    return rows


def _documents(name: str, metadata: Mapping[str, Any]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    prepared = prepare(name, metadata)
    _say(name, prepared)
    return DatasetDict({"test": Dataset.from_list(documents(name, prepared))})


def _say(name: str, prepared: Prepared) -> None:
    """What is not scored and why, by id: never silently, and never with an item's text."""
    # lm-eval gives only its own loggers a handler; as a child of them this one is shown like the rest.
    log = logging.getLogger("lm_eval.medalpaca")
    step = TASKS[name].step
    excluded = [entry for entry in prepared.exam.excluded if step in (None, entry.step)]
    read = len(prepared.items) + len(excluded)
    reasons: dict[str, list[str]] = {}
    for entry in excluded:
        reasons.setdefault(entry.reason, []).append(entry.id)
    for reason, ids in reasons.items():
        log.warning("%s: %d of %d items not scored (%s): %s", name, len(ids), read, reason, ", ".join(ids))
    if step is not None and (stepless := sum(item.step is None for item in prepared.exam.items)):
        log.warning(
            "%s: %d items of %s name no step; only medalpaca_exam asks them",
            name,
            stepless,
            prepared.exam.name,
        )
    for warning in (*prepared.exam.warnings, *prepared.examined.warnings):
        log.warning("%s: %s", name, warning)


def _steps(exam: Exam) -> list[str]:
    counts: dict[int | None, int] = {}
    for item in exam.items:
        counts[item.step] = counts.get(item.step, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))
    return [f"{n} without a step" if step is None else f"{n} of step {step}" for step, n in ordered]
