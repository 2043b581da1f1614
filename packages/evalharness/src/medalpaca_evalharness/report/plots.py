"""SVG plots of the report page: accuracy with intervals, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from markupsafe import Markup

# All lengths are SVG units. The plots are narrow, so that labels stay readable on a phone.
WIDTH = 360
LEFT, RIGHT = 56, 14
ROW = 40
SQUARE = 240
STRESS_LEFT = 96


class Mark(NamedTuple):
    """Plotted value in [0, 1] with interval. `kind` ("base" or "tuned") selects the shape, `name` is in the tooltip."""

    kind: str
    name: str
    value: float
    interval: Sequence[float]


# Label of a line, chance level if there is one, and one or two marks.
PlotRow = tuple[str, float | None, Sequence[Mark]]


def kind_of(side: str) -> str:
    """Return the kind of a plotted value, which selects shape and colour: "base" for a run of base, else "tuned"."""
    return "base" if side.split(" ", 1)[0] == "base" else "tuned"


def score_plot(report: dict[str, Any]) -> Markup:
    """Return an SVG plot of accuracy, by step for one or two models, over all items for more."""
    sides = report["sides"]
    rows: list[PlotRow]
    if len(sides) == 1:
        parts = next(iter(sides.values()))["scores"]
        rows = [(part["label"], part["chance"], [_score_mark("tuned", part)]) for part in parts]
    elif len(sides) == 2:
        compared = [*report["comparisons"][0]["steps"], report["comparisons"][0]["all"]]
        rows = [
            (
                row["label"],
                row["chance"],
                [
                    Mark(side, side, row[f"{side}_accuracy"], row[f"{side}_interval"])
                    for side in ("base", "tuned")
                ],
            )
            for row in compared
        ]
    else:
        totals = {name: side["scores"][-1] for name, side in sides.items()}
        rows = [(name, part["chance"], [_score_mark(kind_of(name), part)]) for name, part in totals.items()]
    return accuracy_plot(rows)


def _score_mark(kind: str, part: dict[str, Any]) -> Mark:
    return Mark(kind, "", part["accuracy"], part["interval"])


def accuracy_plot(rows: Sequence[PlotRow], left: int = LEFT) -> Markup:
    """Return an SVG plot of accuracies with intervals, one line per row; a dashed tick marks chance.

    `left` is the width of the labels in SVG units.
    """

    def x(share: float) -> float:
        return round(left + share * (WIDTH - left - RIGHT), 1)

    bottom = ROW * len(rows) + 8
    parts = []
    for percent in range(0, 101, 20):
        at = x(percent / 100)
        parts.append(f'<line class="grid" x1="{at}" y1="4" x2="{at}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 16}" text-anchor="middle">{percent}</text>')
    for i, (label, share, marks) in enumerate(rows):
        y = ROW * i + 24
        parts.append(f'<text x="0" y="{y + 4}">{escape(label)}</text>')
        if share is not None:
            chance = x(share)
            parts.append(
                f'<line class="chance" x1="{chance}" y1="{y - 17}" x2="{chance}" y2="{y + 17}">'
                f"<title>chance {100 * share:.1f} %</title></line>"
            )
        for mark, offset in zip(marks, (-7, 7) if len(marks) > 1 else (0,), strict=True):
            low, high = mark.interval
            title = f"{label}{', ' if mark.name else ''}{mark.name}: {100 * mark.value:.1f} %"
            parts.append(_whisker(mark.kind, x(low), x(high), y + offset))
            parts.append(_shape(mark.kind, x(mark.value), y + offset, title))
    label = "Accuracy with 95 % intervals, in percent; the table below lists the figures"
    return _svg(WIDTH, ROW * len(rows) + 34, label, parts)


def reliability_plot(bins: Sequence[dict[str, Any]], name: str) -> Markup:
    """Return an SVG plot of accuracy against confidence, with intervals. On the diagonal, a model is calibrated.

    `bins` are bins of a calibration as JSON, `name` is the label of the model.
    """
    kind = kind_of(name)
    low, high = 34, SQUARE - 10

    def x(share: float) -> float:
        return round(low + share * (high - low), 1)

    def y(share: float) -> float:
        return round(SQUARE - 34 - share * (high - low), 1)

    parts = []
    for percent in (0, 50, 100):
        at = percent / 100
        parts.append(f'<line class="grid" x1="{x(at)}" y1="{y(0)}" x2="{x(at)}" y2="{y(1)}"/>')
        parts.append(f'<line class="grid" x1="{x(0)}" y1="{y(at)}" x2="{x(1)}" y2="{y(at)}"/>')
        parts.append(f'<text class="tick" x="{x(at)}" y="{y(0) + 14}" text-anchor="middle">{percent}</text>')
        parts.append(f'<text class="tick" x="{x(0) - 5}" y="{y(at) + 4}" text-anchor="end">{percent}</text>')
    parts.append(f'<line class="chance" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for one in bins:
        centre, bounds = x(one["confidence"]), one["interval"]
        parts.append(
            f'<line class="{kind}" x1="{centre}" y1="{y(bounds[0])}" x2="{centre}" y2="{y(bounds[1])}"/>'
        )
        title = (
            f"{one['right']} of {one['n']} correct at a mean confidence of {100 * one['confidence']:.0f} %"
        )
        parts.append(_shape(kind, centre, y(one["right"] / one["n"]), title))
    parts.append(
        f'<text class="tick" x="{x(0.5)}" y="{SQUARE - 4}" text-anchor="middle">confidence, %</text>'
    )
    turned = f'transform="translate(9 {y(0.5)}) rotate(-90)"'
    parts.append(f'<text class="tick" {turned} text-anchor="middle">accuracy, %</text>')
    return _svg(SQUARE, SQUARE, f"Reliability of {name}: accuracy against confidence", parts)


def _whisker(kind: str, low: float, high: float, y: float) -> str:
    return (
        f'<line class="{kind}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
        f'<line class="{kind}" x1="{low}" y1="{y - 3}" x2="{low}" y2="{y + 3}"/>'
        f'<line class="{kind}" x1="{high}" y1="{y - 3}" x2="{high}" y2="{y + 3}"/>'
    )


def _shape(kind: str, x: float, y: float, title: str) -> str:
    """Return an open circle for base and a filled square for tuned, which differ in black and white, too."""
    shape = (
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="4.5">'
        if kind == "base"
        else f'<rect class="{kind}" x="{round(x - 4.5, 1)}" y="{round(y - 4.5, 1)}" width="9" height="9">'
    )
    return f"{shape}<title>{escape(title)}</title></{'circle' if kind == 'base' else 'rect'}>"


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    # Every text above is escaped; the numbers are computed here.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
