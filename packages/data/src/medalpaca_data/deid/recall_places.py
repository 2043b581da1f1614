"""Towns, hospitals, schools and employers of the profile `recall`, by the words of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from . import lists
from . import recall_context as context
from .places import STATES
from .recall_addresses import CLEAR
from .recall_tokens import Token
from .recall_words import (
    is_listed,
    is_word,
)
from .rules import Span

STREET_WORDS = frozenset(CLEAR[3:-1].split("|")) | {"St", "Blvd", "Way", "Hwy", "Rd", "Ave", "Highway"}
EMPLOYER = re.compile(
    r"(?i)(?:\b(?:(?:is|as|was) an? (?:\w+ ){1,4}(?:at|for|with)|(?:verkäufer|arbeiter|"
    r"lehrer|fahrer|mechaniker|ingenieur|angestellte|sekretär|kassierer|bäcker|maurer|"
    r"schlosser|elektriker)(?:in|r)? bei|works?|worked|working|employed|employment|"
    r"job|employer|retired|volunteers?|position|career|teaches|taught|student|studies|"
    r"studied|enrolled|graduated|attends?|attended|plays?|"
    r"football|arbeitet|angestellt|beschäftigt|tätig|arbeitgeber)(?: \w+){0,5}? (?:at|"
    r"for|with|by|from|bei|in der|beim|bei der|bei der firma|bei firma|für die firma)|"
    r"\bemployer ?(?:is|:|was)|\barbeitgeber ?:|"
    r"\b(?:owns|runs|manages)|\bretired) (?:the |der |die |dem )?$"
)
CHAIN_GAP = re.compile(r" |-| & |['\u2019]s? |, (?=Inc|LLC|Ltd)|\. ")


def find_places(text: str, tokens: Sequence[Token], german: bool) -> list[Span]:
    """Return towns and organisations: words after a preposition, and names beside the words of an organisation."""
    spans = _towns(tokens, text, german)
    spans += _organisations(tokens, text, german)
    spans += _streets(tokens, text)
    spans += _named_after(tokens)
    spans += _towns_of_two_words(tokens, german)
    return spans


def _named_after(tokens: Sequence[Token]) -> list[Span]:
    """Return "Klinikum Kassel", "Praxis Dr. Wagner": the word of an organisation and the name after it."""
    spans = []
    for n, token in enumerate(tokens[:-1]):
        if token.lower not in context.BEFORE_ORGANISATION or token.shape not in "TU":
            continue
        at = n + 1
        while at < len(tokens) - 1 and tokens[at].lower in (
            "dr",
            "prof",
            "med",
            "st",
            "of",
            "am",
            "an",
            "der",
            "in",
            "dres",
        ):
            at += 1
        other = tokens[at]
        if (
            other.gap in (" ", ". ")
            and other.shape in "TU"
            and (
                other.name
                or lists.fold(other.lower) in lists.towns()
                or (
                    token.lower
                    in ("pflegeheim", "seniorenheim", "altenheim", "seniorenzentrum", "seniorenresidenz")
                    and other.shape == "T"
                )
            )
            and other.lower not in context.NO_NAME
        ):
            spans.append(Span(token.start, other.end, "place", "organisation"))
    return spans


def _towns(tokens: Sequence[Token], text: str, german: bool) -> list[Span]:
    spans: list[Span] = []
    towns, wide, starts = lists.towns(), lists.wide(), lists.first_words_of_towns()
    for n, token in enumerate(tokens):
        if (
            token.shape == "l"
            and n
            and len(token.lower) > 3
            and tokens[n - 1].lower in ("from", "in", "to", "near", "at", "aus")
            and token.gap == " "
        ):
            if (
                lists.fold(token.lower) in towns
                and not is_word(token.lower)
                and lists.fold(token.lower) not in wide
                and not german
            ):
                spans.append(Span(token.start, token.end, "place", "town"))
            continue
        if (
            token.shape not in "TU"
            or not (
                (n and tokens[n - 1].lower in context.BEFORE_PLACE and token.gap in (" ", "\n"))
                or text[token.end : token.end + 2] == ", "
                or token.gap.endswith((", ", ": ", "| "))
            )
        ) and token.shape not in "TU":
            continue
        for count in (4, 3, 2) if lists.fold(token.lower).split("'")[0] in starts else ():
            part = tokens[n : n + count]
            if len(part) < count or any(t.gap not in (" ", "-", ". ", "'") for t in part[1:]):
                continue
            phrase = lists.fold(text[token.start : part[-1].end])
            if (
                phrase in towns
                and not all(lists.fold(t.lower) in wide for t in part)
                and part[-1].shape in "TUX"
                and not (token.starts and all(t.kind == "w" for t in part) and token.capitals)
            ):
                spans.append(Span(token.start, part[-1].end, "place", "town of several words"))
                last = n + count - 1
                while (
                    last + 1 < len(tokens)
                    and tokens[last + 1].gap == " "
                    and tokens[last + 1].shape in "TU"
                    and tokens[last + 1].lower in context.ORGANISATIONS
                ):
                    last += 1
                if last > n + count - 1:
                    spans.append(Span(token.start, tokens[last].end, "place", "organisation"))
                break
        else:
            after = tokens[n + 1] if n + 1 < len(tokens) else None
            preposition = (
                n
                and tokens[n - 1].lower in context.BEFORE_PLACE
                and token.gap == " "
                and tokens[n - 1].lower not in ("within", "by", "für", "via", "of", "nach")
            )
            state = re.match(rf",? (?:{STATES})\b", text[token.end : token.end + 5])
            if (
                (preposition or state)
                and lists.fold(token.lower) in towns
                and lists.fold(token.lower) not in wide
                and token.lower not in context.NO_NAME
                and token.lower not in ("spring", "summer", "autumn", "fall", "winter")
            ):
                if (
                    token.kind in "w"
                    and after is not None
                    and after.gap in (" ", "-")
                    and after.shape in "TU"
                    and not state
                ):
                    continue
                if token.capitals and token.kind == "w" and not state and tokens[n - 1].lower != "from":
                    continue
                if token.kind == "e" and after is not None and after.lower in context.MEDICAL_NOUNS:
                    continue
                if token.shape == "U" and not token.capitals and len(token.lower) < 5:
                    continue
                spans.append(Span(token.start, token.end, "place", "town"))
    return spans


def _organisations(tokens: Sequence[Token], text: str, german: bool) -> list[Span]:
    """Return a name with the words of an organisation after it, and what follows "works at"."""
    spans = []
    n = 0
    while n < len(tokens):
        token = tokens[n]
        if (
            token.shape not in "TU"
            or token.lower in context.NO_NAME
            or (
                n
                and tokens[n - 1].shape in "TU"
                and token.gap in (" ", "-")
                and not tokens[n - 1].starts
                and token.lower in context.ORGANISATIONS
            )
        ):
            n += 1
            continue
        if token.lower in context.PLACE_WORDS and not named_before(tokens, n):
            stop = n
            while (
                stop + 1 < len(tokens)
                and tokens[stop + 1].gap == " "
                and tokens[stop + 1].shape == token.shape
                and (
                    tokens[stop + 1].lower in context.FACILITIES
                    or tokens[stop + 1].lower in context.PLACE_WORDS
                )
            ):
                stop += 1
            if stop > n and tokens[stop].lower in context.FACILITIES:
                spans.append(Span(token.start, tokens[stop].end, "place", "facility"))
                n = stop + 1
                continue
        employer = (
            token.gap == " "
            and n > 0
            and tokens[n - 1].lower in context.BEFORE_EMPLOYER
            and EMPLOYER.search(text[max(0, token.start - 90) : token.start]) is not None
        )
        named = (
            token.name
            or lists.fold(token.lower) in lists.towns()
            or (token.kind in "et" and token.lower not in context.ORGANISATIONS)
        )
        if token.lower in context.BEFORE_FACILITY:
            named = (
                named
                or not token.starts
                or token.capitals
                or token.lower in ("st", "saint", "mount", "mt", "sankt")
            )
        if not (employer or named):
            n += 1
            continue
        end, organisation, last = n, False, n
        while end + 1 < len(tokens):
            other = tokens[end + 1]
            if (
                other.lower in ("of", "and", "the", "for", "de", "la", "upon", "on")
                and other.shape == "l"
                and other.gap == " "
                and end + 2 < len(tokens)
                and tokens[end + 2].shape in "TU"
                and tokens[end + 2].gap == " "
                and (
                    tokens[end + 2].lower in context.ORGANISATIONS
                    or (other.lower in ("of", "de", "la") and organisation)
                )
            ):
                end += 2
                organisation = organisation or tokens[end].lower in context.ORGANISATIONS
                last = end
                continue
            if (
                employer
                and other.lower == "and"
                and end + 2 < len(tokens)
                and tokens[end + 2].shape == "T"
                and tokens[end + 2].name
                and tokens[end + 2].gap == " "
                and other.gap == " "
            ):
                end += 2
                last = end
                continue
            if (
                other.shape not in "TU"
                or not CHAIN_GAP.fullmatch(other.gap)
                or (other.gap == ". " and tokens[end].lower not in ("st", "mt", "ste"))
            ):
                break
            if other.lower in context.NO_NAME and other.lower not in context.ORGANISATIONS:
                break
            end += 1
            if other.lower in context.ORGANISATIONS:
                organisation = True
                last = end
            elif employer or other.name:
                last = end
        if organisation:
            stop = tokens[last].end
            number = re.match(r"[ -][0-9]{1,3}[A-Za-z]?(?![\w.,/%])", text[stop : stop + 6])
            if len(tokens[n : last + 1]) > 1:
                spans.append(
                    Span(token.start, stop + (number.end() if number else 0), "place", "organisation")
                )
                n = last + 1
                continue
        if (
            token.lower in ("st", "mt", "saint", "mount", "sankt", "good", "holy", "sacred")
            and last == n
            and not organisation
            and n + 1 < len(tokens)
            and tokens[n + 1].shape == token.shape
            and tokens[n + 1].gap in (" ", ". ")
            and (
                token.lower not in ("good", "mt", "st")
                or tokens[n + 1].lower in ("samaritan", "shepherd", "sinai")
                or (token.lower != "good" and is_listed(tokens[n + 1].lower))
            )
        ):
            spans.append(Span(token.start, tokens[n + 1].end, "place", "saint"))
            n += 2
            continue
        if employer and token.lower not in context.ROLES:
            spans.append(Span(token.start, tokens[last].end, "place", "employer"))
            n = last + 1
            continue
        if token.name and not organisation:
            closing = re.match(r" [0-9]{1,2}(?=[.,;)]?(?:\s|$))(?! [a-z])", text[token.end : token.end + 6])
            if closing and token.shape == "T" and not token.starts:
                spans.append(Span(token.start, token.end + closing.end(), "place", "ward"))
            number = re.match(
                r" [0-9]{1,2}[A-Z]?(?![\w%]|[.,/:-][0-9]| ?(?:y|year|yo|M\b|F\b|mg|ml|mcg|mm|"
                r"cm|units?|tab|x\b|times|%|g\b|hours|hrs|days))",
                text[token.end : token.end + 14],
            )
            if (
                number
                and n
                and tokens[n - 1].lower in ("to", "on", "in", "from", "at", "of", "unit", "floor")
                and not re.match(r" [0-9]{1,2}[A-Z]? [a-z]*(?:mg|mcg)", text[token.end : token.end + 10])
            ):
                spans.append(Span(token.start, token.end + number.end(), "place", "ward"))
        n += 1
    return spans


def named_before(tokens: Sequence[Token], n: int) -> bool:
    """Return whether the word directly before the one at `n` is a name."""
    return n > 0 and tokens[n - 1].name and tokens[n].gap == " "


def _towns_of_two_words(tokens: Sequence[Token], german: bool) -> list[Span]:
    """Return "Walton Falls", "Bad Orb": a name or unknown word beside the word of a town."""
    spans = []
    for token, other in pairwise(tokens):
        if token.shape not in "TU" or other.shape != token.shape or other.gap != " ":
            continue
        if (other.lower in context.TOWN_ENDS and (token.name or token.kind == "n")) or (
            german and token.text == "Bad" and other.lower not in context.NO_NAME
        ):
            spans.append(Span(token.start, other.end, "place", "town of two words"))
    return spans


def _streets(tokens: Sequence[Token], text: str) -> list[Span]:
    """Return streets without a number ("Kings Highway"), and towns after an address."""
    spans = []
    for n, token in enumerate(tokens):
        if n == 0 or token.text not in STREET_WORDS or token.gap not in (" ", "-"):
            continue
        if (
            token.text == "St"
            and n + 1 < len(tokens)
            and tokens[n + 1].gap == ". "
            and tokens[n + 1].shape == "T"
        ):
            continue
        first = n
        while (
            first > 0
            and n - first < 3
            and tokens[first - 1].shape in "TU"
            and tokens[first].gap in (" ", "-", ". ")
            and tokens[first - 1].lower not in context.NO_NAME
            and tokens[first - 1].lower not in context.VERBS
        ):
            first -= 1
            if tokens[first].starts and is_word(tokens[first].lower) and first < n - 1:
                first += 1
                break
        if first < n:
            spans.append(Span(tokens[first].start, token.end, "place", "street without number"))
            after = tokens[n + 1] if n + 1 < len(tokens) else None
            if (
                after
                and after.gap in (", ", "., ")
                and after.shape in "TU"
                and (lists.fold(after.lower) in lists.towns() or after.kind == "n")
            ):
                spans.append(Span(after.start, after.end, "place", "town after a street"))
    return spans
