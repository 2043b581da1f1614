"""Calibration of the option probabilities, selective accuracy, and conformal answer sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, inf, pi, sqrt
from typing import NamedTuple

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.core.files import sha256_bytes

from .samples import Answer
from .statistics import Interval, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's probability of each option of one item, in option order.

    `key` is the index of the correct option, `right` whether the logged metric counts the answer as right.
    """

    item_id: str
    probabilities: tuple[float, ...]
    key: int
    right: bool

    @property
    def confidence(self) -> float:
        """Largest probability, that of the chosen option."""
        return max(self.probabilities)


def make_predictions(answers: Iterable[Answer]) -> list[Prediction]:
    """Return the softmax of the option scores of each item, in the order of `answers`.

    For the metric `acc` these are the model's probabilities, given that one of the options follows. For `acc_norm` the
    scores are means per character, so the probabilities are closer to uniform than the model's. Raises CheckFailed if
    the largest score of an item is infinite, and ValueError for a generated answer, which has no scores.
    """
    return [
        Prediction(
            item_id=answer.item_id,
            probabilities=softmax(answer.scores, answer.item_id),
            key=answer.key,
            right=answer.right,
        )
        for answer in answers
    ]


def softmax(scores: Sequence[float], item_id: str) -> tuple[float, ...]:
    """Return probabilities proportional to exp(score). Raises CheckFailed if the largest score is infinite."""
    largest = max(scores)
    if largest in (inf, -inf):
        raise CheckFailed(f"item {item_id}: log-likelihoods {scores} are not finite")
    weights = [exp(score - largest) for score in scores]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


