"""The tasks' `process_results` and aggregations: one item's metrics, and one task's.

How the reference implementation of 2023 told an answer, for parity and nothing else.

Ask up to five times until an answer starts with a capital letter and ": ", ". " or a space; then that letter
is the answer. It takes "A 53-year-old man" and "I am not sure" for answers and a bare "B" for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

from .answer_extraction import LengthCheck, classify_no_answer
from .statistics import wilson

# What becomes of an item: exactly one of these is 1.
OUTCOMES = ("correct", "wrong", "unparsed", "refused", "truncated")


def process_letter(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of an item whose letters were compared by log-likelihood."""
    scores = [score for score, _ in results]
    right = argmax(scores) == doc["gold"]
    return {"acc": float(right)} | _metrics(doc, _outcome(scores, right))


def process_text(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of an item whose options' texts were compared; the outcome is that of `acc_norm`."""
    scores = [score for score, _ in results]
    normed = [score / len(text) for score, text in zip(scores, doc["choices"], strict=True)]
    right = argmax(normed) == doc["gold"]
    raw = argmax(scores) == doc["gold"]
    return {"acc_norm": float(right), "acc": float(raw)} | _metrics(doc, _outcome(scores, right))


def process_generated(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Metrics of an item whose answer was found in what the model wrote. What is no answer is wrong in `acc`."""
    letter, rule = results[0]
    right = letter == doc["letters"][doc["gold"]]
    outcome = ("correct" if right else "wrong") if letter else rule
    return {"acc": float(right)} | _metrics(doc, outcome)


def argmax(scores: Sequence[float]) -> int | None:
    """Index of the largest score, the first of equals; None when a score is no number, which answers nothing."""
    return None if any(map(isnan, scores)) else scores.index(max(scores))


def wilson_low(values: Sequence[float]) -> float:
    """Lower bound of the 95 % Wilson interval of a task's share."""
    return wilson(round(sum(values)), len(values)).low


def wilson_high(values: Sequence[float]) -> float:
    """Upper bound of the 95 % Wilson interval of a task's share."""
    return wilson(round(sum(values)), len(values)).high


def _outcome(scores: Sequence[float], right: bool) -> str:
    if any(map(isnan, scores)):
        return "unparsed"
    return "correct" if right else "wrong"


def _metrics(doc: Mapping[str, Any], outcome: str) -> dict[str, float]:
    shares = {name: float(name == outcome) for name in OUTCOMES}
    # The bounds are of the share that is correct: each task's aggregation makes them from these.
    bounds = {"wilson_low": shares["correct"], "wilson_high": shares["correct"]}
    return shares | bounds | {"chance": 1 / len(doc["letters"])}


_ACCEPTED = re.compile(r"^[A-Z](:|\.|) .+")
_EDGES = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")


def strip_punctuation(text: str) -> str:
    """Without what is neither letter nor digit at both ends."""
    return _EDGES.sub("", text)


def is_accepted(text: str) -> bool:
    """Whether the reference would have taken `text`, and not asked again."""
    return _ACCEPTED.match(strip_punctuation(text)) is not None


def first_accepted(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: LengthCheck | None = None
) -> list[list[str]]:
    """Filter "first_accepted": the letter of the first accepted try; none where all were rejected.

    All tries are made at once and those after the first accepted one ignored: the same distribution.
    """
    found = []
    for texts in responses:
        n, text = next(((n, text) for n, text in enumerate(texts, 1) if is_accepted(text)), (0, texts[-1]))
        why = classify_no_answer(text, cut=cut is not None and cut(text))
        found.append([strip_punctuation(text)[0], f"try {n}"] if n else ["", why])
    return found


def last_kept(
    responses: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]], cut: LengthCheck | None = None
) -> list[list[str]]:
    """Filter "last_kept": the same, but after five rejections the last text's first letter counts after all.

    What the notebook did that computed the published figures: it compared the beginning of whatever was kept.
    """
    found = first_accepted(responses, docs, cut)
    for answer, texts in zip(found, responses, strict=True):
        if not answer[0] and (first := strip_punctuation(texts[-1])[:1]).isupper() and first.isascii():
            answer[:] = [first, "kept"]
    return found
