"""Read an XML file element by element; only the elements of one chunk of 64 kB are in memory.

Document type declarations are refused, because an entity bomb needs one. The parser is expat itself. defusedxml refuses
the same files but loses the line number of an element; docs/architecture.md has the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..core.errors import UserError
from ..core.joined_digits import END, MARK, RESERVED, SUB, SUP, drop_needless_marks, write_scripts

CHUNK_SIZE = 1 << 16
# Largest depth of nested elements. The formats that are read here nest less than 20 deep.
MAX_DEPTH = 200


def read_elements(file: BinaryIO, where: str, tags: Collection[str]) -> Iterator[tuple[str, Element]]:
    """Yield ("line N", element) for every element named in `tags`, with its content.

    An element inside another one of them is only part of its content. Namespace prefixes are removed from element
    names. `where` is the file's name in messages. Raises UserError for XML that is not well-formed, is truncated, has
    an unknown encoding, nests more than `MAX_DEPTH` deep, or declares a document type.
    """
    builder = _ElementBuilder(where, tags)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.ordered_attributes = False
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse_doctype
    builder.line = lambda: parser.CurrentLineNumber
    try:
        while data := file.read(CHUNK_SIZE):
            parser.Parse(data, False)
            yield from builder.pop_elements()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UserError(
            f"{where} line {error.lineno}: not well-formed XML ({expat.errors.messages[error.code]})"
        ) from None
    # Python does not support the declared encoding.
    except (ValueError, LookupError) as error:
        raise UserError(f"{where}: not readable XML ({error})") from None
    yield from builder.pop_elements()


def element_text(element: Element) -> str:
    """Return all text inside an element, with a mark (`MARK`) between two digits that only tags separate.

    Superscripts and subscripts, the elements `sup` and `sub`, are written by `write_scripts`.
    """
    return write_scripts(drop_needless_marks("".join(_parts(element))))


def _parts(element: Element) -> Iterator[str]:
    start = {"sup": SUP, "sub": SUB}.get(element.tag.lower(), "")
    yield MARK + start + RESERVED.sub(MARK, element.text or "")
    for child in element:
        yield from _parts(child)
        yield MARK + RESERVED.sub(MARK, child.tail or "")
    yield (END if start else "") + MARK


class _ElementBuilder:
    """Handlers for expat that build the elements named in `tags` and ignore everything around them."""

    def __init__(self, where: str, tags: Collection[str]) -> None:
        self._where, self._tags = where, tags
        self._builder: TreeBuilder | None = None
        self._depth = self._element_depth = 0
        self._location = ""
        self._elements: list[tuple[str, Element]] = []
        self.line: Callable[[], int] = lambda: 0

    def pop_elements(self) -> list[tuple[str, Element]]:
        elements, self._elements = self._elements, []
        return elements

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UserError(f"{self._where} line {self.line()}: nested more than {MAX_DEPTH} deep; refused")
        name = name.rpartition(":")[2]
        if self._builder is None:
            if name not in self._tags:
                return
            self._builder = TreeBuilder()
            self._element_depth, self._location = self._depth, f"line {self.line()}"
        self._builder.start(name, attributes)

    def text(self, data: str) -> None:
        if self._builder is not None:
            self._builder.data(data)

    def end(self, name: str) -> None:
        if self._builder is not None:
            self._builder.end(name.rpartition(":")[2])
            if self._depth == self._element_depth:
                self._elements.append((self._location, self._builder.close()))
                self._builder = None
        self._depth -= 1

    def refuse_doctype(self, *_: object) -> None:
        raise UserError(
            f"{self._where} line {self.line()}: declares a document type; refused (remove the line)"
        )
