"""The command `data explain`: show the history of one row, from its raw file to its final text or its rejection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from .core.cli import wrapped
from .core.errors import UserError
from .core.row import SPLITS, TEXTS
from .core.untrusted import show_invisible
from .dataset import CHANGES, CONTRADICTIONS, HITS, SPANS, reading, require_meadow
from .deid.secret import HASH
from .meadow_files import ContradictionEntry, HitEntry, RejectEntry, read_entries, require_values, scan_table
from .shard import place_of
from .stages.contradictions import SAME_QUESTION, SIMILAR

# Largest number of rows listed that were rejected in favour of the row.
MAX_LISTED = 5


@dataclass(frozen=True, slots=True)
class Step:
    """Description of what one stage did with the row."""

    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class RowHistory:
    """A kept or rejected row, with the steps that led to it.

    `where` is the split of a kept row, or the stage that rejected the row.
    """

    row: Mapping[str, Any]
    where: str
    steps: tuple[Step, ...]


def explain(directory: Path, row_id: str) -> RowHistory:
    """Return the history of a row of a Meadow directory.

    `row_id` is its id, or an id that it had before a stage changed it. Raises UserError for an unknown id.
    """
    ledger = require_meadow(directory)
    with reading(directory):
        return _find_history(directory, row_id, ledger)


def _find_history(directory: Path, row_id: str, ledger: Mapping[str, Any]) -> RowHistory:
    ids = _all_ids(directory, row_id)
    match = _find_kept(directory, ids) or _find_rejected(directory, ids)
    if match is None:
        raise UserError(
            f"{directory}: no kept or rejected row {row_id!r}; ids are in the column `id` and in rejected/"
        )
    row, where, drop = match
    steps = [_origin(row, ledger), *_history(directory, row)]
    for stage in _stages(ledger, row):
        if stage == where:
            steps.append(Step(stage, f"rejected: {drop['reason']}{_evidence(drop)}"))
            break
        steps += _passed(directory, stage, row["id"])
    if where in SPLITS:
        group = f", with all rows of group {row['group']!r}" if row.get("group") else ""
        steps.append(Step("split", f"{where}{group}"))
        steps += _contradicted(directory, row["id"])
    return RowHistory(row, where, tuple(steps))


def as_json(life: RowHistory) -> dict[str, Any]:
    """Return the result of `data explain` as a JSON object: the row, its split or last stage, and its steps."""
    return {
        "row": dict(life.row),
        "where": life.where,
        "steps": [{"stage": step.stage, "told": step.text} for step in life.steps],
    }


def show(life: RowHistory, console: Console) -> None:
    r"""Print the steps in order, then the text of the row; invisible characters are escapes such as `\u200b`."""
    width = max(len(step.stage) for step in life.steps)
    console.print(f"row {life.row['id']}: {life.where}\n", highlight=False)
    for step in life.steps:
        first, *rest = show_invisible(step.text).splitlines() or [""]
        for name, line in ((step.stage, first), *(("", line) for line in rest)):
            hanging = wrapped(f"{name:<{width}}  {line}", console.width, hang=width + 2)
            console.print(hanging, highlight=False, soft_wrap=True)
    for name in TEXTS:
        if life.row.get(name):
            console.print(f"\n{name}\n{show_invisible(life.row[name])}", highlight=False)


def rejected_ids(directory: Path, ids: set[str]) -> dict[str, str]:
    """Return {id: reason of rejection} for those of `ids` that a stage after reading rejected."""
    found: dict[str, str] = {}
    for file in sorted((directory / "rejected").glob("*.jsonl")):
        for entry in read_entries(file, RejectEntry):
            record = entry["record"]
            row_id = record.get("id") if isinstance(record, dict) else None
            if isinstance(row_id, str) and row_id in ids:
                found[row_id] = entry["reason"]
    return found


def _find_kept(directory: Path, ids: set[str]) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    import polars as pl

    for split in SPLITS:
        rows = (
            scan_table(directory / f"{split}.parquet", ("id", "source", "source_id", *TEXTS))
            .filter(pl.col("id").is_in(ids))
            .collect()
        )
        if rows.height:
            return rows.row(0, named=True), split, {}
    return None


def _find_rejected(directory: Path, ids: set[str]) -> tuple[dict[str, Any], str, dict[str, Any]] | None:
    for entry in _rejects(directory, ids):
        record = entry["record"]
        row_id = record.get("id") if isinstance(record, dict) else None
        if isinstance(row_id, str) and row_id in ids and "output" in record:
            return record, entry["stage"], entry
    return None


def _rejects(directory: Path, ids: set[str]) -> Iterator[dict[str, Any]]:
    for file in sorted((directory / "rejected").glob("*.jsonl")):
        yield from read_entries(file, RejectEntry, sorted(ids))


def _all_ids(directory: Path, row_id: str) -> set[str]:
    """Return `row_id` and the later ids of its row. A stage that changes a text gives the row a new id."""
    ids, new = set[str](), {row_id}
    while new:
        ids |= new
        new = {change["id"] for old in new for change in _changes(directory, "was", old)} - ids
    return ids


def _history(directory: Path, row: Mapping[str, Any]) -> list[Step]:
    """Return the changes of a row, the first one first; a single step if no stage changed a text."""
    if _is_patient_text(row):
        return [Step("read", "changes of patient text are not recorded")]
    steps: list[Step] = []
    now = row["id"]
    while changes := [
        change for change in _changes(directory, "id", now) if change["source_id"] == row.get("source_id")
    ]:
        lines = [f"was row {changes[0]['was']}"]
        lines += [f"{change['field']} before: {change['before']}" for change in changes]
        steps.insert(0, Step(changes[0]["stage"], "changed; " + "\n".join(lines)))
        now = changes[0]["was"]
    return steps or [Step("read", "as read from the record")]


def _changes(directory: Path, column: str, row_id: str) -> list[dict[str, Any]]:
    import polars as pl

    if not (directory / CHANGES).is_file():
        return []
    file, texts = directory / CHANGES, ("id", "was", "source_id", "stage", "field", "before")
    rows = scan_table(file, texts).filter(pl.col(column) == row_id).collect()
    require_values(rows, file, ("id", "was", "stage", "field", "before"))
    return list(rows.iter_rows(named=True))


def _origin(row: Mapping[str, Any], ledger: Mapping[str, Any]) -> Step:
    name, place = place_of(row.get("source_id"))
    lines = [f"{name} {place}".strip() or "no file recorded"]
    if _is_patient_text(row):
        lines = [f"{name}: keyed hash of file and location", 'found by: data trace "FILE LOCATION" MEADOW']
    source = _source_of(ledger, row)
    lines += [
        f"{file['name']}: sha256 {file['sha256']}" for file in source.get("files", ()) if file["name"] == name
    ]
    lines += [
        f"{key}: {row[key]}"
        for key in ("source", "url", "licence", "attribution", "generator")
        if row.get(key)
    ]
    return Step("raw", "\n".join(lines))


def _is_patient_text(row: Mapping[str, Any]) -> bool:
    return HASH.fullmatch(row.get("source_id") or "") is not None


def _source_of(ledger: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the ledger has about the row's source; {} for a ledger without sources.

    A row may have its own source name. Then it is the source with the row's raw file, or else the first source.
    """
    sources = ledger.get("sources", ())
    file, _ = place_of(row.get("source_id"))
    named = [source for source in sources if source["name"] == row.get("source")]
    filed = [source for source in sources if any(entry["name"] == file for entry in source["files"])]
    return next(iter(named or filed or sources), {})


