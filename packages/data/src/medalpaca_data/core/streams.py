"""Read files as streams with limits: compressed files and archives, lines, and JSON record by record.

Compressed files (.gz, .bz2) and archives (.zip, .tar, compressed .tar) have a limit on the unpacked size. It rejects a
decompression bomb: a small file that unpacks to gigabytes. Nothing is written to disk. JSON and JSON Lines need memory
for one record, and an error has its line number. The parser is `json.JSONDecoder`, fed from a buffer.
docs/architecture.md compares it with a streaming library (ijson).
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import BadRecord, UserError, one_line
from .files import existing, json_fault

# Text compresses 3 to 30 times; a file that compresses better than this is not text.
MAX_RATIO = 200
# Bytes that a file of any size may unpack to.
BASE_SIZE = 64 << 20


def max_unpacked_size(packed: int) -> int:
    """Return how many bytes a compressed file of `packed` bytes may unpack to."""
    return BASE_SIZE + MAX_RATIO * packed


class BoundedReader(io.RawIOBase):
    """A binary stream that reads at most `limit` bytes from `file`.

    Raises UserError, with `where` as the file's name in the message, when more bytes follow or decompression fails.
    When it is closed, `file` is closed too.
    """

    def __init__(self, file: BinaryIO, limit: int, where: str) -> None:
        super().__init__()
        self._file, self._left, self._where = file, limit, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._file.read(len(buffer))
        except UserError:
            raise
        # zlib, lzma, zipfile and tarfile each raise their own exceptions.
        except Exception as error:
            raise UserError(
                f"{self._where}: damaged or truncated ({error or type(error).__name__})"
            ) from None
        self._left -= len(data)
        if self._left < 0:
            raise UserError(unpacked_size_message(self._where))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def unpacked_size_message(where: str) -> str:
    """Return the error message for a file that unpacks to more than `max_unpacked_size`."""
    return (
        f"{where}: unpacks to more than {MAX_RATIO} times its size, which text does not; "
        f"unpack it yourself if you trust it"
    )


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes; decompress .gz and .bz2 with a limit on the unpacked size.

    Raises UserError if the file does not exist or cannot be read, and while reading if it is damaged or above the
    limit.
    """
    existing(path)
    if path.is_dir():
        raise UserError(f"{path}: is a directory, a file was expected")
    try:
        raw: BinaryIO = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    with raw:
        suffix = path.suffix.lower()
        if suffix in (".gz", ".bz2"):
            inner = gzip.GzipFile(fileobj=raw) if suffix == ".gz" else bz2.BZ2File(raw)
            yield _open_bounded(cast(BinaryIO, inner), max_unpacked_size(path.stat().st_size), str(path))
        else:
            yield raw


def read_members(path: Path, suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, BinaryIO]]:
    """Yield (name, stream) for every file in an archive whose name ends in `suffix`, in archive order.

    Files named .zip, .apkg, .colpkg and .xlsx are read as ZIP, all others as TAR. Read each stream before the next
    iteration, which closes it. Raises UserError for an archive that is damaged, encrypted, or unpacks to more than its
    compressed size allows.
    """
    existing(path)
    try:
        if path.suffix.lower() in (".zip", ".apkg", ".colpkg", ".xlsx"):
            yield from _read_zip(path, suffix)
        else:
            yield from _read_tar(path, suffix)
    except UserError:
        raise
    # zipfile and tarfile raise many types, for instance for an empty name or a name that is not UTF-8.
    except Exception as error:
        raise UserError(
            f"{path}: not a readable archive ({one_line(error) or type(error).__name__})"
        ) from None


def _read_zip(path: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename or info.is_dir() or not info.filename.endswith(suffix):
                continue
            where = f"{path}: {info.filename}"
            if info.flag_bits & 1:
                raise UserError(f"{where}: is encrypted; unpack it first")
            with archive.open(info) as member:
                limit = max_unpacked_size(info.compress_size)
                yield info.filename, _open_bounded(cast(BinaryIO, member), limit, where)


def _read_tar(path: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    with open_bytes(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for info in archive:
            if info.isfile() and info.name.endswith(suffix) and (member := archive.extractfile(info)):
                yield info.name, _open_bounded(cast(BinaryIO, member), info.size, f"{path}: {info.name}")


def _open_bounded(stream: BinaryIO, limit: int, where: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(BoundedReader(stream, limit, where), 1 << 16))


CHUNK_SIZE = 1 << 20
# Characters of one record, or bytes of one line; anything longer is not a record of text.
MAX_RECORD_LENGTH = 64 << 20
WHITESPACE = " \t\r\n"
# What can follow a name or a value. A number is complete only when one of these follows.
VALUE_END = frozenset(WHITESPACE + ":,}]")


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
            raise UserError(f"{where} line {number}: not UTF-8; convert the file to UTF-8") from None


def read_json_object(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) for every member of the JSON object in a file (.gz too), repeated keys included.

    Raises UserError, with file and line, for any other content and for a truncated file. Members before the error are
    yielded.
    """
    with open_bytes(path) as file:
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

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
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

        Raises UserError, with file and line, for invalid JSON, the end of the file, and a value of more than
        `MAX_RECORD_LENGTH` characters.
        """
        if not self.next():
            raise self.error("the file is truncated")
        self.back()
        size = CHUNK_SIZE
        while True:
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
                    self._position = end
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
            raise UserError(f"{self._path} line {self._line}: not UTF-8; convert the file to UTF-8") from None
        self._position = 0
        return True


def is_json_list(path: Path) -> bool:
    """Return whether the first character of a file (.gz too) after whitespace opens a JSON list."""
    with open_bytes(path) as file:
        return JsonReader(path, file).next() == "["


def read_json_list(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("row N", value) for every element of a JSON list, with N from 1.

    Raises UserError, with file and line, for any other content and for a truncated file.
    """
    with open_bytes(path) as file:
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


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("line N", value) for every line that is not blank; for a line that is not JSON, value is a BadRecord."""
    for number, line in enumerate(read_text_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value = BadRecord(f"{path} line {number}", json_fault(error), line.rstrip("\r\n"))
        yield f"line {number}", value


def read_text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (.gz too), with their line breaks.

    Raises UserError for a line of more than `MAX_RECORD_LENGTH` bytes and for bytes that are not UTF-8.
    """
    with open_bytes(path) as file:
        yield from decode_lines(file, str(path), MAX_RECORD_LENGTH)
