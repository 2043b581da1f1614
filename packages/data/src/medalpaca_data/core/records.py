"""Read records and rows from JSON, JSON Lines, CSV, TSV and Parquet files, and rows from Meadow directories.

JSON lists, JSON Lines, CSV and TSV are read with memory for one record. Other files are read into memory.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import BadRecord, UserError
from .files import existing, parse_json, sha256_file, sha256_listing
from .row import SPLITS, Row, parse_row
from .streams import decode_lines, is_json_list, open_bytes, read_json_lines, read_json_list
from .weights import refuse_pickle

# Limits of CSV and TSV files: characters of one field, and bytes of one line.
MAX_FIELD_LENGTH = 1 << 20
MAX_LINE_LENGTH = 8 << 20
WRONG_FIELD_COUNT = "more or fewer fields than headings (a comma without quotes?)"


def read_csv(
    file: BinaryIO, where: str, delimiter: str = ","
) -> Iterator[tuple[str, dict[str, str] | BadRecord]]:
    """Yield ("line N", record) for every record of a CSV file, as a dictionary from heading to text.

    N is the last line of the record. Blank lines are skipped. A record with more or fewer fields than headings is a
    BadRecord. `where` is the name of the file in messages.

    Raises UserError, with file and line, where the following records cannot be separated: an unclosed quote, a field
    or line above the limits, bytes that are not UTF-8. Also for a file without headings or with a repeated heading.
    """
    # The lines of the current record, for a BadRecord.
    raw_lines: list[str] = []

    def lines() -> Iterator[str]:
        for line in decode_lines(file, where, MAX_LINE_LENGTH):
            raw_lines.append(line)
            yield line

    reader = csv.reader(lines(), strict=True, delimiter=delimiter)
    headings = _next_record(reader, where)
    while headings == []:
        headings = _next_record(reader, where)
    if not headings:
        raise UserError(f"{where}: the file is empty; the first line must name the columns")
    if repeated := [name for name in headings if headings.count(name) > 1]:
        raise UserError(f"{where}: two columns have the heading {repeated[0]!r}; rename one")
    while True:
        raw_lines.clear()
        fields = _next_record(reader, where)
        if fields is None:
            return
        if not fields:
            # A blank line.
            continue
        location = f"line {reader.line_num}"
        if len(fields) == len(headings):
            yield location, dict(zip(headings, fields, strict=True))
        else:
            raw = "".join(raw_lines).rstrip("\r\n")
            yield location, BadRecord(f"{where} {location}", WRONG_FIELD_COUNT, raw)


def _next_record(reader: Iterator[list[str]], where: str) -> list[str] | None:
    # csv.field_size_limit holds for the whole process, so it is set for one record and then restored.
    before = csv.field_size_limit(MAX_FIELD_LENGTH)
    start = reader.line_num + 1  # type: ignore[attr-defined]
    try:
        return next(reader, None)
    except csv.Error as error:
        # The records after a broken quote cannot be separated, so the file is refused.
        raise UserError(f"{where} line {start}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(before)


def read_rows(path: Path | str) -> list[Row]:
    """Return all rows of a file that `read_records` reads, or the train rows of a Meadow directory.

    Raises UserError, with file and location, for the first row that is not valid, and for a file without rows. A build
    counts invalid rows instead, with `read_records` and `parse_row`.
    """
    path = existing(path, "file or directory")
    if path.is_dir():
        return read_split(path, "train")
    rows = []
    for location, value in read_records(path):
        if isinstance(value, BadRecord):
            raise value
        try:
            rows.append(parse_row(value))
        except ValueError as error:
            keys = f" (found: {', '.join(map(str, value))})" if isinstance(value, Mapping) else ""
            raise UserError(
                f"{path} {location}: {error}{keys}; rename the columns, or correct or remove the row"
            ) from None
    if not rows:
        raise UserError(f"{path}: no rows in the file")
    return rows


def read_split(directory: Path | str, split: str) -> list[Row]:
    """Return the rows of one split (`train` or `validation`) of a Meadow directory, with their stored ids.

    Raises UserError if the directory has no Parquet file of the split, or a row is not valid.
    """
    directory = existing(directory, "directory")
    file = directory / f"{split}.parquet"
    if not file.is_file():
        raise UserError(
            f"{directory}: no {split}.parquet, so this is not a Meadow directory (made by `data build`)"
        )
    return [_parse_stored_row(value, f"{file} row {n}") for n, value in enumerate(_read_parquet(file), 1)]


def read_all_rows(path: Path | str) -> list[Row]:
    """Return the rows of a file like `read_rows`, or the train rows of a Meadow directory and then those of validation.

    A Meadow directory may have no validation rows.
    """
    rows = read_rows(path)
    if Path(path).is_dir() and (Path(path) / "validation.parquet").is_file():
        rows += read_split(path, "validation")
    return rows


def rows_sha256(*paths: Path) -> str:
    """Return one SHA-256 for the rows in files and Meadow directories.

    A directory stands for its train.parquet and validation.parquet. One file gives the SHA-256 of its bytes, several
    give one over their names and hashes. The manifest of a training run and a report of `exam report` both record it,
    so both call this function. Raises UserError if a directory is given and has neither file.
    """
    files: list[Path] = []
    for path in paths:
        splits = [path / f"{split}.parquet" for split in SPLITS]
        files += [file for file in splits if file.is_file()] if path.is_dir() else [path]
    if not files:
        raise UserError(f"{paths[0]}: no train.parquet or validation.parquet in the directory")
    if len(files) == 1:
        return sha256_file(files[0])
    return sha256_listing((file.name, sha256_file(file)) for file in files)


def _parse_stored_row(value: Mapping[str, Any], where: str) -> Row:
    try:
        row = parse_row(value)
    except ValueError as error:
        raise UserError(f"{where}: {error}; build the directory again") from None
    return dataclasses.replace(row, id=str(value.get("id") or row.id))


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (location, value) for every record in a file; the value is a BadRecord if the record cannot be read.

    The location is `line N` for JSON Lines and CSV and `row N` (from 1) otherwise. A .json file has a list, JSON Lines,
    an object with one list of records, or one record. Text may be gzipped (.jsonl.gz and so on). A Parquet file or a
    JSON object is held in memory, other files one record at a time.
    Raises UserError for another suffix and for a file that is not valid.
    """
    match _data_suffix(path):
        case ".jsonl" | ".ndjson":
            yield from read_json_lines(path)
        case ".json":
            yield from read_json_list(path) if is_json_list(path) else _read_json(path)
        case ".csv" | ".tsv" as suffix:
            yield from _read_csv_file(path, "\t" if suffix == ".tsv" else ",")
        case ".parquet":
            yield from ((f"row {n}", value) for n, value in enumerate(_read_parquet(path), 1))
        case other:
            refuse_pickle(path)
            raise UserError(
                f"{path}: {other or 'a file without a suffix'} cannot be read; "
                f"allowed are .json .jsonl .ndjson .csv .tsv .parquet (all but .parquet also with .gz)"
            )


