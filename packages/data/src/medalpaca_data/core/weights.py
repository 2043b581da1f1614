"""Safety checks and hashes of model, adapter and tokenizer directories, without loading any weights.

Files that can run code when loaded (pickles, custom modules) are refused by name and by configuration key. They are
never opened: a scan of pickles can be evaded, a file name cannot. The checks read file names, JSON configurations
and safetensors headers. If the directory has a `manifest.json`, weights and tokenizer are hashed and compared to it.

Standard library only: medalpaca-evalharness imports this module at the start of Python, through a .pth file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from .adapter_layers import check_layers
from .errors import UserError
from .files import existing, read_json, sha256_bytes, sha256_file, sha256_json, sha256_listing

# Formats that run code when they are loaded, or that can hold a pickle.
REFUSED_SUFFIXES = {
    *(".bin", ".pt", ".pth", ".pt2", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"),
    *(".npy", ".npz", ".h5", ".hdf5", ".keras"),
}
# All other formats in a directory of a model, adapter or run. A file without a suffix is a text, such as LICENSE; a
# hidden file is a lock or a temporary file.
MODEL_SUFFIXES = {
    *("", ".safetensors", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".parquet"),
    # Tokenizers. Mistral numbers its own: tokenizer.model.v3.
    *(".txt", ".model", ".vocab", ".tiktoken", ".jinja", ".v1", ".v2", ".v3", ".v7"),
    *(".md", ".rst", ".pdf", ".html", ".csv", ".tsv", ".log"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"),
}

_ATTENTION = (
    r"(paged\|)?(eager|sdpa|flex_attention|flash_attention_[234])",
    "eager, sdpa, flex_attention, flash_attention_2, flash_attention_3, flash_attention_4",
)
_EXPERTS = (r"eager|batched_mm|grouped_mm", "eager, batched_mm, grouped_mm")
# Keys whose value names code: transformers downloads and runs a kernel OWNER/NAME, peft imports a module. Each has a
# pattern of the values allowed, and these values as text. The value may also be a dictionary or a list of such values.
CODE_KEYS = {
    "attn_implementation": _ATTENTION,
    "_attn_implementation": _ATTENTION,
    "attn_implementation_internal": _ATTENTION,
    "_attn_implementation_internal": _ATTENTION,
    "experts_implementation": _EXPERTS,
    "_experts_implementation": _EXPERTS,
    "experts_implementation_internal": _EXPERTS,
    "_experts_implementation_internal": _EXPERTS,
    "megatron_core": (r"megatron\.core", "megatron.core"),
    "parent_library": (r"transformers\.models\.\w+\.modeling_\w+", "transformers.models.NAME.modeling_NAME"),
}


class Refused(UserError):
    """A file that must never be loaded. Callers must not treat it as a missing file."""


def refuse_pickle(path: Path) -> None:
    """Raise Refused if the file type can run code when loaded."""
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise Refused(
            f"{path}: {path.suffix} files can run code when loaded and are refused; "
            "save the weights as safetensors and remove this file"
        )


def refuse_unsafe(directory: Path) -> None:
    """Raise Refused if a model, adapter, tokenizer or checkpoint directory can run code when loaded.

    Refused are files with another suffix than those in `MODEL_SUFFIXES`, and an index of shards that names other files
    than safetensors in the same directory. Refused are also configurations (`*config.json`) that name a file with a
    suffix in `REFUSED_SUFFIXES`, or that name code with another value than those in `CODE_KEYS`.
    """
    for file in sorted(directory.iterdir()):
        refuse_pickle(file)
        suffix = file.suffix.lower()
        if suffix not in MODEL_SUFFIXES and not file.name.startswith(".") and not file.is_dir():
            raise Refused(
                f"{file}: {suffix} files are refused in a model directory, because a library might load one as code; "
                "move this file to another directory"
            )
    for file in sorted(directory.glob("*config.json")):
        for key, value in _walk(read_json(file)):
            _refuse_setting(file, key, value)
    for file in sorted(directory.glob("*.safetensors.index.json")):
        index = read_json(file)
        for _, shard in _walk(index.get("weight_map") if isinstance(index, dict) else None):
            # Loaders read a shard by its suffix, and a shard outside this directory is in no hash.
            if isinstance(shard, str) and (Path(shard).name != shard or not shard.endswith(".safetensors")):
                raise Refused(
                    f"{file}: names {shard!r} as weights; allowed are *.safetensors files in the same directory"
                )


def _refuse_setting(file: Path, key: str, value: Any) -> None:
    if key == "auto_map" and value:
        raise Refused(
            f"{file}: 'auto_map' would run code from the model's files; remove the key or use another model"
        )
    if key in CODE_KEYS and value is not None and not isinstance(value, dict | list):
        pattern, allowed = CODE_KEYS[key]
        if not re.fullmatch(pattern, str(value)):
            raise Refused(
                f"{file}: {key!r} has the value {value!r}, which could load other code; allowed: {allowed}; "
                "remove the key"
            )
    if not isinstance(value, str):
        return
    if Path(value).suffix.lower() in REFUSED_SUFFIXES:
        raise Refused(f"{file}: {key!r} names {value!r}, which can run code when loaded; remove the key")


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every nested JSON value.

    Items of a list have the key of the list. Values of a dictionary under a key of `CODE_KEYS` have that key, because
    transformers accepts one implementation for each part of a model.
    """
    pending = [(key, value)]
    while pending:
        key, value = pending.pop()
        yield key, value
        match value:
            case dict():
                pending += [(key if key in CODE_KEYS else inner, held) for inner, held in value.items()]
            case list():
                pending += [(key, held) for held in value]


