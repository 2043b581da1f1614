"""Read JSON lists and objects record by record. The parser is `json.JSONDecoder`, fed from a buffer.

Memory is needed for one record, and an error has its line number. docs/architecture.md compares the parser with a
streaming library (ijson).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from .encoding import NOT_UTF_8
from .errors import BadRecord, UserError
from .json_keys import KeyCheck, repeated_key, repeated_key_fault
from .text_files import MAX_RECORD_LENGTH, AnyFile, open_text

CHUNK_SIZE = 1 << 20
WHITESPACE = " \t\r\n"
# What can follow a name or a value. A number is complete only when one of these follows.
VALUE_END = frozenset(WHITESPACE + ":,}]")


def read_json_object(path: AnyFile) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) for every member of the JSON object in a file (.gz too), repeated keys included.

    The value is a BadRecord if a key occurs twice inside it.

    Raises UserError, with file and line, for any other content and for a truncated file. Members before the error are
    yielded.
    """
    with open_text(path) as file:
        reader = JsonReader(path, file)
        if reader.next() != "{":
            raise reader.error("expected an object that contains the records")
        if reader.next() != "}":
            reader.back()
            while True:
                key = reader.value()
                if not isinstance(key, str):
                    raise reader.error("expected a name in double quotes")
                if reader.next() != ":":
                    raise reader.error("expected ':' after a name")
                yield key, reader.value()
                mark = reader.next()
                if mark == "}":
                    break
                if mark != ",":
                    raise reader.error(
                        "expected ',' or '}' after a record" if mark else "the file is truncated"
                    )
        if reader.next():
            raise reader.error("unexpected text after the end of the object")


class JsonReader:
    """A buffer over a UTF-8 file from which JSON values and single characters are consumed."""

    def __init__(self, path: AnyFile, file: Any) -> None:
        self._path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._check = KeyCheck()
        self._scan = json.JSONDecoder(object_pairs_hook=self._check.hook).raw_decode
        self._text, self._position, self._line, self._ended = "", 0, 1, False

    def error(self, fault: str) -> UserError:
        """Return the error for `fault` at the current line."""
        line = self._line + self._text.count("\n", 0, self._position)
        return UserError(f"{self._path} line {line}: not valid JSON ({fault})")

    def next(self) -> str:
        """Consume and return the next character that is not whitespace; return '' at the end of the file."""
        while True:
            while self._position < len(self._text):
                self._position += 1
                if self._text[self._position - 1] not in WHITESPACE:
                    return self._text[self._position - 1]
            if not self._read_more(CHUNK_SIZE):
                return ""

    def back(self) -> None:
        """Undo the last call of `next`, so that its character is read again."""
        # At the end of the file no character was consumed.
        self._position = max(self._position - 1, 0)

    def value(self) -> Any:
        """Consume and return the next JSON value.

        The value is a BadRecord if a key occurs twice in it. Raises UserError, with file and line, for invalid JSON,
        the end of the file, and a value of more than `MAX_RECORD_LENGTH` characters.
        """
        if not self.next():
            raise self.error("the file is truncated")
        self.back()
        size = CHUNK_SIZE
        while True:
            self._check.found = 0
            try:
                value, end = self._scan(self._text, self._position)
            except json.JSONDecodeError as error:
                fault = error.msg
            except ValueError:
                fault = "a number with too many digits"
            except RecursionError:
                raise self.error("nested too deeply") from None
            else:
                if self._ended or self._text[end : end + 1] in VALUE_END:
                    start, self._position = self._position, end
                    if self._check.found and (key := repeated_key(value)) is not None:
                        line = self._line + self._text.count("\n", 0, start)
                        return BadRecord(
                            f"{self._path} line {line}", repeated_key_fault(key), self._text[start:end]
                        )
                    return value
            if len(self._text) - self._position > MAX_RECORD_LENGTH:
                raise self.error(
                    f"a record of more than {MAX_RECORD_LENGTH >> 20} MB, or a missing quotation mark"
                )
            if not self._read_more(size):
                raise self.error(
                    "the file is truncated" if self._ended and fault.startswith("Unterminated") else fault
                )
            size *= 2

    def _read_more(self, size: int) -> bool:
        """Append up to `size` bytes and drop the consumed text; return False at the end of the file."""
        if self._ended:
            return False
        self._line += self._text.count("\n", 0, self._position)
        data = self._file.read(size)
        self._ended = not data
        try:
            self._text = self._text[self._position :] + self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._line += self._text.count("\n", self._position) + error.object[: error.start].count(b"\n")
            raise UserError(f"{self._path} line {self._line}: {NOT_UTF_8}") from None
        self._position = 0
        return True


def is_json_list(path: AnyFile) -> bool:
    """Return whether the first character of a file (.gz too) after whitespace opens a JSON list."""
    with open_text(path) as file:
        return JsonReader(path, file).next() == "["


def read_json_list(path: AnyFile) -> Iterator[tuple[str, Any]]:
    """Yield ("row N", value) for every element of a JSON list, with N from 1. The value may be a BadRecord.

    Raises UserError, with file and line, for any other content and for a truncated file.
    """
    with open_text(path) as file:
        reader = JsonReader(path, file)
        if reader.next() != "[":
            raise reader.error("expected a list")
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
                    raise reader.error(
                        "expected ',' or ']' after a record" if mark else "the file is truncated"
                    )
        if reader.next():
            raise reader.error("unexpected text after the end of the list")
