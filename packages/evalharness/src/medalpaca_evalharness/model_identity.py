"""Base model and adapter of a run: found from the model arguments, checked, and identified by SHA-256.

A model on the hub follows the same rules as a local directory (see `hub`). The module also handles two arguments of
`--model medalpaca` that lm-eval does not support: an adapter as the model, and loading in 8 or 4 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import read_json
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import (
    check_adapter_dir,
    check_model_dir,
    refuse_unsafe,
    weights_sha256,
)

from .hub import find_cached_model

# The argument for an adapter in the backends of lm-eval: `peft` in hf, `lora_local_path` in vllm.
ADAPTER_KEYS = ("peft", "lora_local_path")

# Arguments that load something other than the checked safetensors files, with the reason for the refusal.
REFUSED_ARGUMENTS = {
    "delta": "weights added to the base model would be missing from the hashes in the result",
    "trust_remote_code": "code from model repositories is never run",
    "gguf_file": "only safetensors is loaded",
    "autogptq": "only safetensors is loaded, by transformers",
    "gptqmodel": "only safetensors is loaded, by transformers",
}
# End of the name of a model behind a server, whose weights cannot be hashed.
NO_HASH = "(no hash)"
# Allowed values of load_format in vllm; the others read pickles or do not load the weights.
LOAD_FORMATS = (None, "auto", "safetensors")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Names of base model and adapter as given, and SHA-256 of their weights and configuration; None if not given.

    The name of a hub model with a revision is "NAME@REVISION", that of a model behind a server "MODEL @ HOST (no
    hash)". The SHA-256 of a model of the hub is None until its weights are in the cache. `warnings` has a line if the
    model was trained with another prompt.
    """

    base: str | None = None
    base_sha256: str | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    warnings: tuple[str, ...] = ()


def identify_model(model_args: Mapping[str, Any]) -> ModelIdentity:
    """Check base model and adapter in the model arguments of lm-eval, and return their identity.

    For a hub id, the list of its files is requested from the hub, unless the hub is disabled. Raises UserError for
    arguments and files that can run code or bypass the check. Also for missing or damaged weights, and for an adapter
    of another base model.
    """
    for key, reason in REFUSED_ARGUMENTS.items():
        if model_args.get(key):
            raise UserError(f"{key}= is not supported: {reason}")
    if address := _as_name(model_args.get("base_url")):
        tokenizer = _as_name(model_args.get("tokenizer"))
        if tokenizer is not None and Path(tokenizer).expanduser().is_dir():
            refuse_unsafe(Path(tokenizer).expanduser())
        # lm-eval accepts both names; the weights on the server are not known.
        return ModelIdentity(
            base=served_name(model_args.get("model") or model_args.get("pretrained"), address)
        )
    if not model_args.get("use_safetensors", True) or model_args.get("load_format") not in LOAD_FORMATS:
        raise UserError(
            "use_safetensors=False and load_format= other than auto or safetensors are not supported: "
            "only safetensors is loaded; remove these arguments"
        )
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
        # lm-eval loads the adapter at the revision of the base model.
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


def served_name(model: Any, address: str) -> str:
    """Return the name of a model behind a server in results: its name there, host and port, and that it has no hash."""
    return f"{model or 'unnamed'} @ {urlsplit(address).netloc.rpartition('@')[2]} {NO_HASH}"


def _as_name(value: Any) -> str | None:
    return str(value) if isinstance(value, str | Path) and str(value) else None


def _local_directory(name: str | None, what: str) -> Path | None:
    """Return the local directory `name`, or None for a hub id ("owner/name" or "name").

    Raises UserError if `name` is a path that does not exist.
    """
    if name is None:
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such {what} directory; give a directory or a hub id")
    return None


def _weights_sha256(directory: Path | None) -> str | None:
    return None if directory is None else weights_sha256(directory)


