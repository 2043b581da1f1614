"""Checkpoints: everything a killed run needs to go on as if nothing had happened, and no pickle.

`checkpoints/step-000200/` holds the trained weights and the optimizer's moments as safetensors and `trainer.json`.
The directory appears whole or not at all. There is no state of random generators to keep: each step seeds its own.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import new_directory, read_json, write_json

from .model import trainable

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
    with new_directory(folder / f"step-{progress.step:06d}", replace=True) as new:
        save_file({name: _stored(weight) for name, weight in weights.items()}, new / "weights.safetensors")
        moments = {
            f"{name}:{key}": _stored(value)
            for name, weight in weights.items()
            for key, value in optimizer.state.get(weight, {}).items()
        }
        save_file(moments, new / "optimizer.safetensors")
        write_json(new / "trainer.json", asdict(progress))
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)


def newest(run: Path) -> Path | None:
    """The last complete checkpoint of a run, or None."""
    found = _all(run / "checkpoints")
    return found[-1] if found else None


def read_progress(checkpoint: Path) -> Progress:
    """What `trainer.json` says."""
    try:
        return Progress(**read_json(checkpoint / "trainer.json"))
    except TypeError:
        raise UserError(
            f"{checkpoint}: a checkpoint of another version; use resume=false with another out="
        ) from None


def restore(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's weights and moments into `model` and `optimizer`, bit by bit."""
    weights = trainable(model)
    stored = load_file(checkpoint / "weights.safetensors")
    if stored.keys() != weights.keys():
        raise UserError(f"{checkpoint}: its weights are not those of this model; choose another out=")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(stored[name])
    for place, value in load_file(checkpoint / "optimizer.safetensors").items():
        name, _, key = place.rpartition(":")
        optimizer.state[weights[name]][key] = value.to(weights[name].device)


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


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()
