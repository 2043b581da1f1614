"""The command `data trace`: find the rows of a patient, and the builds and training runs that have them.

It serves withdrawal of consent. A row is found by its id, or by a case number as in the raw file: the case number is
hashed with the key of patient text and compared with the hashes in the rows. Neither the case number nor text of a row
is printed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import CheckFailed, UserError
from .core.files import existing, read_json, sha256_file, sha256_listing
from .core.row import ID_LENGTH, SPLITS
from .deid.secret import HASH, KEY_FILE, key_id, key_path, keyed_hash, load_secret
from .meadow_files import RejectEntry, read_entries, scan_table

if TYPE_CHECKING:
    from rich.console import Console


LEDGER, MANIFEST, REJECTED = "ledger.json", "manifest.json", "rejected"
ROW_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row that was found. `split` is train, validation or rejected, and `build` the path of its Meadow directory."""

    id: str | None
    split: str
    source: str
    build: str


@dataclass(frozen=True, slots=True)
class TracedBuild:
    """A Meadow directory with rows that were found; `ledger` is the SHA-256 of its ledger.json."""

    path: str
    ledger: str
    rows: int


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A training run on data with rows that were found. `data` is the hash of the data in its manifest."""

    path: str
    data: str
    builds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Result of `data trace`. `unknown_runs` are runs on data that is none of the Meadow directories searched."""

    rows: tuple[TracedRow, ...]
    builds: tuple[TracedBuild, ...]
    runs: tuple[TracedRun, ...]
    unknown_runs: tuple[str, ...]
    meadows: int


def trace(value: str, paths: Sequence[Path], key_directory: Path | None = None) -> Trace:
    """Return the rows with the id or case number `value`, and the builds and runs that have them.

    `value` may also be a keyed hash from a row (`h:...`), or the file and location of a raw record (`notes.csv row 3`).
    `paths` are Meadow and run directories, or directories of them. `key_directory` has the key file; by default it is
    that of builds. Raises UserError for another path, and if a case number cannot be hashed with the key of a build.
    """
    from .dataset import reading, require_meadow

    meadows, runs = _directories(paths)
    ledgers = {meadow: require_meadow(meadow) for meadow in meadows}
    secret = _secret(value, ledgers, key_directory)
    rows = []
    for meadow, ledger in ledgers.items():
        with reading(meadow):
            rows += list(_rows(meadow, _wanted(value, ledger, secret)))
    builds = [
        TracedBuild(str(meadow), sha256_file(meadow / LEDGER), sum(row.build == str(meadow) for row in rows))
        for meadow in meadows
    ]
    found, unknown = _runs(runs, meadows, rows)
    return Trace(tuple(rows), tuple(b for b in builds if b.rows), found, unknown, len(meadows))


