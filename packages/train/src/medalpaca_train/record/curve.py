"""`loss.png`: the loss of a run, drawn with Pillow, which every machine of this project has already."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medalpaca_data.ground.files import write_bytes

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
