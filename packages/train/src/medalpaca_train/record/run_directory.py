"""The run directory: what may be written over it, what it holds from the start, and how the weights get into it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import new_directory, write_json, write_text

from ..recipe import Recipe, difference, to_yaml
from ..rows.tokens import Rejected
from .alone import LOCK

SAVING = ".saving."
# What a kill leaves of a file that was being written (ground.files), or of the model that was being saved.
TEMPORARY = re.compile(
    r"\.(saving|best(\.old)?|(recipe|README|manifest|metrics|rejected|cut|loss)\.(yaml|md|json|jsonl|png))\.[a-z0-9_]{8}"
)


def check_out(run: Path, recipe: Recipe) -> None:
    """Refuse an `out` that holds anything but an earlier sitting of this very recipe."""
    if run.exists() and not run.is_dir():
        raise UserError(f"out={run}: is a file; choose another out=")
    if recipe.model == str(run):
        raise UserError(f"out={run}: is model= as well; choose another out=")
    if not run.exists() or all(path.name == LOCK or _is_temporary(path) for path in run.iterdir()):
        return
    if not recipe.resume:
        raise UserError(f"out={run}: holds something, and resume=false; choose another out= or remove it")
    stored = run / "recipe.yaml"
    if not stored.is_file():
        raise UserError(f"out={run}: holds something that is not a run; choose another out=")
    if changed := difference(recipe, stored):
        raise UserError(
            f"out={run}: a run of another recipe ({changed}); choose another out=, "
            "or remove it and use resume=false"
        )


def check_same(run: Path, old: tuple[str, str | None], new: tuple[str, str | None]) -> None:
    """Refuse to go on when the content of data or base, named by (data, base) hashes, is no longer the same."""
    for key, before, now in zip(("data", "model"), old, new, strict=True):
        if before != now:
            raise UserError(
                f"out={run}: the content of {key}= has changed since that run "
                f"({str(before)[:12]} -> {str(now)[:12]}); choose another out="
            )


def begin(run: Path, recipe: Recipe, rejected: Sequence[Rejected], cut: Sequence[Rejected]) -> None:
    """Write what a run directory holds from its first step on; a list of cut rows only where rows were cut."""
    write_text(run / "recipe.yaml", to_yaml(recipe))
    for name, rows in {"rejected": rejected, **({"cut": cut} if cut else {})}.items():
        lines = [json.dumps({"row": row.row_id, "reason": row.reason}) + "\n" for row in rows]
        write_text(run / f"{name}.jsonl", "".join(lines))


def remove_leftovers(run: Path) -> None:
    """Remove what a kill cut off while it was written; a copy of all weights may be among it."""
    for path in filter(_is_temporary, list(run.iterdir())):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def save_model(run: Path, model: Any, tokenizer: Any, dtype: torch.dtype) -> None:
    """Save adapter or model, and tokenizer, in the layout that peft and transformers load.

    An adapter stays in fp32, a whole model is stored in `dtype`. Everything is written into a sibling and moved
    file by file, so that a kill never leaves half a weight file.
    """
    with tempfile.TemporaryDirectory(dir=run, prefix=SAVING) as folder:
        if hasattr(model, "peft_config"):
            # False: asking a hub whether the vocabulary has grown is not for us; it has not.
            model.save_pretrained(folder, save_embedding_layers=False)
            _sort_targets(Path(folder) / "adapter_config.json")
        else:
            model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        readable = (run / "recipe.yaml").stat().st_mode
        for file in Path(folder).iterdir():
            # safetensors makes its files private; a run is as readable as the rest of its directory.
            file.chmod(readable)
            file.replace(run / file.name)


def save_best(run: Path, model: Any, tokenizer: Any, dtype: torch.dtype) -> None:
    """Save `model`, which holds the best step's weights, as `best/`: in the layout of the run itself."""
    with new_directory(run / "best", replace=True) as new:
        shutil.copy(run / "recipe.yaml", new)
        save_model(new, model, tokenizer, dtype)


def _is_temporary(path: Path) -> bool:
    return TEMPORARY.fullmatch(path.name) is not None


def _sort_targets(file: Path) -> None:
    """peft keeps the layer names in a set, whose order changes from process to process, and with it the hash."""
    config = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    write_json(file, config)
