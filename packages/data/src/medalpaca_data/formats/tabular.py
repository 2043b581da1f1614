"""Excel workbooks, first sheet, as texts. Nothing is calculated, and a cell far out in the sheet costs no memory.

Own reading, because the one behind polars allocates the whole rectangle that a sheet's cells span: a file of 10 kB with
one cell in the last row and column ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from ..core.archive import read_members
from ..core.errors import UserError
from ..core.joined_digits import MARK, drop_needless_marks
from .xml import read_elements

CELL = re.compile(r"([A-Z]{1,3})[1-9][0-9]{0,6}")
SHEET = re.compile(r"xl/worksheets/sheet(\d+)\.xml")


def read_sheet(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("row N", column letters -> text) of every row of the first sheet that has a text, as Excel numbers them.

    A mark (`deleted.GONE`) stands where nothing else keeps a number and a raised or lowered one apart.
    Raise UserError for what is no workbook, is damaged, or unpacks to far more than it weighs.
    """
    sheets = []
    shared: list[str] = []
    for name, member in read_members(path, ".xml"):
        if name == "xl/sharedStrings.xml":
            shared = [_text(entry) for _, entry in read_elements(member, f"{path}: {name}", {"si"})]
        elif match := SHEET.fullmatch(name):
            sheets.append((int(match[1]), name))
    if not sheets:
        raise UserError(f"{path}: not an Excel workbook (no sheet in it)")
    first = min(sheets)[1]
    for name, member in read_members(path, first):
        number = 0
        for _, row in read_elements(member, f"{path}: {name}", {"row"}):
            number = _whole(row.get("r"), number + 1)
            cells = {}
            for n, cell in enumerate(row.iter("c"), 1):
                if text := _cell(cell, shared, f"{path} row {number}"):
                    at = CELL.fullmatch(cell.get("r", ""))
                    cells[at[1] if at else _column(n)] = text
            if cells:
                yield f"row {number}", cells


def _cell(cell: Element, shared: list[str], where: str) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(map(_text, cell.iter("is"))).strip()
    value = "".join(child.text or "" for child in cell.iter("v")).strip()
    if cell.get("t") != "s":
        return value
    number = _whole(value, -1)
    if not 0 <= number < len(shared):
        raise UserError(f"{where}: names a text that the workbook does not hold; save the file again")
    return shared[number].strip()


def _text(entry: Element) -> str:
    """Return a string's runs joined, without the reading aids (`rPh`) of Japanese text."""
    runs = []
    for part in entry:
        if part.tag in ("t", "r"):
            text = "".join(text.text or "" for text in part.iter("t"))
            raised = part.find("rPr/vertAlign") is not None
            runs.append(f"{MARK}{text}{MARK}" if raised else text)
    return drop_needless_marks("".join(runs))


def _whole(text: str | None, other: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else other


def _column(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
