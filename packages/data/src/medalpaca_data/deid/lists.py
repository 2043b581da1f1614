"""Word lists of the profile `recall`, read on first use: ordinary and medical words, eponyms, names, towns."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from .rules import read_section, read_word_list, without_accents


def fold(word: str) -> str:
    """Return a word in lower case without accents, as the lists of names have it."""
    return word.lower() if word.isascii() else without_accents(word.lower().replace("ß", "ss"))


# The most frequent surnames, at the beginning of the list.
COMMON = 4000


@cache
def _lines(file: str) -> tuple[str, ...]:
    text = files(__package__).joinpath("lists", file).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def section(file: str, heading: str) -> frozenset[str]:
    """Return the words under a [heading] of a file in the folder `lists`."""
    return read_section(f"lists/{file}", heading)


@cache
def eponyms() -> frozenset[str]:
    """Return the names of persons that are part of medical terms, such as "parkinson"."""
    return frozenset(fold(w) for w in section("clinical.txt", "eponyms")) | read_word_list(
        "eponyms.txt", "people"
    )


@cache
def lone_eponyms() -> frozenset[str]:
    """Return the eponyms that notes use without a noun although they are common surnames: "a Foley", "Murphy neg"."""
    return frozenset(fold(w) for w in section("clinical.txt", "lone eponyms"))


@cache
def abbreviations() -> frozenset[str]:
    """Return the abbreviations of clinical notes, in lower case."""
    return section("clinical.txt", "abbreviations")


@cache
def given() -> frozenset[str]:
    """Return the given names, in lower case without accents."""
    return frozenset(_lines("given.txt"))


@cache
def surnames() -> frozenset[str]:
    """Return the surnames, in lower case without accents."""
    return frozenset(_lines("surnames.txt"))


@cache
def common_surnames() -> frozenset[str]:
    """Return the `COMMON` most frequent surnames, in lower case without accents."""
    return frozenset(_lines("surnames.txt")[:COMMON])


@cache
def towns() -> frozenset[str]:
    """Return the towns, in lower case without accents."""
    return frozenset(_lines("towns.txt"))


@cache
def first_words_of_towns() -> frozenset[str]:
    """Return the first words of the towns of several words."""
    import re

    return frozenset(re.split("[ .'-]", town)[0] for town in towns() if re.search("[ .'-]", town))


@cache
def words() -> frozenset[str]:
    """Return the ordinary and medical English words, in lower case."""
    return core_words() | frozenset(_lines("english.txt"))


@cache
def core_words() -> frozenset[str]:
    """Return the words that public medical texts write in lower case; surnames among them need a context."""
    return (
        frozenset(_lines("medical.txt"))
        | read_word_list("words.txt")
        | read_word_list("stop.txt", "stop")
        | section("clinical.txt", "words")
    )


@cache
def wide() -> frozenset[str]:
    """Return the words of the names of countries and states, which Safe Harbor keeps, in lower case."""
    return read_word_list("stop.txt", "wide") | frozenset(_lines("wide.txt"))


@cache
def terms() -> frozenset[str]:
    """Return the words that medical texts write with a capital letter and that are no names, in lower case."""
    own = frozenset(w.lower() for w in section("clinical.txt", "terms"))
    return own | frozenset(_lines("terms.txt")) | wide()


@cache
def german() -> frozenset[str]:
    """Return the ordinary and medical German words, in lower case without accents."""
    return frozenset(_lines("german.txt")) | frozenset(map(fold, section("clinical.txt", "german")))
