"""How the reference implementation of 2023 told an answer, for parity and nothing else.

Ask up to five times until an answer starts with a capital letter and ": ", ". " or a space; then that letter
is the answer. It takes "A 53-year-old man" and "I am not sure" for answers and a bare "B" for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .generation import Cut, why_none

_ACCEPTED = re.compile(r"^[A-Z](:|\.|) .+")
_EDGES = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")


def trimmed(text: str) -> str:
    """Without what is neither letter nor digit at both ends."""
    return _EDGES.sub("", text)


def accepted(text: str) -> bool:
    """Whether the reference would have taken `text`, and not asked again."""
    return _ACCEPTED.match(trimmed(text)) is not None


def first_accepted(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: Cut | None = None
) -> list[list[str]]:
    """Filter "first_accepted": the letter of the first accepted try; none where all were rejected.

    All tries are made at once and those after the first accepted one ignored: the same distribution.
    """
    found = []
    for texts in responses:
        n, text = next(((n, text) for n, text in enumerate(texts, 1) if accepted(text)), (0, texts[-1]))
        why = why_none(text, cut=cut is not None and cut(text))
        found.append([trimmed(text)[0], f"try {n}"] if n else ["", why])
    return found


def last_kept(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: Cut | None = None
) -> list[list[str]]:
    """Filter "last_kept": the same, but after five rejections the last text's first letter counts after all.

    What the notebook did that computed the published figures: it compared the beginning of whatever was kept.
    """
    found = first_accepted(responses, docs, cut)
    for answer, texts in zip(found, responses, strict=True):
        if not answer[0] and (first := trimmed(texts[-1])[:1]).isupper() and first.isascii():
            answer[:] = [first, "kept"]
    return found
