"""`data explain`: one row's life, from its raw file to its final text, or to where it was dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from .core.cli import wrapped
from .core.errors import UserError
from .core.row import SPLITS, TEXTS
from .dataset import CHANGES, CONTRADICTIONS, HITS, reading, require_meadow
from .shard import place_of

MANY = 5  # rows that were dropped in favour of this one, shown by name


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to the row at one stage."""

    stage: str
    told: str


@dataclass(frozen=True, slots=True)
class Life:
    """A row, where it is now, and how it came there."""

    row: Mapping[str, Any]
    where: str  # train, validation, or the stage that dropped it
    steps: tuple[Step, ...]


def explain(directory: Path, row_id: str) -> Life:
    """The life of the row that is, or once was, called `row_id` in a Meadow directory."""
    ledger = require_meadow(directory)
    with reading(directory):
        return _life(directory, row_id, ledger)


def _life(directory: Path, row_id: str, ledger: Mapping[str, Any]) -> Life:
    names = _names(directory, row_id)
    found = _kept(directory, names) or _dropped(directory, names)
    if found is None:
        raise UserError(
            f"{directory}: no row {row_id!r} in it, kept or rejected; ids are in the column `id` and in rejected/"
        )
    row, where, drop = found
    steps = [_origin(row, ledger), *_history(directory, row)]
    for stage in _stages(ledger, row):
        if stage == where:
            steps.append(Step(stage, f"dropped: {drop['reason']}{_evidence(drop)}"))
            break
        steps += _passed(directory, stage, row["id"])
    if where in SPLITS:
        tied = ", ".join(f"{name} {row[name]!r}" for name in ("group",) if row.get(name))
        steps.append(Step("split", f"{where}{f', with all of its {tied}' if tied else ''}"))
        steps += _contradicted(directory, row["id"])
    return Life(row, where, tuple(steps))


def as_json(life: Life) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "row": dict(life.row),
        "where": life.where,
        "steps": [{"stage": step.stage, "told": step.told} for step in life.steps],
    }


def show(life: Life, console: Console) -> None:
    """The steps in order, then the text as it is."""
    width = max(len(step.stage) for step in life.steps)
    console.print(f"row {life.row['id']}: {life.where}\n", highlight=False)
    for step in life.steps:
        first, *rest = step.told.splitlines() or [""]
        for name, line in ((step.stage, first), *(("", line) for line in rest)):
            hanging = wrapped(f"{name:<{width}}  {line}", console.width, hang=width + 2)
            console.print(hanging, highlight=False, soft_wrap=True)
    for name in TEXTS:
        if life.row.get(name):
            console.print(f"\n{name}\n{life.row[name]}", highlight=False)


