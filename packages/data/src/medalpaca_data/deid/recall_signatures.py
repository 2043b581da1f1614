"""Names with a form of their own, for the profile `recall`: HL7 fields, "Last, First", signatures."""

from __future__ import annotations

import re

from . import recall_context as context
from .recall_words import (
    is_abbreviation,
    is_common_name,
    is_given,
    is_listed,
    is_plain_german,
    is_term,
    is_word,
)
from .rules import Span

SIGNATURE = re.compile(
    r"(?m)(?:(?:^|[ \t])(?:[-\u2013\u2014~]{1,2}|/s/|i\. ?[AV]\.|gez\.) ?|^[ \t]*|"
    r"[ \t]{3,})(?P<x>(?:[A-Z]\.? ?){0,3}[^\W\d_a-zß][^\W\d_]+(?:[ -](?:[A-Z]\.?|"
    r"[^\W\d_a-zß][^\W\d_]+)){0,3})"
    r"(?=,? (?:RN|MD|M\.D\.|DO|NP|PA-?C?|LPN|CNA|MRCP|FRCS|MBBS|FRCP|MRCGP|FRCA|FRCR|"
    r"MBChB|MBE|LCSW|PharmD|PhD|Consultant|Facharzt|Ober\w+|Assistenz\w+|Chef\w+)\b|"
    r"[ \t]*$)"
)
TYPIST = re.compile(r"(?m)^[ \t]*(?:[A-Z]{2,4}[/:] ?[a-z]{2,4}|[a-z]{2,3}/[a-z]{2,3})[ \t]*$")
SMALL_INVERTED = re.compile(
    r"(?i:\b(?:pt|patient|name|re)\b[ ]?[:=]?[ ]?)(?P<x>(?P<a>[a-z]{2,}), ?(?P<b>[a-z]{2,}))\b"
)
INVERTED_INITIAL = re.compile(
    r"(?m)(?:^[ \t]*|[:|\t;(][ ]?| {2,})(?P<x>(?P<a>[^\W\d_a-zß][^\W\d_]+(?:[-'\u2019][^\W\d_]+)?),[ ]?[A-"
    r"Z]\.?(?:[ ]?[A-Z]\.?)?)(?![\w'\u2019-])"
)
SMALL_SIGNATURE = re.compile(
    r"(?im)\b(?:thanks|thank you|thx|cheers|regards|best|love|sincerely|ta|wishes|"
    r"grüße|gruß|lg|mfg)[,!. ]*\n?[ ]?(?P<x>(?-i:(?:[a-z]\. ?)?[a-z]{3,}(?: [a-z]{3,})?))[ .!]*$"
)
INTRODUCTION = re.compile(
    r"(?i:\b(?:(?P<n>my name(?: is|'s|\u2019s)|mein name ist|ich heiße|call me|i go by|"
    r"named)|i am|i'm|i\u2019m|this is|its|it's|ich bin|hier ist|hier spricht) )(?P<x>[a-z]{3,})(?![\w'\u2019"
    r"-])"
)
INITIALS_FIRST = re.compile(
    r"(?m)(?<![\w.])(?P<x>(?:[A-Z](?:\. ?| )){1,3}(?P<l>[^\W\d_a-zß](?:['\u2019][A-Z])?[a-zß-ÿ]+(?:-[^\W\d"
    r"_a-zß][^\W\d_]+)?))(?=,? (?:RN|MD|DO|NP|MRCP|FRCS|MBBS|FRCP|MRCGP|FRCA|FRCR|"
    r"MBChB)\b|[ \t]*$)"
)
DOTTED_INITIALS = re.compile(r"(?<![\w.])(?:[A-Z\u00c4\u00d6\u00dc]\.[ ]?){2,3}(?!\w)")
AFTER_INITIALS = re.compile(
    r"(?i)(?:\b(?:by|d/w|initials?|signed|verified|witnessed|cosigned|dictated|transcribed|"
    r"typed|kürzel|gez\.?|unterschrift|rn|md|reviewer)[ :]{1,2}|^[-\u2013~/]{1,2} ?)(?P<x>(?-i:[A-Z]{2,3}"
    r"(?:/[A-Za-z]{2,3})?))(?![\w'\u2019]|[./-][A-Z0-9])",
    re.MULTILINE,
)
HL7 = re.compile(r"(?<![\w^])(?P<x>[^\W\d_][^\W\d_'\u2019-]*(?:\^+[^\W\d_][^\W\d_'\u2019. -]*){1,5})")
INVERTED = re.compile(
    r"(?<![\w,])(?P<x>(?P<a>[^\W\d_a-zß][^\W\d_]+(?:[-'\u2019 ][^\W\d_a-zß][^\W\d_]+)?),[ ]?(?P<b>[^\W\d_a"
    r"-zß][^\W\d_]+)(?:[ -][^\W\d_a-zß][^\W\d_]*\.?){0,2})(?![\w'\u2019])"
)
CLOSINGS = (
    "thank",
    "thx",
    "cheers",
    "regards",
    "best",
    "love",
    "sincerely",
    "ta,",
    "wishes",
    "grüße",
    "gruß",
    "lg",
    "mfg",
)
INTRODUCTIONS = (
    "name is",
    "name's",
    "name\u2019s",
    "name ist",
    "i am ",
    "i'm ",
    "i\u2019m ",
    "this is ",
    "call me",
    "go by",
    "named ",
    "it's ",
    "its ",
    "ich bin",
    "ich heiße",
    "hier ist",
    "hier spricht",
)


