"""Save checkpoints without pickles, and restore weights and optimizer state from them bit by bit.

`checkpoints/step-000200/` holds the trainable weights and the optimizer's moments as safetensors, `trainer.json`, and
the hashes of these files, which are checked before they are used. The directory appears complete or not at all. There
is no random state to save, because each step sets its own seed. Sharded weights are gathered first, so that any number
of processes can resume the run. (torch.distributed.checkpoint is not used, because its format contains a pickle.)
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import new_directory, read_json, sha256_file, write_json
from medalpaca_data.core.typed import check_type
from medalpaca_data.core.weights import refuse_unsafe

from .model import trainable_parameters
from .process_group import SINGLE_PROCESS, ProcessGroup

BEST = "best"
HASHES = "hashes.json"
CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a run: finished optimizer steps, seconds of training so far, and hashes of plan, data and base.

    `base_sha256` is None for a new pocket model. `processes` is the number of processes that wrote the checkpoint.
    """

    step: int
    seconds: float
    plan_sha256: str
    data_sha256: str
    base_sha256: str | None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Best:
    """The step with the lowest validation loss so far, and that loss in nats per supervised token."""

    step: int
    loss: float


RecordT = TypeVar("RecordT", Progress, Best)


def save(
    run: Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    keep: int,
    group: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Write the checkpoint of `progress.step`, then remove all but the newest `keep`.

    All processes call this function; the main process writes, and the others return after it. Raises UserError if the
    checkpoint cannot be written.
    """
    weights = trainable_parameters(model)
    gathered = _gather(weights.items(), group)
    moments = _gather(
        (
            (f"{name}:{key}", value)
            for name, weight in weights.items()
            for key, value in optimizer.state.get(weight, {}).items()
        ),
        group,
    )
    if group.is_main:
        _write(run, gathered, moments, progress, keep)
    group.barrier()


def _write(
    run: Path, weights: dict[str, Any], moments: dict[str, Any], progress: Progress, keep: int
) -> None:
    folder = run / "checkpoints"
    with (
        _report_write_errors(run, progress.step),
        new_directory(folder / f"step-{progress.step:06d}", replace=True) as new,
    ):
        save_file(weights, new / "weights.safetensors")
        save_file(moments, new / "optimizer.safetensors")
        write_json(new / "trainer.json", asdict(progress))
        _write_hashes(new)
    for old in _complete_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def save_best(run: Path, model: Any, best: Best, group: ProcessGroup = SINGLE_PROCESS) -> None:
    """Save the weights of `model` as those of the step `best`, in place of those of an earlier best step.

    All processes call this function.
    """
    weights = _gather(trainable_parameters(model).items(), group)
    if group.is_main:
        folder = run / "checkpoints" / BEST
        with _report_write_errors(run, best.step), new_directory(folder, replace=True) as new:
            save_file(weights, new / "weights.safetensors")
            write_json(new / "best.json", asdict(best))
            _write_hashes(new)
    group.barrier()


def read_best(run: Path) -> Best | None:
    """Return the best step so far, or None if none has been saved."""
    file = run / "checkpoints" / BEST / "best.json"
    return _read(Best, file) if file.is_file() else None


def find_latest(run: Path) -> Path | None:
    """Return the directory of a run's newest complete checkpoint, or None if there is no complete one."""
    checkpoints = _complete_checkpoints(run / "checkpoints")
    return checkpoints[-1] if checkpoints else None


def read_progress(checkpoint: Path) -> Progress:
    """Return the content of a checkpoint's `trainer.json`.

    Raises UserError if a file of the checkpoint is missing, its hash differs from `hashes.json`, or another version of
    medalpaca-train has written it.
    """
    _check_hashes(checkpoint)
    return _read(Progress, checkpoint / "trainer.json")


def _read(kind: type[RecordT], file: Path) -> RecordT:
    """Return a JSON object as `kind`. Raises UserError if a key is missing, unknown, or of another type."""
    value = read_json(file)
    if isinstance(value, dict) and value.keys() <= {one.name for one in fields(kind)}:
        with suppress(ValidationError):
            return TypeAdapter(kind).validate_python(value)
    raise UserError(
        f"{file.parent}: {file.name} was written by another version of medalpaca-train, or is damaged; "
        "use resume=false with another out="
    )


def restore(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Load weights and moments of a checkpoint into `model` and `optimizer`; `read_progress` has checked the hashes.

    Raises UserError if the names of the weights in checkpoint and model differ.
    """
    weights = restore_weights(checkpoint, model)
    for full_name, value in _iterate_tensors(checkpoint / "optimizer.safetensors"):
        name, _, key = full_name.rpartition(":")
        weight = weights[name]
        # The step count is a scalar, which is not sharded.
        state = _local_shard(value, weight) if value.dim() else value.to(weight.device)
        optimizer.state[weight][key] = state


def restore_weights(checkpoint: Path, model: Any) -> dict[str, torch.nn.Parameter]:
    """Load the weights of a checkpoint into `model` and return its trainable parameters by name.

    Raises UserError if the names of the weights in checkpoint and model differ.
    """
    weights = trainable_parameters(model)
    file = checkpoint / "weights.safetensors"
    with safe_open(file, "pt") as stored:
        if set(stored.keys()) != weights.keys():
            raise UserError(
                f"{checkpoint}: its weights have other names than this model's; choose another out="
            )
    with torch.no_grad():
        for name, value in _iterate_tensors(file):
            weights[name].copy_(_local_shard(value, weights[name]))
    return weights


def restore_latest_weights(run: Path, model: Any) -> None:
    """Load the weights of the newest checkpoint into `model`, if there is one."""
    if latest := find_latest(run):
        restore_weights(latest, model)


def restore_best(run: Path, model: Any) -> None:
    """Load the weights of the best step into `model`. Raises UserError if a file is missing or its hash differs."""
    _check_hashes(run / "checkpoints" / BEST)
    restore_weights(run / "checkpoints" / BEST, model)


def reject_pickles(run: Path) -> None:
    """Raise UserError if a file in the run or its checkpoints can run code when it is loaded, such as a pickle."""
    folder = run / "checkpoints"
    for path in (run, folder, folder / BEST, *_complete_checkpoints(folder)):
        if path.is_dir():
            refuse_unsafe(path)


def remove_all(run: Path) -> None:
    """Remove all checkpoints, complete or not."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def remove_incomplete(run: Path) -> None:
    """Remove checkpoints that a killed process left half written."""
    for path in run.glob("checkpoints/.*"):
        shutil.rmtree(path, ignore_errors=True)


def _complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    checkpoints = [path for path in folder.glob("step-*") if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(checkpoints, key=lambda path: int(path.name.removeprefix("step-")))


def _write_hashes(folder: Path) -> None:
    write_json(folder / HASHES, {file.name: sha256_file(file) for file in sorted(folder.iterdir())})


def _check_hashes(folder: Path) -> None:
    hashes = read_json(folder / HASHES) if (folder / HASHES).is_file() else {}
    check_type(dict[str, str], hashes, str(folder / HASHES), "remove this checkpoint")
    for name in ("weights.safetensors", *hashes):
        if not (folder / name).is_file() or sha256_file(folder / name) != hashes.get(name):
            raise UserError(
                f"{folder / name}: missing or changed (its SHA-256 is not the one in {HASHES}); remove this "
                "checkpoint, and the same command continues from the one before it"
            )


@contextmanager
def _report_write_errors(run: Path, step: int) -> Iterator[None]:
    """Raise UserError for a failed write, such as on a full disk; earlier checkpoints remain usable."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        latest = find_latest(run)
        state = f"the last complete one is {latest.name}" if latest else "there is no earlier one"
        raise UserError(
            f"{run}: the checkpoint of step {step} cannot be written ({one_line(error)[:160]}); {state}; "
            "free disk space, and the same command continues"
        ) from None


def _gather(tensors: Iterable[tuple[str, torch.Tensor]], group: ProcessGroup) -> dict[str, torch.Tensor]:
    """Return the tensors in the main process's CPU memory, shards combined; elsewhere an empty dictionary."""
    gathered = {}
    for name, tensor in tensors:
        full = tensor.detach()
        if hasattr(full, "full_tensor"):
            # One tensor at a time, so that a device never holds all of them.
            full = full.full_tensor()
        if group.is_main:
            gathered[name] = full.cpu().contiguous()
    return gathered


def _iterate_tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) of a safetensors file one at a time, so that memory never holds all of them."""
    with safe_open(file, "pt") as stored:
        for name in stored.keys():  # noqa: SIM118 - safe_open has no iterator
            yield name, stored.get_tensor(name)


def _local_shard(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `value` on the device of `weight`, and only this process's shard if `weight` is sharded."""
    value = value.to(weight.device)
    if not hasattr(weight, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    # The only tensor class with full_tensor.
    assert isinstance(weight, DTensor)  # noqa: S101
    # None: every process has read the same values, so none are sent.
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