# Files of every tokenizer type (tokenizers, WordPiece, BPE, SentencePiece) and of the chat template.
TOKENIZER_FILES = (
    "tokenizer*.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Keys of tokenizer_config.json that depend on where the tokenizer was loaded from.
LOADING_KEYS = ("is_local", "local_files_only", "name_or_path")


def tokenizer_sha256(directory: Path) -> str:
    """Return the SHA-256 over all tokenizer files in `directory`, including the chat template.

    The keys `LOADING_KEYS` of tokenizer_config.json are not part of it. A directory without such files has a hash too.
    """
    files = sorted({file for pattern in TOKENIZER_FILES for file in directory.glob(pattern)})
    return sha256_listing((file.name, _file_sha256(file)) for file in files)


def _file_sha256(file: Path) -> str:
    if file.name != "tokenizer_config.json":
        return sha256_file(file)
    config = {key: value for key, value in _mapping(file).items() if key not in LOADING_KEYS}
    try:
        return sha256_json(config)
    except UnicodeEncodeError:
        raise UserError(f"{file}: not valid Unicode (half a surrogate pair)") from None


RECEIPT = "manifest.json"
# Sub-directory of a training run with the weights of its best step; `manifest.json` of the run has their hash.
BEST = "best"
# Bytes; the limit of the safetensors format.
MAX_HEADER = 100_000_000


def check_model_dir(path: Path | str) -> Path:
    """Return `path`, a safetensors model directory, after the checks that loading it is safe.

    Raises UserError if files are missing or damaged, and Refused if the directory has files or keys that run code when
    loaded, or does not match its `manifest.json`.
    """
    path = _directory(path, "model")
    config = path / "config.json"
    if not config.is_file():
        hint = " (it holds an adapter; give its base as the model)" if _is_adapter(path) else ""
        raise UserError(f"{path}: no config.json, so it is not a model directory{hint}")
    _mapping(config)
    refuse_unsafe(path)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError(f"{path}: no *.safetensors weights; other formats are not loaded")
    for file in files:
        tensor_shapes(file)
    check_receipt(path)
    return path


def check_adapter_dir(
    path: Path | str, base: Path | str | None = None, base_sha256: str | None = None
) -> Path:
    """Return `path`, a safetensors adapter directory, after the checks that loading it is safe.

    If `base` is given, that model is also checked, and whether the adapter fits it. `base_sha256` is the
    `weights_sha256` of the base, if the caller has already computed it.
    Raises UserError if files are missing or damaged or the adapter was trained on another base, and Refused as
    `check_model_dir` does.
    """
    path = _directory(path, "adapter")
    if not _is_adapter(path):
        raise UserError(f"{path}: no adapter_config.json, so it is not an adapter directory")
    refuse_unsafe(path)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"{path}: no adapter_model.safetensors; other formats are not loaded")
    shapes = tensor_shapes(weights)
    check_receipt(path)
    if base is not None:
        _check_base(path, shapes, check_model_dir(base), base_sha256)
    return path


