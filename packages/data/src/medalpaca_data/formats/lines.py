"""Lines of UTF-8 text, decoded one by one: a fault is told with its line, and one line is held in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from ..ground.errors import UserError


def decoded_lines(file: BinaryIO, where: str, longest: int) -> Iterator[str]:
    """The lines, with their ends. Raises UserError, with the line, beyond `longest` bytes and for what is not UTF-8."""
    # Bytes and no text wrapper, because a wrapper decodes ahead and its errors do not know their line.
    buffered = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
    number = 0
    while line := buffered.readline(longest):
        number += 1
        if len(line) == longest and not line.endswith(b"\n"):
            raise UserError(f"{where} line {number}: longer than {longest >> 20} MB; no file of texts")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{where} line {number}: not UTF-8; convert the file to UTF-8") from None
