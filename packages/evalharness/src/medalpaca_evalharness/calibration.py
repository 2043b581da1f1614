"""Calibration: whether a model that says 70 % is right in 70 %, and what is gained by its holding back.

Answer sets that hold the right option with a chosen probability: split conformal prediction.

From the scores that a task compares to the probability a model gives each option.
"""

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
    """One item as the model saw it: how likely each option is, and which one is right."""

    item_id: str
    shares: tuple[float, ...]  # sum to 1, in option order
    key: int
    right: bool

    @property
    def confidence(self) -> float:
        """The probability of the option that was chosen."""
        return max(self.shares)


def make_predictions(answers: Iterable[Answer]) -> list[Prediction]:
    """The softmax of what the task compares, per item.

    For `acc` these are the model's own probabilities, given that one of the options follows. For `acc_norm`
    the scores are means per character, so that the probabilities are flatter than the model's own.
    Raises CheckFailed for an item whose options are all impossible.
    """
    return [
        Prediction(
            item_id=answer.item_id,
            shares=softmax(answer.scores, answer.item_id),
            key=answer.key,
            right=answer.right,
        )
        for answer in answers
    ]


def softmax(scores: Sequence[float], item_id: str) -> tuple[float, ...]:
    """Shares that sum to 1, in proportion to exp(score)."""
    largest = max(scores)
    if largest in (inf, -inf):
        raise CheckFailed(f"item {item_id}: log-likelihoods {scores} are not finite")
    weights = [exp(score - largest) for score in scores]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


