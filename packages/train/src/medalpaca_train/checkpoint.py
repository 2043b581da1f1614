"""Checkpoints: everything a killed run needs to go on as if nothing had happened, and no pickle.

`checkpoints/step-000200/` holds the trained weights and the optimizer's moments as safetensors, `trainer.json`, and
the hashes of them all, which are checked before any of it is used.
The directory appears whole or not at all. There is no state of random generators to keep: each step seeds its own.
Weights that several processes share are gathered first, so that any number of processes can go on from there. (What
torch.distributed.checkpoint writes is tied to a pickle.)
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import new_directory, read_json, sha256_file, write_json
from medalpaca_data.core.weights import refuse_unsafe

from .model import trainable
from .process_group import ALONE, World

BEST = "best"
HASHES = "hashes.json"
NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, and what it ran on."""

    step: int  # finished optimizer steps
    seconds: float  # of training so far, over all sittings
    plan_sha256: str
    data_sha256: str
    base_sha256: str | None
    processes: int = 1  # that wrote it


def save(
    run: Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    keep: int,
    world: World = ALONE,
) -> None:
    """Write the checkpoint of `progress.step`, then remove all but the newest `keep`.

    All processes have to call it: the first writes, and the others return when it has.
    """
    weights = trainable(model)
    stored = _gathered(weights.items(), world)
    moments = _gathered(
        (
            (f"{name}:{key}", value)
            for name, weight in weights.items()
            for key, value in optimizer.state.get(weight, {}).items()
        ),
        world,
    )
    if world.first:
        _write(run, stored, moments, progress, keep)
    world.wait()


def _write(
    run: Path, weights: dict[str, Any], moments: dict[str, Any], progress: Progress, keep: int
) -> None:
    folder = run / "checkpoints"
    with (
        _written(run, progress.step),
        new_directory(folder / f"step-{progress.step:06d}", replace=True) as new,
    ):
        save_file(weights, new / "weights.safetensors")
        save_file(moments, new / "optimizer.safetensors")
        write_json(new / "trainer.json", asdict(progress))
        _write_hashes(new)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)


@dataclass(frozen=True, slots=True)
class Best:
    """The validated step with the lowest loss so far."""

    step: int
    loss: float


def save_best(run: Path, model: Any, best: Best, world: World = ALONE) -> None:
    """Keep the weights of `best` in place of those kept before. All processes have to call it."""
    weights = _gathered(trainable(model).items(), world)
    if world.first:
        with _written(run, best.step), new_directory(run / "checkpoints" / BEST, replace=True) as new:
            save_file(weights, new / "weights.safetensors")
            write_json(new / "best.json", asdict(best))
            _write_hashes(new)
    world.wait()


def read_best(run: Path) -> Best | None:
    """The best step so far, or None."""
    file = run / "checkpoints" / BEST / "best.json"
    return Best(**read_json(file)) if file.is_file() else None


def restore_best(run: Path, model: Any) -> None:
    """Put the best step's weights into `model`."""
    _check_hashes(run / "checkpoints" / BEST)
    restore_weights(run / "checkpoints" / BEST, model)


def newest(run: Path) -> Path | None:
    """The last complete checkpoint of a run, or None."""
    found = _all(run / "checkpoints")
    return found[-1] if found else None


def read_progress(checkpoint: Path) -> Progress:
    """What `trainer.json` says. Raises UserError unless every file is the one that was saved."""
    _check_hashes(checkpoint)
    try:
        return Progress(**read_json(checkpoint / "trainer.json"))
    except TypeError:
        raise UserError(
            f"{checkpoint}: a checkpoint of another version; use resume=false with another out="
        ) from None


def restore(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's weights and moments into `model` and `optimizer`, bit by bit."""
    weights = restore_weights(checkpoint, model)
    for place, value in _read(checkpoint / "optimizer.safetensors"):
        name, _, key = place.rpartition(":")
        weight = weights[name]
        # A count of steps is nobody's share.
        optimizer.state[weight][key] = _share(value, weight) if value.dim() else value.to(weight.device)


def refuse_pickles(run: Path) -> None:
    """Refuse a run with a file, in it or in its checkpoints, that can run code when loaded; ours never write one."""
    folder = run / "checkpoints"
    for path in (run, folder, folder / BEST, *_all(folder)):
        if path.is_dir():
            refuse_unsafe(path)


def remove_all(run: Path) -> None:
    """Remove the checkpoints, with the leftovers of killed writes."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def remove_leftovers(run: Path) -> None:
    """Remove half-written checkpoints that a kill left behind."""
    for path in run.glob("checkpoints/.*"):
        shutil.rmtree(path, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [path for path in folder.glob("step-*") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def restore_last(run: Path, model: Any) -> None:
    """Put the weights of the newest checkpoint into `model`."""
    if last := newest(run):
        restore_weights(last, model)


def _write_hashes(folder: Path) -> None:
    write_json(folder / HASHES, {file.name: sha256_file(file) for file in sorted(folder.iterdir())})


def _check_hashes(folder: Path) -> None:
    hashes = read_json(folder / HASHES) if (folder / HASHES).is_file() else {}
    for name in ("weights.safetensors", *hashes):
        if not (folder / name).is_file() or sha256_file(folder / name) != hashes.get(name):
            raise UserError(
                f"{folder / name}: not the file that was saved ({HASHES} names another); remove this checkpoint, and "
                "the same command continues from the one before it"
            )


def restore_weights(checkpoint: Path, model: Any) -> dict[str, torch.nn.Parameter]:
    """Put the checkpoint's weights into `model`, and return them by name."""
    weights = trainable(model)
    file = checkpoint / "weights.safetensors"
    with safe_open(file, "pt") as stored:
        if set(stored.keys()) != weights.keys():
            raise UserError(f"{checkpoint}: its weights are not those of this model; choose another out=")
    with torch.no_grad():
        for name, value in _read(file):
            weights[name].copy_(_share(value, weights[name]))
    return weights


@contextmanager
def _written(run: Path, step: int) -> Iterator[None]:
    """A disk that is full costs the checkpoint that was being written, and says so; earlier ones stay as they are."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        last = newest(run)
        state = f"{last.name} is whole" if last else "there is none yet"
        raise UserError(
            f"{run}: the checkpoint of step {step} cannot be written ({one_line(error)[:160]}); of the earlier ones "
            f"{state}; make room, and the same command continues"
        ) from None


def _gathered(tensors: Iterable[tuple[str, torch.Tensor]], world: World) -> dict[str, torch.Tensor]:
    """The tensors in the first process' own memory; elsewhere nothing. Those that are shared out are put together."""
    kept = {}
    for name, tensor in tensors:
        whole = tensor.detach()
        if hasattr(whole, "full_tensor"):
            whole = whole.full_tensor()  # one after the other, so that a device never holds all
        if world.first:
            kept[name] = whole.cpu().contiguous()
    return kept


def _read(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a file, one after the other, so that memory never holds all."""
    with safe_open(file, "pt") as stored:
        for name in stored.keys():  # noqa: SIM118 - it is no dict
            yield name, stored.get_tensor(name)


def _share(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `weight`, and only this process' share of it where `weight` is shared out."""
    value = value.to(weight.device)
    if not hasattr(weight, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(weight, DTensor)  # noqa: S101 - the one kind of tensor that has it
    # None: every process has read the same, so nothing is sent.
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
