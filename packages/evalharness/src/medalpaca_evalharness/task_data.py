"""The lm-eval tasks by name, and their documents: finds the exam, checks the model, and renders one prompt per item.

lm-eval calls `build_dataset`, the tasks' `custom_dataset`, with the metadata of the task, the value of
`--metadata`, all model arguments, and the task's own `dataset_kwargs`, as keywords. The exam of a task is bundled,
else the path in `--metadata`, else MEDALPACA_EXAM, else a dataset of the hub. Tasks of `medalpaca_medical`, which
have different exams, ignore MEDALPACA_EXAM.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import is_sealed, seal
from medalpaca_data.core.untrusted import printable
from medalpaca_data.exams.exam import Exam, Excluded, find_exam, load_exam
from medalpaca_data.exams.item import POCKET, VIGNETTES, Item, PromptStyle, exam_prompt_id

from .fewshot import FEWSHOT, load_examples
from .hub import HubDataset, fetch_hub_exam, hub_disabled_reason
from .model_identity import ModelIdentity, identify_model
from .sent_prompt import item_document

if TYPE_CHECKING:
    from datasets import DatasetDict

USMLE = HubDataset(
    "medalpaca/medical_meadow_usmle_self_assessment",
    (
        "step1.json",
        "step1_solutions.json",
        "step2.json",
        "step2_solutions.json",
        "step3.json",
        "step3_solutions.json",
    ),
    # The list of items with images. Optional, because the package contains it for the published copy of this exam.
    ("question_with_images.json",),
)
MEDQA = HubDataset("GBaker/MedQA-USMLE-4-options", ("phrases_no_exclude_test.jsonl",))
MEDMCQA = HubDataset("openlifescienceai/medmcqa", ("data/validation-00000-of-00001.parquet",))
PUBMEDQA = HubDataset("qiaojin/PubMedQA", ("pqa_labeled/train-00000-of-00001.parquet",))
MMLU = {
    "anatomy": HubDataset("cais/mmlu", ("anatomy/test-00000-of-00001.parquet",)),
    "clinical_knowledge": HubDataset("cais/mmlu", ("clinical_knowledge/test-00000-of-00001.parquet",)),
    "college_biology": HubDataset("cais/mmlu", ("college_biology/test-00000-of-00001.parquet",)),
    "college_medicine": HubDataset("cais/mmlu", ("college_medicine/test-00000-of-00001.parquet",)),
    "medical_genetics": HubDataset("cais/mmlu", ("medical_genetics/test-00000-of-00001.parquet",)),
    "professional_medicine": HubDataset("cais/mmlu", ("professional_medicine/test-00000-of-00001.parquet",)),
}

# Suffix of a task name -> prompt style of the task.
SCORING_SUFFIXES: dict[str, PromptStyle] = {
    "": "letter",
    "_text": "text",
    "_gen": "reasoning",
    "_2023": "protocol_2023",
}
# Part of MedQA: in the name of a task, and in the field `meta_info` of the data.
MEDQA_PARTS = {"step1": "step1", "step2_3": "step2&3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task: which items of which exam it uses, and how they are scored.

    `step` (an exam step, such as USMLE Step 1) and `part` (a value of `MEDQA_PARTS`, compared with the item's subject)
    restrict the items; None means all. `bundled` names an exam of the package. `key` is the name of the exam under
    "exams" in `--metadata`, for tasks of `medalpaca_medical`. `file` is the task's file of an exam with one file per
    subject. `hub` is the dataset that is used if no exam is given.
    """

    scoring: PromptStyle
    step: int | None = None
    part: str | None = None
    bundled: str | None = None
    key: str | None = None
    file: str | None = None
    hub: HubDataset | None = None

    @property
    def generates(self) -> bool:
        """Whether the answer is extracted from generated text."""
        return self.scoring in ("reasoning", "protocol_2023")

    def includes(self, entry: Item | Excluded) -> bool:
        """Return whether the task uses this item of its exam, or would if the item were not excluded.

        An excluded item has no subject, so it counts for every part.
        """
        if self.part is not None:
            return isinstance(entry, Excluded) or entry.subject == self.part
        return self.step is None or entry.step == self.step


