"""Requests to the hub: the datasets of exams, and the models that are evaluated.

Datasets are downloaded file by file, because their schemas differ too much for one dataset loader. A model is checked
before its download: the list of its files, and its config.json. lm-eval downloads it. A model in the hub's cache is
used from there.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import read_json
from medalpaca_data.core.offline import is_sealed, no_telemetry, sealed_setting
from medalpaca_data.core.weights import REFUSED_SUFFIXES

# Seconds to wait for the first response of the hub.
TIMEOUT = 10
OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
COMMIT_SHA = re.compile(r"[0-9a-f]{40}")
Kind = Literal["model", "adapter"]
CONFIG_FILES = {"model": "config.json", "adapter": "adapter_config.json"}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset of the hub, and its files that make up an exam; `optional` files are used if they exist."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()


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


def find_cached_model(
    name: str, kind: Kind, *, revision: str = "main", subfolder: str = "", variant: str = "", cache: str = ""
) -> Path | None:
    """Return the directory of a model of the hub in the hub's cache, or None if it must still be downloaded.

    `revision`, `subfolder` and `variant` are those of `from_pretrained` in transformers. `cache` is a directory in
    place of the default cache. The files on the hub are listed, and config.json is downloaded, if the model is not
    completely cached. If the hub is disabled or does not answer, any cached directory is returned. Raises UserError if
    the hub has no such model, or if it cannot be reached and nothing is cached. Also raises UserError if the files on
    the hub contain no safetensors weights or need code from the repository.
    """
    reason = f"is disabled because {switch}" if (switch := hub_disabled_reason()) else None
    if reason is None:
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            commit, files = _list_hub_files(name, revision)
        except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
            raise UserError(
                f"{name}: no such {kind}: not a local directory, and not on the hub at revision {revision}"
            ) from None
        # The errors of the network libraries have no common base class.
        except Exception as error:
            reason = f"did not answer ({one_line(error)[:80]})"
        else:
            directory = _find_in_cache(name, kind, commit, subfolder, cache)
            if directory is not None and _is_complete(directory, kind):
                return directory
            _check_hub_files(name, kind, commit, files, subfolder, variant)
            return None
    directory = _find_in_cache(name, kind, revision, subfolder, cache)
    if directory is None:
        raise UserError(
            f"{name}: no such {kind}: not a local directory, not in the hub's cache, and the hub {reason}"
        )
    return directory


def resolve_commit(name: str, *, revision: str = "main", subfolder: str = "", cache: str = "") -> str:
    """Return the commit of `revision` of a model, from the hub, else from its cache; else `revision` itself."""
    if hub_disabled_reason() is None:
        # On an error, as in `find_cached_model`, the cache is used.
        with suppress(Exception):
            return _list_hub_files(name, revision)[0]
    directory = _find_in_cache(name, "model", revision, subfolder, cache)
    parts = directory.parts if directory else ()
    return next((part for part in reversed(parts) if COMMIT_SHA.fullmatch(part)), revision)


# Cached, so that all tasks of a run use one revision.
@lru_cache(maxsize=8)
def _list_hub_files(name: str, revision: str) -> tuple[str, tuple[str, ...]]:
    """Return the commit of `revision` and the names of its files."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
    return info.sha or revision, tuple(file.rfilename for file in info.siblings or ())


def _find_in_cache(name: str, kind: Kind, revision: str, subfolder: str, cache: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    file = str(PurePosixPath(subfolder, CONFIG_FILES[kind]))
    try:
        cached = try_to_load_from_cache(name, file, cache_dir=cache or None, revision=revision)
    # Not a valid hub id.
    except ValueError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _is_complete(directory: Path, kind: Kind) -> bool:
    """Return whether the cached files suffice for a check: all weights, or any file type that is refused."""
    if any(file.suffix.lower() in REFUSED_SUFFIXES for file in directory.iterdir()):
        return True
    if kind == "adapter":
        return (directory / ADAPTER_WEIGHTS).is_file()
    if (directory / SHARD_INDEX).is_file():
        index = read_json(directory / SHARD_INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        return isinstance(shards, dict) and all((directory / str(file)).is_file() for file in shards.values())
    return any(directory.glob("*.safetensors"))


def _check_hub_files(
    name: str, kind: Kind, commit: str, files: tuple[str, ...], subfolder: str, variant: str
) -> None:
    folder = PurePosixPath(subfolder)
    present = {path.name for file in files if (path := PurePosixPath(file)).parent == folder}
    where = f"{name} on the hub" + (f", {subfolder}" if subfolder else "")
    if CONFIG_FILES[kind] not in present:
        raise UserError(f"{where}: no {CONFIG_FILES[kind]}, so this is not a valid {kind}")
    weights = [file for file in present if file.endswith(".safetensors")]
    if kind == "adapter":
        weights = [file for file in weights if file == ADAPTER_WEIGHTS]
    elif variant:
        weights = [file for file in weights if f".{variant}." in file or f".{variant}-" in file]
    if not weights:
        refused = sorted(file for file in present if PurePosixPath(file).suffix.lower() in REFUSED_SUFFIXES)
        unsafe = f" ({refused[0]} can run code when loaded)" if refused else ""
        raise UserError(f"{where}: no *.safetensors weights; only safetensors is loaded{unsafe}")
    if kind == "model" and "auto_map" in _read_hub_config(name, commit, str(folder / CONFIG_FILES[kind])):
        raise UserError(
            f"{where}: 'auto_map' in config.json needs code from the model repository, which is refused"
        )


def _read_hub_config(name: str, commit: str, file: str) -> dict[str, object]:
    from huggingface_hub import hf_hub_download

    try:
        content = read_json(Path(hf_hub_download(name, file, revision=commit)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: {file} could not be downloaded ({one_line(error)[:120]})") from None
    return content if isinstance(content, dict) else {}