MAX_BINS = 10
MIN_PER_BIN = 10
# According to the benchmark HELM, a calibration error on fewer items is unreliable.
MIN_RELIABLE = 300
# Shares of items for which selective accuracy is computed.
COVERAGES = (0.5, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """`n` items of similar confidence: mean confidence, number of right answers, Wilson interval of their share."""

    n: int
    confidence: float
    right: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class SelectiveAccuracy:
    """Right answers among the `n` items with the highest confidence, a share `coverage` of all, with interval."""

    coverage: float
    n: int
    right: int
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration figures of one model.

    `ece`: expected calibration error. `ece_of_perfect`: its approximate value for a perfectly calibrated model with `n`
    items. `brier`: mean Brier score. `brier_of_guessing`: that of equal probabilities. `covered`: for each share in
    `COVERAGES`, the accuracy on this share of the items, those with the highest confidence.
    """

    n: int
    bins: tuple[Bin, ...]
    ece: float
    ece_of_perfect: float
    brier: float
    brier_of_guessing: float
    covered: tuple[SelectiveAccuracy, ...]

    @property
    def small(self) -> bool:
        """Whether there are too few items for a reliable calibration error."""
        return self.n < MIN_RELIABLE


def measure_calibration(predictions: Sequence[Prediction]) -> Calibration:
    """Return all calibration figures of one model. Raises ValueError without items."""
    bins = equal_mass_bins(predictions)
    return Calibration(
        n=len(predictions),
        bins=tuple(_make_bin(members) for members in bins),
        ece=expected_calibration_error(bins),
        ece_of_perfect=ece_if_calibrated(bins),
        brier=sum(map(brier_score, predictions)) / len(predictions),
        brier_of_guessing=sum(1 - 1 / len(prediction.probabilities) for prediction in predictions)
        / len(predictions),
        covered=tuple(selective_accuracy(predictions, coverage) for coverage in COVERAGES),
    )


def equal_mass_bins(predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """Return up to ten bins of nearly equal size, by rising confidence; a single bin for fewer than 20 items.

    Nguyen, K. and O'Connor, B. (2015), "Posterior calibration and exploratory analysis for natural language
    processing models", EMNLP: adaptive bins, because most confidences of a model are similar.
    """
    n = len(predictions)
    if not n:
        raise ValueError("no items")
    ordered = sorted(predictions, key=_confidence_key)
    count = min(MAX_BINS, max(1, n // MIN_PER_BIN))
    edges = [i * n // count for i in range(count + 1)]
    return [ordered[low:high] for low, high in pairwise(edges)]


def expected_calibration_error(bins: Sequence[Sequence[Prediction]]) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy, weighted by bin size.

    Naeini, M., Cooper, G. and Hauskrecht, M. (2015), "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI. It is never negative, so chance alone makes it positive: see `ece_if_calibrated`.
    """
    n = sum(map(len, bins))
    return sum(abs(sum(f.confidence - f.right for f in members)) for members in bins) / n


def ece_if_calibrated(bins: Sequence[Sequence[Prediction]]) -> float:
    """Return the approximate ECE of a perfectly calibrated model.

    The gap of a bin is then nearly normal with mean zero and variance sum p(1-p). Its mean absolute value is
    sqrt(2 variance / pi).
    """
    n = sum(map(len, bins))
    variances = [sum(f.confidence * (1 - f.confidence) for f in members) for members in bins]
    return sum(sqrt(2 * variance / pi) for variance in variances) / n


def brier_score(prediction: Prediction) -> float:
    """Return the sum over options of (probability - outcome)^2, from 0 (perfect) to 2 (certain and wrong).

    Brier, G. (1950), "Verification of forecasts expressed in terms of probability", Monthly Weather Review
    78:1-3, in its original form for any number of options.
    """
    return sum((share - (i == prediction.key)) ** 2 for i, share in enumerate(prediction.probabilities))


def selective_accuracy(predictions: Sequence[Prediction], coverage: float) -> SelectiveAccuracy:
    """Return the accuracy on the share `coverage` of items with the highest confidence, rounded up to whole items.

    Selective prediction: El-Yaniv, R. and Wiener, Y. (2010), JMLR 11:1605-1641.
    """
    ordered = sorted(predictions, key=_confidence_key, reverse=True)
    answered = ordered[: ceil(coverage * len(ordered))]
    right = sum(prediction.right for prediction in answered)
    return SelectiveAccuracy(coverage, len(answered), right, wilson(right, len(answered)))


def _confidence_key(prediction: Prediction) -> tuple[float, str]:
    # Ties are ordered by id, so that the order of the samples does not change the figures.
    return prediction.confidence, prediction.item_id


def _make_bin(members: Sequence[Prediction]) -> Bin:
    right = sum(prediction.right for prediction in members)
    confidence = sum(prediction.confidence for prediction in members) / len(members)
    return Bin(len(members), confidence, right, wilson(right, len(members)))


TARGET = 0.9
SPLITS = 50
# Conformal sets need at least this many items in each half of a split.
MIN_PER_HALF = 20


class SplitResult(NamedTuple):
    """Result of one split: `held`, share of sets that contain the correct option; `size`, mean number of options."""

    held: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalSets:
    """Answer sets calibrated on one half of the items and evaluated on the other; means over many splits.

    A single split depends on chance: with 160 items per half, its share can differ from the target by 7 points.
    `target` is the required share of sets that contain the correct option, `held` the share found. `calibrated_on` and
    `n` are the sizes of the two halves. `spread` is the range of that share without the lowest and highest twentieth
    of the splits. `mean_size` is the mean number of options in a set.
    """

    target: float
    splits: int
    calibrated_on: int
    n: int
    held: float
    spread: Interval
    mean_size: float


def conformal_sets(
    predictions: Sequence[Prediction], target: float = TARGET, splits: int = SPLITS
) -> ConformalSets | None:
    """Return the evaluation of split conformal prediction sets; None with fewer than 20 items in a half.

    Vovk, V., Gammerman, A. and Shafer, G. (2005), "Algorithmic Learning in a Random World", chapter 4; the
    score is one minus the probability of the correct option (Sadinle, Lei and Wasserman 2019, JASA 114:223-234).
    For exchangeable items, a set contains the correct option with a probability of at least `target`.
    """
    halves = [split_halves(predictions, seed) for seed in range(splits)]
    calibrating, evaluated = map(len, halves[0])
    if min(calibrating, evaluated) < MIN_PER_HALF:
        return None
    results = [evaluate_split(*half, target) for half in halves]
    shares = sorted(result.held for result in results)
    # One twentieth of the splits on each side is ignored, rounded down.
    cut = splits // 20
    return ConformalSets(
        target=target,
        splits=splits,
        calibrated_on=calibrating,
        n=evaluated,
        held=sum(shares) / splits,
        spread=Interval(shares[cut], shares[-1 - cut]),
        mean_size=sum(result.size for result in results) / splits,
    )


def evaluate_split(
    calibration: Sequence[Prediction], evaluation: Sequence[Prediction], target: float
) -> SplitResult:
    """Return the result of one split: threshold from `calibration`, sets of the items in `evaluation`."""
    threshold = conformal_threshold([1 - f.probabilities[f.key] for f in calibration], target)
    sets = [[i for i, share in enumerate(f.probabilities) if 1 - share <= threshold] for f in evaluation]
    held = sum(f.key in options for f, options in zip(evaluation, sets, strict=True))
    return SplitResult(held / len(evaluation), sum(map(len, sets)) / len(evaluation))


def split_halves(predictions: Sequence[Prediction], seed: int) -> tuple[list[Prediction], list[Prediction]]:
    """Return two halves in a pseudo-random order that is the same on every machine; the second may be longer by one.

    The order is a hash of seed and id, because a random generator may change with its version.
    """
    ordered = sorted(predictions, key=lambda f: sha256_bytes(f"{seed} {f.item_id}".encode()))
    half = len(ordered) // 2
    return ordered[:half], ordered[half:]


def conformal_threshold(scores: Sequence[float], target: float) -> float:
    """Return the ceil((n + 1) target)-th smallest of n scores; 1, which admits every option, if n is too small."""
    rank = ceil((len(scores) + 1) * target - 1e-12)
    return sorted(scores)[rank - 1] if rank <= len(scores) else 1.0
