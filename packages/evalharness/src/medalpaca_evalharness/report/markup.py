"""Small pieces of HTML: escaped text, tables, numbers as a report prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil
from typing import Any

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
