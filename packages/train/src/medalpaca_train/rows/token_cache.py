"""Tokens of the same rows, by the same tokenizer, are made once: kept under a hash of everything they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medalpaca_data.ground import places
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import (
    new_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
)
from medalpaca_data.prompt import PROMPT_ID, render
from medalpaca_data.row import Row

from . import tokens
from .tokens import Encoded, Rejected, Samples, encode


def cached(rows: Sequence[Row], tokenizer: Any, **options: Any) -> Encoded:
    """`tokens.encode`, or what it returned before for the same rows, tokenizer and options.

    A tokenizer that cannot be told from another (one without a fast backend) is asked every time; so is one where the
    cache cannot be written.
    """
    name = _name(rows, tokenizer, options)
    if name is None or not rows:
        return encode(rows, tokenizer, **options)
    folder = places.cache() / "tokens" / name
    if (found := _read(folder)) is not None:
        return found
    encoded = encode(rows, tokenizer, **options)
    with suppress(OSError):  # a full or read-only disk: the next start tokenises again
        _write(folder, encoded)
    return encoded


def _name(rows: Sequence[Row], tokenizer: Any, options: dict[str, Any]) -> str | None:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    texts = sha256_json([[row.id, render(row.instruction, row.input), row.output] for row in rows])
    own = [sha256_bytes(backend.to_str().encode()), tokenizer.bos_token_id, tokenizer.eos_token_id]
    # The code that makes tokens is part of what they depend on.
    return sha256_json([texts, own, options, PROMPT_ID, sha256_file(Path(tokens.__file__))])


def _write(folder: Path, encoded: Encoded) -> None:
    samples = encoded.samples
    with new_directory(folder, replace=True) as new:
        for key in ("ids", "ends", "given"):
            np.save(new / f"{key}.npy", getattr(samples, key), allow_pickle=False)
        notes = {key: [[n.row_id, n.reason] for n in getattr(encoded, key)] for key in ("rejected", "cut")}
        write_json(new / "rows.json", {"row_ids": samples.row_ids, **notes})


def _read(folder: Path) -> Encoded | None:
    """None where there is nothing, or nothing whole."""
    try:
        rows = read_json(folder / "rows.json") if folder.is_dir() else None
        if rows is None:
            return None
        # Mapped, not read: the pages of rows that no step needs are never loaded.
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        ends, given = (np.load(folder / f"{key}.npy", allow_pickle=False) for key in ("ends", "given"))
    except (OSError, ValueError, EOFError, UserError):
        return None
    notes = {key: [Rejected(*note) for note in rows[key]] for key in ("rejected", "cut")}
    return Encoded(Samples(ids, ends, given, rows["row_ids"]), **notes)
