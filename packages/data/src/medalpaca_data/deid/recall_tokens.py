"""Words of a text for the profile `recall`: shape, line, sentence start, and kind; language of a text."""

from __future__ import annotations

import re

from . import lists
from .recall_context import GERMAN_MARKS
from .recall_words import (
    is_abbreviation,
    is_common_name,
    is_eponym,
    is_german_word,
    is_listed,
    is_term,
    is_word,
)

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
START = re.compile(r"[.!?\n:;|\u2022*=>\u2014\u2013#]")
CONTRACTION = re.compile(r"['\u2019](?:m|d|ll|ve|re|t|s)$")


class Token:
    """A word of a text: its text without a possessive ending, its place, shape, and the text before it (`gap`).

    `shape` is T (title case), U (capitals), I (one capital), l (small letters) or X (mixed, or beside a digit). `kind`
    is n (unknown), w (ordinary word), t (term), e (eponym) or a (abbreviation). `name` is whether it is a name,
    `starts` whether it begins a sentence, and `capitals` whether its line is in capitals.
    """

    __slots__ = ("capitals", "end", "gap", "kind", "lower", "name", "shape", "start", "starts", "text")

    def __init__(self, text: str, start: int, gap: str) -> None:
        self.text, self.start, self.gap = text, start, gap
        self.end = start + len(text)
        self.lower = text.lower()
        self.starts = self.capitals = self.name = False
        self.kind = "w"
        self.shape = "l"


def is_german(text: str) -> bool:
    """Return whether more words of a text are in the German list only than in the English lists only.

    At least three of them, or three German function words, are needed; the first 4,000 characters are read.
    """
    words = set(re.findall(r"[^\W\d_]{2,}", text[:4000].lower()))
    german, english = lists.german(), lists.words()
    only_german = sum(lists.fold(word) in german and word not in english for word in words)
    only_english = sum(word in english and lists.fold(word) not in german for word in words)
    return only_german > only_english and (only_german > 2 or len(words & GERMAN_MARKS) > 2)


def tokenize(text: str, german: bool) -> list[Token]:
    """Return the words of a text with shape and kind."""
    tokens: list[Token] = []
    last = 0
    line_end = -1
    capitals = False
    for match in WORD.finditer(text):
        start, end = match.span()
        word = match[0]
        if len(word) > 2 and word[-2] in "'\u2019" and word[-1] in "sS":
            word = word[:-2]
        token = Token(word, start, text[last:start])
        last = start + len(word)
        if start > line_end:
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
            capitals = _is_capital_line(text[start:line_end])
        token.capitals = capitals
        if not word.islower():
            gap = token.gap
            token.shape = _shape(word, text[start - 1 : start], text[end : end + 1])
            token.starts = not tokens or (
                gap != " " and START.search(gap) is not None and not _is_initial(tokens[-1], gap)
            )
            token.kind = _kind(token, german)
        elif (end < len(text) and (text[end].isdigit() or text[end] == "_")) or (
            start and (text[start - 1].isdigit() or text[start - 1] == "_")
        ):
            token.shape = "X"
        tokens.append(token)
    return tokens


def _is_initial(before: Token, gap: str) -> bool:
    return (
        gap.startswith(".")
        and gap.strip() == "."
        and (
            before.shape == "I"
            or before.lower
            in (
                "dr",
                "mr",
                "mrs",
                "ms",
                "prof",
                "st",
                "pt",
                "vs",
                "med",
                "hr",
                "fr",
                "frl",
                "rev",
                "sgt",
                "jr",
            )
        )
    )


def _is_capital_line(line: str) -> bool:
    upper = sum(map(str.isupper, line))
    lower = sum(map(str.islower, line))
    return upper > 8 and upper > 4 * lower


def _shape(word: str, before: str, after: str) -> str:
    if (before and (before.isdigit() or before == "_")) or (after and (after.isdigit() or after == "_")):
        return "X"
    if word.islower():
        return "l"
    if not word[0].isupper():
        return "X"
    if len(word) == 1:
        return "I"
    if word.isupper():
        return "U"
    rest = word[1:]
    if rest.islower() or re.fullmatch(
        r"(?:Ma?c|O['\u2019]|D['\u2019]|L['\u2019]|N['\u2019]|Fitz|De|Di|Du|La|Le|Lo|"
        r"Van|Von|Mc|Al|Abu|Ben|St)[A-Z][^\W\d_]+|[A-Z][a-z]+['\u2019][A-Z]?[a-z]+|[A-Z]['\u2019][A-Z][a-z]+",
        word,
    ):
        return "T"
    if re.fullmatch(r"[^\W\d_a-z][^\W\d_]*['\u2019][^\W\d_]+", word):
        return "T"
    return "X"


def _kind(token: Token, german: bool) -> str:
    lower = token.lower
    if token.shape in ("l", "X", "I") or CONTRACTION.search(lower):
        return "w"
    if german:
        if is_german_word(lower) or is_word(lower):
            return "w"
    elif is_word(lower):
        if (
            token.shape == "T"
            and lower not in lists.core_words()
            and is_common_name(lower)
            and not is_eponym(lower)
            and not is_term(lower)
        ):
            return "n"
        return (
            "e"
            if token.shape == "T"
            and not token.starts
            and lists.fold(lower) in lists.eponyms()
            and is_listed(lower)
            else "w"
        )
    if is_eponym(lower):
        return "e"
    if is_term(lower):
        return "t"
    if is_abbreviation(lower) and (token.shape == "U" or len(lower) < 5):
        return "a"
    if lower in lists.section("clinical.txt", "german") and not is_listed(lower):
        return "w"
    if "'" in lower or "\u2019" in lower:
        head = re.split(r"['\u2019]", lower)[0]
        if is_word(head) and len(head) > 2:
            return "w"
    return "n"
