"""Tables of `data deid evaluate` on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .annotated_notes import BEYOND, CLASSES, DIRECT
from .evaluate import MIN_ITEMS, SAMPLES, Evaluation, Interval, Tally, top_forms, wilson


def show_evaluation(result: Evaluation, path: Path, detector: str, missed: int, console: Console) -> None:
    """Print recall by class, rates, results by field, up to `missed` shapes of missed identifiers per class."""
    console.print(_recall_table(result, path))
    console.print(_rates_table(result))
    for name, values in result.by.items():
        console.print(_field_table(name, values))
    if missed:
        console.print(_missed_table(result, missed))
    console.print(
        f"Detector: {detector}. Intervals: 95 %, Wilson for a class, else {SAMPLES:,} bootstrap samples of "
        f"{result.units:,} {result.unit}. Classes with fewer than {MIN_ITEMS} items have counts only. An identifier "
        "counts as found if every letter and digit of it is in a match, whatever its class. The figures hold for notes "
        "like these.",
        highlight=False,
    )


def _recall_table(result: Evaluation, path: Path) -> Table:
    tally = result.tally
    table = _table(f"Identifiers in {path.name}", "class", "n", "found", "recall", "95 % interval")
    for kind in CLASSES:
        if n := tally.n[kind]:
            found = tally.found[kind]
            shown = (_share(found, n), _interval(wilson(found, n))) if n >= MIN_ITEMS else ("", "")
            table.add_row(kind + " *" * (kind in DIRECT), f"{n:,}", f"{found:,}", *shown)
    table.add_section()
    for title, name, kinds in (("all", "all", set(CLASSES)), ("* direct identifiers", "direct", DIRECT)):
        n, found = tally.total(kinds)
        table.add_row(title, f"{n:,}", f"{found:,}", _share(found, n), _interval(result.intervals[name]))
    if any(tally.n[kind] for kind in BEYOND):
        table.add_section()
        for kind in BEYOND:
            if tally.n[kind]:
                table.add_row(
                    f"{kind} (not Safe Harbor)", f"{tally.n[kind]:,}", f"{tally.found[kind]:,}", "", ""
                )
    return table


def _rates_table(result: Evaluation) -> Table:
    tally = result.tally
    table = _table("Notes and words", "", "of", "count", "rate", "95 % interval")
    for title, name, leaks in (
        ("notes without a direct leak", "notes_without_direct_leak", tally.notes_with_direct_leak),
        ("notes without any leak", "notes_without_leak", tally.notes_with_leak),
    ):
        kept = tally.notes - leaks
        table.add_row(
            title,
            f"{tally.notes:,}",
            f"{kept:,}",
            _share(kept, tally.notes),
            _interval(result.intervals[name]),
        )
    table.add_row(
        "letters and digits leaked",
        f"{tally.characters:,}",
        f"{tally.leaked:,}",
        _share(tally.leaked, tally.characters),
        "",
    )
    table.add_row(
        "false-positive words",
        f"{tally.words:,}",
        f"{tally.false_positives:,}",
        f"{_per_1000(tally)} per 1,000",
        "",
    )
    return table


def _field_table(name: str, values: Mapping[str, Tally]) -> Table:
    table = _table(
        f"By {name}",
        name,
        "notes",
        "n",
        "recall",
        "direct",
        "recall, direct",
        "no direct leak",
        "false pos. / 1,000",
    )
    for value, one in sorted(values.items()):
        (n, found), (n_direct, found_direct) = one.total(CLASSES), one.total(DIRECT)
        table.add_row(
            value,
            f"{one.notes:,}",
            f"{n:,}",
            _share_or_counts(found, n),
            f"{n_direct:,}",
            _share_or_counts(found_direct, n_direct),
            f"{one.notes - one.notes_with_direct_leak:,} of {one.notes:,}",
            _per_1000(one),
        )
    return table


def _missed_table(result: Evaluation, missed: int) -> Table:
    table = _table("Missed identifiers by shape", "class", "n")
    table.add_column("shape", overflow="fold")
    for kind in CLASSES:
        for form, n in top_forms(result.missed[kind], missed) if kind in result.missed else ():
            table.add_row(kind, f"{n:,}", form)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for n, name in enumerate(columns):
        table.add_column(name, justify="right" if n else "left", overflow="fold")
    return table


def _per_1000(tally: Tally) -> str:
    return f"{1000 * tally.false_positives / tally.words:.1f}" if tally.words else "-"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _share_or_counts(part: int, whole: int) -> str:
    return _share(part, whole) if whole >= MIN_ITEMS else f"{part:,} of {whole:,}"


def _interval(interval: Interval | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
