"""Marks for deleted text, so that a deletion never joins two numbers unnoticed.

A substitution that deletes text writes `MARK` in its place. After each substitution, only the marks between two digits
are kept, because elsewhere a deletion is harmless. A mark that remains at the end is an error. A mark that is itself
deleted later, for example as part of a table, is not.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

# A Unicode noncharacter, which no text contains.
MARK = "\ufdd0"
JOINED = "markup or an invisible character between two digits was deleted"

# Digits, superscripts and subscripts. Only neighbours of one kind are joined: 10 and a superscript 9 stay distinct.
DIGITS, SUPERSCRIPTS, SUBSCRIPTS = r"\d", "\u00b2\u00b3\u00b9\u2070\u2074-\u2079", "\u2080-\u2089"
ANY_DIGIT = DIGITS + SUPERSCRIPTS + SUBSCRIPTS
# Largest number of digits of each of the two numbers that are shown.
MAX_SHOWN_DIGITS = 20
_SHOWN = f"{{1,{MAX_SHOWN_DIGITS}}}"
JOINED_NUMBERS = re.compile(
    f"[{DIGITS}]{_SHOWN}{MARK}+[{DIGITS}]{_SHOWN}"
    f"|[{SUPERSCRIPTS}]{_SHOWN}{MARK}+[{SUPERSCRIPTS}]{_SHOWN}"
    f"|[{SUBSCRIPTS}]{_SHOWN}{MARK}+[{SUBSCRIPTS}]{_SHOWN}"
)
MARK_RUN = re.compile(f"{MARK}+")
NEEDLESS_MARKS = re.compile(rf"(?<![{ANY_DIGIT}{MARK}]){MARK}+|{MARK}++(?![{ANY_DIGIT}])")
NUMERIC_ENTITY = re.compile(r"&#(?:[0-9]{1,9}|x[0-9a-f]{1,8});?", re.IGNORECASE)

Substitution = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


class JoinedDigits(ValueError):
    """Raised if a deletion would join two numbers; `digits` shows them with a bar in between, such as "50|100"."""

    def __init__(self, digits: str) -> None:
        super().__init__(digits)
        self.digits = digits

    def __str__(self) -> str:
        return JOINED


def substitute(text: str, *steps: Substitution) -> str:
    """Apply the substitutions in turn; return the text with a mark wherever a deletion would join two digits."""
    for pattern, new in steps:
        text = drop_needless_marks(pattern.sub(new, text))
    return text


def remove_marks(text: str) -> str:
    """Return the text without marks. Raises JoinedDigits if only marks are between two digits."""
    if MARK not in text:
        return text
    if digits := find_joined_digits(text):
        raise JoinedDigits(digits)
    return text.replace(MARK, "")


def find_joined_digits(text: str) -> str:
    """Return the first two numbers with only marks between them as "50|100", or "" if there are none.

    Of each number, at most `MAX_SHOWN_DIGITS` digits are returned.
    """
    match = JOINED_NUMBERS.search(text) if MARK in text else None
    return show_marks_as_bars(match[0]) if match else ""


def show_marks_as_bars(text: str) -> str:
    """Return the text with a bar for each run of marks between two digits, and without the other marks.

    The bar shows where deleted text separated two numbers, as in "50|100".
    """
    return MARK_RUN.sub("|", drop_needless_marks(text))


def drop_needless_marks(text: str) -> str:
    """Return the text with only the marks between two digits."""
    return NEEDLESS_MARKS.sub("", text) if MARK in text else text


def decode_digits(text: str) -> str:
    """Return the text with numeric entities of digits decoded, so that `&#49;` is a digit before markup is deleted."""
    return NUMERIC_ENTITY.sub(_digit, text) if "&#" in text else text


def decode_entities(text: str) -> str:
    """Return the text with its entities decoded, and a mark in place of entities that decode to nothing."""
    return html.unescape(NUMERIC_ENTITY.sub(_empty, text) if "&#" in text else text)


def _digit(match: re.Match[str]) -> str:
    text = html.unescape(match[0])
    return text if text.isdigit() and match[0].endswith(";") else match[0]


def _empty(match: re.Match[str]) -> str:
    return match[0] if html.unescape(match[0]) else MARK
