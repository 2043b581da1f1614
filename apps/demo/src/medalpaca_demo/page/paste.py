"""A pasted exam item: a question, lettered options, and perhaps its key."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medalpaca_data.exams.exam import MIN_OPTIONS
from medalpaca_data.exams.item import LETTERS, Item

OPTION = re.compile(r"^\s*\(?([A-Z])\s*[.):]\s*(\S.*)$")
KEY = re.compile(r"^\s*(?:correct\s+)?(?:answer|key)\s*(?:is)?\s*[:=]?\s*\(?([A-Z])\b\)?.*$", re.I)


@dataclass(frozen=True, slots=True)
class Pasted:
    """`item` when options were found (its `answer` is "" when no key was), else `question` is free text."""

    question: str
    item: Item | None = None


def read_pasted(text: str) -> Pasted:
    """Options are lines that start with A, B, C ... in order, as "A.", "A)", "(A)" or "A:"."""
    question: list[str] = []
    options: dict[str, str] = {}
    key = ""
    for line in text.strip().splitlines():
        letter = LETTERS[len(options)] if len(options) < len(LETTERS) else ""
        match = OPTION.match(line)
        if match and match[1] == letter:
            options[letter] = match[2].strip()
        elif options and (said := KEY.match(line)):
            key = said[1].upper()
        elif options and line.strip():
            last = list(options)[-1]
            options[last] = f"{options[last]} {line.strip()}"  # an option that goes on in the next line
        elif not options:
            question.append(line)
    stem = "\n".join(question).strip()
    if len(options) < MIN_OPTIONS or not stem:
        return Pasted(text.strip())
    return Pasted(stem, Item(id="", question=stem, options=options, answer=key if key in options else ""))
