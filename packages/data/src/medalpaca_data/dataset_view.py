"""Content of a Meadow directory to look at: samples, lengths, removals, changes, contradictions and exam hits."""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import UserError
from .core.row import SPLITS, TEXTS
from .core.text_files import read_text_lines
from .dataset import CHANGES, CONTRADICTIONS, HITS, reading, require_meadow
from .meadow_files import (
    ContradictionEntry,
    HitEntry,
    RejectEntry,
    parse_entry,
    read_entries,
    require_values,
    scan_table,
)

if TYPE_CHECKING:
    import polars as pl

# Upper ends of the bins of a length histogram, in words; the last bin has all longer texts.
BINS = (5, 10, 20, 50, 100, 200, 500, 1000)
# Examples of each reason of rejection, and of each stage that changed texts.
EXAMPLES = 2
CHANGED_EXAMPLES = 3
# Changes among which the examples are chosen: those of more than white space come first.
CANDIDATES = 50
# Contradictions and exam hits that are listed; the files have all.
LISTED = 10
# Columns of a sampled row.
# Columns of changes.parquet that are shown.
CHANGE_COLUMNS = ("id", "was", "stage", "field", "before")
SAMPLED = ("id", "source", "source_id", "url", "licence", *TEXTS)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Histogram of the lengths of one part of the rows, in words.

    `counts` has the number of texts in each bin of `BINS`, and last the number of longer texts.
    """

    part: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """Number of records that a stage rejected for one reason, and examples of them as lines of the reject file."""

    stage: str
    reason: str
    count: int
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """Number of changes that a stage made, by kind, and examples: lines of changes.parquet with the text after it."""

    stage: str
    kinds: Mapping[str, int]
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class SourceView:
    """Content of one source.

    `samples` are rows drawn at random, with their split; `unread` has the number of values in each column of the raw
    files that was not read. A ledger before format 5 has no such numbers, and `unread` is then None.
    """

    name: str
    read: int
    kept: int
    patient_text: bool
    lengths: tuple[Lengths, ...]
    samples: tuple[Mapping[str, Any], ...]
    removed: tuple[Removed, ...]
    changed: tuple[Changed, ...]
    unread: Mapping[str, int] | None
    unread_reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DatasetView:
    """Content of a Meadow directory.

    `contradictions` and `exam_hits` have the first `LISTED` entries of their files. `contradicting` and `hits` are the
    numbers of all entries.
    """

    name: str
    rows: Mapping[str, int]
    sources: tuple[SourceView, ...]
    contradictions: tuple[Mapping[str, Any], ...]
    contradicting: int
    exam_hits: tuple[Mapping[str, Any], ...]
    hits: int


def view_dataset(directory: Path, *, n: int, source: str | None = None, seed: int = 0) -> DatasetView:
    """Return the content of a Meadow directory with `n` random rows of every source, or of `source` alone.

    The same directory, `n` and `seed` give the same rows. Raises UserError for an unknown source, and for a directory
    that `data build` did not write.
    """
    ledger = require_meadow(directory)
    with reading(directory):
        table = _sources_of_rows(directory)
        entries = {entry["name"]: entry for entry in ledger["sources"]}
        # Rows of an Alpaca file may name sources of their own, which the ledger does not have.
        names = [*entries, *sorted(set(table["source"].unique()) - entries.keys())]
        if source is not None:
            if source not in names:
                raise UserError(f"{directory}: no source {source!r}; its sources: {', '.join(names)}")
            names = [source]
        samples = _samples(directory, table, names, n, seed)
        lengths = _lengths(directory, names)
        changed = _changed(directory, table)
        views = tuple(
            _source_view(directory, name, entries.get(name, {}), samples[name], lengths[name], changed)
            for name in names
        )
        contradictions, contradicting = _first_lines(directory / CONTRADICTIONS, ContradictionEntry)
        hits, hit_count = _first_lines(directory / HITS, HitEntry)
    return DatasetView(
        name=ledger["name"],
        rows=ledger["rows"],
        sources=views,
        contradictions=contradictions,
        contradicting=contradicting,
        exam_hits=hits,
        hits=hit_count,
    )


def bin_labels() -> tuple[str, ...]:
    """Return the labels of the bins of a length histogram, such as "6 to 10"."""
    starts = (0, *(end + 1 for end in BINS))
    return (*(f"{start} to {end}" for start, end in zip(starts, BINS, strict=False)), f"over {BINS[-1]}")


def _source_view(
    directory: Path,
    name: str,
    entry: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    lengths: tuple[Lengths, ...],
    changed: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
) -> SourceView:
    stages = entry.get("stages", ())
    examples = _reject_examples(directory / "rejected" / f"{name}.jsonl")
    return SourceView(
        name=name,
        read=entry.get("read", 0),
        kept=entry.get("kept", sum(lengths[0].counts)),
        patient_text=entry.get("patient_text", False),
        lengths=lengths,
        samples=tuple(samples),
        removed=tuple(
            Removed(stage["stage"], reason, count, tuple(examples.get((stage["stage"], reason), ())))
            for stage in stages
            for reason, count in sorted(stage["reasons"].items(), key=lambda item: -item[1])
        ),
        changed=tuple(
            Changed(stage["stage"], stage["changed"], tuple(changed.get((name, stage["stage"]), ())))
            for stage in stages
            if stage.get("changed")
        ),
        unread=entry.get("unread_columns"),
        unread_reasons=entry.get("unread_reasons", {}),
    )


def _scan(directory: Path) -> list[tuple[str, pl.LazyFrame]]:
    files = [(split, directory / f"{split}.parquet") for split in SPLITS]
    return [(split, scan_table(file, ("id", "source", *TEXTS))) for split, file in files if file.is_file()]


def _sources_of_rows(directory: Path) -> pl.DataFrame:
    """Return a table with one line per row of both splits: id, source, split and position in the file."""
    import polars as pl

    tables = [
        rows.select("id", "source", split=pl.lit(split)).with_row_index("position").collect()
        for split, rows in _scan(directory)
    ]
    return pl.concat(tables)


def _samples(
    directory: Path, table: pl.DataFrame, names: Sequence[str], n: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Return `n` rows of each source, or all of a smaller one, in the order of the files, with their split."""
    import polars as pl

    draw = random.Random(seed)  # noqa: S311
    chosen: list[pl.DataFrame] = []
    for name in names:
        rows = table.filter(pl.col("source") == name)
        chosen.append(rows[sorted(draw.sample(range(rows.height), min(n, rows.height)))])
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    positions = pl.concat(chosen)
    for split, scanned in _scan(directory):
        wanted = positions.filter(pl.col("split") == split).select("position").lazy()
        sampled = (
            scanned.select(SAMPLED)
            .with_row_index("position")
            .join(wanted, on="position", how="semi")
            .sort("position")
        ).collect()
        for row in sampled.iter_rows(named=True):
            found[row["source"]].append({key: row[key] for key in SAMPLED} | {"split": split})
    return found


