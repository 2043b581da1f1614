"""The tasks by name: the exam, the items, and the scoring of each; and the hub datasets of their exams.

Hub datasets are downloaded file by file, because their schemas differ too much for one dataset loader.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import is_sealed, no_telemetry, sealed_setting
from medalpaca_data.exams.exam import Excluded
from medalpaca_data.exams.item import POCKET, VIGNETTES, Item, PromptStyle

# Seconds to wait for the first response of the hub.
TIMEOUT = 10
OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset of the hub, and its files that make up an exam; `optional` files are used if they exist."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()


USMLE = HubDataset(
    "medalpaca/medical_meadow_usmle_self_assessment",
    tuple(f"step{step}{part}.json" for step in (1, 2, 3) for part in ("", "_solutions")),
    # The list of items with images. Optional, because the package contains it for the published copy of this exam.
    ("question_with_images.json",),
)
MEDQA = HubDataset("GBaker/MedQA-USMLE-4-options", ("phrases_no_exclude_test.jsonl",))
MEDMCQA = HubDataset("openlifescienceai/medmcqa", ("data/validation-00000-of-00001.parquet",))
PUBMEDQA = HubDataset("qiaojin/PubMedQA", ("pqa_labeled/train-00000-of-00001.parquet",))
MMLU = {
    subject: HubDataset("cais/mmlu", (f"{subject}/test-00000-of-00001.parquet",))
    for subject in (
        "anatomy",
        "clinical_knowledge",
        "college_biology",
        "college_medicine",
        "medical_genetics",
        "professional_medicine",
    )
}


def hub_disabled_reason() -> str | None:
    """Return the setting that disables requests to the hub, such as "HF_HUB_OFFLINE is set"; None if none does."""
    if is_sealed():
        return sealed_setting()
    for name in OFFLINE_SWITCHES:
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{name} is set"
    return None


@lru_cache(maxsize=16)
def fetch_hub_exam(repository: HubDataset) -> Path:
    """Download the files of an exam from one revision, and return their path in the hub cache.

    The path is that of the file if `files` has only one, else of the directory. A second call in the same process
    returns the same path without a request. Raises UserError if a required file cannot be downloaded.
    """
    no_telemetry()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    name = repository.files[0]
    try:
        # One request with a short timeout first: a download retries for half a minute if the hub is unreachable.
        url = hf_hub_url(repository.name, name, repo_type="dataset")
        revision = get_hf_file_metadata(url, timeout=TIMEOUT).commit_hash
        for name in repository.files:
            file = hf_hub_download(repository.name, name, repo_type="dataset", revision=revision)
        for optional in repository.optional:
            with suppress(EntryNotFoundError):
                hf_hub_download(repository.name, optional, repo_type="dataset", revision=revision)
    # The errors of the network libraries have no common base class.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"hub dataset {repository.name}: {name} could not be downloaded ({cause[:120]}); "
            "download it elsewhere and pass its path as the exam"
        ) from None
    return Path(file) if len(repository.files) == 1 else Path(file).parent


STEPS = (1, 2, 3)
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

    `step`, and `part`, which is compared with the item's subject, restrict the items; None means all. `bundled` names
    an exam of the package. `key` is the name of the exam under "exams" in `--metadata`, for tasks of
    `medalpaca_medical`. `file` is the task's file of an exam with one file per subject. `hub` is the dataset that is
    used if no exam is given.
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
    **{
        f"medalpaca_usmle{suffix}_step{step}": Task(scoring=scoring, step=step, hub=USMLE)
        for suffix, scoring in SCORING_SUFFIXES.items()
        for step in STEPS
    },
    **{
        f"medalpaca_exam{suffix}": Task(scoring=scoring)
        for suffix, scoring in SCORING_SUFFIXES.items()
        if scoring != "protocol_2023"
    },
    "medalpaca_pocket": Task(scoring="text", bundled=POCKET),
    "medalpaca_vignettes": Task(scoring="letter", bundled=VIGNETTES),
    **{
        f"medalpaca_medqa_{name}": Task(scoring="letter", part=part, key="medqa", hub=MEDQA)
        for name, part in MEDQA_PARTS.items()
    },
    "medalpaca_medmcqa": Task(scoring="letter", key="medmcqa", hub=MEDMCQA),
    "medalpaca_pubmedqa": Task(scoring="letter", key="pubmedqa", hub=PUBMEDQA),
    **{
        f"medalpaca_mmlu_{subject}": Task(
            scoring="letter", key="mmlu", file=f"{subject}_test.csv", hub=MMLU[subject]
        )
        for subject in MMLU
    },
}
_MEDQA = tuple(f"medalpaca_medqa_{name}" for name in MEDQA_PARTS)
_MMLU = tuple(f"medalpaca_mmlu_{subject}" for subject in MMLU)
# Groups, with all tasks in them, including those of nested groups.
GROUPS: dict[str, tuple[str, ...]] = {
    **{
        f"medalpaca_usmle{how}": tuple(f"medalpaca_usmle{how}_step{step}" for step in STEPS)
        for how in SCORING_SUFFIXES
    },
    "medalpaca_medqa": _MEDQA,
    "medalpaca_mmlu": _MMLU,
    "medalpaca_medical": (*_MEDQA, "medalpaca_medmcqa", "medalpaca_pubmedqa", *_MMLU),
}
EXAM_KEYS = tuple(dict.fromkeys(task.key for task in TASKS.values() if task.key))


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
