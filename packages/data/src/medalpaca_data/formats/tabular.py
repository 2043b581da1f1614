"""Read the first sheet of an Excel workbook (.xlsx) as text, row by row. Formulas are not calculated.

The memory needed grows with the filled cells. polars and fastexcel allocate the rectangle that the cells span. A file
of 5 kB with a cell in the last row and column then exhausts memory. They also drop empty rows at the top, which changes
the row numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ..core.errors import UserError
from ..core.joined_digits import END, MARK, SUB, SUP, drop_needless_marks, write_scripts
from ..core.streams import read_members
from .xml import read_elements

CELL_REFERENCE = re.compile(r"([A-Z]{1,3})[1-9][0-9]{0,6}")
SCRIPT_STARTS = {"superscript": SUP, "subscript": SUB}
SHEET_NAME = re.compile(r"xl/worksheets/sheet(\d+)\.xml")


def read_sheet(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("row N", {column letters: text}) for every row of the first sheet that has a text.

    N is the row number that Excel shows. The first sheet is the file `sheetN.xml` with the smallest number, usually the
    first tab. Superscripts and subscripts are written by `core.joined_digits.write_scripts`. Raises UserError for a
    file that is not a workbook, is damaged, or unpacks to more than `max_unpacked_size`.
    """
    sheets = []
    shared: list[str] = []
    for name, stream in read_members(path, ".xml"):
        if name == "xl/sharedStrings.xml":
            shared = [_string_text(entry) for _, entry in read_elements(stream, f"{path}: {name}", {"si"})]
        elif match := SHEET_NAME.fullmatch(name):
            sheets.append((int(match[1]), name))
    if not sheets:
        raise UserError(f"{path}: not an Excel workbook (it contains no sheet)")
    first = min(sheets)[1]
    for name, stream in read_members(path, first):
        number = 0
        for _, row in read_elements(stream, f"{path}: {name}", {"row"}):
            number = _parse_int(row.get("r"), number + 1)
            cells = {}
            for n, cell in enumerate(row.iter("c"), 1):
                if text := _cell_text(cell, shared, f"{path} row {number}"):
                    reference = CELL_REFERENCE.fullmatch(cell.get("r", ""))
                    cells[reference[1] if reference else _column_letters(n)] = text
            if cells:
                yield f"row {number}", cells


def _cell_text(cell: Element, shared: list[str], where: str) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(map(_string_text, cell.iter("is"))).strip()
    value = "".join(child.text or "" for child in cell.iter("v")).strip()
    if cell.get("t") != "s":
        return value
    number = _parse_int(value, -1)
    if not 0 <= number < len(shared):
        raise UserError(
            f"{where}: refers to shared text {value!r}, and the workbook has {len(shared)} shared texts; "
            "open it in Excel and save it again"
        )
    return shared[number].strip()


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