def _lengths(directory: Path, names: Sequence[str]) -> dict[str, tuple[Lengths, ...]]:
    """Return, by source, the histograms of the words of question (instruction and input) and answer."""
    import polars as pl

    def bin_of(*columns: str) -> pl.Expr:
        words = pl.sum_horizontal(pl.col(column).str.count_matches(r"\S+") for column in columns)
        return pl.sum_horizontal((words > end).cast(pl.Int64) for end in BINS)

    parts = {"question": bin_of("instruction", "input"), "answer": bin_of("output")}
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(BINS) + 1))
    for _, rows in _scan(directory):
        for part, expression in parts.items():
            grouped = rows.select("source", bin=expression).group_by("source", "bin").len().collect()
            for name, index, count in grouped.iter_rows():
                counts[name, part][index] += count
    return {name: tuple(Lengths(part, tuple(counts[name, part])) for part in parts) for name in names}


def _reject_examples(file: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return `EXAMPLES` lines of a reject file for each stage and reason, chosen by a hash of the line."""
    if not file.is_file():
        return {}
    chosen: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for number, line in enumerate(read_text_lines(file), 1):
        entry = parse_entry(line, f"{file} line {number}", RejectEntry)
        group = chosen[entry["stage"], entry["reason"]]
        # The smallest checksums are a random choice that is the same every time.
        group.append((zlib.crc32(line.encode()), line))
        if len(group) > EXAMPLES:
            group.remove(max(group))
    return {key: [json.loads(line) for _, line in sorted(group)] for key, group in chosen.items()}


def _changed(directory: Path, table: pl.DataFrame) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return examples of changed texts by source and stage, with the text of the kept row in `after`.

    Only changes of rows that were kept with the id that the stage gave them are examples.
    """
    import polars as pl

    if not (directory / CHANGES).is_file():
        return {}
    kept = table.lazy().select("id", "source")
    first = (
        scan_table(directory / CHANGES, CHANGE_COLUMNS)
        .join(kept, on="id", how="inner")
        .sort("was", "field")
        .group_by("source", "stage", maintain_order=True)
        .head(CANDIDATES)
    ).collect()
    require_values(first, directory / CHANGES, CHANGE_COLUMNS)
    ids = first["id"].unique().to_list()
    texts: dict[str, dict[str, Any]] = {}
    for _, rows in _scan(directory):
        for row in rows.filter(pl.col("id").is_in(ids)).select("id", *TEXTS).collect().iter_rows(named=True):
            texts[row["id"]] = row
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for change in first.iter_rows(named=True):
        after = texts[change["id"]][change["field"]]
        found[change["source"], change["stage"]].append(change | {"after": after})
    return {
        key: sorted(changes, key=_is_white_space_only)[:CHANGED_EXAMPLES] for key, changes in found.items()
    }


def _is_white_space_only(change: Mapping[str, Any]) -> bool:
    return "".join(change["before"].split()) == "".join(change["after"].split())


def _first_lines(file: Path, kind: Any) -> tuple[tuple[dict[str, Any], ...], int]:
    """Return the first `LISTED` entries of a file of JSON lines, and the number of all; nothing without the file."""
    first: list[dict[str, Any]] = []
    count = 0
    for count, entry in enumerate(read_entries(file, kind), 1):
        if count <= LISTED:
            first.append(dict(entry))
    return tuple(first), count
