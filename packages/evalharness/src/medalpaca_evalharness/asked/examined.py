"""What is examined: base and adapter as the model arguments name them, checked and hashed at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import read_json
from medalpaca_data.ground.unsafe import refuse_unsafe
from medalpaca_data.ground.weights import check_adapter_dir, check_model_dir, weights_sha256
from medalpaca_data.prompt import PROMPT_ID

from . import model_hub

# What lm-eval's backends call an adapter: `peft` in hf, `lora_local_path` in vllm.
ADAPTER_KEYS = ("peft", "lora_local_path")

# Arguments that add weights or load something else than the checked safetensors files.
REFUSED = {
    "delta": "weights added to the base would not be in the result's hashes",
    "trust_remote_code": "code from model repositories never runs here",
    "gguf_file": "only safetensors is loaded",
    "autogptq": "only safetensors is loaded, by transformers itself",
    "gptqmodel": "only safetensors is loaded, by transformers itself",
}
LOAD_FORMATS = (None, "auto", "safetensors")  # of vllm; the others read pickles or skip the weights


@dataclass(frozen=True, slots=True)
class Examined:
    """Names as given, and hashes of directories; a hub id has none until its weights are in the cache."""

    base: str | None = None
    base_sha256: str | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    warnings: tuple[str, ...] = ()


def examined(model_args: Mapping[str, Any]) -> Examined:
    """Identify and check what `model_args` load.

    Raises UserError for what can run code or would load other files than those checked, for damaged weights,
    and for an adapter made for another base.
    """
    for key, reason in REFUSED.items():
        if model_args.get(key):
            raise UserError(f"{key}= is not supported: {reason}")
    if not model_args.get("use_safetensors", True) or model_args.get("load_format") not in LOAD_FORMATS:
        raise UserError("use_safetensors= and load_format= are not supported: only safetensors is loaded")
    base = _name(model_args.get("pretrained"))
    adapter = next((name for key in ADAPTER_KEYS if (name := _name(model_args.get(key)))), None)
    revision = str(model_args.get("revision") or "") or None
    base_local, adapter_local = _directory(base, "model"), _directory(adapter, "adapter")
    base_dir, adapter_dir = base_local, adapter_local
    subfolder = str(model_args.get("subfolder") or "")
    if base_local is not None:
        base_dir = base_local / subfolder
    elif base is not None:
        base_dir = model_hub.locate(
            base,
            "model",
            revision=revision or "main",
            subfolder=subfolder,
            variant=_name(model_args.get("variant")) or "",
            cache=_name(model_args.get("cache_dir")) or "",
        )
    if adapter is not None and adapter_local is None:
        # lm-eval asks for the adapter at the base's revision.
        adapter_dir = model_hub.locate(adapter, "adapter", revision=revision or "main")
    tokenizer = _name(model_args.get("tokenizer"))
    if tokenizer is not None and Path(tokenizer).expanduser().is_dir():
        refuse_unsafe(Path(tokenizer).expanduser())
    if base_dir is not None:
        check_model_dir(base_dir)
    base_sha256 = _sha256(base_dir)
    if adapter_dir is not None:
        check_adapter_dir(adapter_dir, base_dir, base_sha256)
    return Examined(
        base=f"{base}@{revision}" if base and revision and base_local is None else base,
        base_sha256=base_sha256,
        adapter=adapter,
        adapter_sha256=_sha256(adapter_dir),
        warnings=_other_prompt(adapter_dir or base_dir),
    )


def _name(value: Any) -> str | None:
    return str(value) if isinstance(value, str | Path) and str(value) else None


def _directory(name: str | None, what: str) -> Path | None:
    """The local directory that `name` is, or None for a hub id, which has the form "owner/name" or "name"."""
    if name is None:
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise UserError(f"{name}: no such {what} directory")
    return None


def _sha256(directory: Path | None) -> str | None:
    return None if directory is None else weights_sha256(directory)


def _other_prompt(directory: Path | None) -> tuple[str, ...]:
    """A run directory says which prompt it was trained with; asked in another way it is worth less."""
    manifest = directory / "manifest.json" if directory else None
    if manifest is None or not manifest.is_file():
        return ()
    content = read_json(manifest)
    trained = content.get("prompt_id") if isinstance(content, dict) else None
    if trained in (None, PROMPT_ID):
        return ()
    return (f"{directory}: trained with prompt {trained}, asked with {PROMPT_ID}",)
