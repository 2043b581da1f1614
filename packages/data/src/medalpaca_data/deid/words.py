"""The word lists that tell names from other words with a capital."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

from .shapes import LETTER, UPPER


@cache
def listed(file: str, heading: str = "") -> frozenset[str]:
    """The words of a list under a [heading], in small letters."""
    found: set[str] = set()
    here = ""
    for line in files(__package__).joinpath(file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == heading and not line.startswith("#"):
            found.update(line.lower().split())
    return frozenset(found)


STOP = listed("stop.txt", "stop")


def _plain(word: str) -> str:
    """Small letters without marks: the lists are written so."""
    return "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))


def is_given(word: str) -> bool:
    """Whether it is a listed given name."""
    return _plain(word) in listed("names.txt", "given")


def is_surname(word: str) -> bool:
    """Whether it is a listed surname."""
    return _plain(word) in listed("names.txt", "surname")


def is_common(word: str) -> bool:
    """Whether medical prose writes it in small letters too, or it can never be a name."""
    small = word.lower().strip(".'\u2019")
    words = listed("words.txt")
    return small in STOP or small in words or (len(small) > 4 and small.removesuffix("s") in words)


def is_eponym(word: str) -> bool:
    """Whether it is the name of somebody whom a disease, sign or tool is called after."""
    return word.lower().removesuffix("'s").removesuffix("\u2019s") in listed("eponyms.txt", "people")


def given_names() -> list[str]:
    """The listed given names as they are written, the longest first."""
    return sorted(
        (word.title() for word in listed("names.txt", "given")), key=lambda word: (-len(word), word)
    )


@cache
def medical_after() -> re.Pattern[str]:
    """What follows a name that is a medical word: "Wilson's disease", "Murphy sign", "Smith et al."."""
    nouns = "|".join(sorted(listed("eponyms.txt", "nouns"), key=len, reverse=True))
    return re.compile(
        rf"(?:['\u2019]s|s['\u2019]|s)?(?:[- ]{UPPER}{LETTER}+(?:['\u2019]s)?)?[- ](?:{LETTER}+[- "
        rf"])?(?:{nouns})\b|(?:,| and {UPPER}{LETTER}+)? et al",
        re.IGNORECASE,
    )
