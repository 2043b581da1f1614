"""Small pieces of HTML: escaped text, tables, numbers as a report prints them.

The plots of a report, as SVG that takes its colours from the page and needs nothing from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil
from typing import Any, NamedTuple

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"
COLUMNS = 3


def text(value: Any) -> str:
    """Anything, as text that no markup can come from."""
    return escape(str(value))


def percent(share: float) -> str:
    """A share of 1, in percent with one decimal."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """A difference in points, with its sign; what rounds to nothing has none below zero."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", MINUS)


def between(interval: Sequence[float]) -> str:
    """Bounds of a share."""
    return f"{percent(interval[0])}{EN_DASH}{percent(interval[1])}"


def signed_between(interval: Sequence[float]) -> str:
    """Bounds of a difference."""
    return f"{signed(interval[0])} to {signed(interval[1])}"


def p_value(value: float | None) -> str:
    """A p-value to four decimals, or below the last of them."""
    if value is None:
        return ""
    return f"{value:.4f}" if value >= 0.0001 else "&lt;0.0001"


def count(n: int, noun: str) -> str:
    """A number of things: "1 item", "1,024 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def ids(items: Iterable[str], lead: str = "") -> str:
    """A paragraph of item ids, one or more, none of which is broken at its hyphen."""
    *most, last = map(text, items)
    listed = "".join(f"<span>{item},</span> " for item in most)
    return paragraph(f"{lead}{listed}<span>{last}</span>", "ids")


def small(value: str) -> str:
    """A second, quieter line in a cell. `value` is markup."""
    return f"<small>{value}</small>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of markup; the first cell of a row is its heading."""
    heads = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    top = f"<thead><tr>{heads}</tr></thead>" if head else ""
    return f'<table class="{kind}">{top}<tbody>{body}</tbody></table>'


def by_side(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One column per examined model, in tables of up to three so that they fit a phone and a sheet of paper.

    A row is its heading and a cell per model.
    """
    tables = ceil(len(names) / COLUMNS)
    columns = ceil(len(names) / tables)
    starts = range(0, len(names), columns)
    return "".join(
        table(
            ("", *(text(name) for name in names[at : at + columns])),
            [[row[0], *row[1 + at : 1 + at + columns]] for row in rows],
            "numbers",
        )
        for at in starts
    )


def section(name: str, *parts: str) -> str:
    """A headed part of the page."""
    return f"<section><h2>{text(name)}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>\n"


def paragraph(value: str, kind: str = "") -> str:
    """A paragraph of markup."""
    return f'<p class="{kind}">{value}</p>' if kind else f"<p>{value}</p>"


def bullets(values: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>"


# Narrow, so that lettering stays readable where a phone shrinks them; all lengths are in SVG units.
WIDTH = 360
LEFT, RIGHT = 56, 14
ROW = 40
SQUARE = 240


class Mark(NamedTuple):
    """A share with its interval. `kind` is how it is drawn, "base" or "tuned"; `name` goes with the row's label."""

    kind: str
    name: str
    share: float
    interval: Sequence[float]


def accuracies(rows: Sequence[tuple[str, float | None, Sequence[Mark]]], left: int = LEFT) -> str:
    """Accuracy with interval: (label, chance, one or two marks) per line of the plot, chance as a tick.

    Labels have `left` units of room.
    """

    def across(share: float) -> float:
        return round(left + share * (WIDTH - left - RIGHT), 1)

    height = ROW * len(rows) + 34
    bottom = ROW * len(rows) + 8
    parts = []
    for percent in range(0, 101, 20):
        x = across(percent / 100)
        parts.append(f'<line class="grid" x1="{x}" y1="4" x2="{x}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{percent}</text>')
    for i, (label, share, marks) in enumerate(rows):
        y = ROW * i + 24
        parts.append(f'<text x="0" y="{y + 4}">{escape(label)}</text>')
        if share is not None:
            chance = across(share)
            parts.append(
                f'<line class="chance" x1="{chance}" y1="{y - 17}" x2="{chance}" y2="{y + 17}">'
                f"<title>chance {100 * share:.1f} %</title></line>"
            )
        for mark, offset in zip(marks, (-7, 7) if len(marks) > 1 else (0,), strict=True):
            low, high = mark.interval
            title = f"{label}{', ' if mark.name else ''}{mark.name}: {100 * mark.share:.1f} %"
            parts.append(_whisker(mark.kind, across(low), across(high), y + offset))
            parts.append(_mark(mark.kind, across(mark.share), y + offset, title))
    return _svg(
        WIDTH, height, "Accuracy with 95 % intervals, in percent; the table below has the figures", parts
    )


def reliability(bins: Sequence[dict[str, Any]], name: str, kind: str) -> str:
    """Confidence against the share that was right, with intervals; on the diagonal a model means what it says."""
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
        title = f"{one['right']} of {one['n']} right at a mean confidence of {100 * one['confidence']:.0f} %"
        parts.append(_mark(kind, centre, y(one["right"] / one["n"]), title))
    middle = x(0.5)
    parts.append(
        f'<text class="tick" x="{middle}" y="{SQUARE - 4}" text-anchor="middle">confidence, %</text>'
    )
    parts.append(
        f'<text class="tick" transform="translate(9 {y(0.5)}) rotate(-90)" text-anchor="middle">right, %</text>'
    )
    return _svg(SQUARE, SQUARE, f"Reliability of {name}: the share right against confidence", parts)


def _whisker(side: str, low: float, high: float, y: float) -> str:
    return (
        f'<line class="{side}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
        f'<line class="{side}" x1="{low}" y1="{y - 3}" x2="{low}" y2="{y + 3}"/>'
        f'<line class="{side}" x1="{high}" y1="{y - 3}" x2="{high}" y2="{y + 3}"/>'
    )


def _mark(side: str, x: float, y: float, title: str) -> str:
    """Base is an open circle and tuned a filled square: told apart in black and white too."""
    shape = (
        f'<circle class="{side}" cx="{x}" cy="{y}" r="4.5">'
        if side == "base"
        else f'<rect class="{side}" x="{round(x - 4.5, 1)}" y="{round(y - 4.5, 1)}" width="9" height="9">'
    )
    return f"{shape}<title>{escape(title)}</title></{'circle' if side == 'base' else 'rect'}>"


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
