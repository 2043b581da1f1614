"""Metrics also to TensorBoard, Weights & Biases or MLflow, when a recipe asks for it. `metrics.jsonl` has them anyway.

None of them is a dependency. None gets anything but numbers; where each puts them is its own setting.

`metrics.jsonl`: one line per step and per validation, as it happens. Numbers and row ids, never text.

`loss.png`: the loss of a run, drawn with Pillow, which every machine of this project has already.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import write_bytes, write_text
from medalpaca_data.core.offline import is_sealed

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


class Journal:
    """Appends to a run's `metrics.jsonl`, after cutting off what lies beyond `step` (work that a kill undid)."""

    def __init__(self, file: Path, step: int, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers
        # From step 0 everything is done again, also the validation before the first step.
        kept = [line for line in read_journal(file) if line["step"] <= step] if step else []
        write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
        self._stream = file.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line of `kind` (train, validation, stopped) with the time in Unix seconds."""
        self._stream.write(json.dumps({"kind": kind, **values, "time": round(time.time(), 3)}) + "\n")
        numbers = {f"{kind}/{key}": float(v) for key, v in values.items() if isinstance(v, int | float)}
        for track in self._trackers:
            track(values["step"], numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


class Unwritten:
    """The journal of a process that is not the first: nothing is kept."""

    def write(self, kind: str, **values: Any) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a last line that a kill cut in half is left out. Empty when there is no file."""
    lines: list[dict[str, Any]] = []
    if not file.is_file():
        return lines
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def validation_at(file: Path, step: int) -> float | None:
    """The validation loss that the journal holds for `step`."""
    for line in read_journal(file):
        if line["kind"] == "validation" and line["step"] == step:
            return float(line["loss"])
    return None


WIDTH, HEIGHT = 960, 540
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
INK, GRID, FAINT, TRAIN, VALIDATION = "#222222", "#dddddd", "#c3d4ea", "#2b6cb0", "#c05621"
SMOOTH = 0.9  # share of the past in the running mean

Points = list[tuple[int, float]]


def draw_curve(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Write the losses in a journal's `lines` as a picture: each step faint, their running mean, validations as dots.

    Nothing is written where there is nothing to draw.
    """
    train = _points(lines, "train")
    validation = _points(lines, "validation")
    if not train:
        return
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    losses = [loss for _, loss in train + validation]
    low, high = _around(min(losses), max(losses))
    last = max(step for step, _ in train + validation)

    def at(point: tuple[int, float]) -> tuple[float, float]:
        step, loss = point
        return (
            LEFT + step / last * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (loss - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    for mark in _marks(low, high):
        y = at((0, mark))[1]
        draw.line((LEFT, y, WIDTH - RIGHT, y), fill=GRID)
        draw.text((LEFT - 8, y), f"{mark:g}", fill=INK, font=font, anchor="rm")
    for step in (mark for mark in _marks(0, last) if mark == int(mark)):
        draw.text(
            (at((int(step), low))[0], HEIGHT - BOTTOM + 8), f"{step:g}", fill=INK, font=font, anchor="mt"
        )
    draw.text((WIDTH - RIGHT, HEIGHT - 8), "step", fill=INK, font=font, anchor="rb")
    draw.text((LEFT, 12), "loss, nats per learned token", fill=INK, font=font)
    draw.text((WIDTH / 2, 12), "training", fill=TRAIN, font=font)
    draw.text((WIDTH / 2 + 100, 12), "validation", fill=VALIDATION, font=font)
    if len(train) > 1:
        draw.line([at(point) for point in train], fill=FAINT, width=1)
        draw.line([at(point) for point in _running_mean(train)], fill=TRAIN, width=3)
    for x, y in map(at, validation):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=VALIDATION)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    write_bytes(file, stream.getvalue())


def _points(lines: Sequence[dict[str, Any]], kind: str) -> Points:
    return [
        (line["step"], float(line["loss"]))
        for line in lines
        if line["kind"] == kind and math.isfinite(float(line["loss"]))
    ]


def _running_mean(points: Points) -> Points:
    """Exponential, corrected for its start."""
    smooth, total, share = [], 0.0, 0.0
    for step, loss in points:
        total = SMOOTH * total + (1 - SMOOTH) * loss
        share = SMOOTH * share + (1 - SMOOTH)
        smooth.append((step, total / share))
    return smooth


def _around(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.5
    return max(0.0, low - margin), high + margin


def _marks(low: float, high: float) -> list[float]:
    """About five round numbers between `low` and `high`."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first = math.ceil(low / width)
    return [round(k * width, 10) for k in range(first, math.floor(high / width) + 1)]
