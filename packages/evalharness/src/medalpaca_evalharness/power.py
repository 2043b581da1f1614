"""Exact power of the McNemar test, and the smallest difference in accuracy that it detects.

No normal approximation is used: the probability of every count of fixed and broken items is summed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, lgamma, log1p, sqrt
from math import log as log_of
from typing import NamedTuple

from .statistics import wilson

POWER = 0.80
# Shares of discordant items that are typical for two models of one family.
DISCORDANCES = (0.1, 0.2, 0.3)
# The accuracy for which the width of the interval is given.
TYPICAL = 0.6
# Numbers of discordant items further from their mean than this many standard deviations are left out. Their probability
# is below 1e-12.
DEVIATIONS = 8
# A two-sided p-value below 0.05: the outcomes of one tail are less than 1 / 40 of all.
SIGNIFICANT = 40
# Bisection stops at this share of fixed among discordant items.
TOLERANCE = 1e-7


class Power(NamedTuple):
    """What `n` items can detect: the report's power table. All values are shares of 1.

    `half_width`: half the width of the 95 % Wilson interval of an accuracy of `TYPICAL`. `paired`: the smallest
    difference in accuracy that the exact test detects with 80 % power, one per value of `DISCORDANCES`. It is None
    where even a difference as large as the discordance is detected less often.
    """

    n: int
    half_width: float
    paired: tuple[float | None, ...]


def power_analysis(n: int) -> Power:
    """Return what `n` items can detect. Raises ValueError for n = 0."""
    low, high = wilson(round(TYPICAL * n), n)
    return Power(
        n=n,
        half_width=(high - low) / 2,
        paired=tuple(smallest_difference(n, discordance) for discordance in DISCORDANCES),
    )


def detectable_difference(n: int, discordant: int, power: float = POWER) -> float | None:
    """Return the smallest difference in accuracy that is detected if `discordant` of `n` items are discordant.

    The difference is a share of 1, and at most discordant / n. None is returned if the exact McNemar test at 5 % cannot
    reach `power` with so few discordant items; with 5 or fewer it can never be significant. Raises ValueError unless
    0 <= discordant <= n and n > 0.
    """
    if not 0 <= discordant <= n or n == 0:
        raise ValueError(f"{discordant} of {n} is not a share; give n > 0 and discordant pairs from 0 to n")
    fixed = _smallest_share(lambda share: conditional_powers(discordant, discordant, share)[0], power)
    return None if fixed is None else discordant / n * (2 * fixed - 1)


def smallest_difference(n: int, discordance: float, power: float = POWER) -> float | None:
    """Return the smallest difference in accuracy that `n` items detect if an item is discordant with `discordance`.

    The number of discordant items is then binomial. The result is a share of 1, at most `discordance`; None if even
    that is detected with less than `power`.
    """
    fixed = _smallest_share(lambda share: exact_power(n, discordance, share), power)
    return None if fixed is None else discordance * (2 * fixed - 1)


def exact_power(n: int, discordance: float, fixed: float) -> float:
    """Return the probability that the exact McNemar test of `n` items is significant at 5 %.

    Every item is discordant with probability `discordance`, and a discordant item is fixed with probability `fixed`.
    """
    spread = DEVIATIONS * (sqrt(n * discordance * (1 - discordance)) + 1)
    first, last = max(0, round(n * discordance - spread)), min(n, round(n * discordance + spread))
    powers = conditional_powers(first, last, fixed)
    return sum(_binomial(first + i, n, discordance) * power for i, power in enumerate(powers))


def conditional_powers(first: int, last: int, fixed: float) -> list[float]:
    """Return the probability that the exact McNemar test is significant at 5 %, for `first` to `last` discordant pairs.

    Every pair is fixed with probability `fixed`, else broken.
    """
    few_fixed = _lower_tails(first, last, fixed)
    few_broken = _lower_tails(first, last, 1 - fixed)
    return [low + high for low, high in zip(few_fixed, few_broken, strict=True)]


def _lower_tails(first: int, last: int, share: float) -> list[float]:
    """Return, for each number of pairs, the probability of at most its largest significant minority."""
    largest = _largest_minorities(last)
    top = largest[first]
    tail = sum(_binomial(k, first, share) for k in range(top + 1))
    tails = [tail]
    for pairs in range(first + 1, last + 1):
        # One pair more: the sum loses those that were at its upper end and gain one of this kind.
        if top >= 0:
            tail -= share * _binomial(top, pairs - 1, share)
        if largest[pairs] > top:
            top = largest[pairs]
            tail += _binomial(top, pairs, share)
        tails.append(tail)
    return tails


@lru_cache(maxsize=8)
def _largest_minorities(last: int) -> tuple[int, ...]:
    """Return, for 0 to `last` discordant pairs, the largest number of the rarer kind that is significant at 5 %.

    It is -1 where no number is significant. The counts are exact integers: 40 times the number of outcomes with at most
    that many must be below 2 to the power of the pairs, which is p < 0.05 two-sided.
    """
    found = [-1]
    # `tail` counts the outcomes with at most `top` of the rarer kind, `last_term` those with exactly `top`.
    top, tail, last_term = -1, 0, 0
    for pairs in range(1, last + 1):
        tail = 2 * tail - last_term
        last_term = last_term * pairs // (pairs - top) if top >= 0 else 0
        following = last_term * (pairs - top) // (top + 1) if top >= 0 else 1
        if SIGNIFICANT * (tail + following) < 1 << pairs:
            top, tail, last_term = top + 1, tail + following, following
        found.append(top)
    return tuple(found)


def _smallest_share(power_of: Callable[[float], float], power: float) -> float | None:
    """Return the smallest share of fixed items from 1/2 whose `power_of` is at least `power`, or None."""
    low, high = 0.5, 1.0
    if power_of(high) < power:
        return None
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def _binomial(k: int, n: int, share: float) -> float:
    """Return the probability of `k` successes of `n` trials."""
    if share in (0.0, 1.0):
        return float(k == round(share * n))
    log = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(log + k * log_of(share) + (n - k) * log1p(-share))
