"""Extract files from a .7z archive. Needs py7zr: install the extra `7z` (medalpaca-data[7z])."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from ..core.errors import UserError, one_line
from ..core.files import existing
from ..core.streams import max_unpacked_size, unpacked_size_message

if TYPE_CHECKING:
    from py7zr import SevenZipFile
    from py7zr.io import Py7zIO


def unpack_7z(path: Path, names: Collection[str], folder: Path) -> dict[str, Path]:
    """Extract the members with these file names, from any directory of the archive, to `folder`.

    Returns {name: extracted file}; a name that the archive lacks is not in it. Raises UserError if py7zr is not
    installed, and for an archive that is damaged, encrypted, or unpacks to more than `max_unpacked_size`. All members
    count for this limit, because those before the requested ones may have to be unpacked as well.
    """
    try:
        import py7zr
        from py7zr.io import WriterFactory
    except ImportError:
        raise UserError(
            f"{path}: reading .7z needs py7zr: install medalpaca-data[7z], or unpack the file yourself"
        ) from None
    limit = max_unpacked_size(path.stat().st_size)
    files: dict[str, Path] = {}
    with ExitStack() as stack:

        class ToFolder(WriterFactory):
            def create(self, filename: str) -> Py7zIO:
                name = PurePosixPath(filename).name
                files[name] = folder / name
                return _open_writer(stack.enter_context(files[name].open("wb")), limit, str(path))

        try:
            archive = stack.enter_context(py7zr.SevenZipFile(stack.enter_context(existing(path).open("rb"))))
            _check_archive(archive, limit, str(path))
            if targets := [name for name in archive.getnames() if PurePosixPath(name).name in names]:
                archive.extract(targets=targets, factory=ToFolder())
        except UserError:
            raise
        # For a damaged archive, py7zr, lzma and struct raise exceptions of many types.
        except Exception as error:
            reason = one_line(error) or type(error).__name__
            raise UserError(f"{path}: not a readable 7z archive ({reason})") from None
    return {name: file for name, file in files.items() if name in names}


def _check_archive(archive: SevenZipFile, limit: int, where: str) -> None:
    if archive.needs_password():
        raise UserError(f"{where}: is encrypted; unpack it first")
    if sum(member.uncompressed for member in archive.list()) > limit:
        raise UserError(unpacked_size_message(where))


def _open_writer(file: BinaryIO, limit: int, where: str) -> Py7zIO:
    from py7zr.io import Py7zIO

    class Writer(Py7zIO):
        """A write-only file for py7zr with a limit on its size."""

        def __init__(self) -> None:
            self._size = 0

        def write(self, s: bytes | bytearray) -> int:
            self._size += len(s)
            if self._size > limit:
                raise UserError(unpacked_size_message(where))
            try:
                return file.write(s)
            except OSError as error:
                raise UserError(f"{where}: no room to unpack it ({error.strerror}); set TMPDIR") from None

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            file.flush()

        def size(self) -> int:
            return self._size

    return Writer()
