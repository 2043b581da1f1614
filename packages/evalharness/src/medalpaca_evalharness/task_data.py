"""The tasks' `custom_dataset` function: from exam and model arguments to the documents that lm-eval asks.

lm-eval calls it with the task's metadata, what `--metadata` gave, all model arguments, and the task's own
`dataset_kwargs`, as keywords.

Where a task's exam is found: bundled, else named by --metadata or by MEDALPACA_EXAM, else on the hub.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import is_sealed, seal
from medalpaca_data.exams.exam import Exam, find_exam, load_exam
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import exam_prompt, exam_prompt_id

from . import task_list
from .model_identity import ModelIdentity, identify_model
from .task_list import EXAM_KEYS, TASKS, Task, all_items_task

if TYPE_CHECKING:
    from datasets import DatasetDict


EXAM_ADVICE = (
    """pass --metadata '{"exam": "PATH"}' or set MEDALPACA_EXAM=PATH """
    "(a directory with step1.json and step1_solutions.json, or an exam file)"
)


def load_task_exam(name: str, task: Task, metadata: Mapping[str, Any]) -> Exam:
    """The exam that the task `name` asks. A bundled one ignores `metadata`; the hub comes last.

    Raises UserError, one line that says what to do, when there is none or it cannot be read.
    """
    if task.bundled is not None:
        return load_exam(task.bundled)
    images = _metadata_text(name, metadata, "images") or "exclude"
    named, how = configured_exam_path(name, task, metadata), EXAM_ADVICE
    if task.key is None:
        named = find_exam(named)
    else:
        how = f"""pass --metadata '{{"exams": {{"{task.key}": "PATH"}}}}'"""
    if named is not None:
        return load_exam(Path(named).expanduser(), images=images)
    if task.hub is None:
        raise UserError(f"{name}: no exam named; {how}")
    if reason := task_list.hub_disabled_reason():
        raise UserError(f"{name}: no exam named, and the hub was not asked because {reason}; {how}")
    try:
        place = task_list.fetch_hub_exam(task.hub)
    except UserError as error:
        raise UserError(f"{name}: no exam named, and {error}; {how}") from None
    return load_exam(place, images=images)


def configured_exam_path(name: str, task: Task, metadata: Mapping[str, Any]) -> str | None:
    """Where `metadata` says that the exam is; None when it says nothing."""
    return (
        _metadata_text(name, metadata, "exam") if task.key is None else _path_in_exams(name, metadata, task)
    )


def _path_in_exams(name: str, metadata: Mapping[str, Any], task: Task) -> str | None:
    """The task's exam among those in the metadata's "exams"; of several files in a directory, the task's own."""
    exams = metadata.get("exams") or {}
    if not isinstance(exams, Mapping):
        raise UserError(f"{name}: metadata 'exams' is {exams!r}, an object of names to paths was expected")
    if unknown := [key for key in exams if key not in EXAM_KEYS]:
        raise UserError(f"{name}: metadata 'exams' names {unknown[0]!r}, known are {', '.join(EXAM_KEYS)}")
    named = _metadata_text(name, exams, str(task.key))
    if named is None or task.file is None:
        return named
    directory = Path(named).expanduser()
    places = [directory / task.file, directory / "test" / task.file]
    return str(next((place for place in places if place.is_file()), places[0]))


def _metadata_text(name: str, metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{name}: metadata {key!r} is {value!r}, text was expected")
    return value


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """All a task needs, found and checked, before any of it is asked."""

    exam: Exam
    items: tuple[Item, ...]
    examined: ModelIdentity


def build_dataset(*, medalpaca_task: str, **metadata: Any) -> DatasetDict:
    """The documents of one task, as the split `test`."""
    from datasets import Dataset, DatasetDict

    prepared = prepare_task(medalpaca_task, metadata)
    _log_exclusions(medalpaca_task, prepared)
    return DatasetDict({"test": Dataset.from_list(build_documents(medalpaca_task, prepared))})


def prepare_task(name: str, metadata: Mapping[str, Any]) -> TaskInputs:
    """Find and check exam, base and adapter of the task `name`. Raises UserError, one line."""
    if is_sealed():
        seal()  # the bootstrap may be switched off
    task = TASKS[name]
    found = load_task_exam(name, task, metadata)
    items = tuple(item for item in found.items if task.asks(item))
    if not items:
        held = ", ".join(_count_parts(found, task))
        if task.part is not None:
            raise UserError(f"{name}: {found.name} has no item of part {task.part} (it has {held})")
        raise UserError(
            f"{name}: exam {found.name} has no scorable item of step {task.step} (it has {held}); "
            f"run the tasks of the steps it has, or {all_items_task(name)} for all its items"
        )
    # Last: the hash of a large model takes half a minute.
    return TaskInputs(found, items, identify_model(metadata))


def build_documents(name: str, prepared: TaskInputs) -> list[dict[str, Any]]:
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
        asked = exam_prompt(item, scoring)
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


def _log_exclusions(name: str, prepared: TaskInputs) -> None:
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
            "%s: %d items of %s name no step; only %s asks them",
            name,
            stepless,
            exam.name,
            all_items_task(name),
        )
    for warning in (*exam.warnings, *prepared.examined.warnings):
        log.warning("%s: %s", name, warning)


def _count_parts(exam: Exam, task: Task) -> list[str]:
    """How many items the exam has of each step, or of each part where the task asks one."""
    if task.part is not None:
        parts = [item.subject for item in exam.items]
        return [f"{parts.count(part)} of {part or 'no part'}" for part in sorted(set(parts), key=str)]
    counts: dict[int | None, int] = {}
    for item in exam.items:
        counts[item.step] = counts.get(item.step, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))
    return [f"{n} without a step" if step is None else f"{n} of step {step}" for step, n in ordered]
