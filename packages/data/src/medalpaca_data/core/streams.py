"""Read compressed files and archives as streams, with a limit on the unpacked size.

Compressed files (.gz, .bz2) and archives (.zip, .tar, compressed .tar) have this limit. It rejects a decompression
bomb: a small file that unpacks to gigabytes. Nothing is written to disk. Files of text are read by `core.text_files`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import UserError, one_line
from .files import existing

# Text compresses 3 to 30 times; a file that compresses better than this is not text.
MAX_RATIO = 200
# Bytes that a file of any size may unpack to.
BASE_SIZE = 64 << 20
# Files of an archive that is read like a directory.
MAX_MEMBERS = 10_000
# Bytes of a file in a compressed TAR archive that is held in memory; a larger one is read from the start each time.
MAX_HELD = 64 << 20
LINK, REPLACED, SPARSE = "a link", "replaced by a later file of the same name", "a sparse file"
NOT_RELATIVE = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a ZIP or TAR archive, read without unpacking the archive. As text, it is the name in messages.

    In a TAR archive, `start` and `size` are the place of its bytes, and `data` may be the bytes themselves.
    """

    archive: Path
    member: str
    start: int | None = None
    size: int = 0
    data: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Return the file name without its directories, as `Path.name`."""
        return self.member.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"


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
    """Open a file for reading bytes; decompress .gz, .tgz and .bz2 with a limit on the unpacked size.

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
        if suffix in (".gz", ".tgz", ".bz2"):
            inner = bz2.BZ2File(raw) if suffix == ".bz2" else gzip.GzipFile(fileobj=raw)
            yield _open_bounded(cast(BinaryIO, inner), max_unpacked_size(path.stat().st_size), str(path))
        else:
            yield raw


@contextmanager
def _archive_errors(path: Path | Member) -> Iterator[None]:
    """Raise UserError for an archive that cannot be read."""
    try:
        yield
    except UserError:
        raise
    # zipfile and tarfile raise many types, for instance for an empty name, a name that is not UTF-8, a damaged header.
    except Exception as error:
        raise UserError(
            f"{path}: not a readable archive ({one_line(error) or type(error).__name__})"
        ) from None


def archive_members(path: Path) -> tuple[list[Member], list[tuple[str, str]]]:
    """Return the files of a ZIP or TAR archive by name, and the names of those that are not read, with the reason.

    Links are not read. Of several files with one name, the last is read, as by programs that unpack the archive.
    Raises UserError if it is no archive or is damaged, has a path that is absolute or contains "..", has more than
    `MAX_MEMBERS` files, or unpacks to more than `max_unpacked_size`.
    """
    existing(path)
    with _archive_errors(path):
        found = list(_list_zip(path) if path.suffix.lower() == ".zip" else _list_tar(path))
    if outside := [member.member for member, _ in found if NOT_RELATIVE.match(member.member)]:
        raise UserError(
            f"{path}: has the path {outside[0]!r}, which leaves the archive; allowed: relative paths without ..; "
            "pack the files again"
        )
    # zipfile reads at most this size of each file.
    if sum(member.size for member, _ in found) > max_unpacked_size(path.stat().st_size):
        raise UserError(unpacked_size_message(str(path)))
    last = {member.member: n for n, (member, _) in enumerate(found)}
    read, left_out = [], []
    for n, (member, reason) in enumerate(found):
        if reason := REPLACED if last[member.member] != n else reason:
            left_out.append((member.member, reason))
        else:
            read.append(member)
    return sorted(read, key=lambda member: member.member), sorted(left_out)


def _list_zip(path: Path) -> Iterator[tuple[Member, str]]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    _check_count(path, len(infos))
    for info in infos:
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        yield Member(path, info.filename, size=info.file_size), LINK if is_link else ""


