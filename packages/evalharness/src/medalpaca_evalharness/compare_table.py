"""Print a comparison as the table, verdict and notes of `exam compare`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medalpaca_data.check import TOO_SHORT
from medalpaca_data.core.cli import screen

from .comparison import (
    Comparison,
    Flip,
    Row,
    describe_test,
    format_bound,
    format_interval,
    format_points,
)
from .contamination_split import Contamination
from .statistics import Interval
from .subjects import MIN_ITEMS, split_small

# Headings and cells have fixed line breaks so that the table fits 80 columns.
COLUMNS = (
    "n", "base\n95 %", "tuned\n95 %", "both right\nboth wrong", "fixed\nbroken", "points\n95 %", "p\nHolm", "chance",
)  # fmt: skip
CAPTION = (
    "Accuracy in % with Wilson interval, difference in points with Tango's score\n"
    "interval (95 %, unadjusted); p: exact McNemar test, two-sided; Holm: p adjusted\n"
    "for all steps. Where p is 0.05 or more, the interval includes 0."
)

GROUPS_CAPTION = (
    "Items share groups: p is by sign flips of the groups' sums (exact), not McNemar, and\n"
    "the interval is Tango's with the design effect of the groups."
)


def print_comparison(
    comparison: Comparison,
    console: Console | None = None,
    *,
    contamination: Contamination | None = None,
    items: bool = False,
    margin: str = "",
) -> None:
    """Print the two models, one row per exam step and one for all items, the verdict, and the notes.

    `console` defaults to standard output. `contamination` adds the scores on items whose question is in the training
    data, and on the others. `items` adds a list of the items that only one model answers correctly. `margin` is the
    answer for a margin, as a sentence.
    """
    console = console or screen(markup=True)
    base, tuned = comparison.base, comparison.tuned
    for side, run in (("base ", base), ("tuned", tuned)):
        console.print(f"{side}  {run.model}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{base.task} by {base.metric}, exam {base.exam} {base.exam_sha256[:12]}, prompt {base.prompt_id}",
        highlight=False,
        # The name of an exam may look like rich markup.
        markup=False,
        soft_wrap=True,
    )
    console.print(
        _make_table([*comparison.steps, None, comparison.pooled] if comparison.steps else [comparison.pooled])
    )
    console.print(CAPTION, highlight=False, markup=False)
    if comparison.pooled.clusters:
        console.print(GROUPS_CAPTION, highlight=False, markup=False)
    _print_subjects(console, comparison.subjects)
    console.print(comparison.sentence, highlight=False, markup=False)
    if margin:
        console.print(margin, highlight=False, markup=False)
    for note in comparison.notes:
        console.print(f"Note: {note}.", highlight=False, markup=False)
    if contamination:
        if contamination.covered:
            console.print(f"Note: {_clean_sentence(contamination)}", highlight=False, markup=False)
        _print_contamination(console, contamination)
    if items:
        for label, fixed in (("Fixed", True), ("Broken", False)):
            _print_flips(console, label, [flip for flip in comparison.flips if flip.fixed is fixed])


def _print_subjects(console: Console, rows: Iterable[Row]) -> None:
    """Print the table of subjects, and the counts of those with few items."""
    large, small = split_small(rows)
    if large:
        console.print("\nBy subject; p adjusted (Holm) for all subjects in this table, interval unadjusted:")
        console.print(_make_table(large))
    if small:
        console.print(
            few_items_text([f"{row.label} {row.base_right}, {row.tuned_right} / {row.n}" for row in small]),
            highlight=False,
            markup=False,
        )


def few_items_text(counts: list[str]) -> str:
    """Return the line with the counts of subjects that have too few items for a test."""
    return f"Subjects with fewer than {MIN_ITEMS} items, right in base, in tuned / items: {'; '.join(counts)}"


def _print_flips(console: Console, label: str, flips: list[Flip]) -> None:
    console.print(f"\n{label} ({len(flips)}): item, base -> tuned" + (", key" if label == "Broken" else ""))
    for flip in flips:
        key = "" if flip.fixed else f"  key {flip.key}"
        console.print(
            f"  {flip.item_id}  {flip.base} -> {flip.tuned}{key}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _clean_sentence(contamination: Contamination) -> str:
    """Return the result on the items that the training data do not cover, as a sentence."""
    covered = f"{len(contamination.covered)} of {contamination.full.n} items are covered by the training data"
    row = contamination.clean
    if row is None:
        return f"{covered}, so there is no result on other items."
    interval = format_interval(row.interval)
    return (
        f"{covered}; on the other {row.n}, the difference is {format_points(row.difference)} points "
        f"(95 % interval {interval}), {describe_test(row)}: {row.verdict}."
    )


def _print_contamination(console: Console, contamination: Contamination) -> None:
    console.print(
        f"\n{len(contamination.covered)} of {contamination.full.n} items are covered: one of the "
        f"{contamination.rows_read} rows of {contamination.rows.name} contains half or more of the "
        "question's word 13-grams:",
        highlight=False,
        markup=False,
    )
    if contamination.too_short:
        console.print(
            TOO_SHORT.format(count=contamination.too_short, items=contamination.full.n),
            highlight=False,
            markup=False,
        )
    labelled = (
        ("Full", contamination.full),
        ("Clean", contamination.clean),
        ("Covered", contamination.touched),
    )
    console.print(_make_table([replace(row, label=label) for label, row in labelled if row]))


def _make_table(rows: Iterable[Row | None]) -> Table:
    """Return a table with one line per row; None in `rows` becomes a separator."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*_format_row(row))
    return table


def _format_row(row: Row) -> list[str]:
    return [
        escape(row.label),
        str(row.n),
        _format_share(row.base_right, row.n, row.base_interval),
        _format_share(row.tuned_right, row.n, row.tuned_interval),
        f"{row.both_right}\n{row.both_wrong}",
        f"{row.fixed}\n{row.broken}",
        f"{100 * row.difference:+.1f}\n{format_bound(row.interval.low)} {format_bound(row.interval.high)}",
        _format_p(row.p) + ("" if row.p_holm is None else f"\n{_format_p(row.p_holm)}"),
        f"{100 * row.chance:.1f}",
    ]


def _format_share(right: int, n: int, interval: Interval) -> str:
    return f"{100 * right / n:.1f}\n{100 * interval.low:.1f}-{100 * interval.high:.1f}"


def _format_p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"
