"""The USMLE sample exam from the hub, file by file: their schemas differ, so no dataset loader reads them."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.sealed import is_sealed

REPOSITORY = "medalpaca/medical_meadow_usmle_self_assessment"
FILES = tuple(f"step{step}{part}.json" for step in (1, 2, 3) for part in ("", "_solutions"))
IMAGE_LIST = "question_with_images.json"
TIMEOUT = 10  # seconds to wait for the hub's first answer
OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def why_not() -> str | None:
    """The switch that forbids asking the hub, or None when it may be asked."""
    if is_sealed():
        return "MEDALPACA_SEALED=1"
    for name in OFFLINE_SWITCHES:
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{name} is set"
    return None


@lru_cache(maxsize=1)
def fetch() -> Path:
    """The directory in the hub cache with the exam's files, all of one revision. Raises UserError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    name = FILES[0]
    try:
        # Asked once and first, because downloads try for half a minute to reach a hub that is not there.
        url = hf_hub_url(REPOSITORY, name, repo_type="dataset")
        revision = get_hf_file_metadata(url, timeout=TIMEOUT).commit_hash
        for name in FILES:
            file = hf_hub_download(REPOSITORY, name, repo_type="dataset", revision=revision)
        with suppress(EntryNotFoundError):  # load_exam knows the list of the known copy
            hf_hub_download(REPOSITORY, IMAGE_LIST, repo_type="dataset", revision=revision)
    except Exception as error:  # the network stack's errors have no common base
        cause = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{REPOSITORY}: {name} could not be fetched ({cause[:120]})") from None
    return Path(file).parent
