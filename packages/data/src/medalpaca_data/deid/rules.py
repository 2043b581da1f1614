"""What all de-identification rules share: the identifier classes, pattern fragments, word lists, `Rule` and `Span`.

The classes are the 18 of HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(A) to (R).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

# kind -> (letter in the regulation, title). Class (C) holds dates and ages over 89; each has rules of its own here.
KINDS: Mapping[str, tuple[str, str]] = {
    "name": ("A", "names"),
    "place": ("B", "places smaller than a state"),
    "date": ("C", "dates (except the year)"),
    "age": ("C", "ages over 89"),
    "phone": ("D", "telephone numbers"),
    "fax": ("E", "fax numbers"),
    "email": ("F", "e-mail addresses"),
    "ssn": ("G", "social security numbers"),
    "mrn": ("H", "medical record numbers"),
    "plan": ("I", "health plan beneficiary numbers"),
    "account": ("J", "account numbers"),
    "licence": ("K", "certificate and licence numbers"),
    "vehicle": ("L", "vehicle identifiers and plates"),
    "device": ("M", "device identifiers and serial numbers"),
    "url": ("N", "web addresses"),
    "ip": ("O", "IP addresses"),
    "biometric": ("P", "biometric identifiers"),
    "photo": ("Q", "full-face photographs (file names)"),
    "other": ("R", "other unique numbers and codes"),
}


# All capitals of the Latin, Greek and Cyrillic scripts, because Python's `re` has no class for capitals.
CAPITALS = "".join(
    chr(c) for c in (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x1F00)) if chr(c).isupper()
)
UPPER = f"[A-Z{CAPITALS}]"
LETTER = r"[^\W\d_]"

PARTICLES = r"(?:van|von|der|den|de|del|della|dos|das|da|di|du|la|le|bin|bint|ibn|al|el|ter|ten|te|y|e)"
NAME_PART = rf"(?:{UPPER}\.|{UPPER}{LETTER}{{0,40}}(?:['\u2019-]{LETTER}{{1,40}}){{0,4}})"
NAME_PREFIX = (
    r"(?:(?:van|von|der|den|de|del|della|dos|das|da|di|du|la|le|bin|bint|ibn|al|el|ter|ten|te)[ ]){0,2}"
)
NAME = rf"{NAME_PREFIX}{NAME_PART}(?:[ ](?:{PARTICLES}[ ]){{0,2}}{NAME_PART}){{0,3}}"
FULL_NAME = rf"{NAME_PREFIX}{NAME_PART}(?:[ ](?:{PARTICLES}[ ]){{0,2}}{NAME_PART}){{1,3}}"
FIELD_NAME = rf"(?:{NAME}, ?{NAME}|{NAME})"
CAPITALIZED = rf"{UPPER}(?:['\u2019-]?{LETTER}){{0,40}}"
TOWN = (
    rf"(?:(?:St|Ste|Ft|Mt)\. )?{CAPITALIZED}"
    rf"(?:(?: | de | del | la | of | upon |-)(?:(?:St|Ste)\. )?{CAPITALIZED}){{0,3}}"
)
ID_CODE = r"[A-Za-z]{0,5}(?:[-/_][A-Za-z]{1,4})?[-/_]?[0-9][A-Za-z0-9]*(?:[-/_][A-Za-z0-9]+)*"
SPACED_NUMBER = r"[A-Z]{0,3}[ -]?[0-9]{2,4}(?:[ -][0-9]{2,4}){1,4}(?: ?[A-Z])?\b"
ID_VALUE = rf"(?:{SPACED_NUMBER}|{ID_CODE})"
# Matches a telephone number in any layout; only used after a label such as "phone".
LOOSE_PHONE = r"[+(]?[0-9][0-9 ().-]{5,18}[0-9]"

# The prefilter replaces a group at the end of a pattern by its beginning: every match of the group starts so.
PREFILTER_PREFIXES = {
    f"(?P<x>{NAME})": f"{NAME_PREFIX}{UPPER}",
    f"(?P<x>{FIELD_NAME})": f"{NAME_PREFIX}{UPPER}",
    f"(?P<x>{TOWN})": UPPER,
    f"(?P<x>{ID_VALUE})": "[A-Za-z]{0,5}[-/_ ]?[A-Za-z]{0,4}[-/_]?[0-9]",
    f"(?P<x>{LOOSE_PHONE})": "[+(]?[0-9][0-9 ().-]{5}",
}


@cache
def read_word_list(file: str, heading: str = "") -> frozenset[str]:
    """Return the words of `read_section` in lower case."""
    return frozenset(word.lower() for word in read_section(file, heading))


@cache
def read_section(file: str, heading: str = "") -> frozenset[str]:
    """Return the words under a [heading] of a word list, as they are written; `file` is relative to this folder.

    An empty heading stands for the lines before the first heading. Lines that begin with # are comments.
    """
    words: set[str] = set()
    section = ""
    for line in files(__package__).joinpath(file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == heading and not line.startswith("#"):
            words.update(line.split())
    return frozenset(words)


STOP_WORDS = read_word_list("stop.txt", "stop")


def without_accents(word: str) -> str:
    """Return a word in lower case without accents, as the word lists have it."""
    return "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))


def is_given_name(word: str) -> bool:
    """Return whether the word is in the list of given names; case and accents are ignored."""
    return without_accents(word) in read_word_list("names.txt", "given")


def is_surname(word: str) -> bool:
    """Return whether the word is in the list of surnames; case and accents are ignored."""
    return without_accents(word) in read_word_list("names.txt", "surname")


def is_common_word(word: str) -> bool:
    """Return whether the word is a stop word, or in the list of words that medical texts use in lower case.

    A plural -s is ignored in words of more than four letters.
    """
    lower = word.lower().strip(".'\u2019")
    words = read_word_list("words.txt")
    return lower in STOP_WORDS or lower in words or (len(lower) > 4 and lower.removesuffix("s") in words)


def is_eponym(word: str) -> bool:
    """Return whether the word is a person's name that is part of medical terms, such as Parkinson."""
    return word.lower().removesuffix("'s").removesuffix("\u2019s") in read_word_list("eponyms.txt", "people")


