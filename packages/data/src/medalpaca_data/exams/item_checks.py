"""Checks of exam items: what no model can answer, and what a person should look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from .answers import single_spaced
from .item import Item

ANSWER_REPEATED = "the correct option's text occurs twice"
LETTERS_DISAGREE = "the options' texts begin with letters in another order"
# A letter before the text of an option: "(B) ", "B. ".
_LETTERED = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])\s+\S")
# Exactly these: "Na", "NA" and "None" are answers (sodium, noradrenaline, none).
PLACEHOLDERS = ("", "nan", "N/A")
# Questions that are still to be written.
UNWRITTEN = frozenset(("todo", "tbd", "tba", "xxx", "fixme", "question", "lorem ipsum", "placeholder"))
# An option with more characters than this probably contains another text.
LONG_OPTION = 400
# The letter of another option, or a line about a question, inside an option: the options were not separated.
_OTHER_OPTION = re.compile(
    r"(?:\banswer\s+|\boption\s+|\n\s*\(?)[A-Z]\s*[:.)]\s*\S|\n.*\bquestions?\b", re.IGNORECASE
)
# The end of a sentence; the period of "fig. 1" is none.
SENTENCE_END = re.compile(r"(?<=[.?!])(?<!fig\.)(?<!abb\.)\s+|\n", re.IGNORECASE)

_PICTURE = (
    r"(?:image|figure|photo|photograph|photomicrograph|micrograph|picture|diagram|graph|"
    r"illustration|exhibit|plot)s?"
)
_STUDY = (
    r"(?:image|figure|photograph|photomicrograph|picture|diagram|graph|drawing|tracing|pedigree|arrow|exhibit|"
    r"electrocardiogram|ecg|radiograph|x-ray|scan|specimen)s?"
)
_ANY_PICTURE = rf"(?:{_PICTURE}|{_STUDY}|slides?)\b"
_SHOWN = r"(?:shown|depicted|displayed|pictured|illustrated)"
# The end of a sentence, or a word that refers to the page. A colon introduces a table, which is in the text.
_HERE = r"(?:\s+(?:below|above|here|on\s+the\s+(?:left|right)))?\s*(?:[.?!]|$)"
_REFERENCE = re.compile(
    "|".join(
        (
            r"\b(?:shown|seen|depicted|marked|labell?ed|indicated|displayed)\b[^.?]{0,60}\b(?:image|figure|photograph|picture|"
            r"diagram|graph|drawing|tracing|pedigree|micrograph|arrows?|radiograph|scan|letter)\b",
            rf"\b{_STUDY}\b(?:[^.?]{{0,60}}\b(?:is|are))?\s+(?:shown|depicted|displayed)\b",
            r"\b(?:accompanying|attached)\s+(?:\w+\s+){0,2}" + _ANY_PICTURE,
            r"\bfollowing\s+(?:image|figure|photo|photograph|picture|diagram|graph|exhibit)s?\b",
            # Based on the following radiograph. "Which of the following radiograph findings" has no picture.
            rf"\b(?:based\s+on|in|on|see|from)\s+the\s+following\s+(?:\w+\s+)?{_ANY_PICTURE}(?!\s+(?:findings?|features?|signs?)\b)",
            # (see image), see figure, refer to the exhibit, in the slide.
            rf"\bsee\s+(?:the\s+|also\s+)?(?:attached\s+)?{_PICTURE}\b(?!\s+of\b)",
            rf"\brefer(?:ring)?\s+to\s+(?:the\s+)?{_ANY_PICTURE}",
            r"\b(?:in|on)\s+(?:the|this)\s+slide\b",
            rf"\b(?:{_PICTURE}|{_STUDY}|audiogram|spirogram)\s+(?:is|are)\s+(?:as\s+follows|provided|attached)\b",
            r"\bshown\s+in\s+(?:the\s+)?panel\b",
            # German: in der Abbildung, siehe Bild, das Foto zeigt.
            r"\b(?:Abbildung|Abb\.)",
            r"\b(?:siehe|s\.)\s+(?:Bild|Foto|Grafik|Anhang)\b",
            r"\b(?:im|auf\s+dem|das|folgende[ns]?)\s+(?:Bild|Foto|R\u00f6ntgenbild)\s+(?:zeigt|gezeigt|dargestellt|sehen|sichtbar)\b",
            # The findings in the photograph; based on the graph; the figure above; Figure 2.
            rf"\b(?:in|on|of|from|see)\s+the\s+{_PICTURE}\b(?!\s+of\b)",
            rf"\b{_PICTURE}\s+(?:below|above|provided|attached)\b",
            r"\b(?:figure|fig\.?|image|exhibit)\s*(?:\d+|(?-i:\s[A-Z]))\b",
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
        "placeholder_options": _has_placeholder_options,
        "self_lettered_options": _has_own_letters,
        "swallowed": _holds_other_options,
        "letters_as_options": lambda item: any(
            text.strip() == item.answer for letter, text in item.options.items() if letter != item.answer
        ),
        "missing_cases": lambda item: item.lacks_case,
        "placeholder_questions": lambda item: _is_placeholder(item.question),
        "suspected_images": lambda item: bool(item.image) or refers_to_picture(item.question),
    }
    contradictions, repeated = _same_questions(listed)
    groups = {"contradictions": contradictions, "repeated_questions": repeated}
    return groups | {name: [item.id for item in listed if check(item)] for name, check in single.items()}


def _has_doubled_distractors(item: Item) -> bool:
    texts = [
        re.sub(r"^[\u2010-\u2015\u2212-]\s*(?=[\d.])", "-", _same(text))
        for letter, text in item.options.items()
        if letter != item.answer
    ]
    return len(set(texts)) < len(texts)


def _is_placeholder(question: str) -> bool:
    """Return whether a question is still to be written, such as "TODO", or has no letter or digit."""
    text = question.strip().strip(".?!:[]()<>*_ ").casefold()
    return text in UNWRITTEN or not any(map(str.isalnum, text))


def _has_placeholder_options(item: Item) -> bool:
    """Return whether an option is empty, or every option is only its own letter, such as "Option A"."""
    own = [
        re.fullmatch(
            rf"(?:option|choice|answer|antwort)\s*\(?(?:{letter}|{n})\)?[.:]?", text.strip(), re.IGNORECASE
        )
        for n, (letter, text) in enumerate(item.options.items(), 1)
    ]
    return all(own) or any(text.strip() in PLACEHOLDERS for text in item.options.values())


def _has_own_letters(item: Item) -> bool:
    """Return whether two or more options begin with their own letter, such as "A. " under A."""
    marked = [
        re.match(rf"\s*(?:\({letter}\)|{letter}[.):])\s*\S", text, re.IGNORECASE)
        for letter, text in item.options.items()
    ]
    return sum(mark is not None for mark in marked) > 1


def letters_disagree(item: Item) -> bool:
    """Return whether all options carry letters, and these are the item's letters in another order.

    The answer "C" can then be the third option or the one that carries a C, so that no score is right for certain.
    """
    marks = [_LETTERED.match(text) for text in item.options.values()]
    carried = [mark[1] or mark[2] for mark in marks if mark]
    return carried != list(item.options) and sorted(carried) == sorted(item.options)


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
    return any(_refers(sentence) for sentence in SENTENCE_END.split(question))


def _refers(sentence: str) -> bool:
    if _REFERENCE.search(sentence):
        return True
    return bool(_BARE.search(sentence)) and not _NEGATED.search(sentence)
