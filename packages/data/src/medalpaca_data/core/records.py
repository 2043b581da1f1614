"""Large CSV files, record by record: quoted line breaks, fields up to 1 MB, and memory for one record only.

Read rows and records from JSON, JSON Lines, CSV, Parquet and Meadow directories.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import BadRecord, UserError
from .files import existing, parse_json, sha256_file, sha256_listing
from .json_stream import decoded_lines
from .row import SPLITS, Row, parse_row
from .weights import refuse_pickle

LONGEST_FIELD = 1 << 20  # characters
LONGEST_LINE = 8 << 20  # bytes up to a line break
CROOKED = "more or fewer fields than headings (a comma without quotes?)"


def read_csv(
    file: BinaryIO, where: str, delimiter: str = ","
) -> Iterator[tuple[str, dict[str, str] | BadRecord]]:
    """("line N", record) of every record under the headings; a BadRecord where it has more or fewer fields than they.

    N is the record's last line. Raises UserError, with file and line, where the records can no longer be told apart: a
    quote that is not closed, a field or line beyond the bounds, bytes that are not UTF-8; and for a file without
    headings, or with one of them twice.
    """
    taken: list[str] = []  # the lines of the record under way

    def lines() -> Iterator[str]:
        for line in decoded_lines(file, where, LONGEST_LINE):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), strict=True, delimiter=delimiter)
    headings = _next(reader, where)
    while headings == []:
        headings = _next(reader, where)
    if not headings or len(set(headings)) < len(headings):
        raise UserError(
            f"{where}: {'two columns have one heading' if headings else 'no headings, the file is empty'}"
        )
    while True:
        taken.clear()
        fields = _next(reader, where)
        if fields is None:
            return
        if not fields:
            continue  # a blank line
        place = f"line {reader.line_num}"
        if len(fields) == len(headings):
            yield place, dict(zip(headings, fields, strict=True))
        else:
            yield place, BadRecord(f"{where} {place}", CROOKED, "".join(taken).rstrip("\r\n"))


def _next(reader: Iterator[list[str]], where: str) -> list[str] | None:
    # The bound is the whole process's: it is ours for one record and then again what it was.
    before = csv.field_size_limit(LONGEST_FIELD)
    start = reader.line_num + 1  # type: ignore[attr-defined]
    try:
        return next(reader, None)
    except csv.Error as error:
        # What follows a broken quote cannot be told apart into records, so nothing of the file is taken.
        raise UserError(f"{where} line {start}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(before)


def read_rows(path: Path | str) -> list[Row]:
    """All rows of a .json (list), .jsonl, .csv or .parquet file, or the train rows of a Meadow directory.

    Strict: the first bad row is refused with file and row. A build, which must account for bad rows instead,
    reads with `read_records` and `parse_row`.
    """
    path = existing(path, "file or directory")
    if path.is_dir():
        return read_split(path, "train")
    rows = []
    for place, value in read_records(path):
        if isinstance(value, BadRecord):
            raise value
        try:
            rows.append(parse_row(value))
        except ValueError as error:
            raise UserError(f"{path} {place}: {error}; correct the row or remove it") from None
    if not rows:
        raise UserError(f"{path}: no rows in it")
    return rows


def read_split(directory: Path | str, split: str) -> list[Row]:
    """The rows of one split (`train` or `validation`) of a Meadow directory."""
    directory = existing(directory, "directory")
    file = directory / f"{split}.parquet"
    if not file.is_file():
        raise UserError(
            f"{directory}: no {split}.parquet, so this is not a Meadow directory (made by `data build`)"
        )
    return [_stored_row(value, f"{file} row {n}") for n, value in enumerate(_parquet(file), 1)]


def read_all_rows(path: Path | str) -> list[Row]:
    """Like `read_rows`, and of a Meadow directory the validation rows after the train rows."""
    rows = read_rows(path)
    if Path(path).is_dir() and (Path(path) / "validation.parquet").is_file():
        rows += read_split(path, "validation")
    return rows


def rows_sha256(*paths: Path) -> str:
    """The name of the rows in files and Meadow directories: of one file its hash, of several that of their hashes.

    Training writes it into its receipt and a report into its own, so it must be the same in both.
    """
    files: list[Path] = []
    for path in paths:
        splits = [path / f"{split}.parquet" for split in SPLITS]
        files += [file for file in splits if file.is_file()] if path.is_dir() else [path]
    if not files:
        raise UserError(f"{paths[0]}: nothing to read in it")
    if len(files) == 1:
        return sha256_file(files[0])
    return sha256_listing((file.name, sha256_file(file)) for file in files)


def _stored_row(value: Mapping[str, Any], place: str) -> Row:
    """A row as `data build` stored it; anything else in its place is refused."""
    try:
        row = parse_row(value)
    except ValueError as error:
        raise UserError(f"{place}: {error}; build the directory again") from None
    return dataclasses.replace(row, id=str(value.get("id") or row.id))


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, value) of every record in a file; a value is a BadRecord where the record itself cannot be read.

    Places are `row N` (1-based) for JSON lists and Parquet, `line N` for JSONL and CSV. Text may be gzipped
    (.jsonl.gz and so on) and is read record by record; only Parquet, and JSON that is no list, is held in memory.
    """
    from .json_stream import is_list, read_lines, read_list

    match _suffix(path):
        case ".jsonl" | ".ndjson":
            yield from read_lines(path)
        case ".json":
            yield from read_list(path) if is_list(path) else _json(path)
        case ".csv" | ".tsv" as suffix:
            yield from _csv(path, "\t" if suffix == ".tsv" else ",")
        case ".parquet":
            yield from ((f"row {n}", value) for n, value in enumerate(_parquet(path), 1))
        case other:
            refuse_pickle(path)
            raise UserError(
                f"{path}: {other or 'a file without a suffix'} is not one of .json .jsonl .csv .parquet"
            )


def _suffix(path: Path) -> str:
    """The suffix that tells the layout: that of what a .gz file holds."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _text(path: Path) -> str:
    from .archive import open_bytes

    with open_bytes(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: not UTF-8; convert the file to UTF-8") from None


def _is_jsonl(path: Path) -> bool:
    """Whether a .json file is JSONL by another name: its first line is an object, and something follows it."""
    from .archive import open_bytes

    with open_bytes(path) as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    try:
        return bool(second) and isinstance(parse_json(first.decode("utf-8-sig"), ""), dict)
    except (UserError, UnicodeDecodeError):
        return False


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of JSON that is no list: JSONL by another name, an object around a list, one object."""
    from .json_stream import read_lines

    if _is_jsonl(path):
        yield from read_lines(path)
        return
    text = _text(path)
    try:
        value = parse_json(text, str(path))
    except UserError:
        # JSONL whose first line is broken.
        if text.lstrip()[:1] != "{":
            raise
        yield from read_lines(path)
        return
    if isinstance(value, Mapping):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        # Hub viewers and older tools wrap the list: {"version": ..., "data": [...]}.
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise UserError(f"{path}: a list of rows was expected")
    yield from ((f"row {n}", record) for n, record in enumerate(value, 1))


def _csv(path: Path, delimiter: str) -> Iterator[tuple[str, Any]]:
    from .archive import open_bytes

    with open_bytes(path) as file:
        yield from read_csv(file, str(path), delimiter)


def _parquet(path: Path) -> Iterable[dict[str, Any]]:
    import polars

    try:
        return polars.read_parquet(path, glob=False).iter_rows(named=True)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
