"""The comparison as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .compare import Comparison, Row
from .statistics import Interval

# Headings and cells are broken by hand so that all of it fits 80 columns.
COLUMNS = (
    "n", "base\n95 %", "tuned\n95 %", "both\nright", "fixed", "broken", "both\nwrong", "points", "p", "chance"
)  # fmt: skip


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the comparison: the two sides, one row per step and one for all, the verdict, and the notes."""
    console = console or Console(emoji=False)  # nor does a name mean a picture
    base, tuned = comparison.base, comparison.tuned
    for side, run in (("base ", base), ("tuned", tuned)):
        console.print(f"{side}  {run.model}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{base.task} by {base.metric}, exam {base.exam} {base.exam_sha256[:12]}, prompt {base.prompt_id}",
        highlight=False,
        markup=False,  # an exam's name may hold what rich takes for markup
        soft_wrap=True,
    )
    console.print(_table(comparison))
    console.print(comparison.sentence, highlight=False, markup=False)
    for note in comparison.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)


def _table(comparison: Comparison) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        caption="accuracy in % with its 95 % Wilson interval; p: exact McNemar, two-sided",
        caption_justify="left",
    )
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in comparison.steps:
        table.add_row(*_cells(row))
    if comparison.steps:
        table.add_section()
    table.add_row(*_cells(comparison.pooled))
    return table


def _cells(row: Row) -> list[str]:
    return [
        escape(row.label),
        str(row.n),
        _share(row.base_right, row.n, row.base_interval),
        _share(row.tuned_right, row.n, row.tuned_interval),
        str(row.both_right),
        str(row.fixed),
        str(row.broken),
        str(row.both_wrong),
        f"{100 * row.difference:+.1f}",
        f"{row.p:.4f}" if row.p >= 0.0001 else "<0.0001",
        f"{100 * row.chance:.1f}",
    ]


def _share(right: int, n: int, interval: Interval) -> str:
    return f"{100 * right / n:.1f}\n{100 * interval.low:.1f}-{100 * interval.high:.1f}"
