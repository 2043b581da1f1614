"""Members of a .7z archive, unpacked to files. Needs py7zr, which the extra `7z` brings."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from ..core.archive import RATIO, bound
from ..core.errors import UserError, one_line

if TYPE_CHECKING:
    from py7zr import SevenZipFile
    from py7zr.io import Py7zIO


def unpack_7z(path: Path, names: Collection[str], folder: Path) -> dict[str, Path]:
    """name -> file in `folder`, for each of the file names that the archive holds, in whichever of its directories.

    Raises UserError when py7zr is not installed, and for an archive that is damaged, encrypted, or unpacks to far
    more than it weighs (all its members count: those before a wanted one may have to be unpacked as well).
    """
    try:
        import py7zr
        from py7zr.io import WriterFactory
    except ImportError:
        raise UserError(
            f"{path}: reading .7z needs py7zr: install medalpaca-data[7z], or unpack the file yourself"
        ) from None
    limit = bound(path.stat().st_size)
    files: dict[str, Path] = {}
    with ExitStack() as stack:

        class ToFolder(WriterFactory):
            def create(self, filename: str) -> Py7zIO:
                name = PurePosixPath(filename).name
                files[name] = folder / name
                return _writer(stack.enter_context(files[name].open("wb")), limit, str(path))

        try:
            archive = stack.enter_context(py7zr.SevenZipFile(stack.enter_context(path.open("rb"))))
            _refuse(archive, limit, str(path))
            if wanted := [name for name in archive.getnames() if PurePosixPath(name).name in names]:
                archive.extract(targets=wanted, factory=ToFolder())
        except UserError:
            raise
        except Exception as error:  # of lzma, struct and the reading of a damaged header, and py7zr's own
            why = one_line(error) or type(error).__name__
            raise UserError(f"{path}: not a readable 7z archive ({why})") from None
    return {name: file for name, file in files.items() if name in names}


def _refuse(archive: SevenZipFile, limit: int, where: str) -> None:
    if archive.needs_password():
        raise UserError(f"{where}: is encrypted; unpack it first")
    if sum(member.uncompressed for member in archive.list()) > limit:
        raise UserError(f"{where}: unpacks to more than {RATIO} times its size; refused")


def _writer(file: BinaryIO, limit: int, where: str) -> Py7zIO:
    from py7zr.io import Py7zIO

    class Writer(Py7zIO):
        """What py7zr writes a member to; it never reads back."""

        def __init__(self) -> None:
            self._size = 0

        def write(self, s: bytes | bytearray) -> int:
            self._size += len(s)
            if self._size > limit:
                raise UserError(f"{where}: unpacks to more than {RATIO} times its size; refused")
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
