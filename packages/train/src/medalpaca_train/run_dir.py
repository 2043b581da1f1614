"""One process per run directory: a lock that the system takes back from a process that is killed.

The run directory: what may be written over it, what it holds from the start, and how the weights get into it.

How a sitting of a run ended.

`manifest.json`: the receipt of a run. Written last, so its presence says that the run is finished.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import (
    new_directory,
    read_json,
    sha256_file,
    sha256_listing,
    versions,
    write_json,
    write_text,
)
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import tokenizer_sha256, weights_sha256

from .checkpoint import Best, Progress
from .hardware import Hardware, describe
from .model import settings
from .recipe import Recipe, difference, to_yaml
from .tokenize import Rejected

try:
    import fcntl
except ImportError:  # Windows: nothing there is given back by a killed process, so there is no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".train.lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what a file system without locks answers


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Make the directory `run`, and hold it for this process alone while the block runs.

    Afterwards the lock file is gone, and so are directories made here into which nothing was put. Raises UserError
    when another process holds `run`, or when it cannot be made or written.
    """
    made = [path for path in (run, *run.parents) if not path.exists()]
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            handle = _acquire(run / LOCK)
        except OSError as error:
            raise UserError(f"out={run}: cannot be written ({error.strerror}); choose another out=") from None
        try:
            yield
        finally:
            if handle is not None:
                with suppress(OSError):
                    # Before it is released, so that nobody ever holds a file that we then take away.
                    (run / LOCK).unlink()
                os.close(handle)
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def is_abandoned(folder: Path) -> bool:
    """Whether `folder` was held by a process that is gone: its lock file is there, and nobody holds it.

    False wherever that cannot be told.
    """
    if fcntl is None:
        return False
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _acquire(file: Path) -> int | None:
    """The handle that holds the lock. None without locks: then two processes are the user's to keep apart."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"another train is running in {file.parent}; wait for it or choose another out="
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                raise
        if _is(handle, file):
            return handle
        # The holder before us removed the file between our two calls: we hold one that nobody else will find.
        os.close(handle)


def _is(handle: int, file: Path) -> bool:
    """Whether the open `handle` is what lies at `file`."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sitting ended. Losses are validation losses in nats per learned token, None without validation rows."""

    step: int
    before: float | None
    after: float | None
    seconds: float
    finished: bool
    best: Best | None = None  # where validation happened on the way and found a step before the last


FILE = "manifest.json"
# 2: `patient_text` has the records of ledger format 3 and the ledger's format. All readers read 1 as well.
FORMAT = 2
LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
    "medalpaca-train",
    "medalpaca-data",
)


def make_manifest(
    recipe: Recipe,
    run: Path,
    progress: Progress,
    outcome: Outcome,
    counts: dict[str, int],
    hardware: Hardware,
    processes: int = 1,
) -> dict[str, Any]:
    """The receipt of a finished run whose weights lie in `run`. `counts` are of rows and tokens (see the card)."""
    kind = recipe.method
    return {
        "format": FORMAT,
        "kind": kind,
        "base": {
            "path": recipe.model,
            "revision": recipe.revision,
            "sha256": progress.base_sha256,
            "quantization": settings(recipe.quantization, hardware.compute_dtype) or None,
        },
        "adapter" if kind == "lora" else "model": {"sha256": weights_sha256(run)},
        "tokenizer": {"sha256": tokenizer_sha256(run)},
        "data": {"path": recipe.data, "sha256": progress.data_sha256, "rows": counts["rows_train"], **counts},
        "prompt_id": PROMPT_ID,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "plan_sha256": progress.plan_sha256,
        "steps": outcome.step,
        "validation_loss": {"before": outcome.before, "after": outcome.after},
        "best": {**asdict(outcome.best), "sha256": weights_sha256(run / "best")} if outcome.best else None,
        "seconds": round(outcome.seconds, 1),
        "versions": versions(*LIBRARIES),
        "hardware": {**describe(hardware), "processes": processes},
        "code_sha256": code_sha256(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_manifest(run: Path) -> dict[str, Any] | None:
    """The receipt of a finished run, or None."""
    file = run / FILE
    return dict(read_json(file)) if file.is_file() else None


def code_sha256() -> str:
    """One hash over every source file that decides what is trained: this package and the prompt."""
    import medalpaca_data.core.prompt

    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), Path(str(medalpaca_data.core.prompt.__file__))]
    return sha256_listing((file.name, sha256_file(file)) for file in files)