def _prompt_warnings(directory: Path | None) -> tuple[str, ...]:
    """Return a warning if the manifest of a training run in `directory` names another prompt; else ()."""
    manifest = directory / "manifest.json" if directory else None
    if manifest is None or not manifest.is_file():
        return ()
    content = read_json(manifest)
    trained = content.get("prompt_id") if isinstance(content, dict) else None
    if trained in (None, PROMPT_ID):
        return ()
    return (
        f"{directory}: trained with prompt {trained}, evaluated with prompt {PROMPT_ID}; its score may be lower",
    )


# The name for `--model`.
MODEL_TYPE = "medalpaca"

QUANTIZATION_FLAGS = ("load_in_8bit", "load_in_4bit")
QUANTIZATION_PREFIXES = ("bnb_4bit_", "llm_int8_")


def split_adapter_in_call(call: dict[str, Any]) -> None:
    """Apply `split_adapter` to the model arguments of a `simple_evaluate` call and to the metadata of its tasks.

    `call` holds the arguments by name and is changed in place. Raises UserError as `split_adapter` does.
    """
    from lm_eval.utils import simple_parse_args_string

    given = call.get("model_args") or {}
    parsed = simple_parse_args_string(given) if isinstance(given, str) else dict(given)
    if (complete := split_adapter(parsed)) == parsed:
        return
    call["model_args"] = complete
    manager_metadata = getattr(call.get("task_manager"), "metadata", None)
    for metadata in (manager_metadata, call.get("metadata")):
        if isinstance(metadata, dict) and metadata.get("pretrained") == parsed["pretrained"]:
            metadata.update({key: complete[key] for key in ("pretrained", "peft")})


def split_adapter(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with `pretrained=ADAPTER` replaced by `pretrained=BASE` and `peft=ADAPTER`.

    BASE is the model that the adapter's configuration names. Arguments are returned unchanged if `pretrained` is not a
    local adapter directory. Raises UserError if the adapter names no base model or a missing directory, and if `peft`
    is given as well.
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
        raise UserError(
            f"pretrained={directory} is an adapter, and peft={arguments['peft']} names another; "
            "give the base model as pretrained="
        )
    config = read_json(file)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    advice = f"give both: pretrained=BASE,peft={directory}"
    if not isinstance(base, str) or not base:
        raise UserError(f"{file}: no base_model_name_or_path; {advice}")
    # PEFT writes a hub id, or a path relative to the directory in which the training ran.
    local = next((path for path in (Path(base).expanduser(), directory / base) if path.is_dir()), None)
    if local is None and (Path(base).is_absolute() or base.startswith((".", "~"))):
        raise UserError(f"{file}: no such base model directory: {base}; {advice}")
    return arguments | {"pretrained": str(local) if local else base, "peft": str(directory)}


def pop_quantization_config(arguments: dict[str, Any]) -> Any:
    """Remove the arguments for 8-bit or 4-bit loading from `arguments`; return their BitsAndBytesConfig.

    Returns None if neither is switched on. transformers 5 no longer accepts `load_in_8bit=`, which lm-eval 0.4.13 still
    passes on. Raises UserError if both are on, if details such as `bnb_4bit_*` are given without them, if a value is
    invalid, or if bitsandbytes is not installed.
    """
    flags = {key: _as_bool(arguments.pop(key)) for key in QUANTIZATION_FLAGS if key in arguments}
    details = {key: arguments.pop(key) for key in list(arguments) if key.startswith(QUANTIZATION_PREFIXES)}
    enabled = [key for key, value in flags.items() if value]
    if not enabled:
        if details:
            raise UserError(
                f"{next(iter(details))}= has no effect without load_in_8bit=True or load_in_4bit=True; "
                "add one of these, or remove it"
            )
        return None
    if len(enabled) > 1:
        raise UserError("load_in_8bit= and load_in_4bit= are both set; choose one")
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{enabled[0]}= needs bitsandbytes, which is not installed: uv pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    try:
        return BitsAndBytesConfig(**{enabled[0]: True}, **details)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{enabled[0]}=: {one_line(error)}") from None


def _as_bool(value: Any) -> bool:
    return value.lower() == "true" if isinstance(value, str) else bool(value)
