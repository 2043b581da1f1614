"""Checks of exam items: what no model can answer, and what a person should look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from .answers import single_spaced
from .item import Item

ANSWER_REPEATED = "the correct option's text occurs twice"
# Exactly these: "Na", "NA" and "None" are answers (sodium, noradrenaline, none).
PLACEHOLDERS = ("", "nan", "N/A")
# An option with more characters than this probably contains another text.
LONG_OPTION = 400
# The letter of another option, or a line about a question, inside an option: the options were not separated.
_OTHER_OPTION = re.compile(
    r"(?:\banswer\s+|\boption\s+|\n\s*\(?)[A-Z]\s*[:.)]\s*\S|\n.*\bquestions?\b", re.IGNORECASE
)

_PICTURE = (
    r"(?:image|figure|photo|photograph|photomicrograph|micrograph|picture|diagram|graph|"
    r"illustration|exhibit|plot)s?"
)
_STUDY = (
    r"(?:image|figure|photograph|photomicrograph|picture|diagram|graph|drawing|tracing|pedigree|arrow|exhibit|"
    r"electrocardiogram|ecg|radiograph|x-ray|scan|specimen)s?"
)
_SHOWN = r"(?:shown|depicted|displayed|pictured|illustrated)"
# The end of a sentence, or a word that refers to the page. A colon introduces a table, which is in the text.
_HERE = r"(?:\s+(?:below|above|here|on\s+the\s+(?:left|right)))?\s*(?:[.?!]|$)"
_REFERENCE = re.compile(
    "|".join(
        (
            r"\b(?:shown|seen|depicted|marked|labell?ed|indicated|displayed)\b[^.?]{0,60}\b(?:image|figure|photograph|picture|"
            r"diagram|graph|drawing|tracing|pedigree|micrograph|arrows?|radiograph|scan|letter)\b",
            rf"\b{_STUDY}\b(?:[^.?]{{0,60}}\b(?:is|are))?\s+(?:shown|depicted|displayed)\b",
            r"\b(?:following|accompanying|attached)\s+(?:image|figure|photograph|picture|diagram|graph|exhibit)s?\b",
            # The findings in the photograph; based on the graph; the figure above; Figure 2.
            rf"\b(?:in|on|of|from|see)\s+the\s+{_PICTURE}\b(?!\s+of\b)",
            rf"\b{_PICTURE}\s+(?:below|above|provided|attached)\b",
            r"\b(?:figure|fig\.|image|exhibit)\s+(?:\d+|(?-i:[A-Z]))\b",
            rf"\bthe\s+{_PICTURE}\s+(?:shows?|depicts?|illustrates?|represents?|demonstrates?)\b",
            r"\blabell?ed\s+(?:areas?|points?|structures?|arrows?|regions?|curves?|lines?|sites?)\b",
            r"<img\b|!\[[^\]\n]*\]\(",
        )
    ),
    re.IGNORECASE,
)
# No word for a picture: MRI of the brain is shown. The rash shown. Chest x-ray is obtained and shown.
_BARE = re.compile(
    "|".join(
        (
            rf"\b(?:is|are)\s+{_SHOWN}{_HERE}",
            rf"\b(?:obtained|performed|taken|done)\s+and\s+(?:(?:is|are)\s+)?{_SHOWN}{_HERE}",
            rf"\bthe\s+(?:\w+\s+){{1,3}}{_SHOWN}{_HERE}",
        )
    ),
    re.IGNORECASE,
)
# Nothing is shown: no abnormality is shown, results not shown.
_NEGATED = re.compile(rf"\b(?:no|not|neither|nor|never)\b[^.?!\n]*\b{_SHOWN}", re.IGNORECASE)


def _same(text: str) -> str:
    """Return the form in which two options, or two questions, are the same text.

    White space, a final period, and a capital at the beginning of a word of three or more letters do not matter: "Iron"
    is "iron.", but "Na" is not "NA".
    """
    text = single_spaced(text)
    text = text.rstrip(".") or text
    return text[0].lower() + text[1:] if re.match(r"[^\W\d_][a-z]{2}", text) else text


def answer_is_repeated(item: Item) -> bool:
    """Return whether another option has the text of the correct option, so that no model can choose between them."""
    key = _same(item.options[item.answer])
    return any(_same(text) == key for letter, text in item.options.items() if letter != item.answer)


def look_at(items: Iterable[Item]) -> dict[str, list[Any]]:
    """Return the ids of scorable items that a person should look at, by what was found, in the order of the items.

    `contradictions` and `repeated_questions` are lists of groups of ids with one question each.
    """
    listed = list(items)
    single: dict[str, Callable[[Item], bool]] = {
        "doubled_distractors": _has_doubled_distractors,
        "placeholder_options": lambda item: any(
            text.strip() in PLACEHOLDERS for text in item.options.values()
        ),
        "self_lettered_options": _has_own_letters,
        "swallowed": _holds_other_options,
        "suspected_images": lambda item: bool(item.image) or refers_to_picture(item.question),
    }
    contradictions, repeated = _same_questions(listed)
    groups = {"contradictions": contradictions, "repeated_questions": repeated}
    return groups | {name: [item.id for item in listed if check(item)] for name, check in single.items()}


def _has_doubled_distractors(item: Item) -> bool:
    texts = [_same(text) for letter, text in item.options.items() if letter != item.answer]
    return len(set(texts)) < len(texts)


def _has_own_letters(item: Item) -> bool:
    """Return whether two or more options begin with their own letter, such as "A. " under A."""
    marked = [
        re.match(rf"\s*(?:\({letter}\)|{letter}[.):])\s*\S", text, re.IGNORECASE)
        for letter, text in item.options.items()
    ]
    return sum(mark is not None for mark in marked) > 1


def _holds_other_options(item: Item) -> bool:
    return any(_OTHER_OPTION.search(text) or len(text) > LONG_OPTION for text in item.options.values())


def _same_questions(items: list[Item]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the groups of items with one question: those whose answers contradict each other, and the others.

    Two items contradict each other if the correct answer of one is a wrong option of the other.
    """
    by_question: dict[str, list[Item]] = {}
    for item in items:
        by_question.setdefault(_same(item.question).casefold(), []).append(item)
    contradictions: list[list[str]] = []
    repeated: list[list[str]] = []
    for group in by_question.values():
        if len(group) < 2:
            continue
        (contradictions if _contradict(group) else repeated).append([item.id for item in group])
    return contradictions, repeated


def _contradict(group: list[Item]) -> bool:
    keys = {_same(item.options[item.answer]) for item in group}
    return any(
        _same(text) in keys - {_same(item.options[item.answer])}
        for item in group
        for text in item.options.values()
    )


def refers_to_picture(question: str) -> bool:
    """Return whether a question has a phrase that refers to a picture, such as "is shown." or "in the photograph"."""
    return any(_refers(sentence) for sentence in re.split(r"(?<=[.?!])\s+|\n", question))


def _refers(sentence: str) -> bool:
    if _REFERENCE.search(sentence):
        return True
    return bool(_BARE.search(sentence)) and not _NEGATED.search(sentence)