def rejected_ids(directory: Path, ids: set[str]) -> dict[str, str]:
    """id -> reason, for those of `ids` that a stage after reading dropped."""
    found: dict[str, str] = {}
    for file in sorted((directory / "rejected").glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for entry in map(json.loads, lines):
                record = entry["record"]
                if isinstance(record, dict) and record.get("id") in ids:
                    found[record["id"]] = entry["reason"]
    return found


def _kept(directory: Path, names: set[str]) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    import polars as pl

    for split in SPLITS:
        rows = (
            pl.scan_parquet(directory / f"{split}.parquet", glob=False)
            .filter(pl.col("id").is_in(names))
            .collect()
        )
        if rows.height:
            return rows.row(0, named=True), split, {}
    return None


def _dropped(directory: Path, names: set[str]) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    for entry in _rejects(directory, names):
        record = entry["record"]
        if isinstance(record, dict) and record.get("id") in names and "output" in record:
            return record, entry["stage"], entry
    return None


def _rejects(directory: Path, names: set[str]) -> Iterator[dict[str, Any]]:
    for file in sorted((directory / "rejected").glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if any(name in line for name in names))


def _names(directory: Path, row_id: str) -> set[str]:
    """The id, and those that its row was given by the stages that changed it."""
    names, new = set[str](), {row_id}
    while new:
        names |= new
        new = {change["id"] for name in new for change in _changes(directory, "was", name)} - names
    return names


def _history(directory: Path, row: Mapping[str, Any]) -> list[Step]:
    """What was changed of a row, first things first."""
    steps: list[Step] = []
    now = row["id"]
    while changes := [
        change for change in _changes(directory, "id", now) if change["source_id"] == row.get("source_id")
    ]:
        told = [f"was row {changes[0]['was']}"]
        told += [f"{change['field']} before: {change['before']}" for change in changes]
        steps.insert(0, Step(changes[0]["stage"], "changed; " + "\n".join(told)))
        now = changes[0]["was"]
    return steps or [Step("read", "as it is now")]


def _changes(directory: Path, column: str, row_id: str) -> list[dict[str, Any]]:
    import polars as pl

    if not (directory / CHANGES).is_file():
        return []
    rows = pl.scan_parquet(directory / CHANGES, glob=False).filter(pl.col(column) == row_id).collect()
    return list(rows.iter_rows(named=True))


def _origin(row: Mapping[str, Any], ledger: Mapping[str, Any]) -> Step:
    name, place = place_of(row.get("source_id"))
    told = [f"{name} {place}".strip() or "no place recorded"]
    source = _source_of(ledger, row)
    told += [
        f"{file['name']}: sha256 {file['sha256']}" for file in source.get("files", ()) if file["name"] == name
    ]
    told += [
        f"{key}: {row[key]}"
        for key in ("source", "url", "licence", "attribution", "generator")
        if row.get(key)
    ]
    return Step("raw", "\n".join(told))


def _source_of(ledger: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ledger's entry of the row's source; one with such a file when the row brought a source's name of its own."""
    sources = ledger.get("sources", ())
    file, _ = place_of(row.get("source_id"))
    named = [source for source in sources if source["name"] == row.get("source")]
    filed = [source for source in sources if any(entry["name"] == file for entry in source["files"])]
    return next(iter(named or filed or sources), {})


def _stages(ledger: Mapping[str, Any], row: Mapping[str, Any]) -> Sequence[str]:
    return [stage["stage"] for stage in _source_of(ledger, row).get("stages", ())]


def _passed(directory: Path, stage: str, row_id: str) -> list[Step]:
    """What a stage that the row passed did on its account, where it did anything."""
    if stage in ("read", "clean", "rephrase"):
        return []
    if hits := [hit for hit in _hits(directory) if hit["row"] == row_id] if stage == "exam questions" else []:
        told = [
            f"{hit['exam']} item {hit['item']}: coverage {hit['coverage']:.0%}, below the limit"
            for hit in hits
        ]
        return [Step(stage, "\n".join(told))]
    others = [
        entry
        for entry in _rejects(directory, {row_id})
        if entry.get("kept") == row_id and entry["stage"] == stage
    ]
    if not others:
        return [Step(stage, "passed")]
    told = [f"{entry['file']} {entry['place']}{_evidence(entry, but='kept')}" for entry in others[:MANY]]
    if len(others) > MANY:
        told.append(f"and {len(others) - MANY:,} more")
    return [Step(stage, "kept; dropped in its favour:\n" + "\n".join(told))]


def _hits(directory: Path) -> Iterator[dict[str, Any]]:
    if (directory / HITS).is_file():
        with (directory / HITS).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _contradicted(directory: Path, row_id: str) -> list[Step]:
    if not (directory / CONTRADICTIONS).is_file():
        return []
    with (directory / CONTRADICTIONS).open(encoding="utf-8") as lines:
        groups = [json.loads(line) for line in lines if row_id in line]
    return [
        Step(
            "note",
            "the same question has another answer in row "
            + ", ".join(r for r in group["rows"] if r != row_id),
        )
        for group in groups
    ]


def _evidence(entry: Mapping[str, Any], but: str = "") -> str:
    known = {"file", "place", "stage", "reason", "record", "by_rule", but}
    told = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in known)
    return f" ({told})" if told else ""
