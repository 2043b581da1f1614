"""Shards: Parquet files of at most 50,000 rows of one source, with the counts of the stage that wrote them.

A stage reads the shards of the previous stage and writes its own atomically. The counts (`account.json`) are written
last, so a shard with counts is complete. An interrupted build continues with the shards that are not complete.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import UserError
from .core.files import read_json, sha256_file, write_bytes, write_json, write_text
from .core.row import FIELDS, Row

if TYPE_CHECKING:
    import polars as pl

# Largest number of rows of a shard.
ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Paths of the files of one shard in the folder of one stage.

    `source` is the name of the source in the recipe, and `number` counts the shards of the source.
    """

    folder: Path
    source: str
    number: int

    def within(self, folder: Path) -> Shard:
        """Return the shard with the same source and number in another folder."""
        return Shard(folder, self.source, self.number)

    def _file(self, what: str) -> Path:
        return self.folder / f"{self.source}-{self.number:05}.{what}"

    @property
    def key(self) -> str:
        return f"{self.source}-{self.number}"

    @property
    def rows(self) -> Path:
        return self._file("rows.parquet")

    @property
    def rejected(self) -> Path:
        return self._file("rejected.jsonl")

    @property
    def changes(self) -> Path:
        return self._file("changes.parquet")

    @property
    def spans(self) -> Path:
        """Return the path of the positions of surrogates."""
        return self._file("spans.parquet")

    @property
    def extra(self) -> Path:
        """Return the path of `StageResult.extra`, as JSON lines: matches of rows with exam questions.

        The file exists only if the stage reports any; only `Decontaminate` does.
        """
        return self._file("extra.jsonl")

    @property
    def files(self) -> list[Path]:
        """Return the paths of the files of the shard that exist, without `account.json`."""
        files = (self.rows, self.rejected, self.changes, self.spans, self.extra)
        return [file for file in files if file.is_file()]

    @property
    def account(self) -> Path:
        return self._file("account.json")

    def read(self) -> pl.DataFrame:
        import polars as pl

        return pl.read_parquet(self.rows, glob=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Reason why a row is rejected; `evidence` has additional keys for its line in the reject file."""

    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def rejected_line(file: str, place: str, stage: str, reason: str, record: Any, **evidence: Any) -> str:
    """Return a line of a reject file. It is ASCII, because rejected records may contain lone surrogates."""
    entry = {"file": file, "place": place, "stage": stage, "reason": reason, "record": record, **evidence}
    return json.dumps(entry) + "\n"


def escaped(name: str) -> str:
    """Return a file name with its spaces encoded as %20, so that it is the first word of a `source_id`."""
    return name.replace("%", "%25").replace(" ", "%20") if " " in name else name


def place_of(source_id: str | None) -> tuple[str, str]:
    """Return (file name, location) of a `source_id`; ("", "") for None."""
    name, _, location = (source_id or "").partition(" ")
    return name.replace("%20", " ").replace("%25", "%") if "%20" in name else name, location


def dropped_line(row: Mapping[str, Any], stage: str, drop: Drop) -> str:
    """Return the line of a reject file for a row that a stage after reading rejects."""
    file, place = place_of(row.get("source_id"))
    return rejected_line(file, place, stage, drop.reason, dict(row), **drop.evidence)


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a table with one string column per field of `Row`."""
    import polars as pl

    columns = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    return pl.DataFrame(columns, schema=dict.fromkeys(FIELDS, pl.String))


def write_frame(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet file atomically. Equal tables give equal bytes."""
    import io

    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd", statistics=False)
    write_bytes(path, buffer.getvalue())


def write_shard(
    shard: Shard,
    *,
    read: int,
    kept: pl.DataFrame,
    rejected: Iterable[str] = (),
    reasons: Mapping[str, int] | None = None,
    changes: pl.DataFrame | None = None,
    spans: pl.DataFrame | None = None,
    extra: Iterable[Mapping[str, Any]] = (),
    counts: Mapping[str, int] | None = None,
    **more: Any,
) -> None:
    """Write all files of a shard; the counts are written last.

    `read` is the number of rows read. `rejected` are lines of the reject file, and `reasons` the numbers of rejected
    rows by reason. `changes`, `extra` and `counts` are those of `StageResult`. `more` are additional keys of
    `account.json`.
    """
    write_frame(shard.rows, kept)
    write_text(shard.rejected, "".join(rejected))
    if changes is not None and changes.height:
        write_frame(shard.changes, changes)
    if spans is not None and spans.height:
        write_frame(shard.spans, spans)
    if lines := "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in extra):
        write_text(shard.extra, lines)
    account = {
        "files": {file.name: sha256_file(file) for file in shard.files},
        "read": read,
        "kept": kept.height,
        "reasons": dict(sorted((reasons or {}).items())),
        "counts": dict(sorted((counts or {}).items())),
        **more,
    }
    write_json(shard.account, account)


def is_whole(shard: Shard) -> bool:
    """Return whether the shard is complete and its files have the SHA-256 recorded in `account.json`."""
    try:
        account = read_account(shard)
    except UserError:
        # A partial file after a crash of the machine.
        return False
    return account is not None and account["files"] == {file.name: sha256_file(file) for file in shard.files}


def read_account(shard: Shard) -> dict[str, Any] | None:
    """Return the counts of a shard (`account.json`), or None without this file. Raises UserError if it is damaged."""
    value = read_json(shard.account) if shard.account.is_file() else None
    return value if isinstance(value, dict) else None


def total(accounts: Iterable[Mapping[str, Any]], key: str) -> Counter[str]:
    """Return the sums over several shards of the numbers under `key` of their counts, such as "reasons"."""
    summed: Counter[str] = Counter()
    for account in accounts:
        summed.update(account.get(key) or {})
    return summed