def _stages(ledger: Mapping[str, Any], row: Mapping[str, Any]) -> Sequence[str]:
    return [stage["stage"] for stage in _source_of(ledger, row).get("stages", ())]


def _passed(directory: Path, stage: str, row_id: str) -> list[Step]:
    """Return the steps of a stage that kept the row; none for stages that only read or change rows."""
    if stage in ("read", "clean", "rephrase"):
        return []
    if hits := [hit for hit in _hits(directory) if hit["row"] == row_id] if stage == "exam questions" else []:
        lines = [
            f"{hit['exam']} item {hit['item']}: coverage {hit['coverage']:.0%}, below the limit"
            for hit in hits
        ]
        return [Step(stage, "\n".join(lines))]
    if stage == "deidentify" and (classes := _surrogates(directory, row_id)):
        return [Step(stage, f"replaced by surrogates: {classes}")]
    others = [
        entry
        for entry in _rejects(directory, {row_id})
        if entry.get("kept") == row_id and entry["stage"] == stage
    ]
    if not others:
        return [Step(stage, "passed")]
    lines = [
        f"{entry['file']} {entry['place']}{_evidence(entry, but='kept')}" for entry in others[:MAX_LISTED]
    ]
    if len(others) > MAX_LISTED:
        lines.append(f"and {len(others) - MAX_LISTED:,} more")
    return [Step(stage, "kept; these rows were rejected in its favour:\n" + "\n".join(lines))]


def _surrogates(directory: Path, row_id: str) -> str:
    """Return the number of surrogates of a row by class, as text; "" if it has none, or a later stage changed it."""
    import polars as pl

    if not (directory / SPANS).is_file():
        return ""
    rows = scan_table(directory / SPANS, ("id", "class")).filter(pl.col("id") == row_id).collect()
    counts = rows.group_by("class").len().sort("class")
    return ", ".join(f"{kind} {count}" for kind, count in counts.iter_rows())


def _hits(directory: Path) -> Iterator[dict[str, Any]]:
    return read_entries(directory / HITS, HitEntry)


CONTRADICTION = {
    SAME_QUESTION: "the same question has another answer in",
    SIMILAR: "similar, with other words, to",
}


def _contradicted(directory: Path, row_id: str) -> list[Step]:
    groups = read_entries(directory / CONTRADICTIONS, ContradictionEntry, (row_id,))
    return [
        Step(
            "note",
            f"{CONTRADICTION.get(group.get('kind', SAME_QUESTION), 'contradicts')} row "
            + ", ".join(r for r in group["rows"] if r != row_id),
        )
        for group in groups
        if row_id in group["rows"]
    ]


def _evidence(entry: Mapping[str, Any], but: str = "") -> str:
    known = {"file", "place", "stage", "reason", "record", "by_rule", but}
    evidence = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in known)
    return f" ({evidence})" if evidence else ""
