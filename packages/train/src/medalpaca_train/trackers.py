"""Record the metrics of a run: `metrics.jsonl`, the picture `loss.png`, and experiment trackers.

`metrics.jsonl` has one line per step and per validation, written as it happens, with numbers and row ids but no text.
TensorBoard, Weights & Biases and MLflow are optional (`track=`) and get numbers and the name of the run directory.
TensorBoard and MLflow write into the run directory, MLflow only without MLFLOW_TRACKING_URI. Weights & Biases sends the
numbers to its server, unless the process is sealed or offline.
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

from pydantic import BaseModel

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import parse_json, read_text, write_bytes, write_text
from medalpaca_data.core.offline import is_sealed
from medalpaca_data.core.typed import check_type

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
# Folder of local tracker files in the run directory.
TRACK_FOLDER = "track"


class Tracker(Protocol):
    """A function that sends numbers by name for a step to an experiment tracker."""

    def __call__(self, step: int, values: dict[str, float]) -> None: ...


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Raise UserError if the package of a tracker is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"track={name}: the package {name} is not installed; run `uv pip install {name}`, or remove it from "
                "track= (metrics.jsonl has the same numbers)"
            )


@contextmanager
def open_trackers(names: Sequence[TrackerName], run: Path) -> Iterator[list[Tracker]]:
    """Yield an open tracker for each of `names`, for the run directory `run`; close them at the end of the block."""
    openers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    with ExitStack() as stack:
        yield [stack.enter_context(openers[name](run)) for name in names]


@contextmanager
def _tensorboard(run: Path) -> Iterator[Tracker]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / TRACK_FOLDER)) as writer:

        def track(step: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

        yield track


@contextmanager
def _wandb(run: Path) -> Iterator[Tracker]:
    import wandb

    folder = run / TRACK_FOLDER
    folder.mkdir(exist_ok=True)
    mode: Any = "offline" if is_sealed() or os.environ.get("HF_HUB_OFFLINE") else None
    # The run's name is the id, so that a resumed run continues the same record.
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
        mlflow.set_tracking_uri(f"sqlite:///{run / TRACK_FOLDER / 'mlflow.db'}")
        (run / TRACK_FOLDER).mkdir(exist_ok=True)
    with mlflow.start_run(run_name=run.name):
        yield lambda step, values: mlflow.log_metrics(values, step=step)


class MetricsLog:
    """Writer of a run's `metrics.jsonl`.

    It first removes the lines of steps after `step`, whose work a killed process lost; for step 0 all lines. Numbers
    are also sent to `trackers`.
    """

    def __init__(self, file: Path, step: int, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers
        # From step 0 everything is repeated, also the validation before the first step.
        kept = [line for line in read_metrics(file) if line["step"] <= step] if step else []
        write_text(file, "".join(json.dumps(line) + "\n" for line in kept))
        self._stream = file.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **values: Any) -> None:
        """Append a line of `kind` (train, validation or stopped) with the time in Unix seconds.

        Trackers get its numbers for the step `values["step"]`.
        """
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


class NullMetricsLog:
    """The metrics log of a process that is not the main process: it records nothing."""

    def write(self, kind: str, **values: Any) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class MetricsLine(BaseModel):
    """The keys of a line of `metrics.jsonl` that are read; a line `stopped` has no loss."""

    kind: str
    step: int
    loss: float = 0


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl` without an incomplete last one; an empty list if there is no file.

    Raises UserError for a line of another type than those that `MetricsLog` writes.
    """
    lines: list[dict[str, Any]] = []
    if not file.is_file():
        return lines
    texts = read_text(file).split("\n")
    for number, text in enumerate(texts, 1):
        if number == len(texts):
            # A killed process leaves a last line without a line break.
            break
        where = f"{file} line {number}"
        value = parse_json(text, where)
        check_type(MetricsLine, value, where, "remove the line, or restore the file from a backup")
        if value["kind"] in ("train", "validation") and "loss" not in value:
            raise UserError(f"{where}: key 'loss' is missing; remove the line")
        lines.append(value)
    return lines


def read_validation_loss(file: Path, step: int) -> float | None:
    """Return the validation loss that the metrics log `file` records for `step`, or None if it records none."""
    for line in read_metrics(file):
        if line["kind"] == "validation" and line["step"] == step:
            return float(line["loss"])
    return None


WIDTH, HEIGHT = 960, 540
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
INK, GRID, FAINT, TRAIN, VALIDATION = "#222222", "#dddddd", "#c3d4ea", "#2b6cb0", "#c05621"
# Weight of the past in the running mean.
SMOOTH = 0.9

Points = list[tuple[int, float]]


def draw_loss_curve(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Write a PNG of the losses in `lines` (of `read_metrics`): steps faint, their running mean, validations as dots.

    Writes no picture if `lines` have no finite training loss.
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
    low, high = _padded_range(min(losses), max(losses))
    last = max(1, *(step for step, _ in train + validation))

    def to_pixel(point: tuple[int, float]) -> tuple[float, float]:
        step, loss = point
        return (
            LEFT + step / last * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (loss - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    for tick in _axis_ticks(low, high):
        y = to_pixel((0, tick))[1]
        draw.line((LEFT, y, WIDTH - RIGHT, y), fill=GRID)
        draw.text((LEFT - 8, y), f"{tick:g}", fill=INK, font=font, anchor="rm")
    for step in (tick for tick in _axis_ticks(0, last) if tick == int(tick)):
        draw.text(
            (to_pixel((int(step), low))[0], HEIGHT - BOTTOM + 8),
            f"{step:g}",
            fill=INK,
            font=font,
            anchor="mt",
        )
    draw.text((WIDTH - RIGHT, HEIGHT - 8), "step", fill=INK, font=font, anchor="rb")
    draw.text((LEFT, 12), "loss, nats per supervised token", fill=INK, font=font)
    draw.text((WIDTH / 2, 12), "training", fill=TRAIN, font=font)
    draw.text((WIDTH / 2 + 100, 12), "validation", fill=VALIDATION, font=font)
    if len(train) > 1:
        draw.line([to_pixel(point) for point in train], fill=FAINT, width=1)
        draw.line([to_pixel(point) for point in _running_mean(train)], fill=TRAIN, width=3)
    for x, y in map(to_pixel, validation):
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
    """Return the exponential running mean of `points`, with bias correction for the first ones."""
    smooth, total, share = [], 0.0, 0.0
    for step, loss in points:
        total = SMOOTH * total + (1 - SMOOTH) * loss
        share = SMOOTH * share + (1 - SMOOTH)
        smooth.append((step, total / share))
    return smooth


def _padded_range(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.5
    return max(0.0, low - margin), high + margin


def _axis_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between `low` and `high`."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first = math.ceil(low / width)
    return [round(k * width, 10) for k in range(first, math.floor(high / width) + 1)]
