"""XML, element by element and in little memory. Document types are refused: they are what entity bombs are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..core.errors import UserError
from ..core.joined_digits import MARK, drop_needless_marks

CHUNK = 1 << 16
DEPTH = 200  # no format that is read here nests a tenth as deep


def read_elements(file: BinaryIO, where: str, tags: Collection[str]) -> Iterator[tuple[str, Element]]:
    """("line N", element) of every outermost element named in `tags`, whole, namespaces cut from its names.

    Raises UserError, with file and line, for XML that is not well-formed or cut off, nested too deeply, or that
    declares a document type.
    """
    reader = _Reader(where, tags)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.ordered_attributes = False
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    reader.line = lambda: parser.CurrentLineNumber
    try:
        while data := file.read(CHUNK):
            parser.Parse(data, False)
            yield from reader.take()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UserError(
            f"{where} line {error.lineno}: not well-formed XML ({expat.errors.messages[error.code]})"
        ) from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise UserError(f"{where}: not readable XML ({error})") from None
    yield from reader.take()


def element_text(element: Element) -> str:
    """Return all text inside an element, with a mark where a tag between two digits goes."""
    return drop_needless_marks(MARK.join(element.itertext()))


class _Reader:
    """Builds one wanted element at a time; everything around it is forgotten at once."""

    def __init__(self, where: str, tags: Collection[str]) -> None:
        self._where, self._tags = where, tags
        self._builder: TreeBuilder | None = None
        self._depth = self._inside = 0
        self._place = ""
        self._done: list[tuple[str, Element]] = []
        self.line: Callable[[], int] = lambda: 0

    def take(self) -> list[tuple[str, Element]]:
        done, self._done = self._done, []
        return done

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise UserError(f"{self._where} line {self.line()}: nested more than {DEPTH} deep; refused")
        name = name.rpartition(":")[2]
        if self._builder is None:
            if name not in self._tags:
                return
            self._builder, self._inside, self._place = TreeBuilder(), self._depth, f"line {self.line()}"
        self._builder.start(name, attributes)

    def text(self, data: str) -> None:
        if self._builder is not None:
            self._builder.data(data)

    def end(self, name: str) -> None:
        if self._builder is not None:
            self._builder.end(name.rpartition(":")[2])
            if self._depth == self._inside:
                self._done.append((self._place, self._builder.close()))
                self._builder = None
        self._depth -= 1

    def refuse(self, *_: object) -> None:
        raise UserError(
            f"{self._where} line {self.line()}: declares a document type; refused (remove the line)"
        )