def check_receipt(path: Path) -> None:
    """Raise Refused if weights or tokenizer differ from their SHA-256 in `manifest.json` of the directory.

    For the directory `best` of a training run, the manifest of the run is used. Without a manifest, or without a hash
    in it, nothing is compared.
    """
    receipt = _mapping(path / RECEIPT) if (path / RECEIPT).is_file() else {}
    # The manifest of a merged model has both keys.
    weights = receipt.get("model") or receipt.get("adapter")
    if not receipt and path.name == BEST and (path.parent / RECEIPT).is_file():
        weights = _mapping(path.parent / RECEIPT).get("best")
    for what, named, found in (
        ("weights", weights, weights_sha256),
        ("tokenizer", receipt.get("tokenizer"), tokenizer_sha256),
    ):
        expected = named.get("sha256") if isinstance(named, dict) else None
        if expected and expected != (digest := found(path)):
            raise Refused(
                f"{path}: the {what} changed after they were saved: SHA-256 {digest[:12]}, "
                f"but {RECEIPT} has {str(expected)[:12]}; copy the directory again"
            )


def weights_sha256(path: Path | str) -> str:
    """Return the SHA-256 that identifies a model or adapter: over its weight files and its configuration.

    Tokenizer, model card, checkpoints, and the path of an adapter's base are not part of it. So a copy with another
    README has the same hash. Raises UserError if there are neither weights nor a configuration.
    """
    path = Path(path)
    names = sorted(file.name for file in path.glob("*.safetensors"))
    names += [name for name in ("config.json", "adapter_config.json") if (path / name).is_file()]
    if not names:
        raise UserError(f"{path}: no *.safetensors weights and no configuration to hash")
    return sha256_listing((name, _content_sha256(path / name)) for name in names)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor by name, from the header of a safetensors file.

    Raises UserError if the file is not safetensors, truncated or damaged.
    """
    problem = f"{file}: not a safetensors file; it may be a pickle or an incomplete download"
    with existing(file).open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise UserError(problem)
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        shapes = {name: tuple(map(_length, value["shape"])) for name, value in tensors.items()}
        data = max((_length(value["data_offsets"][1]) for value in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise UserError(problem) from None
    if len(raw) != length or file.stat().st_size != 8 + length + data:
        raise UserError(f"{file}: truncated or damaged safetensors file; copy it again")
    return shapes


def _length(value: Any) -> int:
    """Return a length or an offset. Raises TypeError for another value than a whole number from 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is not a whole number from 0")
    return value


def _content_sha256(file: Path) -> str:
    if file.name == "adapter_config.json":
        # The path of the base depends on the machine, so it is not part of the adapter's identity.
        config = {key: value for key, value in _mapping(file).items() if key != "base_model_name_or_path"}
        return sha256_bytes(json.dumps(config, sort_keys=True).encode())
    state = file.stat()
    return _sha256_in_state(file.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


# One command needs the same hash several times: for the check, the manifest, and every task of a group.
@lru_cache(maxsize=256)
def _sha256_in_state(file: Path, size: int, changed: int, inode: int) -> str:
    return sha256_file(file)


def _directory(path: Path | str, what: str) -> Path:
    path = existing(path, f"{what} directory")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; give a {what} directory")
    return path


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file()


def _mapping(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise UserError(f"{file}: not a JSON object")
    return value


def _check_base(
    adapter: Path, shapes: dict[str, tuple[int, ...]], base: Path, base_sha256: str | None
) -> None:
    manifest = adapter / "manifest.json"
    if manifest.is_file():
        trained_on = _mapping(manifest).get("base") or {}
        if not isinstance(trained_on, dict) or not isinstance(trained_on.get("sha256", ""), str | None):
            raise UserError(f"{manifest}: key 'base' is not an object with path and sha256; copy it again")
        if (expected := trained_on.get("sha256")) and expected != (
            found := base_sha256 or weights_sha256(base)
        ):
            raise UserError(
                f"{adapter}: adapter of another base: trained on {trained_on.get('path')} "
                f"(SHA-256 {expected[:12]}), but the base is {base} ({found[:12]})"
            )
        if expected:
            # The same weights as in training, so their names need no comparison.
            return
    of_base = {
        name: shape for file in base.glob("*.safetensors") for name, shape in tensor_shapes(file).items()
    }
    check_layers(adapter, shapes, base, of_base)
