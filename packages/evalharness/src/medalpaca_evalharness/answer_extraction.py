"""Filters of lm-eval that extract the answer letter from generated text.

The filters remove thinking (`thinking`), and the rules of `answer_rules` find the letter in the rest. Results that
were logged before thinking was removed by rule are checked with `extraction_v1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from .answer_markup import cut_user_turn
from .answer_rules import Extracted, extract_flexible, extract_strict
from .thinking import strip_thinking

# The outcome of an item is exactly one of these.
OUTCOMES = ("correct", "wrong", "unparsed", "refused", "truncated")
Extractor = Callable[[str, Sequence[str], Sequence[str]], Extracted]
NoAnswerReason = Literal["refused", "truncated", "unparsed"]

# A text of at least this many characters that ends within a sentence counts as truncated.
MIN_TRUNCATED_CHARS = 100
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
# A label and a letter at the end: "Final answer -> B".
_ENDS_WITH_LETTER = re.compile(r"(?:[:=>\u2192]\s*|\n\s*)[A-Z]\s*$")
_SENTENCE_ENDS = tuple(".!?)]}\"'*`\u201d\u2019\u2026")


class LengthCheck(Protocol):
    """Function that returns whether a text has the maximal number of generated tokens."""

    def __call__(self, text: str) -> bool: ...


def strict_filter(
    responses: Iterable[Sequence[str]],
    docs: Iterable[Mapping[str, Any]],
    is_full: LengthCheck | None = None,
    think_end_token: str | None = None,
) -> list[list[str]]:
    """Return [letter, rule] per document by `extract_strict`; without an answer, ["", reason] (filter "strict").

    Only the first response to each document counts. The reason is "refused", "truncated" or "unparsed". `is_full` finds
    texts with the maximal number of tokens; it is None if there is no tokenizer. `think_end_token` is the argument of
    the model with this name.
    """
    return [
        _filter_text(extract_strict, texts[0], doc, is_full, think_end_token)
        for texts, doc in zip(responses, docs, strict=True)
    ]


def flexible_filter(
    responses: Iterable[Sequence[str]],
    docs: Iterable[Mapping[str, Any]],
    is_full: LengthCheck | None = None,
    think_end_token: str | None = None,
) -> list[list[str]]:
    """Return [letter, rule] per document as `strict_filter` does, but by `extract_flexible` (filter "flexible")."""
    return [
        _filter_text(extract_flexible, texts[0], doc, is_full, think_end_token)
        for texts, doc in zip(responses, docs, strict=True)
    ]


def _filter_text(
    extract: Extractor,
    text: str,
    doc: Mapping[str, Any],
    is_full: LengthCheck | None,
    think_end_token: str | None,
) -> list[str]:
    full = None if is_full is None else is_full(text)
    final = strip_thinking(cut_user_turn(text), think_end_token)
    # lm-eval removes the text before `think_end_token`. So a text of full length still has its thinking.
    if final.unfinished or (think_end_token and full and think_end_token not in text):
        return ["", "truncated"]
    found = extract(final.text, doc["letters"], doc.get("options") or ())
    if found.letter is not None:
        return [found.letter, found.rule]
    return ["", classify_no_answer(final.text, is_full=full)]


def classify_no_answer(text: str, *, is_full: bool | None = None) -> NoAnswerReason:
    """Return why a text has no answer.

    "refused": it contains a phrase of refusal. "truncated": the text has the maximal number of tokens (`is_full`). If
    the number of tokens is not known (None), the text has at least 100 characters and ends within a sentence. A letter
    after a colon or arrow is an end.
    "unparsed": otherwise.
    """
    if _REFUSAL.search(text.replace("\u2019", "'")):
        return "refused"
    if is_full is None:
        complete = text.rstrip().endswith(_SENTENCE_ENDS) or _ENDS_WITH_LETTER.search(text)
        is_full = len(text.strip()) >= MIN_TRUNCATED_CHARS and not complete
    return "truncated" if is_full else "unparsed"


# The answer rule of the reference implementation of 2023, for parity only: repeat a question up to five times until
# an answer starts with a capital letter and ": ", ". " or a space; that letter is the answer. The rule accepts "A
# 53-year-old man" and "I am not sure" as answers, and rejects a bare "B".
_ACCEPTED = re.compile(r"^[A-Z](:|\.|) .+")
_EDGES = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")


def strip_punctuation(text: str) -> str:
    """Remove what is neither an ASCII letter nor a digit from both ends of `text`."""
    return _EDGES.sub("", text)


def is_accepted(text: str) -> bool:
    """Return whether the rule of 2023 accepts `text` as an answer."""
    return _ACCEPTED.match(strip_punctuation(text)) is not None


def first_accepted(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], is_full: LengthCheck | None = None
) -> list[list[str]]:
    """Return [letter, "try N"] of each item's first accepted response, the N-th (filter "first_accepted").

    All five responses are generated at once and those after the first accepted one ignored, which gives the same
    distribution as repeating the question. Where all are rejected, the result is ["", reason] for the last response.
    For `is_full` see `strict_filter`.
    """
    found = []
    for texts in responses:
        n, text = next(((n, text) for n, text in enumerate(texts, 1) if is_accepted(text)), (0, texts[-1]))
        reason = classify_no_answer(text, is_full=None if is_full is None else is_full(text))
        found.append([strip_punctuation(text)[0], f"try {n}"] if n else ["", reason])
    return found


def last_kept(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], is_full: LengthCheck | None = None
) -> list[list[str]]:
    """Return the result of `first_accepted`, or a letter of the last response if all are rejected.

    This is the filter "last_kept". If the last response without punctuation begins with a capital letter, the result is
    [letter, "kept"]. The notebook that computed the published figures of 2023 used this rule.
    """
    responses = list(responses)
    found = first_accepted(responses, docs, is_full)
    for answer, texts in zip(found, responses, strict=True):
        if not answer[0] and (first := strip_punctuation(texts[-1])[:1]).isupper() and first.isascii():
            answer[:] = [first, "kept"]
    return found
