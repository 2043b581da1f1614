"""Metrics of the lm-eval tasks: the table `METRICS` and the `process_results` functions.

The task YAML files take `metric_list` and `aggregate_metric_list` from this module, so a new metric needs only one
line in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any, NamedTuple

from medalpaca_data.core.errors import UserError

from .model_identity import NO_HASH
from .statistics import wilson


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """The answer to one item, from which every metric is computed.

    `options` is the number of options, `outcome` one of `answer_extraction.OUTCOMES`. `correct_raw` differs from
    `correct` only where the options' texts are scored: `correct` compares log-likelihoods per character, `correct_raw`
    the log-likelihoods themselves.
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
    """Return the value of each metric for one item by name; `text` adds the `text_only` metrics."""
    return {metric.name: float(metric.function(item)) for metric in METRICS if text or not metric.text_only}


def task_metrics(*, text: bool = False) -> list[dict[str, Any]]:
    """Return `METRICS` as the `metric_list` of a task; `text` adds the `text_only` metrics."""
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
    """Return metrics with aggregation "mean" as `aggregate_metric_list` of a group; `text` as in `task_metrics`."""
    return [
        {"metric": entry["metric"], "aggregation": "mean", "weight_by_size": True}
        for entry in task_metrics(text=text)
        if entry["aggregation"] == "mean"
    ]


# Read by the task YAML files through `!function`, which resolves any attribute of a module.
METRIC_LIST, TEXT_METRIC_LIST = task_metrics(), task_metrics(text=True)
GROUP_METRIC_LIST, TEXT_GROUP_METRIC_LIST = group_metrics(), group_metrics(text=True)


def process_letter(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the metrics of an item whose option letters were compared by log-likelihood.

    `results` holds (log-likelihood, whether it is the greedy choice) of each option. Raises UserError as
    `equal_scores_fault` describes.
    """
    scores = [score for score, _ in results]
    if fault := equal_scores_fault(scores, doc):
        raise UserError(fault)
    correct = argmax(scores) == doc["gold"]
    item = ScoredItem(len(doc["letters"]), _likelihood_outcome(scores, correct), correct, correct)
    return compute_metrics(item)


def process_text(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the metrics of an item whose option texts were compared by log-likelihood per character.

    `results` holds (log-likelihood, whether it is the greedy choice) of each option. Raises UserError as
    `equal_scores_fault` describes.
    """
    scores = [score for score, _ in results]
    if fault := equal_scores_fault(scores, doc):
        raise UserError(fault)
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


def equal_scores_fault(scores: Sequence[float], doc: Mapping[str, Any]) -> str:
    """Return an error that names the item if all options have one log-likelihood, else "".

    Such scores come from a server or a model that does not score the options; the first option would be chosen. In
    half precision, two options of a local model can be equal by chance, so only three or more count there.
    """
    by_chance = len(scores) == 2 and isfinite(scores[0]) and not str(doc.get("base")).endswith(NO_HASH)
    if len(scores) < 2 or by_chance or any(score != scores[0] for score in scores):
        return ""
    return (
        f"item {doc['item_id']}: all {len(scores)} options have the log-likelihood {scores[0]}, so the model did not "
        "score them; use a task with generated answers (_gen), or another server or dtype"
    )


def argmax(scores: Sequence[float]) -> int | None:
    """Return the index of the largest score, the first of equals; None if a score is nan."""
    return None if any(map(isnan, scores)) else scores.index(max(scores))


def _likelihood_outcome(scores: Sequence[float], correct: bool) -> str:
    if any(map(isnan, scores)):
        return "unparsed"
    return "correct" if correct else "wrong"
