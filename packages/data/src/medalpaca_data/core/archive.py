"""A bound on what a compressed file may unpack to: a small file that swells without end is refused.

Files inside files: .gz, .bz2, .zip, .tar and .tar.gz, read one after the other and never past a bound.
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

RATIO = 200  # text packs 3 to 30 times; what packs better is no text
FREE = 64 << 20  # bytes that a file of any size may unpack to


def bound(packed: int) -> int:
    """Bytes that `packed` compressed bytes may unpack to."""
    return FREE + RATIO * packed


class Bounded(io.RawIOBase):
    """`file`, read to at most `limit` bytes; then, and on any fault of the packing, a UserError that names `where`."""

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
        except Exception as error:  # zlib, lzma, zipfile and tarfile each have their own
            raise UserError(f"{self._where}: damaged or cut off ({error or type(error).__name__})") from None
        self._left -= len(data)
        if self._left < 0:
            raise UserError(f"{self._where}: unpacks to more than {RATIO} times its size; refused")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes; of a .gz or .bz2 file what it unpacks to, bounded."""
    existing(path)
    if path.is_dir():
        raise UserError(f"{path}: is a directory, a file was expected")
    try:
        raw: BinaryIO = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    with raw:
        packing = path.suffix.lower()
        if packing in (".gz", ".bz2"):
            inner = gzip.GzipFile(fileobj=raw) if packing == ".gz" else bz2.BZ2File(raw)
            unpacked = Bounded(cast(BinaryIO, inner), bound(path.stat().st_size), str(path))
            yield cast(BinaryIO, io.BufferedReader(unpacked, 1 << 16))
        else:
            yield raw


def read_members(path: Path, suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, BinaryIO]]:
    """(name, bytes) of every file in a .zip, .tar or .tar.gz whose name ends in `suffix`, in the archive's order.

    Each is to be read before the next is asked for. Nothing is written to disk. Raises UserError for an archive
    that is damaged, encrypted, or unpacks to far more than it weighs.
    """
    existing(path)
    try:
        if path.suffix.lower() in (".zip", ".apkg", ".colpkg", ".xlsx"):
            yield from _zip(path, suffix)
        else:
            yield from _tar(path, suffix)
    except UserError:
        raise
    except Exception as error:  # both modules raise many kinds: a name that is no UTF-8, an empty one
        raise UserError(
            f"{path}: not a readable archive ({one_line(error) or type(error).__name__})"
        ) from None


def _zip(path: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename or info.is_dir() or not info.filename.endswith(suffix):
                continue
            where = f"{path}: {info.filename}"
            if info.flag_bits & 1:
                raise UserError(f"{where}: is encrypted; unpack it first")
            with archive.open(info) as member:
                yield info.filename, _buffered(cast(BinaryIO, member), bound(info.compress_size), where)


def _tar(path: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    with open_bytes(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for info in archive:
            if info.isfile() and info.name.endswith(suffix) and (member := archive.extractfile(info)):
                yield info.name, _buffered(cast(BinaryIO, member), info.size, f"{path}: {info.name}")


def _buffered(member: BinaryIO, limit: int, where: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(Bounded(member, limit, where), 1 << 16))
