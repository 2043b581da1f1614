"""Statistics of a paired comparison, computed from counts: intervals and tests.

Needs only the standard library, except for the bootstrap, which needs numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import atan, copysign, cos, inf, pi, sin, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Bounds of a confidence interval of a share or of a difference of shares, as shares of 1, not percent."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the Wilson score interval for a share of `n` trials.

    Wilson, E. B. (1927), "Probable inference, the law of succession, and statistical inference", JASA
    22:209-212; recommended by Brown, Cai and DasGupta (2001), Statistical Science 16:101-133.
    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is not a share; give n > 0 and successes from 0 to n")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    margin = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is exactly 0 or 1, which rounding errors would miss.
    low = 0.0 if successes == 0 else (centre - margin) / scale
    high = 1.0 if successes == n else (centre + margin) / scale
    return Interval(low, high)


def mcnemar_exact(fixed: int, broken: int) -> float:
    """Return the two-sided exact p-value of the hypothesis that fixed and broken items are equally likely.

    McNemar, Q. (1947), Psychometrika 12:153-157, in its exact form: a binomial test with share 1/2 on the
    discordant pairs, two-sided. Concordant pairs carry no information. Returns 1.0 without discordant pairs.
    """
    n = fixed + broken
    term = tail = 1
    for k in range(min(fixed, broken)):
        # The next binomial coefficient, as an exact integer.
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def tango(n: int, fixed: int, broken: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval for the difference of two paired shares, (fixed - broken) / n, over all `n` pairs.

    Tango, T. (1998), "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17:891-908. The bounds are the differences at which the score
    statistic is the normal quantile; they are found by bisection to the precision of a float.
    Raises ValueError for counts that are not possible.
    """
    _check_pairs(n, fixed, broken)
    return score_interval(n, fixed, broken, NormalDist().inv_cdf((1 + confidence) / 2))


def score_interval(n: float, fixed: float, broken: float, z: float) -> Interval:
    """Return Tango's interval for the quantile `z`; the counts may be effective ones, which are no whole numbers."""
    difference = (fixed - broken) / n
    # The statistic falls as the difference grows.
    low = -1.0 if broken == n else _bisect(lambda d: tango_score(n, fixed, broken, d) > z, -1.0, difference)
    high = 1.0 if fixed == n else _bisect(lambda d: tango_score(n, fixed, broken, d) > -z, difference, 1.0)
    return Interval(low, high)


def tango_score(n: float, fixed: float, broken: float, difference: float) -> float:
    """Return Tango's score statistic of the hypothesis that the difference of the shares is `difference`.

    The variance is that of the most likely shares under the hypothesis (Tango 1998, equations 4 and 5).
    """
    linear = (2 * n - fixed + broken) * difference - fixed - broken
    constant = -broken * difference * (1 - difference)
    share = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    distance = fixed - broken - n * difference
    if variance <= 0:
        return copysign(inf, distance) if distance else 0.0
    return distance / sqrt(variance)


def paired_interval(n: int, fixed: int, broken: int) -> Interval:
    """Return Tango's 95 % interval, consistent with the exact McNemar test.

    Where the test finds no difference at 5 % and the interval excludes 0, the bound next to 0 becomes 0.
    """
    low, high = tango(n, fixed, broken)
    if mcnemar_exact(fixed, broken) >= 1 - CONFIDENCE:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(low, high)


def student_t(t: float, df: int) -> float:
    """Return the probability that the absolute value of Student's t with `df` degrees of freedom is at most `t`.

    Abramowitz, M. and Stegun, I. A. (1964), Handbook of Mathematical Functions, equations 26.7.3 and 26.7.4: a finite
    sum for every whole number of degrees of freedom. Raises ValueError for df < 1 and for a negative `t`.
    """
    if df < 1 or t < 0:
        raise ValueError(f"t = {t} with {df} degrees of freedom; give t >= 0 and df >= 1")
    angle = atan(t / sqrt(df))
    odd = df % 2
    term = cos(angle) if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


@lru_cache(maxsize=4096)
def t_quantile(confidence: float, df: int) -> float:
    """Return the bound within which Student's t is with probability `confidence`: 2.776 for 0.95 and df = 4."""
    high = 1.0
    while student_t(high, df) < confidence and high < 1e12:
        high *= 2
    return _bisect(lambda t: student_t(t, df) < confidence, 0.0, high)


def _bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return the argument in [low, high] at which `is_below` changes from true to false."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return middle


def _check_pairs(n: int, fixed: int, broken: int) -> None:
    if n <= 0 or fixed < 0 or broken < 0 or fixed + broken > n:
        raise ValueError(
            f"{fixed} fixed and {broken} broken of {n} are not possible; give n > 0 and a sum up to n"
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values, in their order, adjusted for multiple comparisons.

    Holm, S. (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6:65-70: the i-th smallest of m is multiplied by m - i + 1, and none may be below a smaller one's.
    At level alpha, the probability of one or more false positives is at most alpha.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


class Stratum(NamedTuple):
    """Counts of `n` pairs, for example of one exam step; resampling keeps the size of each stratum.

    `fixed` pairs are wrong in the first run and right in the second one, `broken` pairs the reverse.
    """

    n: int
    fixed: int
    broken: int


def paired_bootstrap(strata: Iterable[Stratum], confidence: float = CONFIDENCE) -> Interval:
    """Return the percentile interval of tuned minus base accuracy, with items resampled within strata.

    Efron, B. and Tibshirani, R. (1993), "An Introduction to the Bootstrap", chapter 13. A pair counts
    +1, 0 or -1, so the exact distribution of a resampled sum follows by convolution. That is the limit of
    infinitely many replications: it needs no seed and is the same on every machine. Raises ValueError for
    impossible counts, and ZeroDivisionError without strata.
    """
    import numpy as np

    strata = list(strata)
    total = sum(stratum.n for stratum in strata)
    chances: NDArray[float64] = np.ones(1)
    for n, fixed, broken in strata:
        _check_pairs(n, fixed, broken)
        one = np.array([broken, n - fixed - broken, fixed]) / n
        chances = np.convolve(chances, _sum_distribution(one, n))
    below = np.cumsum(chances)
    tail = (1 - confidence) / 2
    # chances[i] is the probability of the sum i - total. The tolerance keeps rounding errors from moving a bound.
    low = int(np.searchsorted(below, tail - 1e-12)) - total
    high = int(np.searchsorted(below, 1 - tail - 1e-12)) - total
    return Interval(low / total, high / total)


def _sum_distribution(one: NDArray[float64], n: int) -> NDArray[float64]:
    """Return the distribution of the sum of `n` draws from `one`, by repeated squaring."""
    import numpy as np

    result: NDArray[float64] = np.ones(1)
    while n:
        if n & 1:
            result = np.convolve(result, one)
        n >>= 1
        if n:
            one = np.convolve(one, one)
    return result
