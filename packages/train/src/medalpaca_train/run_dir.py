"""The run directory: its lock, the checks before it is written, its weights, and its manifest.

`manifest.json` is written last, so that a run with a manifest is finished.
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
from medalpaca_data.core.weights import TOKENIZER_FILES, tokenizer_sha256, weights_sha256

from .checkpoint import Best, Progress
from .hardware import Hardware, describe_hardware
from .model import quantization_kwargs
from .recipe import Recipe, first_difference, to_yaml
from .tokenize import RowNote, control_tokens

try:
    import fcntl
except ImportError:  # Windows: the system releases no lock of a killed process, so there is none
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".train.lock"
# Errors of a file system without locks.
LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Create the directory `run` and lock it for this process while the block runs.

    The operating system releases the lock of a killed process. Afterwards the lock file is removed, and so are
    directories created here that are still empty. On Windows and on a file system without locks, nothing is locked.
    Raises UserError if another process holds the lock, or if `run` cannot be created or written.
    """
    created = [path for path in (run, *run.parents) if not path.exists()]
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            handle = _acquire(run / LOCK_FILE)
        except OSError as error:
            raise UserError(f"out={run}: cannot be written ({error.strerror}); choose another out=") from None
        try:
            yield
        finally:
            if handle is not None:
                with suppress(OSError):
                    # Before the release: otherwise another process could hold a file that is then removed.
                    (run / LOCK_FILE).unlink()
                os.close(handle)
    finally:
        with suppress(OSError):
            for path in created:
                path.rmdir()


def is_abandoned(folder: Path) -> bool:
    """Return whether a process locked `folder` and has ended: the lock file exists, and no process holds it.

    False where locks are not supported.
    """
    if fcntl is None:
        return False
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDWR)
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
    """Return the handle of the locked file, or None on Windows. A file system without locks leaves it unlocked."""
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
            if error.errno not in LOCKS_UNSUPPORTED:
                os.close(handle)
                raise
        if _is_same_file(handle, file):
            return handle
        # The previous holder removed the file between open and flock: this lock is on a deleted file.
        os.close(handle)


