"""The option a written answer names, for the reader's convenience: the tick judges the rating, never this."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..passes.request import Scoring

SAID = re.compile(
    r"\b(?:answer|option|choice|response)(?:\s+(?:is|would be|should be))?\s*[:=]?\s*\(?([A-Z])\b(?!['\w])",
    re.I,
)
WORD = re.compile(r"[^\W_]+")
FIRST = re.compile(r"^\W{0,3}([A-Z])(?:[).:,;]|\s*$|\s*\n)")


def spoken_letter(text: str, options: Mapping[str, str], scoring: Scoring) -> str | None:
    """The option that a text names; None when it names none, or several.

    Where letters were asked for: `B` in "The answer is B", "(B) because", "B: Vitamin C". Where texts were, and no
    letter was ever shown: the option whose words stand in the answer; of one within another, the longer.
    """
    if scoring == "text":
        words = _words(text)
        named = {
            letter: f for letter, option in options.items() if (f := _words(option)) in words and f.strip()
        }
        inside = {a for a, f in named.items() for b, g in named.items() if a != b and f in g and f != g}
        found = named.keys() - inside
    else:
        found = {letter.upper() for letter in SAID.findall(text)} & options.keys()
        if not found and (match := FIRST.match(text.strip())) and match[1] in options:
            found = {match[1]}
    return next(iter(found)) if len(found) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(WORD.findall(text.casefold()))} "