MAX_BINS = 10
MIN_PER_BIN = 10  # fewer items than this in a bin, and it says nothing
MIN_RELIABLE = 300  # items below which HELM calls a calibration error unreliable
COVERAGES = (0.5, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Items of similar confidence."""

    n: int
    confidence: float  # mean
    right: int
    interval: Interval  # of the share that is right


@dataclass(frozen=True, slots=True)
class SelectiveAccuracy:
    """Only the most confident share of items answered."""

    coverage: float
    n: int
    right: int
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One model's probabilities against what was right."""

    n: int
    bins: tuple[Bin, ...]
    ece: float
    ece_of_perfect: float  # what the formula gives, about, for a perfectly calibrated model at this n
    brier: float
    brier_of_guessing: float  # of equal probabilities
    covered: tuple[SelectiveAccuracy, ...]

    @property
    def small(self) -> bool:
        """Too few items for the calibration error to be worth much."""
        return self.n < MIN_RELIABLE


def measure_calibration(forecasts: Sequence[Prediction]) -> Calibration:
    """All of it. Raises ValueError without items."""
    bins = equal_mass_bins(forecasts)
    return Calibration(
        n=len(forecasts),
        bins=tuple(_make_bin(members) for members in bins),
        ece=expected_calibration_error(bins),
        ece_of_perfect=ece_if_calibrated(bins),
        brier=sum(map(brier_score, forecasts)) / len(forecasts),
        brier_of_guessing=sum(1 - 1 / len(forecast.shares) for forecast in forecasts) / len(forecasts),
        covered=tuple(selective_accuracy(forecasts, coverage) for coverage in COVERAGES),
    )


def equal_mass_bins(forecasts: Sequence[Prediction]) -> list[list[Prediction]]:
    """Up to ten bins of as equal numbers as possible, by rising confidence.

    Nguyen, K. and O'Connor, B. (2015), "Posterior calibration and exploratory analysis for natural language
    processing models", EMNLP: adaptive bins, since most of a model's confidences lie close together.
    """
    n = len(forecasts)
    if not n:
        raise ValueError("no items")
    ordered = sorted(forecasts, key=_confidence_key)
    count = min(MAX_BINS, max(1, n // MIN_PER_BIN))
    edges = [i * n // count for i in range(count + 1)]
    return [ordered[low:high] for low, high in pairwise(edges)]


def expected_calibration_error(bins: Sequence[Sequence[Prediction]]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy of a bin, weighted by its size.

    Naeini, M., Cooper, G. and Hauskrecht, M. (2015), "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI. Never below zero, so that chance alone makes it positive: see `ece_of_perfect`.
    """
    n = sum(map(len, bins))
    return sum(abs(sum(f.confidence - f.right for f in members)) for members in bins) / n


def ece_if_calibrated(bins: Sequence[Sequence[Prediction]]) -> float:
    """The ECE to be expected, about, if every confidence were exactly right.

    A bin's gap is then close to normal around zero with variance sum p(1-p), and its mean size is that normal's
    mean absolute value, sqrt(2 variance / pi).
    """
    n = sum(map(len, bins))
    variances = [sum(f.confidence * (1 - f.confidence) for f in members) for members in bins]
    return sum(sqrt(2 * variance / pi) for variance in variances) / n


def brier_score(forecast: Prediction) -> float:
    """Sum over the options of (probability - outcome)^2: 0 is perfect, 2 is certain of a wrong option.

    Brier, G. (1950), "Verification of forecasts expressed in terms of probability", Monthly Weather Review
    78:1-3, in its original form for any number of options.
    """
    return sum((share - (i == forecast.key)) ** 2 for i, share in enumerate(forecast.shares))


def selective_accuracy(forecasts: Sequence[Prediction], coverage: float) -> SelectiveAccuracy:
    """Accuracy on the most confident share of items: selective prediction (El-Yaniv and Wiener 2010, JMLR 11)."""
    ordered = sorted(forecasts, key=_confidence_key, reverse=True)
    answered = ordered[: ceil(coverage * len(ordered))]
    right = sum(forecast.right for forecast in answered)
    return SelectiveAccuracy(coverage, len(answered), right, wilson(right, len(answered)))


def _confidence_key(forecast: Prediction) -> tuple[float, str]:
    # Equal confidences are ordered by id, so that the same samples in another order give the same figures.
    return forecast.confidence, forecast.item_id


def _make_bin(members: Sequence[Prediction]) -> Bin:
    right = sum(forecast.right for forecast in members)
    confidence = sum(forecast.confidence for forecast in members) / len(members)
    return Bin(len(members), confidence, right, wilson(right, len(members)))


TARGET = 0.9
SPLITS = 50
MIN_PER_HALF = 20  # items on each side of a split below which nothing is said


class SplitResult(NamedTuple):
    """How sets made from some items did on others."""

    held: float  # share of sets with the right option in them
    size: float  # mean number of options in a set


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalSets:
    """How answer sets, made from one half of the items, did on the other half; mean over many splits.

    One split is luck: with 160 items in each half its share can lie 7 points from the target.
    """

    target: float
    splits: int
    calibrated_on: int
    n: int  # items of the other half
    held: float
    spread: Interval  # smallest and largest share among nine tenths of the splits
    mean_size: float


def conformal_sets(
    forecasts: Sequence[Prediction], target: float = TARGET, splits: int = SPLITS
) -> ConformalSets | None:
    """Make and try the sets, or None with too few items.

    Vovk, V., Gammerman, A. and Shafer, G. (2005), "Algorithmic Learning in a Random World", chapter 4; the
    score is one minus the right option's probability (Sadinle, Lei and Wasserman 2019, JASA 114:223-234).
    For items drawn like the calibration items, sets hold the right option with at least `target`.
    """
    halves = [split_halves(forecasts, seed) for seed in range(splits)]
    calibrating, tried = map(len, halves[0])
    if min(calibrating, tried) < MIN_PER_HALF:
        return None
    trials = [evaluate_split(*half, target) for half in halves]
    held = sorted(trial.held for trial in trials)
    cut = splits // 20
    return ConformalSets(
        target=target,
        splits=splits,
        calibrated_on=calibrating,
        n=tried,
        held=sum(held) / splits,
        spread=Interval(held[cut], held[-1 - cut]),
        mean_size=sum(trial.size for trial in trials) / splits,
    )


def evaluate_split(
    calibrating: Sequence[Prediction], tried: Sequence[Prediction], target: float
) -> SplitResult:
    """Sets hold every option whose probability is no smaller than what `calibrating` says is needed."""
    threshold = conformal_threshold([1 - f.shares[f.key] for f in calibrating], target)
    sets = [[i for i, share in enumerate(f.shares) if 1 - share <= threshold] for f in tried]
    held = sum(f.key in options for f, options in zip(tried, sets, strict=True))
    return SplitResult(held / len(tried), sum(map(len, sets)) / len(tried))


def split_halves(forecasts: Sequence[Prediction], seed: int) -> tuple[list[Prediction], list[Prediction]]:
    """Two halves, at random for a reader of the exam, and the same wherever and whenever they are made.

    By a hash of seed and id instead of a random generator, whose draws a new version may change.
    """
    ordered = sorted(forecasts, key=lambda f: sha256_bytes(f"{seed} {f.item_id}".encode()))
    half = len(ordered) // 2
    return ordered[:half], ordered[half:]


def conformal_threshold(scores: Sequence[float], target: float) -> float:
    """The ceil((n + 1) target)-th smallest score; 1, which lets every option in, when there are too few."""
    rank = ceil((len(scores) + 1) * target - 1e-12)
    return sorted(scores)[rank - 1] if rank <= len(scores) else 1.0
