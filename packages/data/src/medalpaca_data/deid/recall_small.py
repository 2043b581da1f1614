"""Names in small letters of the profile `recall`: speakers of a chat, unknown words that are announced or in pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from . import lists
from . import recall_context as context
from .recall_tokens import Token
from .recall_words import (
    MEDICAL_SUFFIX,
    is_abbreviation,
    is_eponym,
    is_listed,
    is_term,
    is_word,
)
from .rules import Span

# "[19:26] jorola: ...", "8:25 am chilin: ...", "Baris: ...".
SPEAKER = re.compile(
    r"(?m)^[ \t]*(?:[\[(]?[0-9]{1,2}[:.]?[0-9]{2}(?: ?[ap]m)?[\])]?[ ,-]*)?(?P<x>[^\W\d_][\w'\u2019-]+)"
    r"(?: [^\W\d_][\w'\u2019-]+)?:(?=[ ])"
)
ANNOUNCED = re.compile(
    r"(?:\b(?:i am|i'm|this is|my name is|name is|call me|hi|hello|hey|dear|dr\.?|mr\.?|mrs\.?|ms\.?|pt|d/w|s/w|"
    r"paged|regards|thx|cheers|caseworker|from dr|with dr|cc)[ ,:.(]{1,3}\n?)$"
)
# In a text without capitals.
WEAKLY_ANNOUNCED = re.compile(
    r"(?:\b(?:w/|per|called|ask|told|attending|pcp|nurse|rn|aunt|uncle|thanks|resident|by|name|wife|husband|son|"
    r"daughter|mother|father|sister|brother|partner|patient)[ ,:.(]{1,3}\n?)$"
)
ROOM = re.compile(r"(?:\b(?:rm|room|bed|bay) ?[0-9]+(?:-?[a-z])? )$", re.IGNORECASE)
# At least so many letters has a single unknown word of a text without capitals.
SINGLE = 5


@lru_cache(maxsize=65536)
def is_unknown(lower: str) -> bool:
    """Return whether no list and no ending explains a word in small letters."""
    return (
        len(lower) > 3
        and lower.isalpha()
        and not is_word(lower)
        and not is_term(lower)
        and not is_abbreviation(lower)
        and not is_eponym(lower)
        and lists.fold(lower) not in lists.german()
        and not is_word(lower.removesuffix("s"))
        and MEDICAL_SUFFIX.fullmatch(lower) is None
        and re.search("[aeiouyäöü]", lower) is not None
        and re.search(r"[^aeiouyäöü]{5}|(.)\1\1", lower) is None
    )


@lru_cache(maxsize=65536)
def _can_be_name(lower: str) -> bool:
    return is_unknown(lower) or (
        len(lower) > 2 and is_listed(lower) and not is_word(lower) and not is_term(lower)
    )


def mark_small(text: str, tokens: Sequence[Token], german: bool) -> list[Span]:
    """Set `Token.name` for names in small letters; return speakers of a chat and organisations."""
    spans: list[Span] = []
    speakers = [match for match in SPEAKER.finditer(text) if _is_speaker(match["x"])]
    if len(speakers) > 1 or (speakers and speakers[0][0].strip()[0] in "[(0123456789"):
        spans += [Span(*match.span("x"), "name", "speaker") for match in speakers]
    if german:
        return spans
    capitals = sum(token.shape == "T" for token in tokens)
    small = len(tokens) > 9 and capitals * 60 < len(tokens)
    for n, token in enumerate(tokens):
        if token.shape != "l" or token.name or not _can_be_name(token.lower):
            continue
        after = tokens[n + 1] if n + 1 < len(tokens) else None
        pair = after is not None and after.gap in (" ", "-") and after.shape == "l"
        if pair and after and after.lower in context.HEADS and after.gap == " ":
            spans.append(Span(token.start, after.end, "place", "organisation"))
            continue
        left = text[max(0, token.start - 24) : token.start].lower()
        announced = ANNOUNCED.search(left) or ROOM.search(left) or (small and WEAKLY_ANNOUNCED.search(left))
        both = pair and after is not None and is_unknown(token.lower) and is_unknown(after.lower)
        free = small and (is_listed(token.lower) or len(token.lower) >= SINGLE)
        if announced or both or free:
            token.name = True
            if pair and after is not None and (both or _can_be_name(after.lower)):
                after.name = True
    return spans


def _is_speaker(word: str) -> bool:
    lower = word.lower()
    if word.isupper() and (len(word) < 5 or is_abbreviation(lower)):
        return False
    return lower not in context.NO_NAME and (
        _can_be_name(lower) or (is_listed(lower) and word[0].isupper() and not is_term(lower))
    )
