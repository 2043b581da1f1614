"""Read a sheet of an Excel workbook (.xlsx) as text, row by row. Formulas are not calculated.

The memory needed grows with the filled cells. polars and fastexcel allocate the rectangle that the cells span. A file
of 5 kB with a cell in the last row and column then exhausts memory. They also drop empty rows at the top, which changes
the row numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element

from ..core.delimited import ERROR_VALUE, NO_HEADING, is_error_value
from ..core.errors import BadRecord, UserError
from ..core.joined_digits import (
    END,
    MARK,
    SUB,
    SUP,
    JoinedDigits,
    drop_needless_marks,
    remove_marks,
    show_marks_as_bars,
    write_scripts,
)
from ..core.records import FileNote, OnNote, ignore_note
from ..core.streams import Member, read_members
from .cell_formats import (
    EPOCH_1900,
    EPOCH_1904,
    STYLE_ELEMENTS,
    CellStyle,
    is_struck,
    read_styles,
    show_number,
)
from .xml import read_elements

MERGED_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7}):\$?[A-Z]{1,3}\$?([0-9]{1,7})")
CELL_REFERENCE = re.compile(r"([A-Z]{1,3})[1-9][0-9]{0,6}")
SCRIPT_STARTS = {"superscript": SUP, "subscript": SUB}
STRUCK = "struck-through text in a cell"
SHEET_NAME = re.compile(r"xl/worksheets/sheet(\d+)\.xml")


def read_sheet_records(
    path: Path | Member, sheet: str | None = None, on_note: OnNote = ignore_note
) -> Iterator[tuple[str, dict[str, str] | BadRecord]]:
    """Yield ("row N", record) for every row of a sheet below the first, which has the headings.

    `sheet` is the name of a tab; None is the first tab. A record has a text for every heading, "" for an empty cell. A
    row with a text outside the columns with headings, a struck-through text or an error value of Excel is a BadRecord.
    After the last record, `on_note` is called with the sheet that is read and the others if the workbook has several,
    and with the number of cells that received the text of a merged range (`Sheet.rows`).

    Raises UserError as `read_sheet`, and for an unknown sheet, an empty sheet and a repeated heading.
    """
    tabs = _list_tabs(path)
    if sheet is not None and sheet not in tabs:
        raise UserError(
            f"{path}: no sheet {sheet!r}; the workbook has: {', '.join(tabs) or 'no names of sheets'}"
        )
    name = sheet if sheet is not None else next(iter(tabs), None)
    table = Sheet(path, tabs[name] if name is not None else None)
    headings: dict[str, str] = {}
    for location, marked in table.rows():
        try:
            cells = {column: remove_marks(text) for column, text in marked.texts.items()}
        except JoinedDigits as error:
            shown = {column: show_marks_as_bars(text) for column, text in marked.texts.items()}
            yield location, BadRecord(f"{path} {location}", str(error), json.dumps(shown, ensure_ascii=False))
            continue
        if not headings:
            headings = cells
            names = list(headings.values())
            if repeated := [text for text in names if names.count(text) > 1]:
                raise UserError(f"{path}: two columns have the heading {repeated[0]!r}; rename one")
            continue
        fault = (
            NO_HEADING
            if not cells.keys() <= headings.keys()
            else STRUCK
            if marked.struck
            else ERROR_VALUE
            if any(map(is_error_value, cells.values()))
            else ""
        )
        if not fault:
            yield location, {text: cells.get(column, "") for column, text in headings.items()}
        else:
            yield location, BadRecord(f"{path} {location}", fault, json.dumps(cells, ensure_ascii=False))
    if not headings:
        raise UserError(f"{path}: the sheet is empty; its first row must name the columns")
    if len(tabs) > 1 or table.filled:
        left_out = tuple((other, "another sheet") for other in tabs if other != name)
        read = name if len(tabs) > 1 else None
        on_note(FileNote(file=path.name, sheet=read, left_out=left_out, filled_cells=table.filled))


def _list_tabs(path: Path | Member) -> dict[str, str]:
    """Return {name of the tab: file of the sheet} in the order of the tabs; {} if the workbook does not list them."""
    ids: dict[str, str] = {}
    targets: dict[str, str] = {}
    for name, stream in read_members(path, ("xl/workbook.xml", "xl/_rels/workbook.xml.rels")):
        where = f"{path}: {name}"
        for _, element in read_elements(stream, where, {"sheet", "Relationship"}):
            # The prefix of the namespace in `r:id` may differ.
            keys = {key.rpartition(":")[2].lower(): value for key, value in element.attrib.items()}
            if element.tag == "sheet":
                ids[keys.get("name", "")] = keys.get("id", "")
            elif keys.get("type", "").endswith("/worksheet"):
                target = keys.get("target", "")
                targets[keys.get("id", "")] = target[1:] if target.startswith("/") else f"xl/{target}"
    return {name: targets[key] for name, key in ids.items() if key in targets}


def read_sheet(path: Path | Member, member: str | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("row N", {column letters: text}) for every row of a sheet that has a text, as `Sheet.rows` does."""
    return ((location, cells.texts) for location, cells in Sheet(path, member).rows())