def given_names() -> list[str]:
    """Return the listed given names with a capital first letter, the longest first."""
    return sorted(
        (word.title() for word in read_word_list("names.txt", "given")), key=lambda word: (-len(word), word)
    )


# "Mr. Smith has fever" is no medical term, unlike "Lassa haemorrhagic fever".
NOT_IN_A_TERM = (
    r"(?:has|had|have|is|was|with|without|and|or|of|for|in|on|at|to|the|a|an|no|no[tw]|denie[sd]|reports?|reported|"
    r"develop(?:s|ed)|gets?|got|takes?|took|needs?|needed|complains?|complained)\b"
)


@cache
def medical_suffix() -> re.Pattern[str]:
    """Return the pattern of what follows a name in a medical term or citation: "'s disease", " sign", " et al"."""
    nouns = "|".join(sorted(read_word_list("eponyms.txt", "nouns"), key=len, reverse=True))
    return re.compile(
        rf"(?:['\u2019]s|s['\u2019]|s)?(?-i:[- ]{UPPER}{LETTER}+(?:['\u2019]s)?)?[- ](?:(?!{NOT_IN_A_TERM}){LETTER}+[- "
        rf"])?(?:{nouns})\b|(?:,| and {UPPER}{LETTER}+)? et al",
        re.IGNORECASE,
    )


Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class Span:
    """An identifier in a text: `text[start:end]`, its kind (a key of `KINDS`) and the name of the rule."""

    start: int
    end: int
    kind: str
    rule: str


def outside(span: Span, intervals: Sequence[tuple[int, int]]) -> list[Span]:
    """Return the parts of a span that no interval (start, end) covers, in order."""
    parts = [(span.start, span.end)]
    for low, high in intervals:
        parts = [
            part
            for start, end in parts
            for part in ((start, min(end, low)), (max(start, high), end))
            if part[0] < part[1]
        ]
    return [Span(start, end, span.kind, span.rule) for start, end in parts]


@dataclass(frozen=True, slots=True)
class Rule:
    """A regular expression for identifiers of one kind, and `accept`, which returns whether a match is an identifier.

    The identifier is group `x` of the match, or the whole match if the pattern has no such group. A pattern uses no
    look-around, no back-reference, and `\\b` only beside ASCII characters. So the Rust engine of polars, which
    prefilters the texts, reads it in the same way as Python.
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
    def prefilter(self) -> str:
        """A looser pattern for the Rust engine: it matches in every text in which the rule matches, and in few others.

        ASCII word boundaries keep it fast; wide character classes without long counts keep it small.
        """
        pattern = self.pattern
        for end, beginning in PREFILTER_PREFIXES.items():
            if pattern.endswith(end):
                pattern = pattern.removesuffix(end) + beginning
        pattern = re.sub(r"\{0,(?:40|62)\}", "*", re.sub(r"\{1,(?:40|64|80)\}", "+", pattern))
        wide = pattern.replace(UPPER, "[A-Z\u0080-\U0010ffff]").replace(LETTER, "[A-Za-z\u0080-\U0010ffff]")
        return re.sub(r"\(\?P<\w+>", "(?:", wide.replace(r"\b", r"(?-u:\b)"))

    def spans(self, text: str) -> list[Span]:
        """Return the span of every identifier that the rule finds in `text`, in order."""
        spans = []
        for match in self.regex.finditer(text):
            start, end = match.span(self.group)
            if start < end and self.accept(match):
                spans.append(Span(start, end, self.kind, self.name))
        return spans


def is_isolated(match: Match) -> bool:
    """Return whether the match is a number of its own: no letter or digit continues it on either side.

    A digit after one of "-./" also continues it.
    """
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
    """Return the ASCII digits of a text."""
    return "".join(character for character in text if character in "0123456789")
