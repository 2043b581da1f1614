"""A bound on what a compressed file may unpack to: a small file that swells without end is refused."""

from __future__ import annotations

import io
from typing import BinaryIO

from ..ground.errors import UserError

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