def find_written_names(text: str, german: bool) -> list[Span]:
    """Return the names whose written form shows what they are: HL7 fields, "Last, First", initials, signatures."""
    spans: list[Span] = []
    if "^" in text:
        spans += [Span(*match.span("x"), "name", "HL7 field") for match in HL7.finditer(text)]
    if "," in text:
        spans += [
            Span(*match.span("x"), "name", "surname first")
            for match in INVERTED.finditer(text)
            if _is_inverted(match, german)
        ]
        spans += [
            Span(*match.span("x"), "name", "surname, initial")
            for match in INVERTED_INITIAL.finditer(text)
            if _can_be_surname(match["a"].lower()) and not (german and is_plain_german(match["a"].lower()))
        ]
        spans += [
            Span(*match.span("x"), "name", "small letters")
            for match in SMALL_INVERTED.finditer(text)
            if _is_small_inverted(match)
        ]
    if not german:
        spans += [
            Span(match.start(), match.end() - (match[0].endswith(" ")), "name", "initials")
            for match in DOTTED_INITIALS.finditer(text)
            if re.sub(r"[^a-z]", "", match[0].lower()) not in context.NO_INITIALS
        ]
    spans += [
        Span(*match.span("x"), "name", "initials first")
        for match in INITIALS_FIRST.finditer(text)
        if is_listed(match["l"].lower()) and match["l"].lower() not in context.NO_NAME
    ]
    spans += [
        Span(*match.span("x"), "name", "signature")
        for match in SIGNATURE.finditer(text)
        if _is_signature(match, german)
    ]
    spans += [
        Span(*match.span("x"), "name", "initials after a label")
        for match in AFTER_INITIALS.finditer(text)
        if _are_initials(match)
    ]
    spans += [Span(*match.span(), "name", "typist") for match in TYPIST.finditer(text)]
    small = text.lower()
    if any(part in small for part in CLOSINGS):
        spans += [
            Span(*match.span("x"), "name", "small signature")
            for match in SMALL_SIGNATURE.finditer(text)
            if _is_small_signature(match)
        ]
    if any(part in small for part in INTRODUCTIONS):
        spans += [
            Span(*match.span("x"), "name", "introduction")
            for match in INTRODUCTION.finditer(text)
            if _is_introduced(match)
        ]
    return spans


def _is_signature(match: re.Match[str], german: bool) -> bool:
    """Return whether a match of `SIGNATURE` is a name.

    All its words must be listed names. None may be a medical term, an abbreviation or the word of an organisation.
    After a mark, such as a dash or "gez.", the first word must be a given name or a common surname. Without a mark, and
    in a list item, there must be two words or more, and the first must be a given name. Without a mark, at least one
    word must be no ordinary English word.
    """
    words = [word.lower() for word in re.findall(r"[^\W\d_]{2,}", match["x"])]
    if not words or any(
        word in context.NO_NAME or word in context.ORGANISATIONS or is_abbreviation(word) or is_term(word)
        for word in words
    ):
        return False
    dash = match.string[match.start() : match.start("x")].strip() != ""
    if not all(is_listed(word) for word in words) or (german and len(words) < 2 and not dash):
        return False
    if (
        dash
        and match.string[: match.start()].rpartition("\n")[2].strip() == ""
        and match.end() != len(match.string)
    ):
        # A list item.
        return len(words) > 1 and is_given(words[0])
    return (
        is_common_name(words[0])
        if dash
        else (len(words) > 1 and is_given(words[0]) and not all(is_word(word) for word in words))
    )


def _can_be_surname(word: str) -> bool:
    return word not in context.NO_NAME and (
        is_listed(word) or not (is_word(word) or is_term(word) or is_abbreviation(word))
    )


def _is_small_inverted(match: re.Match[str]) -> bool:
    first, second = match["a"], match["b"]
    return not is_word(first) and (is_given(second) or (is_listed(first) and not is_word(second)))


def _are_initials(match: re.Match[str]) -> bool:
    word = match["x"].lower()
    explicit = re.match(r"(?i)initials|kürzel|typed|dictated|transcribed|cosigned", match[0])
    return bool(explicit) or not (is_abbreviation(word) or is_word(word) or is_term(word))


def _is_small_signature(match: re.Match[str]) -> bool:
    words = re.findall(r"[a-z]{2,}", match["x"])
    return match["x"] not in context.NO_NAME and all(
        is_listed(word) or not (is_word(word) or is_term(word)) for word in words
    )


def _is_introduced(match: re.Match[str]) -> bool:
    """Return whether the word in small letters after "my name is" or "I am" is a name."""
    word = match["x"].lower()
    if is_word(word):
        return match["n"] is not None and is_given(word)
    return is_listed(word) or (match["n"] is not None and not is_term(word))


def _is_inverted(match: re.Match[str], german: bool) -> bool:
    """Return whether a match of `INVERTED` ("Last, First") is a name.

    "First" must be a given name. If "Last" is an ordinary word or a medical term, it must begin a line or follow a
    separator such as ":" or "|". An ordinary word must also be a listed name.
    """
    first, second = match["a"].lower(), match["b"].lower()
    if second in context.NO_NAME or first in context.NO_NAME or first in context.TITLES:
        return False
    if not is_given(second) or (is_word(second) and not (match["b"].isupper() or is_listed(first))):
        return False
    before = match.string[: match.start()].rpartition("\n")[2].rstrip(" ")
    free = not before or before[-1] in ":|(\t;=" or before.endswith("  ")
    if is_word(first) or first in ("",):
        return free and is_listed(first)
    return free or not is_term(first)
