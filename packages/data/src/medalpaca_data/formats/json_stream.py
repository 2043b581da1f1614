"""JSON lists and JSON Lines, record by record: a file of gigabytes is read in the memory of its longest record."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..ground.errors import UserError
from ..ground.files import parse_json
from .archive import open_bytes
from .json_object import LONGEST, Reader


def is_list(path: Path) -> bool:
    """Whether the first character of a file (.gz too) that is no blank opens a list."""
    with open_bytes(path) as file:
        return Reader(path, file).next() == "["


def read_list(path: Path) -> Iterator[tuple[str, Any]]:
    """("row N", value) of every element of a JSON list. Raises UserError, with the line, where the list is damaged."""
    with open_bytes(path) as file:
        reader = Reader(path, file)
        if reader.next() != "[":
            raise reader.error("a list was expected")
        number = 0
        if reader.next() != "]":
            reader.back()
            while True:
                number += 1
                yield f"row {number}", reader.value()
                mark = reader.next()
                if mark == "]":
                    break
                if mark != ",":
                    raise reader.error("',' or ']' was expected after a record" if mark else "cut off")
        if reader.next():
            raise reader.error("more after the end of the list")


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """("line N", value) of every line that is not blank; the value of a damaged line is a UserError."""
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", parse_json(line, "")
        except UserError as error:
            reason = str(error).partition(": ")[2]
            yield f"line {number}", UserError(f"{path} line {number}: {reason}")


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file (.gz too), with their ends, none of more than `LONGEST` characters."""
    number = 0
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
        while True:
            try:
                line = text.readline(LONGEST)
            except UnicodeDecodeError:
                raise UserError(f"{path} after line {number}: not UTF-8; convert the file to UTF-8") from None
            number += 1
            if len(line) == LONGEST:
                raise UserError(f"{path} line {number}: more than {LONGEST >> 20} MB in one line; refused")
            if not line:
                return
            yield line
