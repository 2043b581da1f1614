"""Metrics of the lm-eval tasks: the table `METRICS`, the `process_results` functions, and the filters of 2023.

The task YAML files take `metric_list` and `aggregate_metric_list` from this module, so a new metric needs only one
line in `METRICS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

from .answer_extraction import LengthCheck, classify_no_answer
from .statistics import wilson

# The outcome of an item is exactly one of these.
OUTCOMES = ("correct", "wrong", "unparsed", "refused", "truncated")


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """The answer to one item, from which every metric is computed.

    `options` is the number of options, `outcome` one of `OUTCOMES`. `correct_raw` differs from `correct` only where the
    options' texts are scored: `correct` compares log-likelihoods per character, `correct_raw` the log-likelihoods
    themselves.
    """

    options: int
    outcome: str
    correct: bool
    correct_raw: bool


def wilson_low(values: Sequence[float]) -> float:
    """Return the lower bound of the 95 % Wilson interval of a share; `values` are 0 or 1."""
    return wilson(round(sum(values)), len(values)).low


def wilson_high(values: Sequence[float]) -> float:
    """Return the upper bound of the 95 % Wilson interval of a share; `values` are 0 or 1."""
    return wilson(round(sum(values)), len(values)).high


Aggregation = str | Callable[[Sequence[float]], float]


class Metric(NamedTuple):
    """One metric: `function` gives the value of one item, `aggregation` that of a task, as in lm-eval.

    Groups of tasks average the metrics whose aggregation is "mean", weighted by the number of items. lm-eval
    cannot pool the others. `text_only` metrics exist only where the options' texts are scored.
    """

    name: str
    function: Callable[[ScoredItem], float]
    aggregation: Aggregation
    higher_is_better: bool | None
    text_only: bool = False


METRICS = (
    Metric("acc_norm", lambda item: item.correct, "mean", True, text_only=True),
    Metric("acc", lambda item: item.correct_raw, "mean", True),
    Metric("correct", lambda item: item.outcome == "correct", "mean", True),
    Metric("wrong", lambda item: item.outcome == "wrong", "mean", False),
    Metric("unparsed", lambda item: item.outcome == "unparsed", "mean", False),
    Metric("refused", lambda item: item.outcome == "refused", "mean", False),
    Metric("truncated", lambda item: item.outcome == "truncated", "mean", False),
    # Bounds of the interval of `correct`, the share of items that the headline metric counts.
    Metric("wilson_low", lambda item: item.outcome == "correct", wilson_low, None),
    Metric("wilson_high", lambda item: item.outcome == "correct", wilson_high, None),
    # The accuracy of guessing: the mean of 1/k over items with k options.
    Metric("chance", lambda item: 1 / item.options, "mean", None),
)


def compute_metrics(item: ScoredItem, *, text: bool = False) -> dict[str, float]:
    """Return the value of each metric for one item by name; `text` adds the metrics of scored option texts."""
    return {metric.name: float(metric.function(item)) for metric in METRICS if text or not metric.text_only}


def task_metrics(*, text: bool = False) -> list[dict[str, Any]]:
    """Return `METRICS` as the `metric_list` of a task; `text` adds the metrics of scored option texts."""
    return [
        {
            "metric": metric.name,
            "aggregation": metric.aggregation,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in METRICS
        if text or not metric.text_only
    ]


def group_metrics(*, text: bool = False) -> list[dict[str, Any]]:
    """Return the metrics whose aggregation is "mean" as the `aggregate_metric_list` of a group."""
    return [
        {"metric": entry["metric"], "aggregation": "mean", "weight_by_size": True}
        for entry in task_metrics(text=text)
        if entry["aggregation"] == "mean"
    ]


def __getattr__(name: str) -> list[dict[str, Any]]:
    """Return a list that a task YAML file names with `!function`, which resolves any attribute of a module."""
    match name:
        case "METRIC_LIST" | "TEXT_METRIC_LIST":
            return task_metrics(text=name.startswith("TEXT"))
        case "GROUP_METRIC_LIST" | "TEXT_GROUP_METRIC_LIST":
            return group_metrics(text=name.startswith("TEXT"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def process_letter(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the metrics of an item whose option letters were compared by log-likelihood.

    `results` holds (log-likelihood, whether it is the greedy choice) of each option.
    """
    scores = [score for score, _ in results]
    correct = argmax(scores) == doc["gold"]
    item = ScoredItem(len(doc["letters"]), _likelihood_outcome(scores, correct), correct, correct)
    return compute_metrics(item)


def process_text(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the metrics of an item whose option texts were compared by log-likelihood per character.

    `results` holds (log-likelihood, whether it is the greedy choice) of each option.
    """
    scores = [score for score, _ in results]
    normed = [score / len(text) for score, text in zip(scores, doc["choices"], strict=True)]
    correct, correct_raw = argmax(normed) == doc["gold"], argmax(scores) == doc["gold"]
    item = ScoredItem(len(doc["letters"]), _likelihood_outcome(scores, correct), correct, correct_raw)
    return compute_metrics(item, text=True)


def process_generated(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the metrics of an item whose answer was extracted from generated text.

    `results` holds one [letter, rule]. The letter is "" where there is no answer, which counts as incorrect; the rule
    is then the reason.
    """
    letter, rule = results[0]
    correct = letter == doc["letters"][doc["gold"]]
    outcome = ("correct" if correct else "wrong") if letter else rule
    return compute_metrics(ScoredItem(len(doc["letters"]), outcome, correct, correct))


def argmax(scores: Sequence[float]) -> int | None:
    """Return the index of the largest score, the first of equals; None if a score is nan."""
    return None if any(map(isnan, scores)) else scores.index(max(scores))


def _likelihood_outcome(scores: Sequence[float], correct: bool) -> str:
    if any(map(isnan, scores)):
        return "unparsed"
    return "correct" if correct else "wrong"


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
    `is_full` is given where the tokenizer is available.
    """
    found = []
    for texts in responses:
        n, text = next(((n, text) for n, text in enumerate(texts, 1) if is_accepted(text)), (0, texts[-1]))
        reason = classify_no_answer(text, is_full=is_full is not None and is_full(text))
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