def _directories(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the Meadow directories and the run directories among `paths` and directly below them, without repeats."""
    meadows: dict[Path, Path] = {}
    runs: dict[Path, Path] = {}
    for path in paths:
        candidates = [existing(path, "directory")]
        if path.is_dir() and not _is_known(path):
            candidates = sorted(entry for entry in path.iterdir() if entry.is_dir() and _is_known(entry))
        if not candidates or not path.is_dir():
            raise UserError(
                f"{path}: neither a Meadow directory ({LEDGER}) nor a run directory ({MANIFEST}), nor a directory that "
                "has some"
            )
        for candidate in candidates:
            if (candidate / LEDGER).is_file():
                meadows.setdefault(candidate.resolve(), candidate)
            if (candidate / MANIFEST).is_file():
                runs.setdefault(candidate.resolve(), candidate)
    if not meadows:
        raise UserError(
            "data trace: no Meadow directory among the paths; give those that the runs were trained on"
        )
    return list(meadows.values()), list(runs.values())


def _is_known(path: Path) -> bool:
    return (path / LEDGER).is_file() or (path / MANIFEST).is_file()


def _secret(value: str, ledgers: Mapping[Path, Mapping[str, Any]], directory: Path | None) -> bytes | None:
    """Return the key for hashing a case number, or None if `value` is a hash, or an id and there is no key file."""
    keyed = {meadow: ledger["key_id"] for meadow, ledger in ledgers.items() if ledger["key_id"]}
    file = key_path(str(directory) if directory else None)
    if HASH.fullmatch(value) or not keyed or (ROW_ID.fullmatch(value) and not file.exists()):
        return None
    if not file.exists():
        raise UserError(
            f"{file}: no key file, and a case number can be traced only with the key of the build; give the directory "
            f"of {KEY_FILE} with --secret DIR, or give the id of a row"
        )
    secret = load_secret(file.parent)
    for meadow, built_with in keyed.items():
        if built_with != key_id(secret) and not ROW_ID.fullmatch(value):
            raise UserError(
                f"{file}: has the key {key_id(secret)}, but {meadow} was made with the key {built_with}; trace it "
                "separately with --secret DIR of that key"
            )
    return secret


def _wanted(value: str, ledger: Mapping[str, Any], secret: bytes | None) -> set[str]:
    """Return the values of `id`, `group` or `source_id` by which a row is found."""
    # A group that the recipe finds by a regular expression is the name of the source and the match in lower case.
    raw = {value, *(f"{source['name']}:{value.strip().lower()}" for source in ledger["sources"])}
    return raw | {keyed_hash(secret, text) for text in raw} if secret else raw


def _rows(meadow: Path, wanted: Collection[str]) -> Iterator[TracedRow]:
    import polars as pl

    for split in SPLITS:
        found = (
            scan_table(meadow / f"{split}.parquet", ("id", "source", "group", "source_id"))
            .filter(pl.any_horizontal(pl.col("id", "group", "source_id").is_in(list(wanted))))
            .select("id", "source")
            .collect()
        )
        for row_id, source in found.iter_rows():
            yield TracedRow(row_id, split, source or "not named", str(meadow))
    for file in sorted((meadow / REJECTED).glob("*.jsonl")):
        for entry in read_entries(file, RejectEntry):
            record = entry["record"] if isinstance(entry["record"], dict) else {}
            place = f"{entry['file']} {entry['place']}".strip()
            values = [place, *(record.get(key) for key in ("id", "group", "source_id"))]
            if any(isinstance(value, str) and value in wanted for value in values):
                row_id = record.get("id")
                yield TracedRow(row_id if isinstance(row_id, str) else None, REJECTED, file.stem, str(meadow))


def _runs(
    runs: Sequence[Path], meadows: Sequence[Path], rows: Sequence[TracedRow]
) -> tuple[tuple[TracedRun, ...], tuple[str, ...]]:
    """Return the runs on data with one of the rows, and the paths of the runs on unknown data."""
    # Hash of data in a manifest -> Meadow directories whose rows it has, as far as they were found.
    known: dict[str, set[str]] = {}
    parts = [part for meadow in meadows for part in _data_of(meadow, rows)]
    for files, build in parts:
        known.setdefault(_data_hash(files), set()).update(build)
    # A run with a separate file for validation has one hash for both.
    for (files, build), (others, other) in product(parts, repeat=2):
        known.setdefault(_data_hash([*files, *others]), set()).update(build | other)
    found, unknown = [], []
    for run in runs:
        manifest = read_json(run / MANIFEST)
        data = manifest.get("data") if isinstance(manifest, dict) else None
        digest = data.get("sha256") if isinstance(data, dict) else None
        if not isinstance(digest, str) or digest not in known:
            unknown.append(str(run))
        elif known[digest]:
            found.append(TracedRun(str(run), digest, tuple(sorted(known[digest]))))
    return tuple(found), tuple(unknown)


def _data_of(
    meadow: Path, rows: Sequence[TracedRow]
) -> Iterator[tuple[list[tuple[str, str]], frozenset[str]]]:
    """Yield each set of files on which a run may be trained: names and hashes, and the directory if it has a row."""
    splits = {row.split for row in rows if row.build == str(meadow)}
    whole = []
    for split in SPLITS:
        here = frozenset([str(meadow)] if split in splits else ())
        for name in (f"{split}.parquet", f"jsonl/{split}.jsonl"):
            if (file := meadow / name).is_file():
                entry = (file.name, sha256_file(file))
                whole += [entry] if file.suffix == ".parquet" else []
                yield [entry], here
    yield whole, frozenset([str(meadow)] if splits & set(SPLITS) else ())


def _data_hash(files: Sequence[tuple[str, str]]) -> str:
    """Return the hash of data files as `rows_sha256` computes it for a manifest."""
    return files[0][1] if len(files) == 1 else sha256_listing(files)


def as_json(result: Trace) -> dict[str, Any]:
    """Return the result of `data trace` as a JSON object: rows, builds, runs, and runs on unknown data."""
    return dataclasses.asdict(result)


def show(result: Trace, console: Console) -> None:
    """Print rows, builds and runs, one in a line."""
    lines = [
        *(
            f"row {row.id or 'without id'}: {row.split}, source {row.source}, {row.build}"
            for row in result.rows
        ),
        *(f"build {build.path}: {build.rows:,} rows, ledger {build.ledger[:12]}" for build in result.builds),
        *(f"run {run.path}: data {run.data[:12]}, of {', '.join(run.builds)}" for run in result.runs),
        *(
            f"run {path}: its data is none of the Meadow directories searched; add the one that it was trained on"
            for path in result.unknown_runs
        ),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def require_rows(result: Trace) -> None:
    """Raise CheckFailed if no row was found."""
    if not result.rows:
        plural = "directories" if result.meadows != 1 else "directory"
        raise CheckFailed(f"data trace: no row found in {result.meadows} Meadow {plural}")
