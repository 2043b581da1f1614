"""Parse a subset of RDF Turtle: prefixes, subjects, nested blank nodes, plain and typed strings.

This subset is what programs write for records. Collections, numbers and booleans without quotes, and @base raise
ValueError. Types and languages of strings are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Node: TypeAlias = "dict[str, list[str | Node]]"

# Largest depth of nested blank nodes.
MAX_DEPTH = 50
UNSUPPORTED = "not valid Turtle, or a part of it that is not supported"
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
ESCAPED_CHARACTERS = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


def read_turtle(text: str) -> dict[str, Node]:
    """Return {subject: {predicate: list of objects}}. An object is a string or a blank node.

    A blank node is {predicate: list of objects}. Prefixed names stay as written (`pm:text`), and addresses lose their
    angle brackets. Raises ValueError for text outside the supported subset.
    """
    return _Parser(text).document()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokenize(text)
        self._token: tuple[str, str] = ("", "")
        self._advance()

    def document(self) -> dict[str, Node]:
        subjects: dict[str, Node] = {}
        while self._token[0] != "end":
            if self._token == ("type", "@prefix"):
                self._advance()
                self._take("name")
                self._take("iri")
            else:
                kind, subject = self._token
                if kind not in ("iri", "name"):
                    raise ValueError(UNSUPPORTED)
                self._advance()
                for predicate, objects in self._predicates(0).items():
                    subjects.setdefault(subject, {}).setdefault(predicate, []).extend(objects)
            self._take("sign", ".")
        return subjects

    def _predicates(self, depth: int) -> Node:
        node: Node = {}
        while self._token[0] in ("name", "iri"):
            predicate = self._token[1]
            self._advance()
            objects = node.setdefault(predicate, [])
            objects.append(self._object(depth))
            while self._token == ("sign", ","):
                self._advance()
                objects.append(self._object(depth))
            while self._token == ("sign", ";"):
                self._advance()
        return node

    def _object(self, depth: int) -> str | Node:
        kind, value = self._token
        self._advance()
        if (kind, value) == ("sign", "["):
            if depth == MAX_DEPTH:
                raise ValueError(f"blank nodes nested more than {MAX_DEPTH} deep")
            node = self._predicates(depth + 1)
            self._take("sign", "]")
            return node
        if kind == "text" and self._token[0] == "type":
            typed = self._token[1] == "^^"
            self._advance()
            if typed:
                self._take(self._token[0] if self._token[0] in ("iri", "name") else "name")
        if kind not in ("text", "iri", "name"):
            raise ValueError(UNSUPPORTED)
        return value

    def _take(self, kind: str, value: str | None = None) -> None:
        if self._token[0] != kind or value not in (None, self._token[1]):
            raise ValueError(UNSUPPORTED)
        self._advance()

    def _advance(self) -> None:
        self._token = next(self._tokens, ("end", ""))


def _tokenize(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        if not token:
            raise ValueError(UNSUPPORTED)
        position = token.end()
        match token.lastgroup:
            case None:
                # Whitespace or a comment.
                pass
            case "long":
                yield "text", ESCAPE.sub(_unescape, token["long"][3:-3])
            case "text":
                yield "text", ESCAPE.sub(_unescape, token["text"][1:-1])
            case "iri":
                yield "iri", token["iri"][1:-1]
            case kind:
                yield kind, token[0]


def _unescape(escape: re.Match[str]) -> str:
    if code := escape[1] or escape[2]:
        number = int(code, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ValueError("an escape sequence that is not a character")
        return chr(number)
    if escape[3] not in ESCAPED_CHARACTERS:
        raise ValueError(UNSUPPORTED)
    return ESCAPED_CHARACTERS[escape[3]]
