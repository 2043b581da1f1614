"""Organisations of the profile `recall`: proper names beside the word of an organisation, legal forms, employers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import lists
from . import recall_context as context
from .recall_tokens import Token
from .recall_words import (
    is_listed,
    is_term,
)
from .rules import Span

# "Kaiser Logistik GmbH & Co. KG", "Okafor & Sons", "Harbour plc".
LEGAL_FORM = re.compile(
    r"(?P<x>(?:[^\W\d_a-zäöüß](?:[\w'\u2019&-]+|\.|[a-z]\.) (?:& |und |and )?){1,4}"
    r"(?:GmbH|gGmbH|mbH|AG|KG|UG|OHG|GbR|KGaA|e\. ?V\.|eG|Ltd|LTD|plc|PLC|Inc|INC|LLC|LLP|Corp|"
    r"Söhne|Sons|SONS|Co)(?![\w-])(?:\.? (?:& )?(?:Co|KG|Ltd|Inc)\b)*)"
)
WORKS = re.compile(
    r"(?i)\b(?:employer|company|place of work|workplace|work(?:s|ed|ing)? (?:part[- ]time |full[- ]time |nights |"
    r"days )?(?:at|for|with)|employed (?:at|by|with)|jobs? (?:at|with)|(?:colleagues?|co-?workers?|boss|manager|"
    r"supervisor|foreman|apprentice|shift) (?:at|from|of|with)|retired from|laid off (?:from|by)|arbeitgeber(?:in)?|"
    r"arbeitet(?: \w+){0,4}? (?:bei|für)|(?:beschäftigt|angestellt|tätig|lehre|ausbildung|azubi|früher|zuvor|zuletzt|"
    r"stelle|job|als \w+)(?: als \w+)? bei|firma|fa\.)(?:[ \t]*[:=]|[ \t]*\||,? \w+ at)?[ \t]*"
    r"(?:the |der |die |dem |den |einer |firma )?"
)
WORKS_BEI = re.compile(
    r"(?:fahrer|arbeiter|mechaniker|monteur|verkäufer|techniker|meister|decker|schlosser|kraft)(?:in)? bei "
    r"(?:der |dem )?"
)
EMPLOYER = re.compile(
    r"(?P<x>[A-ZÄÖÜ][\w'\u2019&-]*(?: (?:& |und (?=[A-ZÄÖÜ])|and (?=[A-Z])|of (?=[A-Z]))?[A-ZÄÖÜ][\w'\u2019&-]*){0,5})"
)
LINKS = frozenset({"of", "and", "for", "the", "de", "la", "upon", "und"})
CHAIN = re.compile(r" |-|\.-| ?& |['\u2019]s? | ?/ ?|\. ")
# The last parts of German words of organisations.
GERMAN_HEAD = re.compile(
    r"(?P<first>.*?)-?(?:kliniken|klinik|klinikum|krankenhaus|hospital|spital|stift|praxis|apotheke|pflegeheim|"
    r"altenheim|seniorenheim|wohnheim|heim|residenz|hospiz|zentrum|labor|pflegedienst|sanitätshaus|autohaus|"
    r"bäckerei|metzgerei|tischlerei|schreinerei|spedition|kanzlei|brauerei|druckerei|gärtnerei|molkerei|"
    r"schule|gymnasium|kindergarten|kita|werke|bau|technik|verlag|sparkasse|volksbank|sozialstation|stiftung|"
    r"universität|hochschule|gasthof|gasthaus|hotel|feuerwehr|mvz|versicherung|logistik|elektro)"
)


def find_organisations(text: str, tokens: Sequence[Token], german: bool) -> list[Span]:
    """Return the spans of the organisations that have a proper name: "Kaiser-Klinik", but not "Krankenhaus"."""
    spans = [_without_labels(match) for match in LEGAL_FORM.finditer(text)]
    spans += _employers(text)
    for n, token in enumerate(tokens):
        if token.shape not in "TUX":
            continue
        if german:
            match = GERMAN_HEAD.fullmatch(token.lower)
            if match:
                spans += _german(tokens, n, match["first"])
        if token.lower in context.HEADS and token.shape != "X":
            spans += _english(tokens, n)
    return [span for span in spans if span.start < span.end]


def _without_labels(match: re.Match[str]) -> Span:
    start, end = match.span("x")
    for word in re.finditer(r"[^\W\d_]+", match["x"]):
        if word[0].lower() not in context.NO_PART:
            start = match.start("x") + word.start()
            break
    return Span(start, end, "place", "organisation")


def _employers(text: str) -> list[Span]:
    """Return the spans of employers: names after words such as "works for", "Arbeitgeber:" or "Ausbildung bei"."""
    spans = []
    starts = [match.end() for pattern in (WORKS, WORKS_BEI) for match in pattern.finditer(text)]
    for match in filter(None, (EMPLOYER.match(text, start) for start in starts)):
        words = list(re.finditer(r"[\w'\u2019&-]+", match["x"]))
        known = lists.core_words() | lists.german()
        first = words[0][0].lower()
        if first in context.NO_NAME or first in context.ROLES or first in context.TITLES:
            continue
        plain = [word[0].lower() for word in words]
        if all(word in context.GENERIC or word in context.NO_EMPLOYER for word in plain):
            continue
        if (
            len(plain) == 1
            and not is_listed(first)
            and lists.fold(first) in known
            and words[0][0][1:].islower()
        ):
            continue
        last = next((k for k, word in enumerate(plain) if word in context.NO_EMPLOYER), len(words))
        if last:
            start = match.start("x")
            spans.append(Span(start, start + words[last - 1].end(), "place", "employer"))
    return spans


def _specific(token: Token) -> bool:
    """Return whether a word gives an organisation a proper name: "Maple" before "Hospital" does, "General" does not."""
    lower = token.lower
    if lower in context.GENERIC or lower in context.TITLES or lower in context.RELATIVES or is_term(lower):
        return lower in context.PLACE_WORDS
    return (
        token.name
        or token.kind in "ne"
        or lower in context.PLACE_WORDS
        or lists.fold(lower) in lists.towns()
        or (
            token.shape == "T"
            and token.kind == "w"
            and lower not in lists.core_words()
            and lower not in context.HEADS
        )
    )


def _is_plain_start(lower: str) -> bool:
    """Return whether a word that begins a sentence is no part of the name after it: "Attended", but not "Maple"."""
    return (
        lower not in context.PLACE_WORDS
        and lower not in context.HEADS
        and lower not in context.GENERIC
        and lower not in ("the", "our", "st", "saint", "mount")
        and lists.fold(lower) not in lists.towns()
        and not is_listed(lower)
    )


def _english(tokens: Sequence[Token], n: int) -> list[Span]:
    """Return the span of an English organisation, or no span if it has no proper name.

    Token `n` is the word of an organisation, such as "Hospital". The proper name is before it: "Maple Grove Hospital".
    Further words of organisations after it belong to the span: "Walton Hospital Trust".
    """
    first, specific = n, False
    at = n - 1
    while at >= 0 and n - at < 7:
        token, gap = tokens[at], tokens[at + 1].gap
        if not CHAIN.fullmatch(gap) or (gap == ". " and token.lower not in ("st", "mt", "ste")):
            break
        if token.shape in "TU" and (
            token.lower not in context.NO_NAME
            or token.lower in context.HEADS
            or token.lower in ("the", "our")
        ):
            if token.lower in context.NO_ORGANISATION or (
                token.starts and token.kind == "w" and not token.capitals and _is_plain_start(token.lower)
            ):
                break
            specific = specific or _specific(token)
            first = at
        elif token.lower in ("in", "up", "by") and token.gap == "-":
            pass
        elif not (
            token.lower in LINKS
            and at
            and tokens[at - 1].shape in "TU"
            and (
                tokens[at - 1].lower in context.HEADS or tokens[at - 1].lower in ("lady", "church", "sisters")
            )
        ):
            break
        at -= 1
    last = n
    while (
        last + 1 < len(tokens)
        and tokens[last + 1].gap in (" ", " & ", "-")
        and tokens[last + 1].shape in "TU"
        and (tokens[last + 1].lower in context.HEADS or tokens[last + 1].lower in context.FACILITIES)
    ):
        last += 1
    if first == n or not specific:
        return []
    if tokens[first].lower in LINKS and tokens[first].shape == "l":
        first += 1
    return [Span(tokens[first].start, tokens[last].end, "place", "organisation")]


def _german(tokens: Sequence[Token], n: int, part: str) -> list[Span]:
    """Return the span of a German organisation, or no span if it has no proper name.

    Token `n` ends with the word of an organisation, such as "apotheke"; `part` is its text before that word. The proper
    name is `part` ("Lindenapotheke"), is joined by a hyphen before the token ("Kaiser-Klinik"), or follows the token.
    The span includes adjectives in front: "Evangelisches Krankenhaus Soest".
    """
    first, named = n, False
    part = part.rstrip("-")
    if part and part not in context.GERMAN_KINDS:
        stem = part.removesuffix("s").removesuffix("en").removesuffix("n")
        named = any(
            is_listed(form) or lists.fold(form) in lists.towns() or form in context.GERMAN_PLACE_WORDS
            for form in (part, stem, part.removesuffix("s"))
            if len(form) > 2
        )
    while first and tokens[first].gap in ("-", ".-") and tokens[first - 1].shape in "TUX":
        first -= 1
        named = named or tokens[first].lower not in context.GERMAN_KINDS
    last = _names_after(tokens, n)
    named = named or last > n
    if not named:
        return []
    while (
        first
        and tokens[first].gap in (" ", ". ")
        and tokens[first - 1].shape == "T"
        and tokens[first - 1].lower.endswith(
            ("isches", "ische", "ischen", "evang", "ev", "kath", "ines", "iches", "st")
        )
    ):
        first -= 1
    return [Span(tokens[first].start, tokens[last].end, "place", "organisation")]


def _names_after(tokens: Sequence[Token], n: int) -> int:
    """Return the index of the last token of a proper name after token `n`, the word of an organisation; else `n`."""
    last, at = n, n + 1
    strong = tokens[n].lower not in ("labor", "praxis", "zentrum", "schule", "universität", "heim")
    while at < len(tokens) and at < n + 7:
        token, gap = tokens[at], tokens[at].gap
        if gap not in (" ", ". ", "-", " & ", ".-") or (gap == ". " and len(tokens[at - 1].lower) > 4):
            break
        lower = token.lower
        if token.shape in "TU":
            if lower in context.NO_NAME or lower in context.NO_ORGANISATION or lower in context.ROLES:
                if lower not in ("dr", "prof", "med", "am", "an", "im", "haus", "st", "der", "auf"):
                    break
            elif (
                token.name
                or token.kind == "n"
                or is_listed(lower)
                or lists.fold(lower) in lists.towns()
                or (strong and token.shape == "T" and not is_term(lower))
                or (last > n and gap in ("-", " & "))
            ):
                last = at
            elif lower not in ("dr", "prof", "med", "haus", "am", "st", "bad"):
                break
        elif (
            not (
                lower in ("und", "an", "am", "der", "im", "med")
                and at + 1 < len(tokens)
                and tokens[at + 1].shape in "TU"
            )
            or (lower == "und" and last == n)
            or (lower in ("im", "an", "am", "der") and lists.fold(tokens[at + 1].lower) not in lists.towns())
        ):
            break
        at += 1
    return last
