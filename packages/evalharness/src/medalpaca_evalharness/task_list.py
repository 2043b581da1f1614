"""The tasks: what each asks, of which exam, and how its answer is told.

Exams from the hub, file by file: their schemas differ, so no dataset loader reads them.
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
from medalpaca_data.exams.item import POCKET, VIGNETTES, Item
from medalpaca_data.exams.prompts import PromptStyle

TIMEOUT = 10  # seconds to wait for the hub's first answer
OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset of the hub and the files of it that make an exam."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()


USMLE = HubDataset(
    "medalpaca/medical_meadow_usmle_self_assessment",
    tuple(f"step{step}{part}.json" for step in (1, 2, 3) for part in ("", "_solutions")),
    ("question_with_images.json",),  # load_exam knows the list of the known copy
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
    """The switch that forbids asking the hub, or None when it may be asked."""
    if is_sealed():
        return sealed_setting()
    for name in OFFLINE_SWITCHES:
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{name} is set"
    return None


@lru_cache(maxsize=16)
def fetch_hub_exam(repository: HubDataset) -> Path:
    """Where the exam lies in the hub cache, all files of one revision. Raises UserError.

    The file, where there is but one; else the directory.
    """
    no_telemetry()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    name = repository.files[0]
    try:
        # Asked once and first, because downloads try for half a minute to reach a hub that is not there.
        url = hf_hub_url(repository.name, name, repo_type="dataset")
        revision = get_hf_file_metadata(url, timeout=TIMEOUT).commit_hash
        for name in repository.files:
            file = hf_hub_download(repository.name, name, repo_type="dataset", revision=revision)
        for optional in repository.optional:
            with suppress(EntryNotFoundError):
                hf_hub_download(repository.name, optional, repo_type="dataset", revision=revision)
    except Exception as error:  # the network stack's errors have no common base
        cause = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{repository.name}: {name} could not be fetched ({cause[:120]})") from None
    return Path(file) if len(repository.files) == 1 else Path(file).parent


STEPS = (1, 2, 3)
SCORING_SUFFIXES: dict[str, PromptStyle] = {
    "": "letter",
    "_text": "text",
    "_gen": "reasoning",
    "_2023": "protocol_2023",
}
MEDQA_PARTS = {"step1": "step1", "step2_3": "step2&3"}  # in a task's name, and in MedQA's `meta_info`


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one task asks of which exam."""

    scoring: PromptStyle
    step: int | None = None  # only the items of this step
    part: str | None = None  # only the items whose subject this is
    bundled: str | None = None  # the exam that comes with the package
    key: str | None = None  # the exam's name under "exams" in --metadata, of a task of `medalpaca_medical`
    file: str | None = None  # of an exam that has one file per subject
    hub: HubDataset | None = None  # where the exam is fetched from when nobody named one

    @property
    def generates(self) -> bool:
        """Whether the model writes, and its answer has to be found in that."""
        return self.scoring in ("reasoning", "protocol_2023")

    def asks(self, entry: Item | Excluded) -> bool:
        """Whether this item of its exam is the task's, or would be if it could be scored."""
        if self.part is not None:
            return isinstance(entry, Excluded) or entry.subject == self.part
        return self.step is None or entry.step == self.step


TASKS: dict[str, Task] = {
    **{
        f"medalpaca_usmle{how}_step{step}": Task(scoring=scoring, step=step, hub=USMLE)
        for how, scoring in SCORING_SUFFIXES.items()
        for step in STEPS
    },
    **{
        f"medalpaca_exam{how}": Task(scoring=scoring)
        for how, scoring in SCORING_SUFFIXES.items()
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
# Groups, with the tasks in them however deep they lie.
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
    """Our tasks among `names` as lm-eval is given them, groups resolved; everybody else's are left out."""
    given = [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
    resolved = chain.from_iterable(GROUPS.get(name, (name,)) for name in given)
    return [name for name in dict.fromkeys(resolved) if name in TASKS]


def all_items_task(name: str) -> str:
    """The task that asks all items of any exam in the way in which `name` asks."""
    how = next(how for how, scoring in SCORING_SUFFIXES.items() if scoring == TASKS[name].scoring)
    found = f"medalpaca_exam{how}"
    return found if found in TASKS else "medalpaca_exam"
