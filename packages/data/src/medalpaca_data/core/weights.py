"""What can run code when it is loaded: refused by its name, never opened and never scanned.

A scan for bad pickles can be passed by; a name cannot. What a configuration asks for is read as JSON and no more.

The name of a tokenizer: it changes what a model reads, and is in no hash of weights.

Model and adapter directories: safetensors only, no code, as their receipt says, and the adapter must belong to its
base.

All is read from file names, configurations and safetensors headers, and loads nothing. Only where the directory holds
a receipt (`manifest.json`), every byte of weights and tokenizer is hashed as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_json, sha256_bytes, sha256_file, sha256_json, sha256_listing

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


# Whatever kind a tokenizer is of: tokenizers' own file, word pieces, merges, sentencepiece, the chat template.
FILES = (
    "tokenizer*.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Keys of tokenizer_config.json that say how it was loaded last, not what it is.
LOADING = ("is_local", "local_files_only", "name_or_path")


def tokenizer_sha256(directory: Path) -> str:
    """SHA-256 over name and hash of every file of the tokenizer in `directory`, the chat template among them."""
    files = sorted({file for pattern in FILES for file in directory.glob(pattern)})
    return sha256_listing((file.name, _file_sha256(file)) for file in files)


def _file_sha256(file: Path) -> str:
    if file.name != "tokenizer_config.json":
        return sha256_file(file)
    config = read_json(file)
    return sha256_json({key: value for key, value in config.items() if key not in LOADING})


RECEIPT = "manifest.json"
BEST = "best"  # a run's best step lies in a directory of this name, and the run's receipt names it
MAX_HEADER = 100_000_000  # bytes; the format's own limit


def check_model_dir(path: Path | str) -> Path:
    """Refuse a directory that is no safetensors model, or that carries pickles or code."""
    path = _directory(path, "model")
    config = path / "config.json"
    if not config.is_file():
        hint = " (this is an adapter: name its base as the model)" if _is_adapter(path) else ""
        raise UserError(f"{path}: no config.json, so this is not a model directory{hint}")
    _mapping(config)
    refuse_unsafe(path)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError(f"{path}: no *.safetensors weights; only safetensors is loaded")
    for file in files:
        tensor_shapes(file)
    check_receipt(path)
    return path


def check_adapter_dir(
    path: Path | str, base: Path | str | None = None, base_sha256: str | None = None
) -> Path:
    """Refuse a directory that is no safetensors adapter, and with `base`, one that was made for another base.

    `base_sha256` is the base's `weights_sha256` where the caller has it: hashing gigabytes once is enough.
    """
    path = _directory(path, "adapter")
    if not _is_adapter(path):
        raise UserError(f"{path}: no adapter_config.json, so this is not an adapter directory")
    refuse_unsafe(path)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"{path}: no adapter_model.safetensors; only safetensors is loaded")
    shapes = tensor_shapes(weights)
    check_receipt(path)
    if base is not None:
        _check_base(path, shapes, check_model_dir(base), base_sha256)
    return path


def check_receipt(path: Path) -> None:
    """Refuse weights or a tokenizer that are not those which the directory's own receipt names; none, none checked."""
    receipt = _mapping(path / RECEIPT) if (path / RECEIPT).is_file() else {}
    weights = receipt.get("model") or receipt.get("adapter")  # a merged model's names both
    if not receipt and path.name == BEST and (path.parent / RECEIPT).is_file():
        weights = _mapping(path.parent / RECEIPT).get("best")
    for what, named, found in (
        ("weights", weights, weights_sha256),
        ("tokenizer", receipt.get("tokenizer"), tokenizer_sha256),
    ):
        expected = named.get("sha256") if isinstance(named, dict) else None
        if expected and expected != (digest := found(path)):
            raise Refused(
                f"{path}: its {what} are not those that were saved ({RECEIPT} names {str(expected)[:12]}, "
                f"found {digest[:12]}); refused, get them again"
            )