def _data_suffix(path: Path) -> str:
    """Return the suffix in lower case, for a .gz file the suffix before it."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _read_text(path: Path) -> str:
    with open_bytes(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: not UTF-8; convert the file to UTF-8") from None


def _is_jsonl(path: Path) -> bool:
    """Return whether a .json file has JSON Lines: the first line is an object, and another line is not blank."""
    with open_bytes(path) as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    try:
        return bool(second) and isinstance(parse_json(first.decode("utf-8-sig"), ""), dict)
    except (UserError, UnicodeDecodeError):
        return False


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the records of a .json file that is not a list: JSON Lines, an object around a list, or one object."""
    if _is_jsonl(path):
        yield from read_json_lines(path)
        return
    text = _read_text(path)
    try:
        value = parse_json(text, str(path))
    except UserError:
        # JSON Lines whose first line is broken.
        if text.lstrip()[:1] != "{":
            raise
        yield from read_json_lines(path)
        return
    if isinstance(value, Mapping):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        # Dataset viewers and older tools wrap the list: {"version": ..., "data": [...]}.
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a list of rows, found {type(value).__name__}")
    yield from ((f"row {n}", record) for n, record in enumerate(value, 1))


def _read_csv_file(path: Path, delimiter: str) -> Iterator[tuple[str, Any]]:
    with open_bytes(path) as file:
        yield from read_csv(file, str(path), delimiter)


def _read_parquet(path: Path) -> Iterable[dict[str, Any]]:
    import polars

    try:
        return polars.read_parquet(existing(path), glob=False).iter_rows(named=True)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
