"""A shard: at most 50,000 rows of one source in a Parquet file, and beside it the account of what a stage did to them.

A stage reads shards of the stage before it and writes its own, each whole or not at all; the account is written last,
so a shard that has one is done. That is all a killed build needs to go on.
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

ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Shard:
    """The files of one shard in one stage's folder."""

    folder: Path
    source: str  # the recipe's name for it
    number: int

    def within(self, folder: Path) -> Shard:
        """The shard of the same number in another stage's folder."""
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
    def extra(self) -> Path:
        """What a stage reports besides rows, as JSON lines."""
        return self._file("extra.jsonl")

    @property
    def files(self) -> list[Path]:
        """Those of its files that are there, the account apart."""
        return [file for file in (self.rows, self.rejected, self.changes, self.extra) if file.is_file()]

    @property
    def account(self) -> Path:
        return self._file("account.json")

    def read(self) -> pl.DataFrame:
        import polars as pl

        return pl.read_parquet(self.rows, glob=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Why a row goes no further, and what shows it."""

    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def rejected_line(file: str, place: str, stage: str, reason: str, record: Any, **evidence: Any) -> str:
    """A line of `rejected/`. ASCII, because a record may be rejected for holding what cannot be written otherwise."""
    entry = {"file": file, "place": place, "stage": stage, "reason": reason, "record": record, **evidence}
    return json.dumps(entry) + "\n"


def escaped(name: str) -> str:
    """A file's name as a `source_id` starts with it."""
    return name.replace("%", "%25").replace(" ", "%20") if " " in name else name


def place_of(source_id: str | None) -> tuple[str, str]:
    """(file, place) of a `source_id`."""
    name, _, place = (source_id or "").partition(" ")
    return name.replace("%20", " ").replace("%25", "%") if "%20" in name else name, place


def dropped_line(row: Mapping[str, Any], stage: str, drop: Drop) -> str:
    """The line of a row that a stage after reading drops."""
    file, place = place_of(row.get("source_id"))
    return rejected_line(file, place, stage, drop.reason, dict(row), **drop.evidence)


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a table of strings, one column a field."""
    import polars as pl

    columns = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    return pl.DataFrame(columns, schema=dict.fromkeys(FIELDS, pl.String))


def write_frame(path: Path, table: pl.DataFrame) -> None:
    """Atomic Parquet write; equal tables give equal bytes."""
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
    extra: Iterable[Mapping[str, Any]] = (),
    counts: Mapping[str, int] | None = None,
    **more: Any,
) -> None:
    """Everything a stage leaves of a shard; the account last."""
    write_frame(shard.rows, kept)
    write_text(shard.rejected, "".join(rejected))
    if changes is not None and changes.height:
        write_frame(shard.changes, changes)
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
    """Whether the shard is done, and every file of it as it was written. One that is not is made again."""
    try:
        account = read_account(shard)
    except UserError:  # half of it, after a crash of the machine
        return False
    return account is not None and account["files"] == {file.name: sha256_file(file) for file in shard.files}


def read_account(shard: Shard) -> dict[str, Any] | None:
    """The shard's account, None while it is not done."""
    value = read_json(shard.account) if shard.account.is_file() else None
    return value if isinstance(value, dict) else None


def total(accounts: Iterable[Mapping[str, Any]], key: str) -> Counter[str]:
    """The sum of one of the counters over accounts."""
    summed: Counter[str] = Counter()
    for account in accounts:
        summed.update(account.get(key) or {})
    return summed
