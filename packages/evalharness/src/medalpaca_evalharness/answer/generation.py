"""Filters of the tasks that let the model write: from its texts to a letter, or to the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from .extraction import Extracted, flexible, strict
from .thinking import spoken

Extractor = Callable[[str, Sequence[str], Sequence[str]], Extracted]
Silence = Literal["refused", "truncated", "unparsed"]

LONG = 100  # characters from which on a text that ends in the middle of a sentence counts as cut off
_REFUSAL = re.compile(
    r"\b(?:"
    r"(?:i|we)(?:\s+am|'m|\s+are|'re)?\s+(?:sorry|unable\s+to|not\s+(?:able|allowed|permitted|qualified)\s+to)"
    r"|(?:i|we)\s+(?:can\s?not|can't|could\s+not|won't|will\s+not|must\s+decline\s+to|refuse\s+to|decline\s+to)\s+"
    r"(?:answer|provide|give|offer|help|assist|choose|select|determine|make|diagnose|recommend|comply)"
    r"|as\s+an?\s+(?:ai|artificial\s+intelligence|language\s+model|assistant)\b"
    r"|(?:i|we)\s+(?:do\s+not|don't)\s+know"
    r")",
    re.IGNORECASE,
)
_FINISHED = tuple(".!?)]}\"'*`\u201d\u2019\u2026")


class Cut(Protocol):
    """Whether a text is as long as the model was allowed to write."""

    def __call__(self, text: str) -> bool: ...


def find_strict(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: Cut | None = None
) -> list[list[str]]:
    """Filter "strict": [letter, rule] per document; the letter is "" where there is none, and the rule says why.

    `cut` is known where the model's tokenizer is.
    """
    return [_find(strict, texts[0], doc, cut) for texts, doc in zip(responses, docs, strict=True)]


def find_flexible(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: Cut | None = None
) -> list[list[str]]:
    """Filter "flexible": the same by all rules."""
    return [_find(flexible, texts[0], doc, cut) for texts, doc in zip(responses, docs, strict=True)]


def _find(extract: Extractor, text: str, doc: Mapping[str, Any], cut: Cut | None) -> list[str]:
    said = spoken(text)
    if said.unfinished:
        return ["", "truncated"]
    found = extract(said.text, doc["letters"], doc.get("options") or ())
    if found.letter is not None:
        return [found.letter, found.rule]
    return ["", why_none(said.text, cut=cut is not None and cut(text))]


def why_none(text: str, *, cut: bool = False) -> Silence:
    """Why a text without an answer has none: it refuses, breaks off, or says something else."""
    if _REFUSAL.search(text.replace("\u2019", "'")):
        return "refused"
    if cut or (len(text.strip()) >= LONG and not text.rstrip().endswith(_FINISHED)):
        return "truncated"
    return "unparsed"
