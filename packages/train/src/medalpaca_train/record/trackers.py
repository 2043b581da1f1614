"""Metrics also to TensorBoard, Weights & Biases or MLflow, when a recipe asks for it. `metrics.jsonl` has them anyway.

None of them is a dependency. None gets anything but numbers; where each puts them is its own setting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.sealed import is_sealed

Name = Literal["tensorboard", "wandb", "mlflow"]
FOLDER = "track"  # in the run directory


class Tracker(Protocol):
    """Receives numbers by name at a step."""

    def __call__(self, step: int, values: dict[str, float]) -> None: ...


def check_trackers(names: Sequence[Name]) -> None:
    """Refuse, before any work, a tracker that is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"track={name}: the package {name} is not installed; `uv pip install {name}`, or leave it out "
                "(metrics.jsonl has the same numbers)"
            )


@contextmanager
def tracking(names: Sequence[Name], run: Path) -> Iterator[list[Tracker]]:
    """The trackers of `names` for the run directory `run`, closed at the end."""
    openers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    with ExitStack() as stack:
        yield [stack.enter_context(openers[name](run)) for name in names]


@contextmanager
def _tensorboard(run: Path) -> Iterator[Tracker]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / FOLDER)) as writer:

        def track(step: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

        yield track


@contextmanager
def _wandb(run: Path) -> Iterator[Tracker]:
    import wandb

    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    mode: Any = "offline" if is_sealed() or os.environ.get("HF_HUB_OFFLINE") else None
    # The run's own name as id, so that a continued run goes on in the same place.
    session = wandb.init(
        project="medalpaca", name=run.name, id=run.name, resume="allow", dir=folder, mode=mode
    )
    try:
        yield lambda step, values: session.log(values, step=step)
    finally:
        session.finish()


@contextmanager
def _mlflow(run: Path) -> Iterator[Tracker]:
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{run / FOLDER / 'mlflow.db'}")
        (run / FOLDER).mkdir(exist_ok=True)
    with mlflow.start_run(run_name=run.name):
        yield lambda step, values: mlflow.log_metrics(values, step=step)
