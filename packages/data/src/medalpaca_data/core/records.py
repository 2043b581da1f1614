"""Read records and rows from JSON, JSON Lines, CSV, TSV, Parquet and Arrow files, and rows from Meadow directories.

JSON lists, JSON Lines, CSV and TSV are read with memory for one record. Other files are read into memory.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .delimited import DelimitedFile
from .encoding import NOT_UTF_8, UTF_8
from .errors import BadRecord, UserError
from .files import existing, parse_json, sha256_file, sha256_listing
from .json_keys import KeyCheck, RepeatedKeys, as_json_text, repeated_key, repeated_key_fault
from .json_stream import is_json_list, read_json_list
from .row import SPLITS, Row, parse_row
from .streams import Member, open_bytes
from .text_files import TextFile, open_text, read_json_lines
from .typed import table_errors
from .weights import refuse_pickle

if TYPE_CHECKING:
    import polars

# Names of splits as keys of a JSON object around lists of records.
SPLIT_KEYS = frozenset({"train", "training", "validation", "valid", "val", "dev", "development"}) | frozenset(
    {"eval", "evaluation", "holdout", "heldout", "test", "testing"}
)
# What may follow a split in such a key, as in "test_set".
SPLIT_ENDINGS = ("", "set", "split", "data")
SEPARATORS = re.compile(r"[\W_]+")
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Settings for reading a file: its encoding and its delimiter. None is detected."""

    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNote:
    """What a reader found in a file and what it did not read. Only what differs from the usual is set.

    Attributes:
        file: Name of the file, or of the directory for what is left out of it.
        member: Name of the file in the archive `file`.
        encoding: Encoding of the text; None is UTF-8.
        guessed: Whether the encoding is guessed.
        samples: Texts of the file by which the guess can be checked. Those of patient text must not be shown.
        delimiter: Delimiter of the table; None is the comma, and for .tsv the tab.
        sheet: Name of the sheet that was read, if the workbook has several.
        filled_cells: Number of cells of a workbook that received the text of a merged range.
        left_out: Names of what was not read (files, sheets, columns), each with the reason.
    """

    file: str
    member: str = ""
    encoding: str | None = None
    guessed: bool = False
    samples: tuple[str, ...] = ()
    delimiter: str | None = None
    sheet: str | None = None
    filled_cells: int = 0
    left_out: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the keys that are set."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value}
        if self.left_out:
            values["left_out"] = [{"name": name, "reason": reason} for name, reason in self.left_out]
        return values

    @property
    def text(self) -> str:
        """The note in words, without the name of the file: "encoding cp1252, delimiter ';'"."""
        guess = f" {describe_guess(self.samples)}" if self.guessed else ""
        parts = [f"encoding {self.encoding}{guess}"] if self.encoding else []
        parts += [f"delimiter {self.delimiter!r}"] if self.delimiter else []
        parts += [f"sheet {self.sheet!r}"] if self.sheet else []
        parts += [f"{self.filled_cells:,} cells filled from merged ranges"] if self.filled_cells else []
        parts += [f"not read: {name} ({reason})" for name, reason in self.left_out]
        return ", ".join(parts)


def describe_guess(samples: Iterable[str]) -> str:
    """Return "(guessed; e.g. ...)" with the samples, and the setting that replaces a wrong guess."""
    shown = ", ".join(f'"{sample}"' for sample in samples)
    return f"(guessed{'; e.g. ' + shown if shown else ''}; if it is wrong, set encoding:)"


OnNote = Callable[[FileNote], None]


def ignore_note(note: FileNote) -> None:
    """Do nothing; the default of `on_note`."""


def read_rows(path: Path | str, on_note: OnNote = ignore_note) -> list[Row]:
    """Return all rows of a file that `read_records` reads, or the train rows of a Meadow directory.

    Raises UserError, with file and location, for the first row that is not valid, and for a file without rows. A build
    counts invalid rows instead, with `read_records` and `parse_row`. `on_note` is that of `read_records`.
    """
    path = existing(path, "file or directory")
    if path.is_dir():
        return read_split(path, "train")
    rows = []
    for location, value in read_records(path, on_note=on_note):
        if isinstance(value, BadRecord):
            raise value
        try:
            rows.append(parse_row(value))
        except ValueError as error:
            # The message may have the remedy already, the kind of source that reads the record.
            keys = f" (found: {', '.join(map(str, value))})" if isinstance(value, Mapping) else ""
            remedy = f"{keys}; rename the columns, or correct or remove the row"
            raise UserError(f"{path} {location}: {error}{'' if 'kind: ' in str(error) else remedy}") from None
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
    return [_parse_stored_row(value, f"{file} row {n}") for n, value in enumerate(_read_columns(file), 1)]


def read_all_rows(path: Path | str, on_note: OnNote = ignore_note) -> list[Row]:
    """Return the rows of a file like `read_rows`, or the train rows of a Meadow directory and then those of validation.

    A Meadow directory may have no validation rows.
    """
    rows = read_rows(path, on_note)
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


def read_records(
    path: Path | Member, options: ReadOptions = ReadOptions(), on_note: OnNote = ignore_note
) -> Iterator[tuple[str, Any]]:
    """Yield (location, value) for every record in a file; the value is a BadRecord if the record cannot be read.

    The location is `line N` for JSON Lines and CSV and `row N` (from 1) otherwise. A .json file has a list, JSON Lines,
    or an object that `unwrap_records` reads. Text may be gzipped (.jsonl.gz and so on). A Parquet or Arrow file or a
    JSON object is held in memory, other files one record at a time. `on_note` is called after the last record if the
    file has another encoding than UTF-8, or another delimiter than the usual one.
    Raises UserError for another suffix and for a file that is not valid.
    """
    text = TextFile(path, options.encoding)
    delimiter = None
    left_out: tuple[tuple[str, str], ...] = ()
    match data_suffix(path.name):
        case ".jsonl" | ".ndjson":
            yield from read_json_lines(text)
        case ".json":
            yield from read_json_list(text) if is_json_list(text) else _read_json(text)
        case ".csv" | ".tsv" as suffix:
            usual = "\t" if suffix == ".tsv" else ","
            with open_text(text) as file:
                table = DelimitedFile(file, str(path), options.delimiter, usual)
                yield from table.records()
            delimiter = table.delimiter if table.delimiter != usual else None
            if count := table.empty_columns:
                left_out = ((f"{count} column{'s'[: count > 1]} at the end", "no heading and no text"),)
        case ".parquet" | ".arrow":
            yield from ((f"row {n}", value) for n, value in enumerate(_read_columns(path), 1))
        case other:
            if isinstance(path, Path):
                refuse_pickle(path)
            raise UserError(
                f"{path}: {other or 'a file without a suffix'} cannot be read; allowed are {' '.join(SUFFIXES)} "
                "(all but .parquet and .arrow also with .gz)"
            )
    if text.found != UTF_8 or delimiter or left_out:
        encoding = text.found if text.found != UTF_8 else None
        note = FileNote(file=path.name, encoding=encoding, delimiter=delimiter, left_out=left_out)
        on_note(dataclasses.replace(note, guessed=bool(text.samples), samples=text.samples))


def data_suffix(name: str) -> str:
    """Return the suffix of a file name in lower case, for a .gz file the suffix before it."""
    return Path(name.lower().removesuffix(".gz")).suffix


def _read_text(file: TextFile) -> str:
    with open_text(file) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{file} line {line}: {NOT_UTF_8}") from None


def _is_jsonl(file: TextFile) -> bool:
    """Return whether a .json file has JSON Lines: the first line is an object, and another line is not blank."""
    with open_text(file) as stream:
        lines = (line for line in stream if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    try:
        return bool(second) and isinstance(parse_json(first.decode("utf-8-sig"), ""), dict)
    except (UserError, UnicodeDecodeError):
        return False


def _read_json(file: TextFile) -> Iterator[tuple[str, Any]]:
    """Yield the records of a .json file that is not a list: JSON Lines, or an object."""
    if _is_jsonl(file):
        yield from read_json_lines(file)
        return
    text = _read_text(file)
    check = KeyCheck()
    try:
        value = parse_json(text, str(file), check.hook)
    except UserError:
        # JSON Lines whose first line is broken.
        if text.lstrip()[:1] != "{":
            raise
        yield from read_json_lines(file)
        return
    if not isinstance(value, Mapping):
        raise UserError(f"{file}: expected a list of rows, found {type(value).__name__}")
    records = list(unwrap_records(value))
    if check.found:
        ids = {id(record) for _, record in records}
        around = (
            [] if id(value) in ids else [value, *(inner for inner in value.values() if id(inner) not in ids)]
        )
        if repeated := [inner.key for inner in around if isinstance(inner, RepeatedKeys)]:
            raise UserError(
                f"{file}: {repeated_key_fault(repeated[0])} in an object around the records; rename one"
            )
    for location, record in records:
        if check.found and (key := repeated_key(record)) is not None:
            yield location, BadRecord(f"{file} {location}", repeated_key_fault(key), as_json_text(record))
        else:
            yield location, record


def unwrap_records(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (location, record) for the records in a JSON object.

    The object is one of these, and else it is one record:
    - lists by split, {"train": [...], "test": [...]}, also beside other values; records without `split` receive it
      from the key;
    - one list beside other values, {"version": ..., "data": [...]}, as dataset viewers write it;
    - columns, as pandas writes them: {column: {"0": value}}, {column: [value]}, or with the keys columns and data;
    - rows by number, {"0": {column: value}}.
    """
    splits = {key: split for key in value if (split := _split_of(key)) and _has_objects(value[key])}
    if any(value[key] for key in splits) or len(splits) == len(value) > 0:
        for key, records in value.items():
            if _has_objects(records):
                yield from (
                    (f"{key} row {n}", _with_split(record, splits.get(key)))
                    for n, record in enumerate(records, 1)
                )
        return
    lists = [inner for inner in value.values() if isinstance(inner, list)]
    records = read_column_json(value) or (lists[0] if len(lists) == 1 else [value])
    yield from ((f"row {n}", record) for n, record in enumerate(records, 1))


def read_column_json(value: Mapping[str, Any]) -> list[Any]:
    """Return the records of a table that pandas has written as a JSON object by columns, by rows or split.

    Return [] for any other object. Tables by columns have numbers as keys of the rows.
    """
    first = next(iter(value.values()), None)
    if {"columns", "data"} <= value.keys() <= {"columns", "data", "index"}:
        columns, rows = value["columns"], value["data"]
        if isinstance(columns, list) and _is_matrix(rows, len(columns)):
            return [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    elif isinstance(first, dict) and all(isinstance(inner, dict) for inner in value.values()):
        if first and all(inner.keys() == first.keys() for inner in value.values()):
            if all(map(str.isdecimal, first)) and not all(map(str.isdecimal, value)):
                return [{column: value[column][row] for column in value} for row in first]
            # After a filter, the numbers have gaps. Other objects with numbers as keys have lists in them.
            is_flat = not any(isinstance(cell, list | dict) for cell in first.values())
            if list(value) == [str(n) for n in range(len(value))] or (
                is_flat and all(map(str.isdecimal, value)) and not any(map(str.isdecimal, first))
            ):
                return list(value.values())
    elif len(value) > 1 and all(map(_is_column, value.values())) and len(set(map(len, value.values()))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return []


def _split_of(key: str) -> str | None:
    """Return the split that a key names ("test" for "Test set"), or None."""
    word = SEPARATORS.sub("", key.lower())
    return next((split for end in SPLIT_ENDINGS if (split := word.removesuffix(end)) in SPLIT_KEYS), None)


def _with_split(record: dict[str, Any], split: str | None) -> dict[str, Any]:
    if split is None or record.get("split"):
        return record
    if isinstance(record, RepeatedKeys):
        return record.with_value("split", split)
    return {**record, "split": split}


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(record, dict) for record in value)


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not _has_objects(value)


def _is_matrix(rows: Any, width: int) -> bool:
    return isinstance(rows, list) and all(isinstance(row, list) and len(row) == width for row in rows)


def _read_columns(path: Path | Member) -> Iterable[dict[str, Any]]:
    """Return the records of a Parquet or Arrow file. An Arrow file has the file format or the stream format."""
    import polars

    suffix = data_suffix(path.name)
    kind = "Parquet" if suffix == ".parquet" else "Arrow"
    with table_errors(f"{path}: not a readable {kind} file"):
        file: Any = existing(path) if isinstance(path, Path) else io.BytesIO(_read_bytes(path))
        if suffix == ".parquet":
            return _iter_rows(polars.read_parquet(file, glob=False), path)
        read = polars.read_ipc if _read_bytes(path, 6) == b"ARROW1" else polars.read_ipc_stream
        return _iter_rows(read(file), path)


def _iter_rows(table: polars.DataFrame, path: Path | Member) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table. Values are converted here, which a damaged file can make impossible."""
    with table_errors(f"{path}: a value cannot be read"):
        try:
            yield from table.iter_rows(named=True)
        except (ValueError, OverflowError) as error:
            raise UserError(f"{path}: a value cannot be read ({error})") from None


def _read_bytes(path: Path | Member, size: int = -1) -> bytes:
    with open_bytes(path) as file:
        return file.read(size)
