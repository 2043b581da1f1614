"""A rule: one pattern that two engines read, and what a match must still pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .shapes import BEGINNINGS, LETTER, UPPER

Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class Span:
    """Where an identifier stands in a text, and of which kind it is. `rule` is what found it."""

    start: int
    end: int
    kind: str
    rule: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` holds no look-around and no back-reference, so that Rust reads it too (it sorts out what Python need
    not look at). What it matches as group `x` is the identifier, without such a group all of it. `\\b` stands only
    beside ASCII, where both engines agree about it.
    """

    kind: str
    name: str
    pattern: str
    accept: Callable[[Match], bool] = lambda match: True
    regex: re.Pattern[str] = field(init=False)
    group: int | str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern))
        object.__setattr__(self, "group", "x" if "(?P<x>" in self.pattern else 0)

    @property
    def hint(self) -> str:
        """For Rust: matches in every text that the rule matches in, and in few others.

        ASCII boundaries keep it fast on any text, wide classes and no long counts keep it small.
        """
        pattern = self.pattern
        for end, beginning in BEGINNINGS.items():
            if pattern.endswith(end):
                pattern = pattern.removesuffix(end) + beginning
        pattern = re.sub(r"\{0,(?:40|62)\}", "*", re.sub(r"\{1,(?:40|64|80)\}", "+", pattern))
        wide = pattern.replace(UPPER, "[A-Z\u0080-\U0010ffff]").replace(LETTER, "[A-Za-z\u0080-\U0010ffff]")
        return re.sub(r"\(\?P<\w+>", "(?:", wide.replace(r"\b", r"(?-u:\b)"))

    def spans(self, text: str) -> list[Span]:
        """Every accepted match in `text`."""
        found = []
        for match in self.regex.finditer(text):
            start, end = match.span(self.group)
            if start < end and self.accept(match):
                found.append(Span(start, end, self.kind, self.name))
        return found


def alone(match: Match) -> bool:
    """Whether a number stands by itself: no letter, digit or joining mark runs on at either side of it."""
    text, (start, end) = match.string, match.span("x" if "x" in match.re.groupindex else 0)
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1].isalnum() or before[-1] == "_"):
        return False
    if len(before) == 2 and before[-1] in "-./" and before[0].isdigit():
        return False
    if after and (after[0].isalnum() or after[0] == "_"):
        return False
    return not (len(after) == 2 and after[0] in "-./" and after[1].isdigit())


def digits(text: str) -> str:
    """The ASCII digits of a text."""
    return "".join(character for character in text if character in "0123456789")
