"""The 18 classes of identifiers that Safe Harbor names: 45 CFR 164.514(b)(2)(i)(A) to (R).

What stands where a rule expects a name, a town, a number: shared by the rules, and cut short for the first sieve.

The word lists that tell names from other words with a capital.

A rule: one pattern that two engines read, and what a match must still pass.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

# kind -> (letter in the regulation, title). Ages over 89 stand with the dates under (C) and have a rule of their own.
KINDS: Mapping[str, tuple[str, str]] = {
    "name": ("A", "names"),
    "place": ("B", "places smaller than a state"),
    "date": ("C", "dates, but for the year"),
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
LETTERS = tuple(dict.fromkeys(letter for letter, _ in KINDS.values()))


# Capitals of the Latin, Greek and Cyrillic scripts, spelled out: Python's `re` has no name for them.
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
LOOSE_PHONE = r"[+(]?[0-9][0-9 ().-]{5,18}[0-9]"  # a telephone number wherever a label says that it is one

# Where a pattern ends on one of these, its beginning is enough to tell whether Python need look at a text.
PREFILTER_PREFIXES = {
    f"(?P<x>{NAME})": f"{NAME_PREFIX}{UPPER}",
    f"(?P<x>{FIELD_NAME})": f"{NAME_PREFIX}{UPPER}",
    f"(?P<x>{TOWN})": UPPER,
    f"(?P<x>{ID_VALUE})": "[A-Za-z]{0,5}[-/_ ]?[A-Za-z]{0,4}[-/_]?[0-9]",
    f"(?P<x>{LOOSE_PHONE})": "[+(]?[0-9][0-9 ().-]{5}",
}


@cache
def read_word_list(file: str, heading: str = "") -> frozenset[str]:
    """The words of a list under a [heading], in small letters."""
    found: set[str] = set()
    here = ""
    for line in files(__package__).joinpath(file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == heading and not line.startswith("#"):
            found.update(line.lower().split())
    return frozenset(found)


STOP_WORDS = read_word_list("stop.txt", "stop")


def _without_accents(word: str) -> str:
    """Small letters without marks: the lists are written so."""
    return "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))


def is_given_name(word: str) -> bool:
    """Whether it is a listed given name."""
    return _without_accents(word) in read_word_list("names.txt", "given")


def is_surname(word: str) -> bool:
    """Whether it is a listed surname."""
    return _without_accents(word) in read_word_list("names.txt", "surname")


def is_common_word(word: str) -> bool:
    """Whether medical prose writes it in small letters too, or it can never be a name."""
    small = word.lower().strip(".'\u2019")
    words = read_word_list("words.txt")
    return small in STOP_WORDS or small in words or (len(small) > 4 and small.removesuffix("s") in words)


def is_eponym(word: str) -> bool:
    """Whether it is the name of somebody whom a disease, sign or tool is called after."""
    return word.lower().removesuffix("'s").removesuffix("\u2019s") in read_word_list("eponyms.txt", "people")


def given_names() -> list[str]:
    """The listed given names as they are written, the longest first."""
    return sorted(
        (word.title() for word in read_word_list("names.txt", "given")), key=lambda word: (-len(word), word)
    )


@cache
def medical_suffix() -> re.Pattern[str]:
    """What follows a name that is a medical word: "Wilson's disease", "Murphy sign", "Smith et al."."""
    nouns = "|".join(sorted(read_word_list("eponyms.txt", "nouns"), key=len, reverse=True))
    return re.compile(
        rf"(?:['\u2019]s|s['\u2019]|s)?(?:[- ]{UPPER}{LETTER}+(?:['\u2019]s)?)?[- ](?:{LETTER}+[- "
        rf"])?(?:{nouns})\b|(?:,| and {UPPER}{LETTER}+)? et al",
        re.IGNORECASE,
    )


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
        for end, beginning in PREFILTER_PREFIXES.items():
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


def is_isolated(match: Match) -> bool:
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
