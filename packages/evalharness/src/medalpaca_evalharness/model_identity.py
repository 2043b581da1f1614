"""What is examined: base and adapter as the model arguments name them, checked and hashed at run time.

Models and adapters named by a hub id: their files are held to the same rules as a local directory's.

What is in the hub's cache is checked and hashed there. What has still to be downloaded is judged by the list of
its files, and again from the cache when the documents are made.

Arguments of `--model medalpaca` that lm-eval does not understand by itself: an adapter as the model, and
quantised loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import read_json
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import (
    REFUSED_SUFFIXES,
    check_adapter_dir,
    check_model_dir,
    refuse_unsafe,
    weights_sha256,
)

from . import task_list

COMMIT_SHA = re.compile(r"[0-9a-f]{40}")
Kind = Literal["model", "adapter"]
CONFIG_FILES = {"model": "config.json", "adapter": "adapter_config.json"}
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"


def find_cached_model(
    name: str, kind: Kind, *, revision: str = "main", subfolder: str = "", variant: str = "", cache: str = ""
) -> Path | None:
    """The cached directory that `name` will be loaded from; None when it has still to be downloaded.

    Raises UserError when it is neither cached nor to be had, and when what would be downloaded holds no
    safetensors weights or asks to run code.
    """
    reason = f"was not asked because {switch}" if (switch := task_list.hub_disabled_reason()) else None
    if reason is None:
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            commit, files = _list_hub_files(name, revision)
        except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
            raise UserError(
                f"{name}: no such {kind}: neither a directory here nor, at revision {revision}, on the hub"
            ) from None
        except Exception as error:  # the network stack's errors have no common base
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
            f"{name}: no such {kind}: neither a directory here nor in the hub's cache, and the hub {reason}"
        )
    return directory


def resolve_commit(name: str, *, revision: str = "main", subfolder: str = "", cache: str = "") -> str:
    """The commit that `revision` of the model `name` is now, on the hub or in its cache; else `revision` itself."""
    if task_list.hub_disabled_reason() is None:
        with suppress(Exception):  # as in `locate`; the cache answers instead
            return _list_hub_files(name, revision)[0]
    directory = _find_in_cache(name, "model", revision, subfolder, cache)
    parts = directory.parts if directory else ()
    return next((part for part in reversed(parts) if COMMIT_SHA.fullmatch(part)), revision)


@lru_cache(maxsize=8)  # one revision for all tasks of a run
def _list_hub_files(name: str, revision: str) -> tuple[str, tuple[str, ...]]:
    """The commit that `revision` is now, and its files."""
    from huggingface_hub import HfApi

    found = HfApi().model_info(name, revision=revision, timeout=task_list.TIMEOUT)
    return found.sha or revision, tuple(file.rfilename for file in found.siblings or ())


def _find_in_cache(name: str, kind: Kind, revision: str, subfolder: str, cache: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    file = str(PurePosixPath(subfolder, CONFIG_FILES[kind]))
    try:
        found = try_to_load_from_cache(name, file, cache_dir=cache or None, revision=revision)
    except ValueError:  # no name that the hub could know
        return None
    return Path(found).parent if isinstance(found, str) else None


def _is_complete(directory: Path, kind: Kind) -> bool:
    """Whether the cached files say all: the weights are there, or something that must not be."""
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
        raise UserError(f"{where}: no {CONFIG_FILES[kind]}, so this is no {kind}")
    weights = [file for file in present if file.endswith(".safetensors")]
    if kind == "adapter":
        weights = [file for file in weights if file == ADAPTER_WEIGHTS]
    elif variant:
        weights = [file for file in weights if f".{variant}." in file or f".{variant}-" in file]
    if not weights:
        refused = sorted(file for file in present if PurePosixPath(file).suffix.lower() in REFUSED_SUFFIXES)
        instead = f" ({refused[0]} can run code when loaded)" if refused else ""
        raise UserError(f"{where}: no *.safetensors weights; only safetensors is loaded{instead}")
    if kind == "model" and "auto_map" in _read_hub_config(name, commit, str(folder / CONFIG_FILES[kind])):
        raise UserError(f"{where}: 'auto_map' asks to run code from the model's own files; refused")


def _read_hub_config(name: str, commit: str, file: str) -> dict[str, object]:
    from huggingface_hub import hf_hub_download

    try:
        content = read_json(Path(hf_hub_download(name, file, revision=commit)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: {file} could not be fetched ({one_line(error)[:120]})") from None
    return content if isinstance(content, dict) else {}


# What lm-eval's backends call an adapter: `peft` in hf, `lora_local_path` in vllm.
ADAPTER_KEYS = ("peft", "lora_local_path")

# Arguments that add weights or load something else than the checked safetensors files.
REFUSED_ARGUMENTS = {
    "delta": "weights added to the base would not be in the result's hashes",
    "trust_remote_code": "code from model repositories never runs here",
    "gguf_file": "only safetensors is loaded",
    "autogptq": "only safetensors is loaded, by transformers itself",
    "gptqmodel": "only safetensors is loaded, by transformers itself",
}
LOAD_FORMATS = (None, "auto", "safetensors")  # of vllm; the others read pickles or skip the weights


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Names as given, and hashes of directories; a hub id has none until its weights are in the cache."""

    base: str | None = None
    base_sha256: str | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    warnings: tuple[str, ...] = ()


