"""A share of items and a mean over items, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean

from ..statistics.bootstrap import Stratum, paired_bootstrap
from ..statistics.paired import CONFIDENCE, Interval, wilson
from .result import Scored


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n` items, with 95 % Wilson interval; `chance` is what drawing each answer blindly gives."""

    n: int
    count: int
    value: float
    interval: Interval
    chance: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `n` items as a share of 1, with 95 % interval."""

    n: int
    value: float
    interval: Interval


def mean(values: Sequence[float]) -> Mean:
    """Mean of one value per item, with the normal interval of Miller, E. (2024), arXiv 2411.00640, section 2.

    The variance has n - 1 in it; of one item nothing is known, and its interval is everything, 0 to 1.
    """
    n, value = len(values), fmean(values)
    if n == 1:
        return Mean(n, value, Interval(0.0, 1.0))
    error = sqrt(sum((one - value) ** 2 for one in values) / (n - 1) / n)
    return Mean(n, value, _around(value, error, 0.0, 1.0))


def with_interval(n: int, value: float, moves: Iterable[float], widest: float = 1.0) -> Mean:
    """A figure whose derivatives by the weight of each item are `moves`; it lies between `widest` and its negative."""
    return Mean(n, value, _around(value, sqrt(sum(move * move for move in moves)), -widest, widest))


def _around(value: float, error: float, lowest: float, highest: float) -> Interval:
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Interval(max(lowest, value - margin), min(highest, value + margin))


def paired(n: int, gained: int, lost: int) -> Mean:
    """Of `n` pairs, the share gained less the share lost, with the bootstrap interval of `exam compare`."""
    return Mean(n, (gained - lost) / n, paired_bootstrap([Stratum(n, gained, lost)]))


def share_of(
    items: Sequence[Scored],
    holds: Callable[[Scored], bool],
    chance: Callable[[Scored], float] = lambda item: 1 / item.options,
) -> Share:
    """The share of items of which `holds` is true; `chance` is how probable that is by drawing blindly."""
    n, count = len(items), sum(map(holds, items))
    return Share(n, count, count / n, wilson(count, n), fmean(map(chance, items)))
