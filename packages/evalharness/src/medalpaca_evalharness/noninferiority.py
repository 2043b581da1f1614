"""Non-inferiority and equivalence of two paired accuracies: exact unconditional tests with Tango's score statistic.

The counts are those of a paired comparison: `fixed` items are right only in the tuned run, `broken` only in the base.
"""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .power import POWER
from .statistics import tango_score

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

# One-sided level of each test; two tests at this level correspond to a 95 % interval.
ALPHA = 0.025
# Above this number of items, the p-value is that of Tango's score with the normal distribution.
EXACT_UP_TO = 5000
# Discordances at which the probability is computed, in the first pass and around the largest value.
GRID, FINE_GRID, PASSES = 400, 40, 2
# Outcomes whose statistics differ by less are equally extreme.
TOLERANCE = 1e-9
# Stands for the logarithm of 0.
TINY = 1e-300

NOT_WORSE: Final = "not worse"
EQUIVALENT: Final = "equivalent"
WORSE: Final = "worse"
CANNOT_TELL: Final = "cannot tell"
Answer = Literal["not worse", "equivalent", "worse", "cannot tell"]
# Names of the tests that a plan can hold.
Test = Literal["noninferiority", "equivalence"]


class MarginTest(NamedTuple):
    """Result of the tests of a margin; p-values are one-sided and unadjusted.

    `p_not_worse` is that of "worse by the margin or more", `p_not_better` that of "better by the margin or more",
    `p_worse` that of "worse by the margin or less". `exact` is False for more than `EXACT_UP_TO` items.
    `items_needed` is about how many items the first test that fails needs for a power of 80 %, with the observed
    shares as the true ones. It is None if all tests pass, or if no number of items is enough.
    """

    answer: Answer
    p_not_worse: float
    p_not_better: float
    p_worse: float
    exact: bool
    items_needed: int | None


def margin_test(
    n: int, fixed: int, broken: int, margin: float, *, tests: tuple[Test, ...], alpha: float = ALPHA
) -> MarginTest:
    """Test whether tuned is not worse than base by `margin` or more, a share of 1, and whether both are equivalent.

    Non-inferiority is tested first, and equivalence only if it is shown. With this fixed order, neither needs an
    adjustment. Equivalence consists of two one-sided tests (Schuirmann, D. J. (1987), Journal of Pharmacokinetics and
    Biopharmaceutics 15:657-680). Raises ValueError for counts or a margin that are not possible.
    """
    not_worse = one_sided_p(n, fixed, broken, -margin)
    not_better = one_sided_p(n, broken, fixed, -margin)
    worse = one_sided_p(n, broken, fixed, margin)
    answer: Answer = CANNOT_TELL
    needed = None
    if not_worse <= alpha:
        answer = NOT_WORSE
        if "equivalence" in tests:
            if not_better <= alpha:
                answer = EQUIVALENT
            else:
                needed = items_needed(n, broken, fixed, margin, alpha)
    elif worse <= alpha:
        answer = WORSE
    else:
        needed = items_needed(n, fixed, broken, margin, alpha)
    return MarginTest(answer, not_worse, not_better, worse, n <= EXACT_UP_TO, needed)


def one_sided_p(n: int, fixed: int, broken: int, bound: float) -> float:
    """Return the p-value of the hypothesis that tuned minus base is at most `bound`, a share of 1.

    The statistic is Tango's score at `bound`. Its distribution depends on the unknown share of discordant items. The
    p-value is the largest probability over all possible shares of an outcome at least as extreme, so the test is exact
    (Hsueh, H.-M., Liu, J.-P. and Chen, J. J. (2001), Biometrics 57:478-483; Sidik, K. (2003), Statistics in Medicine
    22:265-278). The maximum lies at the bound itself, because the score meets the convexity condition of Barnard.
    Above `EXACT_UP_TO` items, the normal distribution is used. Raises ValueError for impossible counts or bounds.
    """
    if n <= 0 or fixed < 0 or broken < 0 or fixed + broken > n or not 0 < abs(bound) < 1:
        raise ValueError(
            f"{fixed} fixed and {broken} broken of {n} with bound {bound} are not possible; give n > 0, a sum up to n, "
            "and a bound other than 0 between -1 and 1"
        )
    score = tango_score(n, fixed, broken, bound)
    if n > EXACT_UP_TO:
        return NormalDist().cdf(-score)
    return _largest_probability(n, critical_counts(n, score - TOLERANCE, bound), bound)