def weights_sha256(path: Path | str) -> str:
    """The name of a model or adapter: SHA-256 over its weight files' and its configuration's hashes.

    Tokenizer, cards and checkpoints are left out, so that a copy with another README keeps its name.
    """
    path = Path(path)
    names = sorted(file.name for file in path.glob("*.safetensors"))
    names += [name for name in ("config.json", "adapter_config.json") if (path / name).is_file()]
    if not names:
        raise UserError(f"{path}: no weights to hash")
    return sha256_listing((name, _content_sha256(path / name)) for name in names)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, from the safetensors header; refuses a file that is something else."""
    problem = f"{file}: not a safetensors file (a pickle or a damaged download?); only safetensors is loaded"
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise UserError(problem)
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        shapes = {name: tuple(int(n) for n in value["shape"]) for name, value in tensors.items()}
        data = max((int(value["data_offsets"][1]) for value in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise UserError(problem) from None
    if len(raw) != length or file.stat().st_size != 8 + length + data:
        raise UserError(f"{file}: truncated or damaged safetensors file; get it again")
    return shapes


def _content_sha256(file: Path) -> str:
    if file.name == "adapter_config.json":
        # The base's path is where it lay when the adapter was saved, not what the adapter is.
        config = {key: value for key, value in _mapping(file).items() if key != "base_model_name_or_path"}
        return sha256_bytes(json.dumps(config, sort_keys=True).encode())
    state = file.stat()
    return _sha256_in_state(file.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


# One start asks several times for the same gigabytes: the check, the receipt, every task of a group.
@lru_cache(maxsize=256)
def _sha256_in_state(file: Path, size: int, changed: int, inode: int) -> str:
    return sha256_file(file)


def _directory(path: Path | str, what: str) -> Path:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such {what} directory")
    if not path.is_dir():
        raise UserError(f"{path}: is a file, a {what} directory was expected")
    return path


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file()


def _mapping(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise UserError(f"{file}: a JSON object was expected")
    return value


def _check_base(
    adapter: Path, shapes: dict[str, tuple[int, ...]], base: Path, base_sha256: str | None
) -> None:
    manifest = adapter / "manifest.json"
    if manifest.is_file():
        trained_on = _mapping(manifest).get("base", {})
        if (expected := trained_on.get("sha256")) and expected != (
            found := base_sha256 or weights_sha256(base)
        ):
            raise UserError(
                f"{adapter}: adapter of another base: trained on {trained_on.get('path')} "
                f"({expected[:12]}), given {base} ({found[:12]})"
            )
    of_base = {
        name: shape for file in base.glob("*.safetensors") for name, shape in tensor_shapes(file).items()
    }
    missing = known = 0
    for name, shape in shapes.items():
        module, marker, _ = name.partition(".lora_A.")
        if not marker or len(shape) != 2:
            continue
        stored = module.removeprefix("base_model.model.") + ".weight"
        # Some checkpoints leave out the name of the outermost module (GPT-2: "transformer.").
        weight = of_base.get(stored) or of_base.get(stored.partition(".")[2])
        if weight is None:
            missing += 1
            continue
        known += 1
        output = shapes.get(name.replace(".lora_A.", ".lora_B."), (0, 0))[0]
        if weight not in ((output, shape[1]), (shape[1], output)):  # Conv1D stores the transpose
            raise UserError(
                f"{adapter}: adapter of another base: {module} is {weight[0]}x{weight[1]} in {base}, "
                f"the adapter wants {output}x{shape[1]}"
            )
    # No layer found under its name can mean that the architecture stores layers under other names; but then some
    # of the modules themselves (q_proj, c_attn) do occur.
    modules = {name.split(".")[-2] for name in of_base if "." in name}
    wanted = {name.partition(".lora_A.")[0].rpartition(".")[2] for name in shapes if ".lora_A." in name}
    if wanted and not wanted & modules:
        raise UserError(
            f"{adapter}: adapter of another base: its layers ({', '.join(sorted(wanted))}) do not occur in {base}"
        )
    if known and missing:
        raise UserError(
            f"{adapter}: adapter of another base: {missing} of its {known + missing} layers are not in {base}"
        )
