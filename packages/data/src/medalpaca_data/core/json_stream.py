"""Lines of UTF-8 text, decoded one by one: a fault is told with its line, and one line is held in memory.

A large JSON object, member by member and in the memory of one: {"key": value, "key": value, ...}.

JSON lists and JSON Lines, record by record: a file of gigabytes is read in the memory of its longest record.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .archive import open_bytes
from .errors import BadRecord, UserError
from .files import json_fault


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


CHUNK = 1 << 20
LONGEST = 64 << 20  # characters of one member; what is longer is no record
BLANKS = " \t\r\n"
AFTER = frozenset(BLANKS + ":,}]")  # what can follow a name or a value


def read_object(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, value) of every member of the object in a .json or .json.gz file, also of keys that stand twice.

    Raises UserError, with file and line, for anything else, and for a file that is cut off.
    """
    with open_bytes(path) as file:
        reader = Reader(path, file)
        if reader.next() != "{":
            raise reader.error("an object of records was expected")
        if reader.next() != "}":
            reader.back()
            while True:
                key = reader.value()
                if not isinstance(key, str):
                    raise reader.error("a name in quotes was expected")
                if reader.next() != ":":
                    raise reader.error("':' was expected after a name")
                yield key, reader.value()
                mark = reader.next()
                if mark == "}":
                    break
                if mark != ",":
                    raise reader.error("',' or '}' was expected after a record" if mark else "cut off")
        if reader.next():
            raise reader.error("more after the end of the object")


class Reader:
    """The text from `_at` on, of which as much is read as is asked for."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._line, self._ended = "", 0, 1, False

    def error(self, what: str) -> UserError:
        line = self._line + self._text.count("\n", 0, self._at)
        return UserError(f"{self._path} line {line}: not valid JSON ({what})")

    def next(self) -> str:
        """The next character that is no blank, taken; '' at the end."""
        while True:
            while self._at < len(self._text):
                self._at += 1
                if self._text[self._at - 1] not in BLANKS:
                    return self._text[self._at - 1]
            if not self._more(CHUNK):
                return ""

    def back(self) -> None:
        self._at = max(self._at - 1, 0)  # at the end nothing was taken

    def value(self) -> Any:
        """The next value, taken."""
        if not self.next():
            raise self.error("cut off")
        self.back()
        want = CHUNK
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                fault = error.msg
            except ValueError:
                fault = "a number of too many digits"
            except RecursionError:
                raise self.error("nested too deeply") from None
            else:
                if self._ended or self._text[end : end + 1] in AFTER:  # else a number may go on
                    self._at = end
                    return value
            if len(self._text) - self._at > LONGEST:
                raise self.error(f"a record of more than {LONGEST >> 20} MB, or a missing quotation mark")
            if not self._more(want):
                raise self.error("cut off" if self._ended and fault.startswith("Unterminated") else fault)
            want *= 2

    def _more(self, size: int) -> bool:
        """Read on; what was taken is forgotten. False at the end."""
        if self._ended:
            return False
        self._line += self._text.count("\n", 0, self._at)
        data = self._file.read(size)
        self._ended = not data
        try:
            self._text = self._text[self._at :] + self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._line += self._text.count("\n", self._at) + error.object[: error.start].count(b"\n")
            raise UserError(f"{self._path} line {self._line}: not UTF-8; convert the file to UTF-8") from None
        self._at = 0
        return True


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
