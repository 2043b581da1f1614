"""Read a sheet of an Excel workbook (.xlsx) as text, row by row. Formulas are not calculated.

The memory needed grows with the filled cells. polars and fastexcel allocate the rectangle that the cells span. A file
of 5 kB with a cell in the last row and column then exhausts memory. They also drop empty rows at the top, which changes
the row numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree.ElementTree import Element

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
from .xml import read_elements

CELL_REFERENCE = re.compile(r"([A-Z]{1,3})[1-9][0-9]{0,6}")
SCRIPT_STARTS = {"superscript": SUP, "subscript": SUB}
NO_HEADING = "a cell in a column without a heading"
STYLE_ELEMENTS = {"numFmt", "cellXfs"}
# Numbers of built-in formats (ECMA-376, part 1, 18.8.30), and parts of a custom format that are not placeholders.
PERCENT_FORMATS = frozenset({9, 10})
DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
ELAPSED_TIME = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
FORMAT_TEXT = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.|\*.')
EPOCH_1900, EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
SHEET_NAME = re.compile(r"xl/worksheets/sheet(\d+)\.xml")


def read_sheet_records(
    path: Path | Member, sheet: str | None = None, on_note: OnNote = ignore_note
) -> Iterator[tuple[str, dict[str, str] | BadRecord]]:
    """Yield ("row N", record) for every row of a sheet below the first, which has the headings.

    `sheet` is the name of a tab; None is the first tab. A record has a text for every heading, "" for an empty cell. A
    row with a text outside the columns with headings is a BadRecord. If the workbook has several sheets, `on_note` is
    called with the one that is read and the others.

    Raises UserError as `read_sheet`, and for an unknown sheet, an empty sheet and a repeated heading.
    """
    tabs = _list_tabs(path)
    if sheet is not None and sheet not in tabs:
        raise UserError(
            f"{path}: no sheet {sheet!r}; the workbook has: {', '.join(tabs) or 'no names of sheets'}"
        )
    name = sheet if sheet is not None else next(iter(tabs), None)
    if len(tabs) > 1:
        left_out = tuple((other, "another sheet") for other in tabs if other != name)
        on_note(FileNote(file=path.name, sheet=name, left_out=left_out))
    headings: dict[str, str] = {}
    for location, marked in read_sheet(path, tabs[name] if name is not None else None):
        try:
            cells = {column: remove_marks(text) for column, text in marked.items()}
        except JoinedDigits as error:
            shown = {column: show_marks_as_bars(text) for column, text in marked.items()}
            yield location, BadRecord(f"{path} {location}", str(error), json.dumps(shown, ensure_ascii=False))
            continue
        if not headings:
            headings = cells
            names = list(headings.values())
            if repeated := [text for text in names if names.count(text) > 1]:
                raise UserError(f"{path}: two columns have the heading {repeated[0]!r}; rename one")
        elif cells.keys() <= headings.keys():
            yield location, {text: cells.get(column, "") for column, text in headings.items()}
        else:
            yield location, BadRecord(f"{path} {location}", NO_HEADING, json.dumps(cells, ensure_ascii=False))
    if not headings:
        raise UserError(f"{path}: the sheet is empty; its first row must name the columns")


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
    """Yield ("row N", {column letters: text}) for every row of a sheet that has a text.

    N is the row number that Excel shows. `member` is the file of the sheet in the workbook; None is `sheetN.xml` with
    the smallest number, usually the first tab. Superscripts and subscripts are written by
    `core.joined_digits.write_scripts`. Raises UserError for a file that is not a workbook, is damaged, or unpacks to
    more than `max_unpacked_size`.
    """
    sheets = []
    shared: list[str] = []
    kinds: list[str] = []
    epoch = EPOCH_1900
    for name, stream in read_members(path, ".xml"):
        where = f"{path}: {name}"
        if name == "xl/sharedStrings.xml":
            shared = [_string_text(entry) for _, entry in read_elements(stream, where, {"si"})]
        elif name == "xl/styles.xml":
            kinds = _number_kinds(element for _, element in read_elements(stream, where, STYLE_ELEMENTS))
        elif name == "xl/workbook.xml":
            properties = (element for _, element in read_elements(stream, where, {"workbookPr"}))
            if any(element.get("date1904") in ("1", "true") for element in properties):
                epoch = EPOCH_1904
        elif match := SHEET_NAME.fullmatch(name):
            sheets.append((int(match[1]), name))
    if not sheets:
        raise UserError(f"{path}: not an Excel workbook (it contains no sheet)")
    for name, stream in read_members(path, member or min(sheets)[1]):
        number = 0
        for _, row in read_elements(stream, f"{path}: {name}", {"row"}):
            number = _parse_int(row.get("r"), number + 1)
            cells = {}
            for n, cell in enumerate(row.iter("c"), 1):
                text = _cell_text(cell, shared, f"{path} row {number}")
                style = _parse_int(cell.get("s"), -1)
                if text and cell.get("t", "n") == "n" and 0 <= style < len(kinds) and kinds[style]:
                    text = _number_text(text, kinds[style], epoch)
                if text:
                    reference = CELL_REFERENCE.fullmatch(cell.get("r", ""))
                    cells[reference[1] if reference else _column_letters(n)] = text
            if cells:
                yield f"row {number}", cells


def _cell_text(cell: Element, shared: list[str], where: str) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(map(_string_text, cell.iter("is"))).strip()
    value = "".join(child.text or "" for child in cell.iter("v")).strip()
    if cell.get("t") == "b":
        return "TRUE" if value == "1" else "FALSE"
    if cell.get("t") != "s":
        return value
    number = _parse_int(value, -1)
    if not 0 <= number < len(shared):
        raise UserError(
            f"{where}: refers to shared text {value!r}, and the workbook has {len(shared)} shared texts; "
            "open it in Excel and save it again"
        )
    return shared[number].strip()


def _number_kinds(elements: Iterable[Element]) -> list[str]:
    """Return for each cell style of a workbook what its numbers are: "date" (or time), "percent" or ""."""
    codes: dict[int, str] = {}
    styles: list[int] = []
    for element in elements:
        if element.tag == "numFmt":
            codes[_parse_int(element.get("numFmtId"), -1)] = element.get("formatCode", "")
        else:
            styles = [_parse_int(xf.get("numFmtId"), 0) for xf in element.iter("xf")]

    def kind(number: int) -> str:
        if number not in codes:
            return "percent" if number in PERCENT_FORMATS else "date" if number in DATE_FORMATS else ""
        code = codes[number]
        # An elapsed time is no date.
        if ELAPSED_TIME.search(code):
            return ""
        code = FORMAT_TEXT.sub("", code)
        is_date = re.search("[ymdhs]", code, re.IGNORECASE) and "general" not in code.lower()
        return "percent" if "%" in code else "date" if is_date else ""

    return [kind(number) for number in styles]


def _number_text(value: str, kind: str, epoch: datetime) -> str:
    """Return a number as the text that Excel shows: a date as 2023-07-16, a time as 08:30:00, a share as 5%.

    Excel stores a date as the number of days since `epoch`. A number that is no date is returned as it is.
    """
    try:
        number = Decimal(value)
        if kind == "percent":
            return f"{(number * 100).normalize():f}%"
        # Excel counts 29 February 1900, which did not exist.
        shift = 1 if epoch == EPOCH_1900 and number < 60 else 0
        moment = epoch + timedelta(days=int(number) + shift, seconds=round(number % 1 * 86400))
    except (ArithmeticError, ValueError):
        return value
    date, time = moment.isoformat().split("T")
    return time if number < 1 else date if number == int(number) else f"{date} {time}"


def _string_text(entry: Element) -> str:
    """Return the text of a string, without the phonetic guides (`rPh`) of Japanese text.

    Superscripts and subscripts are written by `write_scripts`.
    """
    runs = []
    for part in entry:
        if part.tag in ("t", "r"):
            text = "".join(text.text or "" for text in part.iter("t"))
            align = part.find("rPr/vertAlign")
            start = SCRIPT_STARTS.get(align.get("val", "") if align is not None else "")
            runs.append(f"{MARK}{start}{text}{END}{MARK}" if start else text)
    return write_scripts(drop_needless_marks("".join(runs)))


def _parse_int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else default


def _column_letters(number: int) -> str:
    """Return the letters of column `number`, counted from 1: A, B, ..., Z, AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
