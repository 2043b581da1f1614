"""JSON lists and JSON Lines, record by record: a file of gigabytes is read in the memory of its longest record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..ground.errors import BadRecord
from ..ground.files import json_fault
from .archive import open_bytes
from .json_object import LONGEST, Reader
from .lines import decoded_lines


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
    """("line N", value) of every line that is not blank; the value of a damaged line is a BadRecord."""
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value = BadRecord(f"{path} line {number}", json_fault(error), line.rstrip("\r\n"))
        yield f"line {number}", value


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file (.gz too), with their ends, none of more than `LONGEST` bytes."""
    with open_bytes(path) as file:
        yield from decoded_lines(file, str(path), LONGEST)
