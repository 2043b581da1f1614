"""The command `data diff`: compare the recipes, raw files and rows of two builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .core.row import SPLITS
from .dataset import reading, require_meadow
from .explain import rejected_ids
from .meadow_files import scan_table

if TYPE_CHECKING:
    import polars as pl

ABSENT = "-"


@dataclass(frozen=True, slots=True)
class SourceDiff:
    """Numbers of rows of one source in two builds.

    `same` rows have the same id in both builds. `changed` rows have the same location in the raw file and another
    text. Of the other rows, `went` are only in the first build, and `came` only in the second.
    """

    name: str
    before: int
    after: int
    same: int
    changed: int
    went: int
    came: int


@dataclass(frozen=True, slots=True)
class Diff:
    """Differences of two Meadow directories.

    Attributes:
        settings: Recipe keys that differ, with their values before and after ("-" if absent).
        files: Raw files that differ, with their SHA-256 before and after ("-" if absent).
        code: True if recipe, raw files and exams are equal, but the fingerprints differ: by the code or its libraries.
        sources: Numbers of rows of each source.
        moved: Number of rows in another split, by direction, such as "train to validation".
        why_went: Number of rows of the first build that the second rejected, by reason.
    """

    settings: tuple[tuple[str, str, str], ...]
    files: tuple[tuple[str, str, str], ...]
    code: bool
    sources: tuple[SourceDiff, ...]
    moved: Mapping[str, int]
    why_went: Mapping[str, int]


def diff(before: Path, after: Path) -> Diff:
    """Return the differences of two Meadow directories, by their ledgers and by ids and locations of their rows.

    Raises UserError if one is not a Meadow directory, or is damaged.
    """
    old, new = require_meadow(before), require_meadow(after)
    with reading(before):
        a = _rows(before)
    with reading(after):
        b = _rows(after)
        return _compared(old, new, a, b, after)


def _compared(
    old: Mapping[str, Any], new: Mapping[str, Any], a: pl.DataFrame, b: pl.DataFrame, after: Path
) -> Diff:
    import polars as pl

    same = a.join(b, on="id", how="inner", suffix="_after")
    moved = same.filter(pl.col("side") != pl.col("side_after")).group_by("side", "side_after").len()
    only_a, only_b = a.join(b, on="id", how="anti"), b.join(a, on="id", how="anti")
    place = ["source", "source_id"]
    # A location may give several rows (the clozes of a card); the smaller number of both builds is changed.
    changed = (
        only_a.group_by(place)
        .len()
        .join(only_b.group_by(place).len(), on=place, suffix="_after")
        .select("source", changed=pl.min_horizontal("len", "len_after"))
        .group_by("source")
        .sum()
    )
    changed_of = dict(changed.iter_rows())
    counts = [dict(table.group_by("source").len().iter_rows()) for table in (a, b, same, only_a, only_b)]
    sources = tuple(
        SourceDiff(
            name or "not named",
            counts[0].get(name, 0),
            counts[1].get(name, 0),
            counts[2].get(name, 0),
            changed_of.get(name, 0),
            counts[3].get(name, 0) - changed_of.get(name, 0),
            counts[4].get(name, 0) - changed_of.get(name, 0),
        )
        for name in sorted(counts[0].keys() | counts[1].keys(), key=str)
    )
    settings = _changed(_flat(old["recipe"]), _flat(new["recipe"]))
    files = _changed(_files(old), _files(new))
    gone = set(only_a["id"])
    return Diff(
        settings=settings,
        files=files,
        code=not settings
        and not files
        and old["exams"] == new["exams"]
        and old["fingerprint"] != new["fingerprint"],
        sources=sources,
        moved={f"{one} to {other}": count for one, other, count in sorted(moved.iter_rows())},
        why_went=dict(sorted(Counter(rejected_ids(after, gone).values()).items())),
    )


def as_json(found: Diff) -> dict[str, Any]:
    """Return the result of `data diff` as a JSON object with the attributes of `Diff`."""
    import dataclasses

    return dataclasses.asdict(found)


def show(found: Diff, console: Console) -> None:
    """Print tables of the differences."""
    for title, entries in (("Recipe", found.settings), ("Raw files", found.files)):
        if entries:
            table = Table(title=title, title_justify="left")
            for name in ("key" if title == "Recipe" else "file", "before", "after"):
                table.add_column(name, overflow="fold")
            for entry in entries:
                table.add_row(
                    *(text[:12] if title == "Raw files" and n else text for n, text in enumerate(entry))
                )
            console.print(table)
    if found.code:
        console.print("Recipe, exams and raw files are the same; the code of the two builds differs.")
    if not any(source.changed or source.went or source.came for source in found.sources) and not found.moved:
        console.print("The rows are the same.")
        return
    table = Table(title="Rows", title_justify="left")
    table.add_column("source", overflow="fold")
    for name in ("before", "after", "same", "changed", "removed", "new"):
        table.add_column(name, justify="right", no_wrap=True)
    for s in found.sources:
        table.add_row(s.name, *(f"{n:,}" for n in (s.before, s.after, s.same, s.changed, s.went, s.came)))
    console.print(table)
    for what, count in found.moved.items():
        console.print(f"{count:,} rows moved from {what}")
    for reason, count in sorted(found.why_went.items(), key=lambda entry: -entry[1]):
        console.print(f"{count:,} of the removed rows were rejected in the second build: {reason}")


def _rows(directory: Path) -> pl.DataFrame:
    import polars as pl

    columns = ["id", "source", "source_id"]
    return pl.concat(
        scan_table(directory / f"{split}.parquet", columns).select(*columns, side=pl.lit(split)).collect()
        for split in SPLITS
    )


def _files(ledger: Mapping[str, Any]) -> dict[str, str]:
    return {f"{s['name']}: {file['name']}": file["sha256"] for s in ledger["sources"] for file in s["files"]}


def _flat(value: Any, key: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            k: v
            for name, inner in value.items()
            for k, v in _flat(inner, f"{key}.{name}".lstrip(".")).items()
        }
    if isinstance(value, list) and value and isinstance(value[0], dict):
        # Sources are compared by name, so that an inserted source does not change all others.
        named = {str(inner.get("name", n)): inner for n, inner in enumerate(value)}
        return {k: v for name, inner in named.items() for k, v in _flat(inner, f"{key}.{name}").items()}
    return {key: str(value)}


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (key, old.get(key, ABSENT), new.get(key, ABSENT))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )
