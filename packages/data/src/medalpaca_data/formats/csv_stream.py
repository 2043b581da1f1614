"""Large CSV files, record by record: quoted line breaks, fields up to 1 MB, and memory for one record only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from ..ground.errors import UserError

LONGEST_FIELD = 1 << 20  # characters
LONGEST_LINE = 8 << 20  # characters up to a line break
CROOKED = "more or fewer fields than headings"


def read_csv(file: BinaryIO, where: str) -> Iterator[tuple[str, dict[str, str] | str]]:
    """("line N", record) of every record under the headings; a text instead of a record says what is wrong with it.

    N is the record's last line. Raises UserError, with file and line, where the records can no longer be told apart: a
    quote that is not closed, a field or line beyond the bounds, bytes that are not UTF-8; and for a file without
    headings.
    """
    reader = csv.reader(_lines(file, where), strict=True)
    headings = _next(reader, where)
    if not headings or len(set(headings)) < len(headings):
        raise UserError(
            f"{where}: {'two columns have one heading' if headings else 'no headings, the file is empty'}"
        )
    while (fields := _next(reader, where)) is not None:
        if not fields:
            continue  # a blank line
        place = f"line {reader.line_num}"
        yield place, dict(zip(headings, fields, strict=True)) if len(fields) == len(headings) else CROOKED


def _next(reader: Iterator[list[str]], where: str) -> list[str] | None:
    # The bound is the whole process's: it is ours for one record and then again what it was.
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        return next(reader, None)
    except csv.Error as error:
        line = reader.line_num  # type: ignore[attr-defined]
        raise UserError(f"{where} line {line}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(before)


def _lines(file: BinaryIO, where: str) -> Iterator[str]:
    # Bytes and no text wrapper, because a wrapper decodes ahead and its errors do not know their line.
    buffered = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
    number = 0
    while line := buffered.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise UserError(f"{where} line {number}: longer than {LONGEST_LINE >> 20} MB; not a CSV of texts")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{where} line {number}: not UTF-8; convert the file to UTF-8") from None