TASKS: dict[str, Task] = {
    "medalpaca_usmle_step1": Task(scoring="letter", step=1, hub=USMLE),
    "medalpaca_usmle_step2": Task(scoring="letter", step=2, hub=USMLE),
    "medalpaca_usmle_step3": Task(scoring="letter", step=3, hub=USMLE),
    "medalpaca_usmle_text_step1": Task(scoring="text", step=1, hub=USMLE),
    "medalpaca_usmle_text_step2": Task(scoring="text", step=2, hub=USMLE),
    "medalpaca_usmle_text_step3": Task(scoring="text", step=3, hub=USMLE),
    "medalpaca_usmle_gen_step1": Task(scoring="reasoning", step=1, hub=USMLE),
    "medalpaca_usmle_gen_step2": Task(scoring="reasoning", step=2, hub=USMLE),
    "medalpaca_usmle_gen_step3": Task(scoring="reasoning", step=3, hub=USMLE),
    "medalpaca_usmle_2023_step1": Task(scoring="protocol_2023", step=1, hub=USMLE),
    "medalpaca_usmle_2023_step2": Task(scoring="protocol_2023", step=2, hub=USMLE),
    "medalpaca_usmle_2023_step3": Task(scoring="protocol_2023", step=3, hub=USMLE),
    "medalpaca_exam": Task(scoring="letter"),
    "medalpaca_exam_text": Task(scoring="text"),
    "medalpaca_exam_gen": Task(scoring="reasoning"),
    "medalpaca_pocket": Task(scoring="text", bundled=POCKET),
    "medalpaca_vignettes": Task(scoring="letter", bundled=VIGNETTES),
    "medalpaca_medqa_step1": Task(scoring="letter", part="step1", key="medqa", hub=MEDQA),
    "medalpaca_medqa_step2_3": Task(scoring="letter", part="step2&3", key="medqa", hub=MEDQA),
    "medalpaca_medmcqa": Task(scoring="letter", key="medmcqa", hub=MEDMCQA),
    "medalpaca_pubmedqa": Task(scoring="letter", key="pubmedqa", hub=PUBMEDQA),
    "medalpaca_mmlu_anatomy": Task(
        scoring="letter", key="mmlu", file="anatomy_test.csv", hub=MMLU["anatomy"]
    ),
    "medalpaca_mmlu_clinical_knowledge": Task(
        scoring="letter", key="mmlu", file="clinical_knowledge_test.csv", hub=MMLU["clinical_knowledge"]
    ),
    "medalpaca_mmlu_college_biology": Task(
        scoring="letter", key="mmlu", file="college_biology_test.csv", hub=MMLU["college_biology"]
    ),
    "medalpaca_mmlu_college_medicine": Task(
        scoring="letter", key="mmlu", file="college_medicine_test.csv", hub=MMLU["college_medicine"]
    ),
    "medalpaca_mmlu_medical_genetics": Task(
        scoring="letter", key="mmlu", file="medical_genetics_test.csv", hub=MMLU["medical_genetics"]
    ),
    "medalpaca_mmlu_professional_medicine": Task(
        scoring="letter", key="mmlu", file="professional_medicine_test.csv", hub=MMLU["professional_medicine"]
    ),
}
_MEDQA = ("medalpaca_medqa_step1", "medalpaca_medqa_step2_3")
_MMLU = (
    "medalpaca_mmlu_anatomy",
    "medalpaca_mmlu_clinical_knowledge",
    "medalpaca_mmlu_college_biology",
    "medalpaca_mmlu_college_medicine",
    "medalpaca_mmlu_medical_genetics",
    "medalpaca_mmlu_professional_medicine",
)
# Groups, with all tasks in them, including those of nested groups.
GROUPS: dict[str, tuple[str, ...]] = {
    "medalpaca_usmle": ("medalpaca_usmle_step1", "medalpaca_usmle_step2", "medalpaca_usmle_step3"),
    "medalpaca_usmle_text": (
        "medalpaca_usmle_text_step1",
        "medalpaca_usmle_text_step2",
        "medalpaca_usmle_text_step3",
    ),
    "medalpaca_usmle_gen": (
        "medalpaca_usmle_gen_step1",
        "medalpaca_usmle_gen_step2",
        "medalpaca_usmle_gen_step3",
    ),
    "medalpaca_usmle_2023": (
        "medalpaca_usmle_2023_step1",
        "medalpaca_usmle_2023_step2",
        "medalpaca_usmle_2023_step3",
    ),
    "medalpaca_medqa": _MEDQA,
    "medalpaca_mmlu": _MMLU,
    "medalpaca_medical": (*_MEDQA, "medalpaca_medmcqa", "medalpaca_pubmedqa", *_MMLU),
}
# Number of item ids that a warning lists; `exam inspect --json` lists all.
MAX_IDS = 20
SHA256 = re.compile(r"[0-9a-f]{64}")
# Values of `Task.key`.
EXAM_KEYS = ("medqa", "medmcqa", "pubmedqa", "mmlu")


