"""The tasks' `process_results` and aggregations: one item's metrics, and one task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from ..statistics.paired import wilson

# What becomes of an item: exactly one of these is 1.
OUTCOMES = ("correct", "wrong", "unparsed", "refused", "truncated")


def by_letter(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of an item whose letters were compared by log-likelihood."""
    scores = [score for score, _ in results]
    right = largest(scores) == doc["gold"]
    return {"acc": float(right)} | _metrics(doc, _outcome(scores, right))


def by_text(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of an item whose options' texts were compared; the outcome is that of `acc_norm`."""
    scores = [score for score, _ in results]
    normed = [score / len(text) for score, text in zip(scores, doc["choices"], strict=True)]
    right = largest(normed) == doc["gold"]
    raw = largest(scores) == doc["gold"]
    return {"acc_norm": float(right), "acc": float(raw)} | _metrics(doc, _outcome(scores, right))


def by_answer(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Metrics of an item whose answer was found in what the model wrote. What is no answer is wrong in `acc`."""
    letter, rule = results[0]
    right = letter == doc["letters"][doc["gold"]]
    outcome = ("correct" if right else "wrong") if letter else rule
    return {"acc": float(right)} | _metrics(doc, outcome)


def largest(scores: Sequence[float]) -> int | None:
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
