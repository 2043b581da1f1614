"""Checkpoints: everything a killed run needs to go on as if nothing had happened, and no pickle.

`checkpoints/step-000200/` holds the trained weights and the optimizer's moments as safetensors, `trainer.json`, and
the hashes of them all, which are checked before any of it is used.
The directory appears whole or not at all. There is no state of random generators to keep: each step seeds its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medalpaca_data.ground.errors import UserError, one_line
from medalpaca_data.ground.files import new_directory, read_json, sha256_file, write_json
from medalpaca_data.ground.unsafe import refuse_unsafe

from .model import trainable

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


def save(run: Path, model: Any, optimizer: torch.optim.Optimizer, progress: Progress, keep: int) -> None:
    """Write the checkpoint of `progress.step`, then remove all but the newest `keep`."""
    folder = run / "checkpoints"
    weights = trainable(model)
    with (
        _written(run, progress.step),
        new_directory(folder / f"step-{progress.step:06d}", replace=True) as new,
    ):
        _save_weights(model, new)
        moments = {
            f"{name}:{key}": _stored(value)
            for name, weight in weights.items()
            for key, value in optimizer.state.get(weight, {}).items()
        }
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


def save_best(run: Path, model: Any, best: Best) -> None:
    """Keep the weights of `best` in place of those kept before."""
    with _written(run, best.step), new_directory(run / "checkpoints" / BEST, replace=True) as new:
        _save_weights(model, new)
        write_json(new / "best.json", asdict(best))
        _write_hashes(new)


def read_best(run: Path) -> Best | None:
    """The best step so far, or None."""
    file = run / "checkpoints" / BEST / "best.json"
    return Best(**read_json(file)) if file.is_file() else None


def restore_best(run: Path, model: Any) -> None:
    """Put the best step's weights into `model`."""
    _check_hashes(run / "checkpoints" / BEST)
    _load_weights(run / "checkpoints" / BEST, model)


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
    weights = _load_weights(checkpoint, model)
    for place, value in load_file(checkpoint / "optimizer.safetensors").items():
        name, _, key = place.rpartition(":")
        optimizer.state[weights[name]][key] = value.to(weights[name].device)


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


def _save_weights(model: Any, folder: Path) -> None:
    save_file(
        {name: _stored(weight) for name, weight in trainable(model).items()}, folder / "weights.safetensors"
    )


def _load_weights(checkpoint: Path, model: Any) -> dict[str, torch.nn.Parameter]:
    weights = trainable(model)
    stored = load_file(checkpoint / "weights.safetensors")
    if stored.keys() != weights.keys():
        raise UserError(f"{checkpoint}: its weights are not those of this model; choose another out=")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(stored[name])
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


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()
