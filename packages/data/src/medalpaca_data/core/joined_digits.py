"""Marks for deleted text, so that a deletion between two digits is noticed and never makes one number of two.

A substitution that deletes writes GONE in place of what it deletes. After each one, only the marks that stand between
two digits are left: two digits become neighbours with the last deletion between them, whatever was deleted before it.
A mark that is left at the end is an error, and one that is itself deleted, as part of a reference or a table, is none.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

MARK = "\ufdd0"  # a noncharacter: no text uses it
JOINED = "markup or an invisible character between two digits was deleted"

# Digits, superscripts and subscripts. Only neighbours of one kind run together: 10 and a raised 9 remain distinct.
DIGIT_KINDS = (r"\d", "\u00b2\u00b3\u00b9\u2070\u2074-\u2079", "\u2080-\u2089")
ANY_DIGIT = "".join(DIGIT_KINDS)
MAX_SHOWN_DIGITS = 20  # digits shown of a number
JOINED_NUMBERS = re.compile(
    "|".join(
        rf"[{kind}]{{1,{MAX_SHOWN_DIGITS}}}{MARK}+[{kind}]{{1,{MAX_SHOWN_DIGITS}}}" for kind in DIGIT_KINDS
    )
)
MARK_RUN = re.compile(f"{MARK}+")
NEEDLESS_MARKS = re.compile(rf"(?<![{ANY_DIGIT}{MARK}]){MARK}+|{MARK}++(?![{ANY_DIGIT}])")
NUMERIC_ENTITY = re.compile(r"&#(?:[0-9]{1,9}|x[0-9a-f]{1,8});?", re.IGNORECASE)

Substitution = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


class JoinedDigits(ValueError):
    """Raised where a deletion would join two digits. `digits` holds both, with a bar between them: "50|100"."""

    def __init__(self, digits: str) -> None:
        super().__init__(digits)
        self.digits = digits

    def __str__(self) -> str:
        return JOINED


def substitute(text: str, *steps: Substitution) -> str:
    """Return the text after each substitution in turn, with a mark wherever a deletion joins two digits."""
    for pattern, new in steps:
        text = drop_needless_marks(pattern.sub(new, text))
    return text


def remove_marks(text: str) -> str:
    """Return the text without marks. Raise JoinedDigits where nothing but marks stands between two digits."""
    if MARK not in text:
        return text
    if digits := find_joined_digits(text):
        raise JoinedDigits(digits)
    return text.replace(MARK, "")


def find_joined_digits(text: str) -> str:
    """Return the first two numbers with only marks between them, as "50|100", or "" where there are none."""
    found = JOINED_NUMBERS.search(text) if MARK in text else None
    return show_marks_as_bars(found[0]) if found else ""


def show_marks_as_bars(text: str) -> str:
    """Return the text with a bar in place of the marks between two digits, for people to see the place."""
    return MARK_RUN.sub("|", drop_needless_marks(text))


def drop_needless_marks(text: str) -> str:
    """Return the text with only those marks that stand between two digits."""
    return NEEDLESS_MARKS.sub("", text) if MARK in text else text


def decode_digits(text: str) -> str:
    """Return the text with digits in place of their entities, so that `&#49;` counts as a digit before markup goes."""
    return NUMERIC_ENTITY.sub(_digit, text) if "&#" in text else text


def decode_entities(text: str) -> str:
    """Return the text with its entities decoded and a mark in place of those that stand for no character."""
    return html.unescape(NUMERIC_ENTITY.sub(_empty, text) if "&#" in text else text)


def _digit(found: re.Match[str]) -> str:
    text = html.unescape(found[0])
    return text if text.isdigit() and found[0].endswith(";") else found[0]


def _empty(found: re.Match[str]) -> str:
    return found[0] if html.unescape(found[0]) else MARK
