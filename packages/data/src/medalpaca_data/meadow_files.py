"""Read the files of a Meadow directory with the types that `data build` writes; damage raises UserError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from .core.errors import UserError
from .core.files import existing, parse_json
from .core.text_files import read_text_lines
from .core.typed import check_type, table_errors

if TYPE_CHECKING:
    import polars as pl

BUILD_AGAIN = "build the directory again"


class FileEntry(BaseModel):
    """A raw file of a source in the ledger."""

    name: str
    sha256: str


class StageEntry(BaseModel):
    """A stage of a source in the ledger."""

    stage: str
    reasons: dict[str, int]
    changed: dict[str, int] | None = None


class SourceEntry(BaseModel):
    """A source in the ledger."""

    name: str
    kind: str
    files: list[FileEntry]
    patient_text: bool
    read: int = 0
    kept: int = 0
    stages: list[StageEntry] = []
    unread_columns: dict[str, int] | None = None


class CheckEntry(BaseModel):
    """A de-identification record in the ledger."""

    source: str
    mode: str
    hits: dict[str, int]
    left: dict[str, int]
    limit: float
    independent_check: dict[str, Any] | None


class LedgerEntry(BaseModel):
    """The keys of a ledger that commands read, in the current form."""

    name: str
    fingerprint: str
    key_id: str | None
    recipe: dict[str, Any]
    sources: list[SourceEntry]
    exams: list[Any]
    deidentification: list[CheckEntry]
    rows: dict[str, int]
    files: dict[str, str]


class RejectEntry(BaseModel):
    """A line of a file in `rejected/`."""

    file: str
    place: str
    stage: str
    reason: str
    record: Any


class HitEntry(BaseModel):
    """A line of the file of exam hits."""

    row: str
    exam: str
    item: str
    coverage: float


class ContradictionEntry(BaseModel):
    """A line of the file of contradictions."""

    rows: list[str]
    kind: str = ""


def read_entries(file: Path, kind: type[BaseModel], words: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the lines of a JSON Lines file as `kind`, a model; with `words`, only lines that contain one of them.

    Yields nothing if there is no file. Raises UserError for text that is not UTF-8 or JSON, and for another type.
    """
    if not file.exists():
        return
    for number, line in enumerate(read_text_lines(file), 1):
        if not words or any(word in line for word in words):
            yield parse_entry(line, f"{file} line {number}", kind)


def parse_entry(line: str, where: str, kind: type[BaseModel]) -> dict[str, Any]:
    """Return a line of JSON as `kind`, a model. Raises UserError with `where` if it is no such line."""
    value: dict[str, Any] = check_type(kind, parse_json(line, where), where, BUILD_AGAIN)
    return value


def scan_table(file: Path, texts: Sequence[str]) -> pl.LazyFrame:
    """Return a lazy table of a Parquet file whose columns `texts` are text.

    Raises UserError for a missing or damaged file, a missing column, and a column of another type.
    """
    import polars as pl

    existing(file)
    with table_errors(f"{file}: damaged; {BUILD_AGAIN}"):
        table = pl.scan_parquet(file, glob=False)
        schema = table.collect_schema()
    for name in texts:
        if schema.get(name) != pl.String:
            found = f"is {schema[name]}, not text" if name in schema else "is missing"
            raise UserError(f"{file}: column {name!r} {found}; {BUILD_AGAIN}")
    return table


def require_values(table: pl.DataFrame, file: Path, columns: Sequence[str]) -> None:
    """Raise UserError if one of the columns of a table from `file` has a null value."""
    for name in columns:
        if table[name].null_count():
            raise UserError(f"{file}: column {name!r} has rows without a value; {BUILD_AGAIN}")
