"""Print a comparison of several runs as the table, verdict and notes of `exam compare --base ... --tuned ...`."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medalpaca_data.core.cli import screen

from .comparison import format_bound, format_p, format_points
from .several_runs import RunsRow, SeveralRuns
from .subjects import MIN_ITEMS, split_small

CAPTION = (
    "Mean accuracy over runs in % with the lowest and highest run, difference in\n"
    "points with 95 % interval of items and runs, unadjusted; standard error in\n"
    "points from items and from runs; p: the larger of interval and sign flips."
)


def print_runs(compared: SeveralRuns, console: Console | None = None) -> None:
    """Print the runs, one row per exam step and one for all items, subjects, the verdict, and the notes."""
    console = console or screen(markup=True)

    def text(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    for side, runs in (("base ", compared.base), ("tuned", compared.tuned)):
        for i, run in enumerate(runs, 1):
            text(f"{side} {i}  {run.model}  ({run.file.parent})")
    first = compared.base[0]
    text(
        f"{first.task} by {first.metric}, exam {first.exam} {first.exam_sha256[:12]}, prompt {first.prompt_id}"
    )
    console.print(_make_table([*compared.steps, compared.pooled]))
    text(CAPTION)
    large, small = split_small(compared.subjects)
    if large:
        text("\nBy subject; p adjusted (Holm) for all subjects in this table, interval unadjusted:")
        console.print(_make_table(large))
    if small:
        counts = "; ".join(
            f"{row.label} {_mean_count(row, row.figures.base)}, {_mean_count(row, row.figures.tuned)} / {row.n}"
            for row in small
        )
        text(f"Subjects with fewer than {MIN_ITEMS} items, mean right in base, in tuned / items: {counts}")
    text(compared.sentence)
    for note in compared.notes:
        text(f"Note: {note}.")


def _mean_count(row: RunsRow, accuracies: Sequence[float]) -> str:
    return f"{row.n * sum(accuracies) / len(accuracies):.1f}"


def _make_table(rows: Sequence[RunsRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("")
    for name in ("n", "base\nruns", "tuned\nruns", "points\n95 %", "SE items\nSE runs", "p\nHolm", "chance"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_format_row(row))
    return table


def _format_row(row: RunsRow) -> list[str]:
    found = row.figures
    low, high = found.interval
    runs = "unknown" if found.run_variance is None else f"{100 * found.run_variance**0.5:.1f}"
    return [
        escape(row.label),
        str(row.n),
        _format_runs(found.base),
        _format_runs(found.tuned),
        f"{format_points(found.difference)}\n{format_bound(low)} {format_bound(high)}",
        f"{100 * found.item_variance**0.5:.1f}\n{runs}",
        _number(row.p) + ("" if row.p_holm is None else f"\n{_number(row.p_holm)}"),
        f"{100 * row.chance:.1f}",
    ]


def _number(p: float) -> str:
    return format_p(p).removeprefix("p = ").removeprefix("p ")


def _format_runs(accuracies: Sequence[float]) -> str:
    mean = f"{100 * sum(accuracies) / len(accuracies):.1f}"
    return (
        mean if len(accuracies) == 1 else f"{mean}\n{100 * min(accuracies):.1f}-{100 * max(accuracies):.1f}"
    )