def identify_model(model_args: Mapping[str, Any]) -> ModelIdentity:
    """Identify and check what `model_args` load.

    Raises UserError for what can run code or would load other files than those checked, for damaged weights,
    and for an adapter made for another base.
    """
    for key, reason in REFUSED_ARGUMENTS.items():
        if model_args.get(key):
            raise UserError(f"{key}= is not supported: {reason}")
    if not model_args.get("use_safetensors", True) or model_args.get("load_format") not in LOAD_FORMATS:
        raise UserError("use_safetensors= and load_format= are not supported: only safetensors is loaded")
    base = _as_name(model_args.get("pretrained"))
    adapter = next((name for key in ADAPTER_KEYS if (name := _as_name(model_args.get(key)))), None)
    revision = str(model_args.get("revision") or "") or None
    base_local, adapter_local = _local_directory(base, "model"), _local_directory(adapter, "adapter")
    base_dir, adapter_dir = base_local, adapter_local
    subfolder = str(model_args.get("subfolder") or "")
    if base_local is not None:
        base_dir = base_local / subfolder
    elif base is not None:
        base_dir = find_cached_model(
            base,
            "model",
            revision=revision or "main",
            subfolder=subfolder,
            variant=_as_name(model_args.get("variant")) or "",
            cache=_as_name(model_args.get("cache_dir")) or "",
        )
    if adapter is not None and adapter_local is None:
        # lm-eval asks for the adapter at the base's revision.
        adapter_dir = find_cached_model(adapter, "adapter", revision=revision or "main")
    tokenizer = _as_name(model_args.get("tokenizer"))
    if tokenizer is not None and Path(tokenizer).expanduser().is_dir():
        refuse_unsafe(Path(tokenizer).expanduser())
    if base_dir is not None:
        check_model_dir(base_dir)
    base_sha256 = _weights_sha256(base_dir)
    if adapter_dir is not None:
        check_adapter_dir(adapter_dir, base_dir, base_sha256)
    return ModelIdentity(
        base=f"{base}@{revision}" if base and revision and base_local is None else base,
        base_sha256=base_sha256,
        adapter=adapter,
        adapter_sha256=_weights_sha256(adapter_dir),
        warnings=_prompt_warnings(adapter_dir or base_dir),
    )


def _as_name(value: Any) -> str | None:
    return str(value) if isinstance(value, str | Path) and str(value) else None


def _local_directory(name: str | None, what: str) -> Path | None:
    """The local directory that `name` is, or None for a hub id, which has the form "owner/name" or "name"."""
    if name is None:
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such {what} directory")
    return None


def _weights_sha256(directory: Path | None) -> str | None:
    return None if directory is None else weights_sha256(directory)