@dataclass(slots=True)
class Cells:
    """The texts of a row by column letters, and the columns with struck-through text."""

    texts: dict[str, str]
    struck: set[str]


class Sheet:
    """A sheet of a workbook. `filled` counts the cells that received the text of a merged range."""

    def __init__(self, path: Path | Member, member: str | None = None) -> None:
        self._path, self._member = path, member
        self._shared: list[_Text] = []
        self._styles: list[CellStyle] = []
        self._epoch = EPOCH_1900
        self.filled = 0

    def rows(self) -> Iterator[tuple[str, Cells]]:
        """Yield ("row N", cells) for every row that has a text.

        N is the row number that Excel shows. `member` is the file of the sheet in the workbook; None is `sheetN.xml`
        with the smallest number, usually the first tab. Superscripts and subscripts are written by
        `core.joined_digits.write_scripts`. Below the headings, each row of a merged range that has other texts receives
        the text of the range, in its first column. Raises UserError for a file that is not a workbook, is damaged, or
        unpacks to more than `max_unpacked_size`.
        """
        file = self._read_parts()
        starts = self._merged_ranges(file)
        # The last row, the text and the strikethrough of each merged range, by its column.
        open_ranges: dict[str, tuple[int, str, bool]] = {}
        has_headings = False
        for name, stream in read_members(self._path, file):
            number = 0
            for _, row in read_elements(stream, f"{self._path}: {name}", {"row"}):
                number = _parse_int(row.get("r"), number + 1)
                cells = self._cells(row, f"{self._path} row {number}")
                if cells.texts:
                    for column, (last, text, struck) in open_ranges.items():
                        if number <= last and column not in cells.texts:
                            cells.texts[column] = text
                            cells.struck |= {column} if struck else set()
                            self.filled += 1
                if has_headings:
                    for column, last in starts.get(number, ()):
                        if text := cells.texts.get(column, ""):
                            open_ranges[column] = (last, text, column in cells.struck)
                if cells.texts:
                    has_headings = True
                    yield f"row {number}", cells

    def _read_parts(self) -> str:
        """Read the shared strings and styles, and return the file of the sheet."""
        sheets = []
        for name, stream in read_members(self._path, ".xml"):
            where = f"{self._path}: {name}"
            if name == "xl/sharedStrings.xml":
                self._shared = [_string_text(entry) for _, entry in read_elements(stream, where, {"si"})]
            elif name == "xl/styles.xml":
                self._styles = read_styles(
                    element for _, element in read_elements(stream, where, STYLE_ELEMENTS)
                )
            elif name == "xl/workbook.xml":
                properties = (element for _, element in read_elements(stream, where, {"workbookPr"}))
                if any(element.get("date1904") in ("1", "true") for element in properties):
                    self._epoch = EPOCH_1904
            elif match := SHEET_NAME.fullmatch(name):
                sheets.append((int(match[1]), name))
        if not sheets:
            raise UserError(f"{self._path}: not an Excel workbook (it contains no sheet)")
        return self._member or min(sheets)[1]

    def _merged_ranges(self, file: str) -> dict[int, list[tuple[str, int]]]:
        """Return the first column and the last row of the merged ranges of several rows, by the first row."""
        ranges: dict[int, list[tuple[str, int]]] = {}
        # The ranges are listed behind the rows. Most sheets have none, and a search of the bytes is quick.
        if not any(_contains(stream, b"mergeCell") for _, stream in read_members(self._path, file)):
            return ranges
        for name, stream in read_members(self._path, file):
            for _, element in read_elements(stream, f"{self._path}: {name}", {"mergeCell"}):
                match = MERGED_RANGE.fullmatch(element.get("ref", ""))
                if match and int(match[3]) > int(match[2]):
                    ranges.setdefault(int(match[2]), []).append((match[1], int(match[3])))
        return ranges

    def _cells(self, row: Element, where: str) -> Cells:
        cells = Cells({}, set())
        for n, cell in enumerate(row.iter("c"), 1):
            found = self._cell_text(cell, where)
            text = found.text
            index = _parse_int(cell.get("s"), -1)
            style = self._styles[index] if 0 <= index < len(self._styles) else CellStyle()
            if text and cell.get("t", "n") == "n":
                text = show_number(text, style.code, self._epoch)
            if text:
                reference = CELL_REFERENCE.fullmatch(cell.get("r", ""))
                column = reference[1] if reference else _column_letters(n)
                cells.texts[column] = text
                if found.is_struck or (style.is_struck and found.has_font_of_cell):
                    cells.struck.add(column)
        return cells

    def _cell_text(self, cell: Element, where: str) -> _Text:
        if cell.get("t") == "inlineStr":
            texts = [_string_text(entry) for entry in cell.iter("is")]
            return _Text(
                "".join(text.text for text in texts).strip(),
                any(text.is_struck for text in texts),
                any(text.has_font_of_cell for text in texts),
            )
        value = "".join(child.text or "" for child in cell.iter("v")).strip()
        if cell.get("t") == "b":
            return _Text("TRUE" if value == "1" else "FALSE")
        if cell.get("t") != "s":
            return _Text(value)
        number = _parse_int(value, -1)
        if not 0 <= number < len(self._shared):
            raise UserError(
                f"{where}: refers to shared text {value!r}, and the workbook has {len(self._shared)} shared texts; "
                "open it in Excel and save it again"
            )
        return self._shared[number]


