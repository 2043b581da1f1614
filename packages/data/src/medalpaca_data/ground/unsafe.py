"""What can run code when it is loaded: refused by its name, never opened and never scanned.

A scan for bad pickles can be passed by; a name cannot. What a configuration asks for is read as JSON and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_json

# Formats that run code when they are loaded.
REFUSED_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}

ATTENTION = {
    "attn_implementation",
    "_attn_implementation",
}  # OWNER/NAME there is a kernel to download and run
MODULES = {"megatron_core": "megatron.core"}  # peft imports what it finds there


class Refused(UserError):
    """What must not be loaded under any circumstances; nothing may go on without it as if it were merely missing."""


def refuse_pickle(path: Path) -> None:
    """Raise Refused for a file whose kind can run code when it is loaded."""
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise Refused(
            f"{path}: {path.suffix} files can run code when loaded; refused (save as safetensors, remove this file)"
        )


def refuse_unsafe(directory: Path) -> None:
    """Raise Refused, naming the file, for a directory of a model, adapter, tokenizer or checkpoint with a file
    that can run code, or with a configuration that asks for code or for weights that are not safetensors."""
    for file in sorted(directory.iterdir()):
        refuse_pickle(file)
    for file in sorted(directory.glob("*config.json")):
        for key, value in _walk(read_json(file)):
            _judge(file, key, value)
    for file in sorted(directory.glob("*.safetensors.index.json")):
        index = read_json(file)
        for _, shard in _walk(index.get("weight_map") if isinstance(index, dict) else None):
            # A shard of another kind is read as what its name says, and one elsewhere is in nobody's hash.
            if isinstance(shard, str) and (Path(shard).name != shard or not shard.endswith(".safetensors")):
                raise Refused(f"{file}: names {shard!r} as weights; only safetensors beside it are loaded")


def _judge(file: Path, key: str, value: Any) -> None:
    if key == "auto_map" and value:
        raise Refused(f"{file}: 'auto_map' asks to run code from the model's own files; refused")
    if not isinstance(value, str):
        return
    if key in ATTENTION and "/" in value:
        raise Refused(f"{file}: {key!r} asks to download and run the kernel {value!r}; refused")
    if key in MODULES and value != MODULES[key]:
        raise Refused(f"{file}: {key!r} asks to import {value!r}; refused")
    if Path(value).suffix.lower() in REFUSED_SUFFIXES:
        raise Refused(f"{file}: {key!r} names {value!r}, which can run code when loaded; refused")


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of everything in a JSON value, containers included; what a list holds goes by the list's key."""
    pending = [(key, value)]
    while pending:
        key, value = pending.pop()
        yield key, value
        match value:
            case dict():
                pending += [(str(inner), held) for inner, held in value.items()]
            case list():
                pending += [(key, held) for held in value]
