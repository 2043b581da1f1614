"""The letter a written answer names, for the reader's convenience: the tick judges the rating, never this."""

from __future__ import annotations

import re
from collections.abc import Collection

SAID = re.compile(
    r"\b(?:answer|option|choice|response)(?:\s+(?:is|would be|should be))?\s*[:=]?\s*\(?([A-Z])\b(?!['\w])",
    re.I,
)
FIRST = re.compile(r"^\W{0,3}([A-Z])(?:[).:,;]|\s*$|\s*\n)")


def spoken_letter(text: str, letters: Collection[str]) -> str | None:
    """`B` in "The answer is B", "(B) because", "B: Vitamin C"; None when no letter, or several, are named."""
    said = {letter.upper() for letter in SAID.findall(text)} & set(letters)
    if not said and (match := FIRST.match(text.strip())) and match[1] in letters:
        said = {match[1]}
    return said.pop() if len(said) == 1 else None
