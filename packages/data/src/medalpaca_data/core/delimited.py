"""Read CSV and TSV files record by record: find the delimiter, and reject the lines of a broken quotation mark.

Memory is needed for one record, or for the lines in which a quotation mark is searched (`MAX_FIELD_LENGTH`).
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from typing import Any, BinaryIO

from .errors import BadRecord, UserError
from .text_files import decode_lines

# Limits of CSV and TSV files: characters of one field, and bytes of one line.
MAX_FIELD_LENGTH = 1 << 20
MAX_LINE_LENGTH = 8 << 20
# Lines at the start of a file, and characters of them, by which the delimiter is found.
PROBED_LINES, PROBED_LENGTH = 50, 1 << 18
DELIMITERS = (",", ";", "\t", "|")
# The first line of a file that Excel wrote may name the delimiter.
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
WRONG_FIELD_COUNT = "more or fewer fields than headings (a comma without quotes?)"
NO_HEADING = "a cell in a column without a heading"
BROKEN_QUOTE = "not valid CSV (a quotation mark without its pair)"
# From this number of lines inside a record on, the share of them that are records decides alone.
MIN_INNER_LINES, INNER_SHARE = 3, 0.9
ERROR_VALUE = "an error value of a spreadsheet in a cell, such as #N/A"
# Also in the languages in which Excel writes CSV files: #NV, #WERT!, #¡VALOR!, #N/D.
ERROR_VALUES = re.compile(
    r"#(?:[\u00a1\u00bf]?[A-Z\u00c0-\u00dd_]{2,}(?:/0)?[!?]|N/[ADV]|N[DV]|GETTING_DATA)"
)
AFTER_BROKEN_QUOTE = "follows a broken quotation mark and cannot be separated"

Located = tuple[str, dict[str, str] | BadRecord]


def read_csv(file: BinaryIO, where: str, delimiter: str = ",") -> Iterator[Located]:
    """Yield ("line N", record) for every record of a CSV file, as a dictionary from heading to text.

    N is the last line of the record. Blank lines are skipped. A record with more or fewer fields than headings is a
    BadRecord. `where` is the name of the file in messages.

    Raises UserError, with file and line, for a broken quotation mark, a field or line above the limits, and bytes that
    are not UTF-8. Also for a file without headings or with a repeated heading.
    """
    return DelimitedFile(file, where, delimiter, recover=False).records()


def find_delimiter(lines: Sequence[str], default: str) -> str:
    """Return the delimiter of a table, found in its first lines.

    Of `DELIMITERS` and the default, it is the one with which the largest share of the records has as many fields as
    there are headings, and at least two. The share counts half if the headings have a space after the delimiter, as a
    text has. The default is returned if no other has a larger share.
    """

    def score(delimiter: str) -> tuple[float, bool, int]:
        with field_limit():
            try:
                records = [record for record in csv.reader(lines, delimiter=delimiter) if record]
            except csv.Error:
                return 0, False, 0
        width = len(records[0]) if records else 0
        if width < 2:
            return 0, delimiter == default, 0
        fitting = sum(len(record) == width for record in records)
        is_spaced = any(name[:1].isspace() for name in records[0][1:])
        return fitting / len(records) / (2 if is_spaced else 1), delimiter == default, width

    return max((default, *DELIMITERS), key=score)


class DelimitedFile:
    """A CSV or TSV file in UTF-8 whose first record has the headings.

    `delimiter` is found if it is None (`find_delimiter`); `default` is the usual one for the type of the file. With
    `recover`, the lines of a broken quotation mark are BadRecords, and the lines after them are read. Otherwise they
    raise UserError.
    """

    def __init__(
        self,
        file: BinaryIO,
        where: str,
        delimiter: str | None = None,
        default: str = ",",
        *,
        recover: bool = True,
    ) -> None:
        self._where, self._recover = where, recover
        self._lines = decode_lines(file, where, MAX_LINE_LENGTH)
        # Lines that are read again, before those of the file.
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        # Number of lines before those of the current reader.
        self._before = 0
        length = 0
        for line in islice(self._lines, PROBED_LINES):
            self._again.append(line)
            length += len(line)
            if length > PROBED_LENGTH:
                break
        if self._again and (named := SEPARATOR_LINE.fullmatch(self._again[0])):
            self._again.popleft()
            self._before = 1
            delimiter = delimiter or named[1]
        self.delimiter = delimiter or find_delimiter(self._again, default)
        # Number of columns at the end without a heading; texts in them are BadRecords.
        self.empty_columns = 0
        # Number of columns, and whether a space follows the delimiters between them.
        self._width, self._is_spaced = 0, False

    def records(self) -> Iterator[Located]:
        """Yield ("line N", record) for every record. N is the last line of the record."""
        reader = self._reader()
        headings = self._headings(reader)
        # Spreadsheets write empty columns at the end.
        names = headings[
            : max((n for n, name in enumerate(headings, 1) if name.strip()), default=len(headings))
        ]
        self.empty_columns = len(headings) - len(names)
        self._is_spaced = any(name[:1].isspace() for name in headings[1:])
        names = [name.strip() for name in names]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{self._where}: two columns have the heading {repeated[0]!r}; rename one")
        self._width = width = len(headings)
        taken = self._taken
        while True:
            taken.clear()
            start = self._before + reader.line_num + 1
            # csv.field_size_limit holds for the whole process, so it is set for one record and then restored.
            before = csv.field_size_limit(MAX_FIELD_LENGTH)
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if not self._recover:
                    raise UserError(f"{self._where} line {start}: not valid CSV ({error})") from None
                yield from self._reject_broken(error, start)
                reader = self._reader()
                continue
            finally:
                csv.field_size_limit(before)
            if fields is None:
                return
            if not fields:
                # A blank line.
                continue
            number = self._before + reader.line_num
            if self._recover and self._has_swallowed(len(fields) == width):
                first, *rest = taken
                yield self._bad(start, BROKEN_QUOTE, first)
                self._again.extendleft(reversed(rest))
                self._before = start
                reader = self._reader()
            elif len(fields) == width and any(fields[len(names) :]):
                yield self._bad(number, NO_HEADING, "".join(taken))
            elif len(fields) == width and any(map(is_error_value, fields)):
                yield self._bad(number, ERROR_VALUE, "".join(taken))
            elif len(fields) == width:
                yield f"line {number}", dict(zip(names, fields, strict=False))
            else:
                yield self._bad(number, WRONG_FIELD_COUNT, "".join(taken))

    def _headings(self, reader: Any) -> list[str]:
        try:
            with field_limit():
                headings: list[str] | None = next(filter(None, reader), None)
        except csv.Error as error:
            lone = "lines end with a carriage return alone; save the file with line feeds"
            fault = lone if str(error).startswith("new-line character") else error
            raise UserError(f"{self._where} line {self._before + 1}: not valid CSV ({fault})") from None
        if not headings:
            raise UserError(f"{self._where}: the file is empty; the first line must name the columns")
        return headings

    def _reader(self) -> Any:
        return csv.reader(self._source(), strict=True, delimiter=self.delimiter)

    def _source(self) -> Iterator[str]:
        while self._again:
            self._taken.append(line := self._again.popleft())
            yield line
        for line in self._lines:
            self._taken.append(line)
            yield line

    def _bad(self, number: int, reason: str, text: str) -> Located:
        location = f"line {number}"
        return location, BadRecord(f"{self._where} {location}", reason, text.rstrip("\r\n"))

    def _reject_broken(self, error: csv.Error, start: int) -> Iterator[Located]:
        """Yield BadRecords for line `start` and the lines after it that cannot be separated from it.

        The line after them is the next one that is read. The reader may have read many lines in search of the
        closing quotation mark. They are read again as records if at least half of them are records on their own.
        Otherwise they are the text of one field.
        """
        first, *rest = self._taken
        is_quote = '"' in first and len(first) <= MAX_FIELD_LENGTH
        yield self._bad(start, BROKEN_QUOTE if is_quote else f"not valid CSV ({error})", first)
        complete = [self._is_record(line) for line in rest if line.strip()]
        in_field = 0
        if sum(complete) * 2 < len(complete):
            in_field = len(rest) - self._opens_field(rest[-1])
        for number, line in enumerate(rest[:in_field], start + 1):
            if line.strip():
                yield self._bad(number, AFTER_BROKEN_QUOTE, line)
        self._again.extendleft(reversed(rest[in_field:]))
        self._before = start + in_field
        for line in self._source():
            if self._opens_field(line) or self._is_record(line):
                self._again.appendleft(line)
                return
            self._before += 1
            if line.strip():
                yield self._bad(self._before, AFTER_BROKEN_QUOTE, line)

    def _has_swallowed(self, has_width: bool) -> bool:
        """Return whether the lines of the current record are probably several records behind a broken quotation mark.

        That is so if its first and last line and most lines between them have the delimiters of a record
        (`_looks_like_record`). A blank line has none. If the record has another number of fields than the table, its
        first or its last line is enough. If nearly all of three or more lines between them are records, none is needed.
        """
        if len(self._taken) < 2 or self._width < 2:
            return False
        # A program that doubles the quotation marks in a text does not leave one without its pair.
        if any(re.search(rf'[^{re.escape(self.delimiter)}]""', self._taken[n]) for n in (0, -1)):
            return False
        first, *inner, last = map(self._looks_like_record, self._taken)
        if len(inner) >= MIN_INNER_LINES and sum(inner) >= INNER_SHARE * len(inner):
            return True
        ends = (first and last) if has_width else bool(inner) and (first or last)
        return ends and (not inner or sum(inner) * 2 > len(inner))

    def _looks_like_record(self, line: str) -> bool:
        """Return whether a line has the delimiters of a record, as they are written in this table.

        Quotation marks are ignored. A delimiter before a space is part of a text, unless the headings have spaces there
        as well. So is one at the end of the line, and so are commas that are all between two digits.
        """
        fields = line.rstrip("\r\n").split(self.delimiter)
        if len(fields) != self._width or not fields[-1]:
            return False
        if self.delimiter == "," and all(
            before[-1:].isdigit() and after[:1].isdigit() for before, after in pairwise(fields)
        ):
            return False
        return self._is_spaced or not any(field[:1].isspace() for field in fields[1:])

    def _is_record(self, line: str) -> bool:
        """Return whether a line is a complete record, with an even number of quotation marks."""
        try:
            with field_limit():
                fields = next(csv.reader([line], strict=True, delimiter=self.delimiter), [])
        except csv.Error:
            return False
        return len(fields) == self._width and line.count('"') % 2 == 0

    def _opens_field(self, line: str) -> bool:
        """Return whether the first quotation mark of a line is at the start of a field."""
        before, mark, _ = line.partition('"')
        return bool(mark) and (not before or before.endswith(self.delimiter))


def is_error_value(text: str) -> bool:
    """Return whether a cell has an error value of a spreadsheet, such as #N/A or #DIV/0!, and nothing else."""
    return text[:1] == "#" and ERROR_VALUES.fullmatch(text.strip()) is not None


@contextmanager
def field_limit() -> Iterator[None]:
    """Set the limit of a field to `MAX_FIELD_LENGTH`; it holds for the whole process and is restored."""
    before = csv.field_size_limit(MAX_FIELD_LENGTH)
    try:
        yield
    finally:
        csv.field_size_limit(before)
