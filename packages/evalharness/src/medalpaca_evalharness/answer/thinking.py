"""What a model thought before it answered: cut off, or found to be all there is."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = "think|thinking|thought|reasoning|reflection"
_OPEN = re.compile(rf"<({_NAMES})>", re.IGNORECASE)
_CLOSE = re.compile(rf"</({_NAMES})>", re.IGNORECASE)


class Spoken(NamedTuple):
    """A generated text without its thinking. `unfinished`: the thinking never ended, so there is no answer."""

    text: str
    unfinished: bool


def spoken(text: str) -> Spoken:
    """What comes after the last thinking block; the opening tag may stand in the prompt and be missing here."""
    after = text
    for close in _CLOSE.finditer(text):
        after = text[close.end() :]
    if opened := _OPEN.search(after):
        return Spoken(after[: opened.start()], True)
    return Spoken(after, False)
