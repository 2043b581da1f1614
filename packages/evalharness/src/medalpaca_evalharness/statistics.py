"""Statistics of a paired comparison, computed from counts: intervals, tests, and power.

Needs only the standard library, except for the bootstrap, which needs numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


CONFIDENCE = 0.95
POWER = 0.80


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


def detectable_difference(
    n: int, discordant: float, power: float = POWER, confidence: float = CONFIDENCE
) -> float:
    """Return the smallest difference in accuracy, as a share of 1, that `n` pairs detect with `power`.

    (z_{1-alpha/2} + z_power) * sqrt(discordance / n): the normal approximation with the variance under the
    null hypothesis, the leading term of Connor, R. J. (1987), Biometrics 43:207-211. alpha is 1 - `confidence`.
    `discordant` is the number of pairs of which exactly one answer is correct. Returns 0.0 without discordant pairs.
    Raises ValueError unless 0 <= discordant <= n and n > 0.
    """
    if not 0 <= discordant <= n or n == 0:
        raise ValueError(f"{discordant} of {n} is not a share; give n > 0 and discordant pairs from 0 to n")
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * sqrt(discordant / n / n)


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
        if n <= 0 or fixed < 0 or broken < 0 or fixed + broken > n:
            raise ValueError(
                f"{fixed} fixed and {broken} broken of {n} are not possible; give n > 0 and a sum up to n"
            )
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


# Shares of discordant items that are typical for two models of one family.
DISCORDANCES = (0.1, 0.2, 0.3)
# The accuracy for which the power table is computed.
TYPICAL = 0.6


class Power(NamedTuple):
    """What `n` items can detect: one row of the report's power table. All values are shares of 1.

    `half_width`: of the 95 % interval of one accuracy. `paired`: the smallest difference that is detected with 80 %
    power, one per value of `DISCORDANCES`. `unpaired`: the same for two models on two different sets of `n` items.
    """

    n: int
    half_width: float
    paired: tuple[float, ...]
    unpaired: float


def power_analysis(n: int, share: float = TYPICAL) -> Power:
    """Return what `n` items can detect around an accuracy of `share`. Raises ZeroDivisionError for n = 0.

    Uses normal approximations, as in Miller, E. (2024), "Adding Error Bars to Evals", arXiv 2411.00640, section 5.
    """
    normal = NormalDist()
    z, z_power = normal.inv_cdf((1 + CONFIDENCE) / 2), normal.inv_cdf(POWER)
    error = sqrt(share * (1 - share) / n)
    return Power(
        n=n,
        half_width=z * error,
        paired=tuple(detectable_difference(n, discordance * n) for discordance in DISCORDANCES),
        unpaired=(z + z_power) * sqrt(2) * error,
    )
