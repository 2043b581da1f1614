"""The comparison as a table for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .compare import Comparison, Row
from .statistics import Interval

COLUMNS = ("n", "base", "tuned", "both right", "fixed", "broken", "both wrong", "points", "p", "chance")
WIDTH = 140  # columns when the output is not a terminal and has no width of its own


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the comparison: the two sides, one row per step and one for all, the verdict, and the notes."""
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH
    base, tuned = comparison.base, comparison.tuned
    console.print(f"base   {base.model}", highlight=False, markup=False)
    console.print(f"tuned  {tuned.model}", highlight=False, markup=False)
    console.print(_table(comparison))
    console.print(comparison.sentence, highlight=False, markup=False)
    for note in comparison.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)


def _table(comparison: Comparison) -> Table:
    run = comparison.base
    asked = f"{run.task} by {run.metric}, exam {run.exam} {run.exam_sha256[:12]}, prompt {run.prompt_id}"
    table = Table(
        title=Text(asked),  # a Text, because an exam's name may hold what rich takes for markup
        caption="accuracy in % with 95 % Wilson interval; p: exact McNemar, two-sided",
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
        row.label,
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
    return f"{100 * right / n:.1f} ({100 * interval.low:.1f}-{100 * interval.high:.1f})"