@dataclass(frozen=True, slots=True)
class _Text:
    """Text of a cell. `has_font_of_cell` is false if all its runs have a font of their own."""

    text: str
    is_struck: bool = False
    has_font_of_cell: bool = True


def _contains(stream: BinaryIO, part: bytes) -> bool:
    end = b""
    while data := stream.read(1 << 20):
        if part in end + data:
            return True
        end = data[1 - len(part) :]
    return False


def _string_text(entry: Element) -> _Text:
    """Return the text of a string, without the phonetic guides (`rPh`) of Japanese text.

    Superscripts and subscripts are written by `write_scripts`.
    """
    runs = []
    struck, has_font_of_cell = False, False
    for part in entry:
        if part.tag in ("t", "r"):
            text = "".join(text.text or "" for text in part.iter("t"))
            font = part.find("rPr")
            align = part.find("rPr/vertAlign")
            start = SCRIPT_STARTS.get(align.get("val", "") if align is not None else "")
            runs.append(f"{MARK}{start}{text}{END}{MARK}" if start else text)
            if text.strip():
                struck = struck or (font is not None and is_struck(font))
                has_font_of_cell = has_font_of_cell or font is None
    return _Text(write_scripts(drop_needless_marks("".join(runs))).strip(), struck, has_font_of_cell)


def _parse_int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else default


def _column_letters(number: int) -> str:
    """Return the letters of column `number`, counted from 1: A, B, ..., Z, AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
