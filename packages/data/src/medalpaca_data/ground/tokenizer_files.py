"""The name of a tokenizer: it changes what a model reads, and is in no hash of weights."""

from __future__ import annotations

from pathlib import Path

from .files import read_json, sha256_file, sha256_json, sha256_listing

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
