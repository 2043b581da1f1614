"""The profile `recall`: find as many identifiers as possible in texts of patients, English and German.

Every number, date and capitalised word is an identifier unless a rule or a word list makes it an ordinary one. What was
found once in a record is found everywhere in it, in capitals or small letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import (
    lists,
    recall_addresses,
    recall_ages,
    recall_contacts,
    recall_dates,
    recall_evidence,
    recall_labels,
    recall_names,
    recall_neighbours,
    recall_numbers,
    recall_organisations,
    recall_places,
    recall_signatures,
    recall_small,
    recall_tables,
)
from . import recall_context as context
from .recall_rules import Places, all_spans
from .recall_tokens import Token, is_german, tokenize
from .recall_words import (
    is_eponym,
    is_listed,
    is_term,
    is_word,
)
from .rules import Span, medical_suffix

RULES = (
    recall_contacts.CONTACTS
    + recall_contacts.PHONES
    + recall_numbers.IDS
    + recall_ages.AGES
    + recall_addresses.RULES
)


def find_recall(texts: Sequence[str]) -> list[list[Span]]:
    """Return all identifiers in each text of a record; spans may overlap."""
    found: list[list[Span]] = []
    names: set[str] = set()
    parsed = []
    for text in texts:
        german = is_german(text)
        tokens = tokenize(text, german)
        _know_small_words(tokens)
        places = Places(text)
        # Of spans of the same length, the first gives the class.
        spans = all_spans(recall_dates.RULES, places)
        spans += [span for rule in recall_labels.LABELS for span in rule.spans(text, places.small)]
        spans += all_spans(RULES, places)
        if german or "stra" in places.small or "str." in places.small:
            spans += all_spans(recall_addresses.GERMAN_RULES, places)
        recall_names.mark_names(text, tokens, german)
        spans += recall_small.mark_small(text, tokens, german)
        spans += recall_signatures.find_written_names(text, german)
        spans += recall_places.find_places(text, tokens, german)
        spans += recall_organisations.find_organisations(text, tokens, german)
        spans += recall_tables.find_cells(text)
        found.append(spans)
        names |= _words_to_repeat(tokens, spans, text)
        parsed.append((tokens, german))
    for text, (tokens, german), spans in zip(texts, parsed, found, strict=True):
        spans.extend(_repeated(text, tokens, names))
        recall_neighbours.mark_neighbours(tokens, text, german)
        spans.extend(_token_spans(tokens, text))
    return found


def _know_small_words(tokens: Sequence[Token]) -> None:
    """Set `kind` to "w" for an unknown word that the text also has in small letters and no list of names has."""
    small = {token.lower for token in tokens if token.shape == "l"}
    for token in tokens:
        if token.kind == "n" and token.lower in small and not is_listed(token.lower):
            token.kind = "w"


def _token_spans(tokens: Sequence[Token], text: str) -> list[Span]:
    """Return the spans of tokens that are names, joined where only spaces, hyphens and dots lie between them."""
    spans: list[Span] = []
    for token in tokens:
        if not token.name:
            continue
        gap = text[spans[-1].end : token.start] if spans else "\n"
        if re.fullmatch(r"[ .'\u2019-]{0,3}", gap) and not (gap == ". " and token.starts):
            spans[-1] = Span(spans[-1].start, token.end, "name", "name")
        else:
            spans.append(Span(token.start, token.end, "name", "name"))
    return spans


def _words_to_repeat(tokens: Sequence[Token], spans: Sequence[Span], text: str) -> set[str]:
    """Return the words of names, in lower case, that are names wherever they occur again."""
    words = {token.lower for token in tokens if token.name}
    organisations: set[str] = set()
    for span in spans:
        if span.kind == "name" or span.rule in ("town", "town of several words", "employer", "organisation"):
            parts = {word.lower() for word in re.findall(r"[^\W\d_]+", text[span.start : span.end])}
            if span.rule in ("organisation", "employer"):
                organisations |= parts - words
            words |= parts
    ordinary = lists.core_words()
    return {
        word
        for word in words
        if not (word in organisations and (word in ordinary or not is_listed(word)))
        and len(word) > 2
        and word not in context.NO_NAME
        and word not in context.PARTICLES
        and word not in context.ORGANISATIONS
        and word not in context.TITLES
        and word not in context.CREDENTIALS
    }


def _repeated(text: str, tokens: Sequence[Token], names: set[str]) -> list[Span]:
    """Return the words of names wherever they occur again; ordinary words only with a capital letter."""
    spans = []
    for n, token in enumerate(tokens):
        if token.name or token.lower not in names:
            continue
        ordinary = is_word(token.lower) or is_term(token.lower) or is_eponym(token.lower)
        if ordinary:
            if (
                token.shape not in "TU"
                or (token.starts and is_word(token.lower) and not _person_after(tokens, n))
                or (token.capitals and is_word(token.lower))
            ):
                continue
            if recall_evidence.is_medical(tokens, n, text) or (
                is_eponym(token.lower) and n and tokens[n - 1].lower in ("a", "an", "the")
            ):
                continue
        elif medical_suffix().match(text, token.end) and is_eponym(token.lower):
            continue
        token.name = True
        spans.append(Span(token.start, token.end, "name", "name again"))
    return spans


def _person_after(tokens: Sequence[Token], n: int) -> bool:
    return (
        n + 1 < len(tokens)
        and tokens[n + 1].gap == " "
        and tokens[n + 1].lower in context.VERBS
        and is_listed(tokens[n].lower)
    )
