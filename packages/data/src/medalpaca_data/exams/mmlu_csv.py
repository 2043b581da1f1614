"""Reader of MMLU's own CSV files, which have no column names: question, options, letter."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from ..core.errors import UserError
from ..core.files import read_text, sha256_file
from .item import LETTERS, Item, RawExam, content_item_id

# Share of lines that must end with the letter of one of their options.
CERTAIN = 0.9
# A column name has fewer words than this.
TEXT_WORDS = 5


def is_mmlu_csv(path: Path) -> bool:
    """Return whether a file certainly has MMLU's lines without column names.

    Its first line must be a question with options and one of their letters, and 9 of 10 lines must end with such a
    letter.
    """
    if path.suffix.lower() != ".csv":
        return False
    try:
        rows = [row for row in _rows(path) if row]
    except (UserError, csv.Error):
        return False
    if not rows or not _is_item(rows[0]) or _may_be_headings(rows[0]):
        return False
    return sum(map(_is_item, rows)) >= CERTAIN * len(rows)


def _rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))


def _is_item(row: list[str]) -> bool:
    return len(row) >= 4 and len(row[-1].strip()) == 1 and row[-1].strip() in LETTERS[: len(row) - 2]


def _may_be_headings(row: list[str]) -> bool:
    """Return whether a line can be column names: no cell is a sentence, or the last two cells are letters in a row."""
    cells = [cell.strip() for cell in row]
    is_item = cells[0].endswith(("?", ".", ":")) or any(len(cell.split()) >= TEXT_WORDS for cell in cells)
    return not is_item or cells[-2:] == [LETTERS[LETTERS.index(cells[-1]) - 1], cells[-1]]


def read_mmlu_csv(path: Path) -> RawExam:
    """Return the exam in an MMLU file without column names. Its subject is in the file name."""
    subject = re.sub(r"_(dev|val|test)$", "", path.stem)
    items, invalid = [], []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    for row in reader:
        if len(row) < 4:
            if row:
                reason = f"{len(row)} fields; at least 4 are needed: question, two options, letter"
                invalid.append((f"line {reader.line_num}", reason))
            continue
        question, *options, answer = row
        items.append(
            Item(
                id=content_item_id(question, options),
                question=question,
                options=dict(zip(LETTERS, options, strict=False)),
                answer=answer.strip(),
                subject=subject,
            )
        )
    return RawExam(path.stem, tuple(items), sha256_file(path), invalid=tuple(invalid), file=str(path))
