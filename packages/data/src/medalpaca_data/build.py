"""The build: recipe to Meadow directory, every record accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import card
from .ground.code import package_sha256
from .ground.errors import UserError
from .ground.files import (
    new_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from .ledger import Account
from .recipe import Recipe
from .row import Row
from .sources import Source
from .sources.base import Reject

Progress = Callable[[str, int], None]  # (source, records so far)

LEDGER = "ledger.json"


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left behind."""

    path: Path
    ledger: dict[str, Any]
    reused: bool


def build(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    replace: bool = False,
    progress: Progress = lambda source, count: None,
) -> Built:
    """Build `recipe` into the Meadow directory `out`, whole or not at all.

    A directory that already holds exactly this build is left as it is. Raises UserError when a raw file is missing,
    when more than `max_reject_share` of a source is bad, or when `out` holds something else.
    """
    inputs = {
        source.name: [(file, sha256_file(file)) for file in source.files(root)] for source in recipe.sources
    }
    fingerprint = _fingerprint(recipe, inputs)
    if (ledger := _ledger(out)) and ledger.get("fingerprint") == fingerprint and _is_whole(out, ledger):
        return Built(out, ledger, reused=True)
    with new_directory(out, replace=replace) as folder:
        (folder / "rejected").mkdir()
        seen: dict[str, str] = {}
        rows: list[Row] = []
        accounts = []
        for source in recipe.sources:
            account, kept = _take(source, recipe, root, seen, folder / "rejected", progress)
            accounts.append(account)
            rows += kept
        if not rows:
            raise UserError(f"recipe {recipe.name}: not one row kept; nothing was built")
        parts: dict[str, list[Row]] = {"train": [], "validation": []}
        for row in rows:
            parts["validation" if _held_out(row, recipe) else "train"].append(row)
        if not parts["train"]:
            raise UserError(f"recipe {recipe.name}: validation={recipe.validation} leaves no row to train on")
        for split, members in parts.items():
            _write_parquet(folder / f"{split}.parquet", members)
        ledger = {
            "format": 1,
            "name": recipe.name,
            "fingerprint": fingerprint,
            "recipe": recipe.model_dump(),
            "sources": [
                _entry(source, account, inputs[source.name])
                for source, account in zip(recipe.sources, accounts, strict=True)
            ],
            "rows": {split: len(members) for split, members in parts.items()},
            "files": {f"{split}.parquet": sha256_file(folder / f"{split}.parquet") for split in parts},
        }
        write_json(folder / LEDGER, ledger)
        write_text(folder / "README.md", card(ledger))
    return Built(out, ledger, reused=False)


def _take(
    source: Source, recipe: Recipe, root: Path, seen: dict[str, str], rejected: Path, progress: Progress
) -> tuple[Account, list[Row]]:
    """Read one source: rows kept, everything else into `rejected/` with file, line, stage and reason."""
    account = Account(source.name)
    reading, unique = account.open("read"), account.open("duplicates")
    rows: list[Row] = []
    dropped: list[dict[str, Any]] = []
    first_bad = None
    for record in source.records(root, recipe.seed):
        reading.read += 1
        if reading.read % 1000 == 0:
            progress(source.name, reading.read)
        if isinstance(record, Reject):
            reading.reasons[record.reason] += 1
            first_bad = first_bad or record
            dropped.append(_rejected(record.file, record.place, "read", record.reason, record.record))
            continue
        reading.kept += 1
        unique.read += 1
        if record.id in seen:
            reason = "same row again"
            unique.reasons[reason] += 1
            file, _, place = (record.source_id or "").partition(" ")
            entry = _rejected(file, place, "duplicates", reason, {"id": record.id})
            dropped.append({**entry, "first": seen[record.id]})
            continue
        seen[record.id] = f"{record.source}: {record.source_id}"
        unique.kept += 1
        rows.append(record)
    progress(source.name, reading.read)
    account.balance()
    if dropped:
        # ASCII, because a record may be rejected for holding what cannot be written otherwise.
        lines = "".join(json.dumps(entry) + "\n" for entry in dropped)
        write_text(rejected / f"{source.name}.jsonl", lines)
    if first_bad and reading.rejected > recipe.max_reject_share * reading.read:
        share = reading.rejected / reading.read
        raise UserError(
            f"source {source.name!r}: {reading.rejected} of {reading.read} records ({share:.1%}) cannot be used, "
            f"more than max_reject_share={recipe.max_reject_share}; the first is {first_bad.file} {first_bad.place}: "
            f"{first_bad.reason}"
        )
    return account, rows


def _rejected(file: str, place: str, stage: str, reason: str, record: Any) -> dict[str, Any]:
    return {"file": file, "place": place, "stage": stage, "reason": reason, "record": record}


def _held_out(row: Row, recipe: Recipe) -> bool:
    """Whether the row is for validation: its source says so, or its group is drawn, whole, by hash."""
    if row.split == "dev":
        return True
    draw = int(sha256_bytes(f"{recipe.seed}:{row.group or row.id}".encode())[:12], 16) / 16**12
    return draw < recipe.validation


def _write_parquet(path: Path, rows: list[Row]) -> None:
    import polars

    from .row import FIELDS

    columns = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    polars.DataFrame(columns, schema=dict.fromkeys(FIELDS, polars.String)).write_parquet(path)


def _entry(source: Source, account: Account, inputs: list[tuple[Path, str]]) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.kind,
        "licence": source.licence,
        "attribution": source.attribution,
        "url": source.url,
        "files": [{"name": file.name, "sha256": digest} for file, digest in inputs],
        "read": account.read,
        "kept": account.kept,
        "rejected": account.rejected,
        "stages": [stage.as_json() for stage in account.stages],
    }


def _fingerprint(recipe: Recipe, inputs: dict[str, list[tuple[Path, str]]]) -> str:
    hashes = {name: [digest for _, digest in files] for name, files in inputs.items()}
    return sha256_json([recipe.model_dump(), hashes, package_sha256("medalpaca_data")])


def _is_whole(out: Path, ledger: dict[str, Any]) -> bool:
    """Whether every file the ledger names is there as it was written."""
    files = {out / name: digest for name, digest in ledger["files"].items()}
    return all(file.is_file() and sha256_file(file) == digest for file, digest in files.items())


def _ledger(out: Path) -> dict[str, Any] | None:
    file = out / LEDGER
    value = read_json(file) if file.is_file() else None
    return value if isinstance(value, dict) else None
