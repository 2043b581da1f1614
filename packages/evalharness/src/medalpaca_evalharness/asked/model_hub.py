"""Models and adapters named by a hub id: their files are held to the same rules as a local directory's.

What is in the hub's cache is checked and hashed there. What has still to be downloaded is judged by the list of
its files, and again from the cache when the documents are made.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from medalpaca_data.ground.errors import UserError, one_line
from medalpaca_data.ground.files import read_json
from medalpaca_data.ground.unsafe import REFUSED_SUFFIXES

from . import hub

COMMIT = re.compile(r"[0-9a-f]{40}")
Kind = Literal["model", "adapter"]
CONFIG = {"model": "config.json", "adapter": "adapter_config.json"}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"


def locate(
    name: str, kind: Kind, *, revision: str = "main", subfolder: str = "", variant: str = "", cache: str = ""
) -> Path | None:
    """The cached directory that `name` will be loaded from; None when it has still to be downloaded.

    Raises UserError when it is neither cached nor to be had, and when what would be downloaded holds no
    safetensors weights or asks to run code.
    """
    reason = f"was not asked because {switch}" if (switch := hub.why_not()) else None
    if reason is None:
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            commit, files = _listed(name, revision)
        except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
            raise UserError(
                f"{name}: no such {kind}: neither a directory here nor, at revision {revision}, on the hub"
            ) from None
        except Exception as error:  # the network stack's errors have no common base
            reason = f"did not answer ({one_line(error)[:80]})"
        else:
            directory = _cached(name, kind, commit, subfolder, cache)
            if directory is not None and _settled(directory, kind):
                return directory
            _check_listed(name, kind, commit, files, subfolder, variant)
            return None
    directory = _cached(name, kind, revision, subfolder, cache)
    if directory is None:
        raise UserError(
            f"{name}: no such {kind}: neither a directory here nor in the hub's cache, and the hub {reason}"
        )
    return directory


def commit_of(name: str, *, revision: str = "main", subfolder: str = "", cache: str = "") -> str:
    """The commit that `revision` of the model `name` is now, on the hub or in its cache; else `revision` itself."""
    if hub.why_not() is None:
        with suppress(Exception):  # as in `locate`; the cache answers instead
            return _listed(name, revision)[0]
    directory = _cached(name, "model", revision, subfolder, cache)
    parts = directory.parts if directory else ()
    return next((part for part in reversed(parts) if COMMIT.fullmatch(part)), revision)


@lru_cache(maxsize=8)  # one revision for all tasks of a run
def _listed(name: str, revision: str) -> tuple[str, tuple[str, ...]]:
    """The commit that `revision` is now, and its files."""
    from huggingface_hub import HfApi

    found = HfApi().model_info(name, revision=revision, timeout=hub.TIMEOUT)
    return found.sha or revision, tuple(file.rfilename for file in found.siblings or ())


def _cached(name: str, kind: Kind, revision: str, subfolder: str, cache: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    file = str(PurePosixPath(subfolder, CONFIG[kind]))
    try:
        found = try_to_load_from_cache(name, file, cache_dir=cache or None, revision=revision)
    except ValueError:  # no name that the hub could know
        return None
    return Path(found).parent if isinstance(found, str) else None


def _settled(directory: Path, kind: Kind) -> bool:
    """Whether the cached files say all: the weights are there, or something that must not be."""
    if any(file.suffix.lower() in REFUSED_SUFFIXES for file in directory.iterdir()):
        return True
    if kind == "adapter":
        return (directory / ADAPTER_WEIGHTS).is_file()
    if (directory / INDEX).is_file():
        index = read_json(directory / INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        return isinstance(shards, dict) and all((directory / str(file)).is_file() for file in shards.values())
    return any(directory.glob("*.safetensors"))


def _check_listed(
    name: str, kind: Kind, commit: str, files: tuple[str, ...], subfolder: str, variant: str
) -> None:
    folder = PurePosixPath(subfolder)
    present = {path.name for file in files if (path := PurePosixPath(file)).parent == folder}
    where = f"{name} on the hub" + (f", {subfolder}" if subfolder else "")
    if CONFIG[kind] not in present:
        raise UserError(f"{where}: no {CONFIG[kind]}, so this is no {kind}")
    weights = [file for file in present if file.endswith(".safetensors")]
    if kind == "adapter":
        weights = [file for file in weights if file == ADAPTER_WEIGHTS]
    elif variant:
        weights = [file for file in weights if f".{variant}." in file or f".{variant}-" in file]
    if not weights:
        refused = sorted(file for file in present if PurePosixPath(file).suffix.lower() in REFUSED_SUFFIXES)
        instead = f" ({refused[0]} can run code when loaded)" if refused else ""
        raise UserError(f"{where}: no *.safetensors weights; only safetensors is loaded{instead}")
    if kind == "model" and "auto_map" in _config(name, commit, str(folder / CONFIG[kind])):
        raise UserError(f"{where}: 'auto_map' asks to run code from the model's own files; refused")


def _config(name: str, commit: str, file: str) -> dict[str, object]:
    from huggingface_hub import hf_hub_download

    try:
        content = read_json(Path(hf_hub_download(name, file, revision=commit)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: {file} could not be fetched ({one_line(error)[:120]})") from None
    return content if isinstance(content, dict) else {}
