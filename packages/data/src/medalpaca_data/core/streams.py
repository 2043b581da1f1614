"""Read files as streams with limits: compressed files and archives, lines, and JSON record by record.

Compressed files (.gz, .bz2) and archives (.zip, .tar, compressed .tar) have a limit on the unpacked size. It rejects a
decompression bomb: a small file that unpacks to gigabytes. Nothing is written to disk. JSON and JSON Lines need memory
for one record, and an error has its line number. The parser is `json.JSONDecoder`, fed from a buffer.
docs/architecture.md compares it with a streaming library (ijson). Text in another encoding than UTF-8 is converted
while it is read (`core.encoding`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from .encoding import NOT_UTF_8, UTF_8, Utf8Reader
from .errors import BadRecord, UserError, one_line
from .files import existing, json_fault
from .json_keys import KeyCheck, repeated_key, repeated_key_fault

# Text compresses 3 to 30 times; a file that compresses better than this is not text.
MAX_RATIO = 200
# Bytes that a file of any size may unpack to.
BASE_SIZE = 64 << 20
# Files of a ZIP archive that is read like a directory.
MAX_MEMBERS = 10_000


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a ZIP archive, which is read without unpacking the archive. As text, it is the name in messages."""

    archive: Path
    member: str

    @property
    def name(self) -> str:
        """Return the file name without its directories, as `Path.name`."""
        return self.member.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"


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
def open_bytes(path: Path | Member) -> Iterator[BinaryIO]:
    """Open a file for reading bytes; decompress .gz and .bz2 with a limit on the unpacked size.

    Raises UserError if the file does not exist or cannot be read, and while reading if it is damaged or above the
    limit.
    """
    if isinstance(path, Member):
        with _open_member(path) as member:
            yield member
        return
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


def member_names(path: Path) -> list[str]:
    """Return the names of all files in a ZIP archive, in archive order.

    Raises UserError if it is no archive, has more than `MAX_MEMBERS` files, or unpacks to more than
    `max_unpacked_size`.
    """
    existing(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: not a readable archive ({one_line(error)})") from None
    if len(infos) > MAX_MEMBERS:
        raise UserError(f"{path}: has {len(infos):,} files; allowed: {MAX_MEMBERS:,}; unpack it yourself")
    # zipfile reads at most this size of each file.
    if sum(info.file_size for info in infos) > max_unpacked_size(path.stat().st_size):
        raise UserError(unpacked_size_message(str(path)))
    return list(dict.fromkeys(info.filename for info in infos))


@contextmanager
def _open_member(member: Member) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(member.archive))
            info = archive.getinfo(member.member)
            if info.flag_bits & 1:
                raise UserError(f"{member}: is encrypted; unpack it first")
            raw: Any = stack.enter_context(archive.open(info))
        except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError) as error:
            raise UserError(f"{member}: cannot be read ({one_line(error)})") from None
        limit = max_unpacked_size(info.compress_size)
        if member.name.lower().endswith(".gz"):
            raw, limit = gzip.GzipFile(fileobj=raw), max_unpacked_size(info.file_size)
        yield _open_bounded(raw, limit, str(member))


def read_members(path: Path | Member, suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, BinaryIO]]:
    """Yield (name, stream) for every file in an archive whose name ends in `suffix`, in archive order.

    Files named .zip, .apkg, .colpkg and .xlsx are read as ZIP, all others as TAR. An archive in an archive is read as
    ZIP and is held in memory. Read each stream before the next
    iteration, which closes it. Raises UserError for an archive that is damaged, encrypted, or unpacks to more than its
    compressed size allows.
    """
    try:
        if isinstance(path, Member):
            with open_bytes(path) as file:
                data = io.BytesIO(file.read())
            yield from _read_zip(path, suffix, data)
        elif existing(path).suffix.lower() in (".zip", ".apkg", ".colpkg", ".xlsx"):
            yield from _read_zip(path, suffix, path)
        else:
            yield from _read_tar(path, suffix)
    except UserError:
        raise
    # zipfile and tarfile raise many types, for instance for an empty name or a name that is not UTF-8.
    except Exception as error:
        raise UserError(
            f"{path}: not a readable archive ({one_line(error) or type(error).__name__})"
        ) from None


def _read_zip(
    path: Path | Member, suffix: str | tuple[str, ...], file: Path | BinaryIO
) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(file) as archive:
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


# Characters of one record, or bytes of one line; anything longer is not a record of text.
MAX_RECORD_LENGTH = 64 << 20


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