def critical_counts(n: int, critical: float, bound: float) -> list[int]:
    """Return, for 0 to `n` discordant items, the smallest number of fixed ones with a score of at least `critical`.

    Where no number has such a score, it is the number of discordant items plus 1. One discordant item more raises the
    smallest number by 0 or 1.
    """
    counts, smallest = [], 0
    for discordant in range(n + 1):
        while smallest <= discordant and tango_score(n, smallest, discordant - smallest, bound) < critical:
            smallest += 1
        counts.append(smallest)
    return counts


def outcome_probability(
    n: int, counts: list[int], discordance: NDArray[float64], fixed: NDArray[float64]
) -> NDArray[float64]:
    """Return the probability that the number of fixed items is at least `counts`, by number of discordant items.

    An item is discordant with probability `discordance`, and a discordant item is fixed with probability `fixed`. Both
    are arrays of one length; the result has one probability for each pair.
    """
    import numpy as np

    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_fixed, log_broken = (np.log(np.maximum(share, TINY)) for share in (fixed, 1 - fixed))
    log_discordant, log_same = (np.log(np.maximum(share, TINY)) for share in (discordance, 1 - discordance))

    def term(k: int, size: int, log_yes: NDArray[float64], log_no: NDArray[float64]) -> NDArray[float64]:
        binomial = log_factorial[size] - log_factorial[k] - log_factorial[size - k]
        value: NDArray[float64] = np.exp(binomial + k * log_yes + (size - k) * log_no)
        return value

    # The probability of at least `smallest` fixed items, updated for one discordant item more in each step.
    smallest = counts[0]
    tail = np.full(len(discordance), float(smallest == 0))
    total = tail * term(0, n, log_discordant, log_same)
    for size in range(1, n + 1):
        if counts[size] > smallest:
            if smallest < size:
                tail = tail - (1 - fixed) * term(smallest, size - 1, log_fixed, log_broken)
            smallest = counts[size]
        elif smallest:
            tail = tail + fixed * term(smallest - 1, size - 1, log_fixed, log_broken)
        total = total + tail * term(size, n, log_discordant, log_same)
    return np.clip(total, 0.0, 1.0)


def _largest_probability(n: int, counts: list[int], bound: float) -> float:
    """Return the largest probability of the outcomes over the discordances that are possible at `bound`."""
    import numpy as np

    low, high = abs(bound), 1.0
    # Equal steps of the arc sine, so that the standard deviation of the count changes by the same amount.
    grid = np.sin(np.linspace(np.arcsin(sqrt(low)), np.pi / 2, GRID)) ** 2
    largest = 0.0
    for _ in range(1 + PASSES):
        discordance = np.clip(grid, low, high)
        found = outcome_probability(n, counts, discordance, (discordance + bound) / (2 * discordance))
        best = int(np.argmax(found))
        largest = max(largest, float(found[best]))
        grid = np.linspace(grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)], FINE_GRID)
    return largest


def items_needed(
    n: int, fixed: int, broken: int, margin: float, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """Return about how many items show that tuned is not worse by `margin`, if the observed shares are the true ones.

    Nam, J. (1997), "Establishing equivalence of two treatments and sample size requirements in matched-pairs design",
    Biometrics 53:1422-1430. From 100 items, the result is rounded up to tens. Returns None if the observed
    difference is not above -`margin`.
    """
    return sample_size(margin, (fixed + broken) / n, (fixed - broken) / n, alpha, power)


def sample_size(
    margin: float, discordance: float, difference: float = 0.0, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """Return the number of items for `power`, with true shares of discordant items and true difference as given."""
    distance = margin + difference
    if distance <= 0:
        return None
    # The variance of one item's score under the hypothesis, as in `tango_score`, and under the true shares.
    broken = (discordance - difference) / 2
    linear = -(2 - difference) * margin - discordance
    share = (sqrt(max(0.0, linear * linear - 8 * broken * margin * (1 + margin))) - linear) / 4
    null = max(0.0, 2 * share - margin * (1 + margin))
    normal = NormalDist()
    deviations = normal.inv_cdf(1 - alpha) * sqrt(null) + normal.inv_cdf(power) * sqrt(
        max(0.0, discordance - difference * difference)
    )
    exact = max(1.0, (deviations / distance) ** 2)
    step = 1 if exact < 100 else 10
    return step * ceil(exact / step)
