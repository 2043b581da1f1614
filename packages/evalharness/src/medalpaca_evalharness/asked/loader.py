"""The tasks' `custom_dataset` function: from exam and model arguments to the documents that lm-eval asks.

lm-eval calls it with the task's metadata, what `--metadata` gave, all model arguments, and the task's own
`dataset_kwargs`, as keywords.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medalpaca_data.exams.asked import ask, exam_prompt_id
from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.sealed import is_sealed, seal

from .catalogue import TASKS, Task, whole_exam
from .examined import Examined, examined
from .source import exam_of

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True, slots=True)
class Prepared:
    """All a task needs, found and checked, before any of it is asked."""

    exam: Exam
    items: tuple[Item, ...]
    examined: Examined


def dataset(*, medalpaca_task: str, **metadata: Any) -> DatasetDict:
    """The documents of one task, as the split `test`."""
    from datasets import Dataset, DatasetDict

    prepared = prepare(medalpaca_task, metadata)
    _say(medalpaca_task, prepared)
    return DatasetDict({"test": Dataset.from_list(documents(medalpaca_task, prepared))})


def prepare(name: str, metadata: Mapping[str, Any]) -> Prepared:
    """Find and check exam, base and adapter of the task `name`. Raises UserError, one line."""
    if is_sealed():
        seal()  # the bootstrap may be switched off
    task = TASKS[name]
    found = exam_of(name, task, metadata)
    items = tuple(item for item in found.items if task.asks(item))
    if not items:
        held = ", ".join(_parts(found, task))
        if task.part is not None:
            raise UserError(f"{name}: {found.name} has no item of part {task.part} (it has {held})")
        raise UserError(
            f"{name}: exam {found.name} has no scorable item of step {task.step} (it has {held}); "
            f"run the tasks of the steps it has, or {whole_exam(name)} for all its items"
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
        if scoring == "reasoning":
            row["options"] = list(item.options.values())  # an answer may name its option by the text
        rows.append(row | receipt)
    return rows


def _say(name: str, prepared: Prepared) -> None:
    """What is not scored and why, by id: never silently, and never with an item's text."""
    # lm-eval gives only its own loggers a handler; as a child of them this one is shown like the rest.
    log = logging.getLogger("lm_eval.medalpaca")
    task, exam = TASKS[name], prepared.exam
    excluded = [entry for entry in exam.excluded if task.asks(entry)]
    read = len(prepared.items) + len(excluded)
    reasons: dict[str, list[str]] = {}
    for entry in excluded:
        reasons.setdefault(entry.reason, []).append(entry.id)
    for reason, ids in reasons.items():
        log.warning("%s: %d of %d items not scored (%s): %s", name, len(ids), read, reason, ", ".join(ids))
    if task.step is not None and (stepless := sum(item.step is None for item in exam.items)):
        log.warning(
            "%s: %d items of %s name no step; only %s asks them", name, stepless, exam.name, whole_exam(name)
        )
    for warning in (*exam.warnings, *prepared.examined.warnings):
        log.warning("%s: %s", name, warning)


def _parts(exam: Exam, task: Task) -> list[str]:
    """How many items the exam has of each step, or of each part where the task asks one."""
    if task.part is not None:
        parts = [item.subject for item in exam.items]
        return [f"{parts.count(part)} of {part or 'no part'}" for part in sorted(set(parts), key=str)]
    counts: dict[int | None, int] = {}
    for item in exam.items:
        counts[item.step] = counts.get(item.step, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))
    return [f"{n} without a step" if step is None else f"{n} of step {step}" for step, n in ordered]