def _list_tar(path: Path) -> Iterator[tuple[Member, str]]:
    count = 0
    with _open_tar(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            _check_count(path, count := count + 1)
            # A name that is not UTF-8 must not stop the ledger.
            name = info.name.removeprefix("./").encode("utf-8", "backslashreplace").decode()
            reason = SPARSE if info.issparse() else "" if info.isfile() else LINK
            yield Member(path, name, info.offset_data, 0 if reason else info.size), reason


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UserError(f"{path}: has {count:,} files; allowed: {MAX_MEMBERS:,}; unpack it yourself")


def with_data(members: Iterable[Member]) -> Iterator[Member]:
    """Yield members of one archive for reading: those of a compressed TAR archive in its order, with their bytes.

    They are unpacked in one pass. A file of more than `MAX_HELD` bytes is not held.
    """
    listed = list(members)
    if not listed or listed[0].start is None or listed[0].archive.suffix.lower() == ".tar":
        yield from listed
        return
    path, at = listed[0].archive, 0
    with open_bytes(path) as file:
        for member in sorted(listed, key=lambda member: member.start or 0):
            if member.size > MAX_HELD:
                yield member
                continue
            start = member.start or 0
            _skip(file, start - at)
            data = file.read(member.size)
            at = start + len(data)
            yield replace(member, data=data)


def _skip(file: BinaryIO, count: int) -> None:
    while count > 0 and (data := file.read(min(count, 1 << 20))):
        count -= len(data)


@contextmanager
def _open_member(member: Member) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        if member.data is not None:
            raw: Any = io.BytesIO(member.data)
            limit = size = member.size
        elif member.start is not None:
            raw = stack.enter_context(open_bytes(member.archive))
            if raw.seekable():
                raw.seek(member.start)
            else:
                _skip(raw, member.start)
            raw = _Part(raw, member.size)
            limit = size = member.size
        else:
            try:
                archive = stack.enter_context(zipfile.ZipFile(member.archive))
                info = archive.getinfo(member.member)
                if info.flag_bits & 1:
                    raise UserError(f"{member}: is encrypted; unpack it first")
                raw = stack.enter_context(archive.open(info))
            except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError) as error:
                raise UserError(f"{member}: cannot be read ({one_line(error)})") from None
            limit, size = max_unpacked_size(info.compress_size), info.file_size
        if member.name.lower().endswith(".gz"):
            raw, limit = gzip.GzipFile(fileobj=raw), max_unpacked_size(size)
        yield _open_bounded(raw, limit, str(member))


class _Part(io.RawIOBase):
    """The next `size` bytes of a stream, which stays open."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def read_members(path: Path | Member, suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, BinaryIO]]:
    """Yield (name, stream) for every file in an archive whose name ends in `suffix`, in archive order.

    Files named .zip, .apkg, .colpkg and .xlsx are read as ZIP, all others as TAR. An archive in an archive is read as
    ZIP and is held in memory. Read each stream before the next
    iteration, which closes it. Raises UserError for an archive that is damaged, encrypted, or unpacks to more than its
    compressed size allows.
    """
    with _archive_errors(path):
        if isinstance(path, Member):
            with open_bytes(path) as file:
                data = io.BytesIO(file.read())
            yield from _read_zip(path, suffix, data)
        elif existing(path).suffix.lower() in (".zip", ".apkg", ".colpkg", ".xlsx"):
            yield from _read_zip(path, suffix, path)
        else:
            yield from _read_tar(path, suffix)


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
    with _open_tar(path) as archive:
        for info in archive:
            if info.isfile() and info.name.endswith(suffix) and (member := archive.extractfile(info)):
                yield info.name, _open_bounded(cast(BinaryIO, member), info.size, f"{path}: {info.name}")


class _CheckedInfo(tarfile.TarInfo):
    """Header of a file in a TAR archive. A damaged or truncated one is an error; tarfile takes it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _CheckedInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ in ("InvalidHeaderError", "TruncatedHeaderError"):
                raise tarfile.ReadError(f"damaged or truncated: {error}") from None
            # The end of the archive.
            raise


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with open_bytes(path) as file, tarfile.open(fileobj=file, mode="r|", tarinfo=_CheckedInfo) as archive:
        yield archive


def _open_bounded(stream: BinaryIO, limit: int, where: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(BoundedReader(stream, limit, where), 1 << 16))