def _prompt_warnings(directory: Path | None) -> tuple[str, ...]:
    """A run directory says which prompt it was trained with; asked in another way it is worth less."""
    manifest = directory / "manifest.json" if directory else None
    if manifest is None or not manifest.is_file():
        return ()
    content = read_json(manifest)
    trained = content.get("prompt_id") if isinstance(content, dict) else None
    if trained in (None, PROMPT_ID):
        return ()
    return (f"{directory}: trained with prompt {trained}, asked with {PROMPT_ID}",)


MODEL_TYPE = "medalpaca"  # as `--model` names it

QUANTIZATION_FLAGS = ("load_in_8bit", "load_in_4bit")
QUANTIZATION_PREFIXES = ("bnb_4bit_", "llm_int8_")  # how arguments about it begin


def split_adapter_in_call(call: dict[str, Any]) -> None:
    """Name base and adapter apart in a `simple_evaluate` call, for the model and for what its tasks are told.

    `call` holds the arguments by name and is changed in place. Raises UserError.
    """
    from lm_eval.utils import simple_parse_args_string

    given = call.get("model_args") or {}
    named = simple_parse_args_string(given) if isinstance(given, str) else dict(given)
    if (whole := split_adapter(named)) == named:
        return
    call["model_args"] = whole
    told = getattr(call.get("task_manager"), "metadata", None)
    for metadata in (told, call.get("metadata")):
        if isinstance(metadata, dict) and metadata.get("pretrained") == named["pretrained"]:
            metadata.update({key: whole[key] for key in ("pretrained", "peft")})


def split_adapter(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`, with `pretrained=ADAPTER` taken apart into the base that the adapter names, and `peft=ADAPTER`.

    Raises UserError when it names none, or one that is not there, or when `peft` is given as well.
    """
    arguments = dict(arguments)
    given = arguments.get("pretrained")
    directory = Path(given).expanduser() if isinstance(given, str | Path) else None
    if directory is None or (directory / "config.json").is_file():
        return arguments
    file = directory / "adapter_config.json"
    if not file.is_file():
        return arguments
    if arguments.get("peft"):
        raise UserError(f"{directory}: is an adapter, and peft= names another; give the base as pretrained=")
    config = read_json(file)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    advice = f"give both: pretrained=BASE,peft={directory}"
    if not isinstance(base, str) or not base:
        raise UserError(f"{file}: names no base_model_name_or_path; {advice}")
    # As PEFT wrote it down: a hub id, or a path seen from where the training ran.
    found = next((path for path in (Path(base).expanduser(), directory / base) if path.is_dir()), None)
    if found is None and (Path(base).is_absolute() or base.startswith((".", "~"))):
        raise UserError(f"{file}: its base {base} is not there; {advice}")
    return arguments | {"pretrained": str(found) if found else base, "peft": str(directory)}


def pop_quantization_config(arguments: dict[str, Any]) -> Any:
    """Take what concerns 8-bit or 4-bit loading out of `arguments`; its BitsAndBytesConfig, or None.

    transformers 5 knows no `load_in_8bit=` any more, and lm-eval 0.4.13 still hands it on. Raises UserError when
    both are asked for, or bitsandbytes is not installed.
    """
    asked = {key: _as_bool(arguments.pop(key)) for key in QUANTIZATION_FLAGS if key in arguments}
    details = {key: arguments.pop(key) for key in list(arguments) if key.startswith(QUANTIZATION_PREFIXES)}
    wanted = [key for key, value in asked.items() if value]
    if not wanted:
        if details:
            raise UserError(f"{next(iter(details))}= has no meaning without load_in_8bit= or load_in_4bit=")
        return None
    if len(wanted) > 1:
        raise UserError("load_in_8bit= and load_in_4bit= exclude each other")
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{wanted[0]}= needs bitsandbytes, which is not installed: uv pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    try:
        return BitsAndBytesConfig(**{wanted[0]: True}, **details)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{wanted[0]}=: {one_line(error)}") from None


def _as_bool(value: Any) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)