def _is_same_file(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


SAVING_PREFIX = ".saving."
TOKENIZER_CONFIG = "tokenizer_config.json"
# Files that programs need to serve a multimodal model.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
# Names of temporary files (core.files) and model directories that a killed process leaves behind.
TEMPORARY_NAME = re.compile(
    r"\.(saving|best(\.old)?|(recipe|README|manifest|metrics|rejected|cut|loss)\.(yaml|md|json|jsonl|png))\.[a-z0-9_]{8}"
)


def check_out_directory(run: Path, recipe: Recipe) -> None:
    """Raise UserError if a run of `recipe` must not be written to the directory `run`.

    Allowed are a directory that does not exist or is empty, and, with `resume`, one with a run of the same recipe. Lock
    and temporary files do not count. The directory of `model` is never allowed.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"out={run}: is a file; choose another out=")
    if recipe.model == str(run):
        raise UserError(f"out={run}: is the same directory as model=; choose another out=")
    if not run.exists() or all(path.name == LOCK_FILE or _is_temporary(path) for path in run.iterdir()):
        return
    if not recipe.resume:
        raise UserError(f"out={run}: is not empty, and resume=false; choose another out= or remove it")
    stored = run / "recipe.yaml"
    if not stored.is_file():
        raise UserError(
            f"out={run}: is not empty and not a run directory (no recipe.yaml); choose another out="
        )
    if changed := first_difference(recipe, stored):
        raise UserError(
            f"out={run}: holds a run of another recipe ({changed}); choose another out=, "
            "or remove it and use resume=false"
        )


def check_hashes(run: Path, old: tuple[str, str | None], new: tuple[str, str | None]) -> None:
    """Raise UserError if data or base have changed since the run began.

    `old` and `new` are the SHA-256 of data and base, of the run and now. The hash of the base is None for a new pocket
    model.
    """
    for key, before, now in zip(("data", "model"), old, new, strict=True):
        if before != now:
            raise UserError(
                f"out={run}: holds a run with another {key}=, or its content has changed since then "
                f"({str(before)[:12]} -> {str(now)[:12]}); choose another out="
            )


def write_run_start(run: Path, recipe: Recipe, rejected: Sequence[RowNote], cut: Sequence[RowNote]) -> None:
    """Write `recipe.yaml`, `rejected.jsonl` and, if rows were truncated, `cut.jsonl` into the run directory."""
    write_text(run / "recipe.yaml", to_yaml(recipe))
    for name, rows in {"rejected": rejected, **({"cut": cut} if cut else {})}.items():
        lines = [json.dumps({"row": row.row_id, "reason": row.reason}) + "\n" for row in rows]
        write_text(run / f"{name}.jsonl", "".join(lines))


def remove_temporary_files(run: Path) -> None:
    """Remove temporary files of a killed process, among them possibly a copy of all weights."""
    for path in filter(_is_temporary, list(run.iterdir())):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def save_model(run: Path, model: Any, tokenizer: Any, dtype: torch.dtype, base: Path | None = None) -> None:
    """Save adapter or model, and tokenizer, in the layout of peft and transformers.

    An adapter is stored in fp32. A full model is cast to `dtype` in place and stored so. `base` is the directory of the
    base, whose tokenizer files are copied. Files are written to a temporary directory and moved one by one, so that a
    killed process never leaves half a weight file. `run` must contain `recipe.yaml`, whose permissions they get.
    """
    with tempfile.TemporaryDirectory(dir=run, prefix=SAVING_PREFIX) as folder:
        changed = align_stop_tokens(model, tokenizer)
        if hasattr(model, "peft_config"):
            # False: otherwise peft queries the hub for a change of the vocabulary, which has not changed.
            model.save_pretrained(folder, save_embedding_layers=False)
            _sort_target_modules(Path(folder) / "adapter_config.json")
            if changed:
                # The base, which other programs load with the adapter, stops at another token.
                model.get_base_model().generation_config.save_pretrained(folder)
        else:
            model.to(dtype).save_pretrained(folder)
        save_tokenizer(Path(folder), tokenizer, base)
        mode = (run / "recipe.yaml").stat().st_mode
        for file in Path(folder).iterdir():
            # safetensors makes its files private; they get the permissions of the run's other files.
            file.chmod(mode)
            file.replace(run / file.name)


def save_best_model(
    run: Path, model: Any, tokenizer: Any, dtype: torch.dtype, base: Path | None = None
) -> None:
    """Save `model`, which holds the weights of the best step, as `best/` in the run directory; replace an older one."""
    with new_directory(run / "best", replace=True) as new:
        shutil.copy(run / "recipe.yaml", new)
        save_model(new, model, tokenizer, dtype, base)


def save_tokenizer(folder: Path, tokenizer: Any, base: Path | None) -> None:
    """Write the tokenizer into `folder`: the files of the directory `base` byte for byte, with the trained template.

    In tokenizer_config.json, a chat template is removed, which is in a file of its own, and `eos_token` is replaced if
    it differs. transformers would write all files anew, in a format that its earlier versions cannot read. It does so
    if `base` is None or has no tokenizer_config.json.
    """
    if base is None or not (base / TOKENIZER_CONFIG).is_file():
        tokenizer.save_pretrained(folder)
        return
    patterns = [pattern for pattern in TOKENIZER_FILES if not pattern.startswith("chat_template")]
    files = {file for pattern in (*patterns, *PROCESSOR_FILES) for file in base.glob(pattern)}
    for file in files:
        shutil.copyfile(file, folder / file.name)
    write_text(folder / "chat_template.jinja", tokenizer.chat_template)
    config = read_json(base / TOKENIZER_CONFIG)
    stored = config.get("eos_token")
    same = (stored.get("content") if isinstance(stored, dict) else stored) == tokenizer.eos_token
    if "chat_template" in config or not same:
        config.pop("chat_template", None)
        write_json(folder / TOKENIZER_CONFIG, config | ({} if same else {"eos_token": tokenizer.eos_token}))


def align_stop_tokens(model: Any, tokenizer: Any) -> bool:
    """Set the EOS of the tokenizer, with which every answer was trained, as stop token of `model`.

    Other stop tokens of the generation configuration are kept if they are control tokens. Returns whether something
    has changed.
    """
    eos, control = tokenizer.eos_token_id, control_tokens(tokenizer)
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    changed = False
    for config in (base.config, base.config.get_text_config(), base.generation_config):
        stored = getattr(config, "eos_token_id", None)
        ids = [] if stored is None else list(stored) if isinstance(stored, list | tuple) else [stored]
        kept = [number for number in ids if number in control]
        if eos not in kept or kept != ids:
            others = [number for number in kept if number != eos]
            config.eos_token_id = [eos, *others] if others else eos
            changed = True
    return changed


def _is_temporary(path: Path) -> bool:
    return TEMPORARY_NAME.fullmatch(path.name) is not None


def _sort_target_modules(file: Path) -> None:
    """Sort the layer names: peft writes them in the order of a set, which would change the file's hash."""
    config = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    write_json(file, config)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How the training loop ended: finished steps, seconds of training over all starts, and validation losses.

    Losses are in nats per supervised token, and None without validation rows; `loss_after` is None before the end of
    the plan, too. `best` is the earlier step with the lowest validation loss, None if the loss of the last step is not
    higher.
    """

    step: int
    loss_before: float | None
    loss_after: float | None
    seconds: float
    finished: bool
    best: Best | None = None


MANIFEST_FILE = "manifest.json"
# Format of the manifest. Format 2 has de-identification records of ledger format 3 or 4; format 1 is read as well.
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
    result: TrainResult,
    counts: dict[str, int],
    hardware: Hardware,
    processes: int = 1,
) -> dict[str, Any]:
    """Return the manifest of a finished run whose weights are in `run`; `counts` is `PreparedData.counts()`.

    The hashes of data, base and plan are from `progress`. The caller adds `patient_text`, and sets `base.revision` to
    the base's commit on the hub.
    """
    kind = recipe.method
    return {
        "format": FORMAT,
        "kind": kind,
        "base": {
            "path": recipe.model,
            "revision": recipe.revision,
            "sha256": progress.base_sha256,
            "quantization": quantization_kwargs(recipe.quantization, hardware.compute_dtype) or None,
        },
        "adapter" if kind == "lora" else "model": {"sha256": weights_sha256(run)},
        "tokenizer": {"sha256": tokenizer_sha256(run)},
        "data": {"path": recipe.data, "sha256": progress.data_sha256, "rows": counts["rows_train"], **counts},
        "prompt_id": PROMPT_ID,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "plan_sha256": progress.plan_sha256,
        "steps": result.step,
        "validation_loss": {"before": result.loss_before, "after": result.loss_after},
        "best": {**asdict(result.best), "sha256": weights_sha256(run / "best")} if result.best else None,
        "seconds": round(result.seconds, 1),
        "versions": versions(*LIBRARIES),
        "hardware": {**describe_hardware(hardware), "processes": processes},
        "code_sha256": code_sha256(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_manifest(run: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished run, or None if the run is not finished."""
    file = run / MANIFEST_FILE
    if not file.is_file():
        return None
    value = read_json(file)
    if not isinstance(value, dict):
        raise UserError(f"{file}: not a JSON object; restore the file, or train again with another out=")
    return value


def code_sha256(package: Path | None = None) -> str:
    """Return one SHA-256 over all modules of `package` (default: medalpaca_train) and the prompt renderer.

    The manifest of a run records it as the version of the training code.
    """
    import medalpaca_data.core.prompt

    root = package or Path(__file__).parent
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*.py")}
    files["medalpaca_data/core/prompt.py"] = Path(str(medalpaca_data.core.prompt.__file__))
    return sha256_listing((name, sha256_file(file)) for name, file in sorted(files.items()))
