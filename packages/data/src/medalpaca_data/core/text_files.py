"""Read text files line by line, and JSON Lines record by record, with the line number of every error.

Memory is needed for one record. The parser is `json.JSONDecoder`; docs/architecture.md compares it with a streaming
library (ijson). Text in another encoding than UTF-8 is converted while it is read (`core.encoding`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from .encoding import NOT_UTF_8, UTF_8, Utf8Reader
from .errors import BadRecord, UserError
from .files import json_fault
from .json_keys import KeyCheck, repeated_key, repeated_key_fault
from .streams import Member, open_bytes

# Characters of one record, or bytes of one line; anything longer is not a record of text.
MAX_RECORD_LENGTH = 64 << 20


@dataclass(slots=True)
class TextFile:
    """A file to be read as text. As text, it is the name in messages.

    `encoding` is its encoding, None if it is to be detected. `found` is the encoding that `open_text` used.
    `samples` are texts of the file by which a guess of the encoding can be checked; there are none without a guess.
    """

    path: Path | Member
    encoding: str | None = None
    found: str = field(default=UTF_8, init=False)
    samples: tuple[str, ...] = field(default=(), init=False)

    def __str__(self) -> str:
        return str(self.path)


AnyFile: TypeAlias = Path | Member | TextFile


@contextmanager
def open_text(file: AnyFile) -> Iterator[BinaryIO]:
    """Open a text file for reading its text as UTF-8 bytes. Raises UserError as `open_bytes` does.

    Only a `TextFile` can have another encoding than UTF-8, because its `found` has to be reported. Bytes that fit no
    encoding are passed on as they are.
    """
    text = file if isinstance(file, TextFile) else TextFile(file, UTF_8)
    with open_bytes(text.path) as raw:
        reader = Utf8Reader(raw, partial(open_bytes, text.path), str(text), text.encoding)
        with io.BufferedReader(reader, 1 << 16) as buffered:
            try:
                yield cast(BinaryIO, buffered)
            finally:
                text.found, text.samples = reader.encoding, tuple(reader.samples)


def decode_lines(file: BinaryIO, where: str, max_length: int) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, with their line breaks and without a byte order mark.

    Raises UserError, with the line number, for a line of more than `max_length` bytes and for bytes that are not UTF-8.
    """
    # A text wrapper decodes ahead, so that the line of an error is unknown; bytes are read instead.
    buffered = io.BufferedReader(file) if isinstance(file, io.RawIOBase) else file
    number = 0
    while line := buffered.readline(max_length):
        number += 1
        if len(line) == max_length and not line.endswith(b"\n"):
            raise UserError(
                f"{where} line {number}: longer than {max_length >> 20} MB; is it a text file with line breaks?"
            )
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{where} line {number}: {NOT_UTF_8}") from None


def read_json_lines(path: AnyFile) -> Iterator[tuple[str, Any]]:
    """Yield ("line N", value) for every line that is not blank; the value may be a BadRecord.

    It is one for a line that is not JSON, and for a record in which a key occurs twice.
    """
    check = KeyCheck()
    decode = json.JSONDecoder(object_pairs_hook=check.hook).decode
    for number, line in enumerate(read_text_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = decode(line)
            fault = repeated_key_fault(repeated_key(value) or "") if check.found else ""
        except (ValueError, RecursionError) as error:
            fault = json_fault(error)
        if fault:
            value = BadRecord(f"{path} line {number}", fault, line.rstrip("\r\n"))
            check.found = 0
        yield f"line {number}", value


def read_text_lines(path: AnyFile) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (.gz too), with their line breaks.

    Raises UserError for a line of more than `MAX_RECORD_LENGTH` bytes and for bytes that are not UTF-8.
    """
    with open_text(path) as file:
        yield from decode_lines(file, str(path), MAX_RECORD_LENGTH)
