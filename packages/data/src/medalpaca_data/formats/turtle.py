"""RDF in Turtle, the regular part of it: prefixes, subjects, nested blank nodes, plain and typed strings.

Enough for what programs write as records. Collections, numbers and booleans without quotes, and @base are not
understood and say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Node: TypeAlias = "dict[str, list[str | Node]]"

DEPTH = 50  # blank nodes inside each other
TOKEN = re.compile(
    r"""\s++|\#[^\n]*+
    |(?P<iri><[^<>"{}|^`\\\s]*+>)
    |(?P<long>\"\"\"(?:[^"\\]|\\.|"(?!""))*+\"\"\")
    |(?P<text>"(?:[^"\\\n\r]|\\.)*+")
    |(?P<type>\^\^|@[A-Za-z]++(?:-[A-Za-z0-9]++)*+)
    |(?P<sign>[;,.\[\]])
    |(?P<name>(?:[\w-]++(?:\.[\w-]++)*+)?+:(?:[\w%-]++(?:\.[\w%-]++)*+)?+|a(?=[\s<]))""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
PLAIN = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


def read_turtle(text: str) -> dict[str, Node]:
    """subject -> predicate -> objects. Names stay as written (`pm:text`); an object is a text or a blank node.

    Raises ValueError for anything beyond the part described above.
    """
    return _Parser(text).document()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._now: tuple[str, str] = ("", "")
        self._advance()

    def document(self) -> dict[str, Node]:
        subjects: dict[str, Node] = {}
        while self._now[0] != "end":
            if self._now == ("type", "@prefix"):
                self._advance()
                self._take("name")
                self._take("iri")
            else:
                kind, subject = self._now
                if kind not in ("iri", "name"):
                    raise ValueError("not understood as Turtle")
                self._advance()
                for predicate, objects in self._predicates(0).items():
                    subjects.setdefault(subject, {}).setdefault(predicate, []).extend(objects)
            self._take("sign", ".")
        return subjects

    def _predicates(self, depth: int) -> Node:
        found: Node = {}
        while self._now[0] in ("name", "iri"):
            predicate = self._now[1]
            self._advance()
            objects = found.setdefault(predicate, [])
            objects.append(self._object(depth))
            while self._now == ("sign", ","):
                self._advance()
                objects.append(self._object(depth))
            while self._now == ("sign", ";"):
                self._advance()
        return found

    def _object(self, depth: int) -> str | Node:
        kind, value = self._now
        self._advance()
        if (kind, value) == ("sign", "["):
            if depth == DEPTH:
                raise ValueError("nested too deeply")
            node = self._predicates(depth + 1)
            self._take("sign", "]")
            return node
        if kind == "text" and self._now[0] == "type":
            typed = self._now[1] == "^^"
            self._advance()
            if typed:
                self._take(self._now[0] if self._now[0] in ("iri", "name") else "name")
        if kind not in ("text", "iri", "name"):
            raise ValueError("not understood as Turtle")
        return value

    def _take(self, kind: str, value: str | None = None) -> None:
        if self._now[0] != kind or value not in (None, self._now[1]):
            raise ValueError("not understood as Turtle")
        self._advance()

    def _advance(self) -> None:
        self._now = next(self._tokens, ("end", ""))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = TOKEN.match(text, place)
        if not found:
            raise ValueError("not understood as Turtle")
        place = found.end()
        match found.lastgroup:
            case None:
                pass  # blanks, a comment
            case "long":
                yield "text", ESCAPE.sub(_unescape, found["long"][3:-3])
            case "text":
                yield "text", ESCAPE.sub(_unescape, found["text"][1:-1])
            case "iri":
                yield "iri", found["iri"][1:-1]
            case kind:
                yield kind, found[0]


def _unescape(found: re.Match[str]) -> str:
    if code := found[1] or found[2]:
        number = int(code, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ValueError("an escape that is no character")
        return chr(number)
    if found[3] not in PLAIN:
        raise ValueError("not understood as Turtle")
    return PLAIN[found[3]]
