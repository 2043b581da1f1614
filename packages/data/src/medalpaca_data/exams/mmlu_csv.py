"""Reader of MMLU's own CSV files, which have no column names: question, options, letter."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.files import read_text, sha256_file
from .item import LETTERS, Item, RawExam, content_item_id

# Share of lines that must end with the letter of one of their options, and that must have a number before the question
# so that the first column is one of numbers.
CERTAIN = 0.9
# A column name has fewer words than this.
TEXT_WORDS = 5
FEWEST_FIELDS = 4

OTHER_WIDTH = "more or fewer fields than the other lines"
NO_NUMBER = "no number in the first column, but the other lines have one"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The number of fields of most lines, and whether the first of them is a number (as an index is written)."""

    width: int
    numbered: bool

    def cells(self, line: _Line) -> list[str]:
        """Return the cells of a line from the question on."""
        return line.cells[1:] if self.numbered else line.cells


def is_mmlu_csv(path: Path) -> bool:
    """Return whether a file certainly has MMLU's lines without column names.

    Its first line must be a question with options and one of their letters, and 9 of 10 lines must end with such a
    letter. More than half of the lines must have the same number of fields.
    """
    if path.suffix.lower() != ".csv":
        return False
    try:
        lines = _lines(path)
    except (UserError, csv.Error):
        return False
    shape = _shape(lines)
    if shape is None:
        return False
    rows = [shape.cells(line) for line in lines]
    if not _is_item(rows[0]) or _may_be_headings(rows[0]):
        return False
    return sum(map(_is_item, rows)) >= CERTAIN * len(rows)


def _lines(path: Path) -> list[_Line]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    return [_Line(reader.line_num, cells) for cells in reader if cells]


def _shape(lines: Sequence[_Line]) -> _Shape | None:
    """Return the shape of most lines, None if no number of fields is that of more than half of the lines."""
    widths = Counter(len(line.cells) for line in lines)
    width, n = max(widths.items(), key=lambda entry: entry[1], default=(0, 0))
    if 2 * n <= len(lines):
        return None
    numbers = sum(_is_number(line.cells[0]) for line in lines if len(line.cells) == width)
    return _Shape(width, numbered=width > FEWEST_FIELDS and numbers >= CERTAIN * n)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\s*\d+(?:\.0)?[.)]?\s*", cell) is not None


def _is_item(row: list[str]) -> bool:
    return len(row) >= FEWEST_FIELDS and (
        len(row[-1].strip()) == 1 and row[-1].strip() in LETTERS[: len(row) - 2]
    )


def _may_be_headings(row: list[str]) -> bool:
    """Return whether a line can be column names: no cell is a sentence, or the last two cells are letters in a row."""
    cells = [cell.strip() for cell in row]
    is_item = cells[0].endswith(("?", ".", ":")) or any(len(cell.split()) >= TEXT_WORDS for cell in cells)
    return not is_item or cells[-2:] == [LETTERS[LETTERS.index(cells[-1]) - 1], cells[-1]]


def read_mmlu_csv(path: Path) -> RawExam:
    """Return the exam in an MMLU file without column names. Its subject is in the file name.

    A line with another number of fields than most lines is invalid: a comma without quotes moves its cells. A first
    column of numbers is not read, and a warning names it.
    """
    subject = re.sub(r"_(dev|val|test)$", "", path.stem)
    items, invalid = [], []
    lines = _lines(path)
    shape = _shape(lines)
    if shape is None:
        raise UserError(f"{path}: no number of fields is that of more than half of the lines")
    for line in lines:
        place = f"line {line.number}"
        if len(line.cells) != shape.width:
            invalid.append((place, OTHER_WIDTH))
            continue
        if shape.numbered and not _is_number(line.cells[0]):
            invalid.append((place, NO_NUMBER))
            continue
        question, *options, answer = shape.cells(line)
        items.append(
            Item(
                id=content_item_id(question, options),
                question=question,
                options=dict(zip(LETTERS, options, strict=False)),
                answer=answer.strip(),
                subject=subject,
                place=place,
            )
        )
    note = f"{path.name}: the first column has numbers only; it was not read"
    return RawExam(
        path.stem,
        tuple(items),
        sha256_file(path),
        warnings=(note,) if shape.numbered else (),
        invalid=tuple(invalid),
        file=str(path),
    )
