"""Text encodings: find the encoding of a file, and read the file as UTF-8 bytes.

A byte order mark comes first, then valid UTF-8, then cp1252 (Windows) or Latin-1. The last two differ only in the bytes
0x80 to 0x9F: Latin-1 has control characters there, cp1252 has dashes and quotation marks. Other single-byte encodings
cannot be told from these two by their bytes, so text with few ASCII letters is refused.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from .errors import UserError

UTF_8 = "utf-8"
# The marks of UTF-32 come first, because one of them begins with the mark of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LONGEST_MARK = 4
BLOCK_SIZE = 1 << 16

HIGH = bytes(range(0x80, 0x100))
LETTERS = bytes(byte for byte in range(0x80) if chr(byte).isalpha()) + HIGH
ASCII_AS_SPACE = b" " * 0x80 + HIGH
C1 = bytes(range(0x80, 0xA0))
# Bytes that no text in cp1252 or Latin-1 has: control characters, and 0xFF, which damage leaves far more often than the
# letter that it encodes.
NO_TEXT = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r\f\x1a") + b"\x7f\xff"
NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"
# Characters above ASCII are at most this share of the letters in Western European text (about 5 % in French).
MAX_HIGH_SHARE = 0.25
UTF_8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# A place with a character above ASCII and a few characters beside it, and the number of places that are shown.
SAMPLE = re.compile(r"(?:[^\s\",;]{1,8} )?[^\s\",;]{0,8}?(?P<character>[^\x00-\x7f])[^\s\",;]{0,8}")
MAX_SAMPLES = 3

NOT_UTF_8 = "not UTF-8; convert the file to UTF-8, or name its encoding (encoding: in a recipe)"


def canonical_encoding(name: str) -> str:
    """Return the name of a text encoding as Python spells it. Raises ValueError for an unknown encoding."""
    try:
        "".encode(name)
        found = codecs.lookup(name).name
    except (LookupError, ValueError, UnicodeError):
        raise ValueError(
            f"{name!r} is not a known text encoding; examples: utf-8, utf-16, cp1252, latin-1, cp1251, gb18030"
        ) from None
    return {"utf-8-sig": UTF_8, "iso8859-1": "latin-1"}.get(found, found)


def detect_single_byte(blocks: Iterator[bytes]) -> str | None:
    """Return "cp1252" or "latin-1" for a text that is not UTF-8, or None if it is probably neither.

    The bytes 0x80 to 0x9F decide between the two.
    """
    high = letters = in_sequences = 0
    has_c1 = False
    for block in blocks:
        if _count(block, NO_TEXT):
            return None
        high += _count(block, HIGH)
        letters += _count(block, LETTERS)
        # Only the runs of bytes above ASCII are searched, which is much faster.
        runs = b" ".join(block.translate(ASCII_AS_SPACE).split())
        in_sequences += sum(map(len, UTF_8_SEQUENCE.findall(runs)))
        has_c1 = has_c1 or _count(block, C1) > 0
        if _count(block, NOT_IN_CP1252):
            return None
    # Mostly valid sequences are UTF-8 with some damaged bytes.
    if high > MAX_HIGH_SHARE * letters or in_sequences * 2 >= high:
        return None
    return "cp1252" if has_c1 else "latin-1"


def _count(block: bytes, members: bytes) -> int:
    return len(block) - len(block.translate(None, members))


class Utf8Reader(io.RawIOBase):
    """A stream of the UTF-8 bytes of `file`, whatever its encoding; a UTF-8 file is passed on as it is.

    `reopen` opens the same bytes from the start; it is called for a file that is not UTF-8. `encoding` is the encoding
    of the file: None is detected. The attribute is complete at the end of the file, because ASCII leaves it open.
    """

    def __init__(
        self,
        file: BinaryIO,
        reopen: Callable[[], AbstractContextManager[BinaryIO]],
        where: str,
        encoding: str | None = None,
    ) -> None:
        super().__init__()
        self._file, self._reopen, self._where = file, reopen, where
        self._pending = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._line = 1
        self._decided = False
        self.encoding = encoding or UTF_8
        # Places with characters above ASCII, if the encoding is guessed.
        self.samples: list[str] = []
        self._is_guessed = False
        if encoding:
            self._decide(encoding)
            return
        self._pending = file.read(LONGEST_MARK)
        for mark, name in BYTE_ORDER_MARKS:
            if self._pending.startswith(mark):
                self._decide(name)
                break
        # A file that is shorter than a mark, or whose first characters are not ASCII.
        self._pending = self._checked(self._pending)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._pending:
            data = self._file.read(len(buffer))
            self._pending = self._checked(data)
            if not data:
                break
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _decide(self, encoding: str) -> None:
        self._decided, self.encoding = True, encoding
        if encoding != UTF_8:
            self._decoder = codecs.getincrementaldecoder(encoding)()

    def _checked(self, data: bytes) -> bytes:
        """Return `data` as UTF-8; the first bytes above ASCII decide the encoding."""
        if not self._decided and not data.isascii():
            data += self._rest_of_sequence(data)
            self._decide(self._detect(data))
        return data if self._decoder is None else self._decode(data, self._decoder)

    def _rest_of_sequence(self, data: bytes) -> bytes:
        """Return the bytes that complete a UTF-8 sequence at the end of `data`."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return self._file.read(3) if error.reason == "unexpected end of data" else b""
        return b""

    def _detect(self, data: bytes) -> str:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            # After valid UTF-8, or before the cut end of a block, an error is damage of a UTF-8 file.
            if data[: error.start].isascii() and (found := self._detect_all()):
                self._is_guessed = True
                return found
        return UTF_8

    def _detect_all(self) -> str | None:
        with self._reopen() as file:
            return detect_single_byte(iter(lambda: file.read(BLOCK_SIZE), b""))

    def _decode(self, data: bytes, decoder: codecs.IncrementalDecoder) -> bytes:
        try:
            text = decoder.decode(data, final=not data)
            encoded = text.encode()
        except UnicodeError as error:
            line = self._line + data[: getattr(error, "start", 0)].count(b"\n")
            raise UserError(
                f"{self._where} near line {line}: not valid {self.encoding} ({getattr(error, 'reason', error)}); "
                "set encoding: to the encoding of the file, or convert it to UTF-8"
            ) from None
        if self._is_guessed and len(self.samples) < MAX_SAMPLES:
            self._add_samples(text)
        self._line += text.count("\n")
        return encoded

    def _add_samples(self, text: str) -> None:
        """Add places in the text to the samples, each with another character above ASCII."""
        seen = set("".join(self.samples))
        for match in SAMPLE.finditer(text):
            if match["character"] not in seen and len(self.samples) < MAX_SAMPLES:
                self.samples.append(match[0])
                seen.update(match[0])
