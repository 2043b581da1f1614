"""Exams from the hub, file by file: their schemas differ, so no dataset loader reads them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.sealed import is_sealed, no_telemetry, sealed_setting

TIMEOUT = 10  # seconds to wait for the hub's first answer
OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Repository:
    """A dataset of the hub and the files of it that make an exam."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()


USMLE = Repository(
    "medalpaca/medical_meadow_usmle_self_assessment",
    tuple(f"step{step}{part}.json" for step in (1, 2, 3) for part in ("", "_solutions")),
    ("question_with_images.json",),  # load_exam knows the list of the known copy
)
MEDQA = Repository("GBaker/MedQA-USMLE-4-options", ("phrases_no_exclude_test.jsonl",))
MEDMCQA = Repository("openlifescienceai/medmcqa", ("data/validation-00000-of-00001.parquet",))
PUBMEDQA = Repository("qiaojin/PubMedQA", ("pqa_labeled/train-00000-of-00001.parquet",))
MMLU = {
    subject: Repository("cais/mmlu", (f"{subject}/test-00000-of-00001.parquet",))
    for subject in (
        "anatomy",
        "clinical_knowledge",
        "college_biology",
        "college_medicine",
        "medical_genetics",
        "professional_medicine",
    )
}


def why_not() -> str | None:
    """The switch that forbids asking the hub, or None when it may be asked."""
    if is_sealed():
        return sealed_setting()
    for name in OFFLINE_SWITCHES:
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{name} is set"
    return None


@lru_cache(maxsize=16)
def fetch(repository: Repository) -> Path:
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
