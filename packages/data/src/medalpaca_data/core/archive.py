"""Read compressed files (.gz, .bz2) and archives (.zip, .tar, compressed .tar) with a limit on the unpacked size.

The limit rejects a decompression bomb: a small file that unpacks to gigabytes. Nothing is written to disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .errors import UserError, one_line
from .files import existing

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
