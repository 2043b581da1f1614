"""Calibration: whether a model that says 70 % is right in 70 %, and what is gained by its holding back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, pi, sqrt

from ..statistics.paired import Interval, wilson
from .probability import Forecast

BINS = 10
PER_BIN = 10  # fewer items than this in a bin, and it says nothing
SMALL = 300  # items below which HELM calls a calibration error unreliable
COVERAGES = (0.5, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Items of similar confidence."""

    n: int
    confidence: float  # mean
    right: int
    interval: Interval  # of the share that is right


@dataclass(frozen=True, slots=True)
class Covered:
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
    covered: tuple[Covered, ...]

    @property
    def small(self) -> bool:
        """Too few items for the calibration error to be worth much."""
        return self.n < SMALL


def calibration(forecasts: Sequence[Forecast]) -> Calibration:
    """All of it. Raises ValueError without items."""
    bins = equal_mass_bins(forecasts)
    return Calibration(
        n=len(forecasts),
        bins=tuple(_bin(members) for members in bins),
        ece=ece(bins),
        ece_of_perfect=ece_of_perfect(bins),
        brier=sum(map(brier, forecasts)) / len(forecasts),
        brier_of_guessing=sum(1 - 1 / len(forecast.shares) for forecast in forecasts) / len(forecasts),
        covered=tuple(at_coverage(forecasts, coverage) for coverage in COVERAGES),
    )


def equal_mass_bins(forecasts: Sequence[Forecast]) -> list[list[Forecast]]:
    """Up to ten bins of as equal numbers as possible, by rising confidence.

    Nguyen, K. and O'Connor, B. (2015), "Posterior calibration and exploratory analysis for natural language
    processing models", EMNLP: adaptive bins, since most of a model's confidences lie close together.
    """
    n = len(forecasts)
    if not n:
        raise ValueError("no items")
    ordered = sorted(forecasts, key=_by_confidence)
    count = min(BINS, max(1, n // PER_BIN))
    edges = [i * n // count for i in range(count + 1)]
    return [ordered[low:high] for low, high in pairwise(edges)]


def ece(bins: Sequence[Sequence[Forecast]]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy of a bin, weighted by its size.

    Naeini, M., Cooper, G. and Hauskrecht, M. (2015), "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI. Never below zero, so that chance alone makes it positive: see `ece_of_perfect`.
    """
    n = sum(map(len, bins))
    return sum(abs(sum(f.confidence - f.right for f in members)) for members in bins) / n


def ece_of_perfect(bins: Sequence[Sequence[Forecast]]) -> float:
    """The ECE to be expected, about, if every confidence were exactly right.

    A bin's gap is then close to normal around zero with variance sum p(1-p), and its mean size is that normal's
    mean absolute value, sqrt(2 variance / pi).
    """
    n = sum(map(len, bins))
    variances = [sum(f.confidence * (1 - f.confidence) for f in members) for members in bins]
    return sum(sqrt(2 * variance / pi) for variance in variances) / n


def brier(forecast: Forecast) -> float:
    """Sum over the options of (probability - outcome)^2: 0 is perfect, 2 is certain of a wrong option.

    Brier, G. (1950), "Verification of forecasts expressed in terms of probability", Monthly Weather Review
    78:1-3, in its original form for any number of options.
    """
    return sum((share - (i == forecast.key)) ** 2 for i, share in enumerate(forecast.shares))


def at_coverage(forecasts: Sequence[Forecast], coverage: float) -> Covered:
    """Accuracy on the most confident share of items: selective prediction (El-Yaniv and Wiener 2010, JMLR 11)."""
    ordered = sorted(forecasts, key=_by_confidence, reverse=True)
    answered = ordered[: ceil(coverage * len(ordered))]
    right = sum(forecast.right for forecast in answered)
    return Covered(coverage, len(answered), right, wilson(right, len(answered)))


def _by_confidence(forecast: Forecast) -> tuple[float, str]:
    # Equal confidences are ordered by id, so that the same samples in another order give the same figures.
    return forecast.confidence, forecast.item_id


def _bin(members: Sequence[Forecast]) -> Bin:
    right = sum(forecast.right for forecast in members)
    confidence = sum(forecast.confidence for forecast in members) / len(members)
    return Bin(len(members), confidence, right, wilson(right, len(members)))
