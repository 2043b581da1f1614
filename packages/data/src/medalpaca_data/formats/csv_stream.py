"""Large CSV files, record by record: quoted line breaks, fields up to 1 MB, and memory for one record only."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from ..ground.errors import BadRecord, UserError
from .lines import decoded_lines

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
