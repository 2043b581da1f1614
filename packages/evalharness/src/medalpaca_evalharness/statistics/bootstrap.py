"""The paired bootstrap of a difference in accuracy, without drawing: its exact distribution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .paired import CONFIDENCE, Interval

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


class Stratum(NamedTuple):
    """How `n` pairs went; resampling leaves each stratum its size."""

    n: int
    fixed: int
    broken: int


def paired_bootstrap(strata: Iterable[Stratum], confidence: float = CONFIDENCE) -> Interval:
    """Percentile interval of tuned minus base accuracy, resampling items within strata.

    Efron, B. and Tibshirani, R. (1993), "An Introduction to the Bootstrap", chapter 13. A pair can only count
    +1, 0 or -1, so that a resampled sum is a sum of independent draws whose distribution is found by
    convolution: what the bootstrap with infinitely many replications gives, the same on every machine, with
    no seed to choose. Raises ValueError for impossible counts.
    """
    import numpy as np

    strata = list(strata)
    total = sum(stratum.n for stratum in strata)
    chances: NDArray[float64] = np.ones(1)
    for n, fixed, broken in strata:
        if n <= 0 or fixed < 0 or broken < 0 or fixed + broken > n:
            raise ValueError(f"{fixed} fixed and {broken} broken of {n}")
        one = np.array([broken, n - fixed - broken, fixed]) / n
        chances = np.convolve(chances, _sum_of(one, n))
    below = np.cumsum(chances)
    tail = (1 - confidence) / 2
    # chances[i] is that of the sum i - total. The last bit of the sum is not to decide a bound.
    low = int(np.searchsorted(below, tail - 1e-12)) - total
    high = int(np.searchsorted(below, 1 - tail - 1e-12)) - total
    return Interval(low / total, high / total)


def _sum_of(one: NDArray[float64], n: int) -> NDArray[float64]:
    """The distribution of the sum of `n` draws from `one`, by squaring."""
    import numpy as np

    result: NDArray[float64] = np.ones(1)
    while n:
        if n & 1:
            result = np.convolve(result, one)
        n >>= 1
        if n:
            one = np.convolve(one, one)
    return result