def find_tasks(names: object) -> list[str]:
    """Return the tasks of this package among `names`, groups expanded; [] if `names` is not a list or tuple."""
    given = [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
    resolved = chain.from_iterable(GROUPS.get(name, (name,)) for name in given)
    return [name for name in dict.fromkeys(resolved) if name in TASKS]


def all_items_task(name: str) -> str:
    """Return the task for all items of any exam with the scoring of task `name`; medalpaca_exam if there is none."""
    suffix = next(suffix for suffix, scoring in SCORING_SUFFIXES.items() if scoring == TASKS[name].scoring)
    task = f"medalpaca_exam{suffix}"
    return task if task in TASKS else "medalpaca_exam"


EXAM_ADVICE = (
    """pass --metadata '{"exam": "PATH"}' to lm_eval, --exam PATH to `exam ask`, or set MEDALPACA_EXAM=PATH """
    "(a directory with step1.json and step1_solutions.json, or an exam file)"
)


def load_task_exam(name: str, task: Task, metadata: Mapping[str, Any]) -> Exam:
    """Return the exam of the task `name`.

    `metadata` has the paths, the key "images" ("exclude" or "keep") and the key "fields", which names the columns of
    the file under "exam"; for a bundled exam it is ignored. Downloads
    the hub dataset of the task if `metadata` has no path, and MEDALPACA_EXAM is not set or not used by the task. Raises
    UserError if there is no exam or it cannot be read.
    """
    if task.bundled is not None:
        return load_exam(task.bundled)
    images = _metadata_text(name, metadata, "images") or "exclude"
    path, advice = configured_exam_path(name, task, metadata), EXAM_ADVICE
    if task.key is None:
        path = find_exam(path)
    else:
        advice = f"""pass --metadata '{{"exams": {{"{task.key}": "PATH"}}}}'"""
    if path is not None:
        fields = metadata.get("fields") if task.key is None else None
        return load_exam(Path(path).expanduser(), images=images, fields=fields)
    if task.hub is None:
        raise UserError(f"{name}: no exam given; {advice}")
    if reason := hub_disabled_reason():
        raise UserError(f"{name}: no exam given, and the hub is disabled because {reason}; {advice}")
    try:
        fetched = fetch_hub_exam(task.hub)
    except UserError as error:
        raise UserError(f"{name}: no exam given, and {error}; {advice}") from None
    return load_exam(fetched, images=images)


def configured_exam_path(name: str, task: Task, metadata: Mapping[str, Any]) -> str | None:
    """Return the path that `metadata` gives for the exam of the task `name`, or None if it gives none.

    Raises UserError if the path is not a string, or if "exams" in `metadata` is faulty.
    """
    return (
        _metadata_text(name, metadata, "exam") if task.key is None else _path_in_exams(name, metadata, task)
    )


def _path_in_exams(name: str, metadata: Mapping[str, Any], task: Task) -> str | None:
    """Return the path that "exams" in `metadata` gives for the key `task.key`, or None if it gives none.

    If `task.file` is set, the path is a directory with one file per subject. Then the path of `task.file` in it, or in
    its folder "test", is returned. Raises UserError if "exams" is no object or has an unknown key, or a path is no
    string.
    """
    exams = metadata.get("exams") or {}
    if not isinstance(exams, Mapping):
        raise UserError(f"{name}: metadata 'exams' is {exams!r}; expected an object that maps names to paths")
    if unknown := [key for key in exams if key not in EXAM_KEYS]:
        raise UserError(f"{name}: metadata 'exams' has {unknown[0]!r}; allowed: {', '.join(EXAM_KEYS)}")
    path = _metadata_text(name, exams, str(task.key))
    if path is None or task.file is None:
        return path
    directory = Path(path).expanduser()
    files = [directory / task.file, directory / "test" / task.file]
    return str(next((file for file in files if file.is_file()), files[0]))


def _metadata_text(name: str, metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{name}: metadata {key!r} is {value!r}; expected a string")
    return value


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """The checked inputs of a task.

    They are its whole exam, the items that the task uses, base model and adapter, and the examples for few-shot
    prompts (None if the user names none). `plan_sha256` is the hash of the plan of `exam plan` in `--metadata`, None
    without one.
    """

    exam: Exam
    items: tuple[Item, ...]
    model: ModelIdentity
    examples: Exam | None = None
    plan_sha256: str | None = None


def build_dataset(*, medalpaca_task: str, **metadata: Any) -> DatasetDict:
    """Return the documents of the task `medalpaca_task` as split `test`, and its examples as split `fewshot`.

    The second split is empty without examples. Excluded items and warnings are logged. Raises UserError as
    `prepare_task` does.
    """
    from datasets import Dataset, DatasetDict

    inputs = prepare_task(medalpaca_task, metadata)
    _log_exclusions(medalpaca_task, inputs)
    examples = inputs.examples.items if inputs.examples else ()
    scoring = TASKS[medalpaca_task].scoring
    return DatasetDict(
        {
            "test": Dataset.from_list(build_documents(medalpaca_task, inputs)),
            FEWSHOT: Dataset.from_list([item_document(item, scoring) for item in examples]),
        }
    )


def prepare_task(name: str, metadata: Mapping[str, Any]) -> TaskInputs:
    """Return exam, items, base model and adapter of the task `name`, all checked.

    Raises UserError if one of them is missing or refused, or if the exam has no item for the task.
    """
    if is_sealed():
        # The import hook of lm_eval_plugin seals, too, but MEDALPACA_NO_AUTOLOAD can disable it.
        seal()
    task = TASKS[name]
    exam = load_task_exam(name, task, metadata)
    items = tuple(item for item in exam.items if task.includes(item))
    if not items:
        counts = ", ".join(_count_parts(exam, task))
        if task.part is not None:
            raise UserError(
                f"{name}: exam {exam.name} has no item of part {task.part}; it has {counts}; pass MedQA instead"
            )
        raise UserError(
            f"{name}: exam {exam.name} has no scorable item of step {task.step}; it has {counts}; "
            f"run the tasks of these steps, or {all_items_task(name)} for all items"
        )
    examples = load_examples(name, metadata, exam)
    plan = _metadata_text(name, metadata, "plan_sha256")
    if plan is not None and not SHA256.fullmatch(plan):
        raise UserError(
            f"{name}: metadata 'plan_sha256' is {plan!r}; expected the 64 digits that `exam plan` prints"
        )
    # Last, because the hash of a large model takes half a minute.
    return TaskInputs(exam, items, identify_model(metadata), examples, plan)


def build_documents(name: str, inputs: TaskInputs) -> list[dict[str, Any]]:
    """Return one document per item: the fields that the task YAML reads, and names and hashes of exam and model."""
    scoring = TASKS[name].scoring
    model = inputs.model
    # An exam without groups has documents without this key, as before.
    grouped = any(item.group is not None for item in inputs.items)
    identity = {
        "exam": inputs.exam.name,
        "exam_sha256": inputs.exam.sha256,
        "prompt_id": exam_prompt_id(scoring),
        "base": model.base,
        "base_sha256": model.base_sha256,
        "adapter": model.adapter,
        "adapter_sha256": model.adapter_sha256,
    }
    if inputs.examples is not None:
        identity |= {"fewshot": inputs.examples.name, "fewshot_sha256": inputs.examples.sha256}
    if inputs.plan_sha256:
        identity["plan_sha256"] = inputs.plan_sha256
    return [
        item_document(item, scoring) | ({"group": item.group} if grouped else {}) | identity
        for item in inputs.items
    ]


def _log_exclusions(name: str, inputs: TaskInputs) -> None:
    """Log the ids of excluded items by reason, never their texts, and the warnings of exam and model."""
    # lm-eval attaches a handler to its own loggers only, so this one is a child of them.
    log = logging.getLogger("lm_eval.medalpaca")
    task, exam = TASKS[name], inputs.exam
    excluded = [entry for entry in exam.excluded if task.includes(entry)]
    read = len(inputs.items) + len(excluded)
    reasons: dict[str, list[str]] = {}
    for entry in excluded:
        reasons.setdefault(entry.reason, []).append(entry.id)
    for reason, ids in reasons.items():
        listed = ", ".join(ids[:MAX_IDS]) + (f", ... {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else "")
        log.warning("%s: %d of %d items not scored (%s): %s", name, len(ids), read, reason, printable(listed))
    if task.step is not None and (stepless := sum(item.step is None for item in exam.items)):
        log.warning(
            "%s: %d items of %s have no step; only the task %s includes them",
            name,
            stepless,
            exam.name,
            all_items_task(name),
        )
    if exam.unread:
        columns = ", ".join(f"{column} {n}" for column, n in sorted(exam.unread.items()))
        log.warning("%s: columns of %s that are not read: %s", name, exam.name, printable(columns))
    for change, n in sorted(exam.changes.items()):
        log.warning("%s: %d items of %s: %s", name, n, exam.name, printable(change))
    for warning in (*exam.warnings, *inputs.model.warnings):
        log.warning("%s: %s", name, printable(warning))


def _count_parts(exam: Exam, task: Task) -> list[str]:
    """Return texts with the number of items per step, or per part if the task uses one: "3 of step 1"."""
    if task.part is not None:
        parts = [item.subject for item in exam.items]
        return [f"{parts.count(part)} of {part or 'no part'}" for part in sorted(set(parts), key=str)]
    counts: dict[int | None, int] = {}
    for item in exam.items:
        counts[item.step] = counts.get(item.step, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))
    return [f"{n} without a step" if step is None else f"{n} of step {step}" for step, n in ordered]
