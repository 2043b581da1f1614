"""Statistics of a comparison of several runs on each side: variance of items and of runs, interval, and p-value.

Wang, S. (2025), "Measuring all the noises of LLM evals", arXiv 2512.21326: the outcomes of an item are averaged over
the runs of a side, and the variance of the difference is that of the items plus that of the runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import gcd, hypot, lcm, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from .clusters import agree_with_test, group_sums, mean_variance, sign_flip
from .power import POWER
from .statistics import CONFIDENCE, Interval, score_interval, t_quantile

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

# Below this number of runs of a side, the variance between runs is not estimated.
MIN_RUNS = 3
# The largest number of runs that `RunFigures.runs_needed` considers.
MAX_RUNS = 1000
# Below this design effect, the interval of the items has no width.
SMALLEST_EFFECT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SideVariance:
    """Variance of the accuracy of one side between its runs.

    `variance` is that of one run. It is 0 for a `fixed` side (see `several_runs`), and None where it is not estimable.
    """

    runs: int
    fixed: bool
    variance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """Figures of several runs of base and tuned on the same items; all are shares of 1, variances are their squares.

    `base` and `tuned` have the accuracy of each run. `item_variance` is the part of the variance of `difference` that
    comes from the items, `run_variance` the part from the runs, None if not estimable. `fixed` and `broken` are mean
    counts over all pairs of a base run and a tuned run. `groups` is the number of groups of items, None if every item
    is one of its own. `p_items` is the exact p-value of `clusters.sign_flip` on the averaged outcomes. `p_runs` is that
    of the interval, None if not estimable.
    """

    n: int
    base: tuple[float, ...]
    tuned: tuple[float, ...]
    fixed: float
    broken: float
    groups: int | None
    item_variance: float
    sides: tuple[SideVariance, SideVariance]
    p_items: float
    p_runs: float | None
    interval: Interval

    @property
    def difference(self) -> float:
        """Mean accuracy of tuned minus mean accuracy of base."""
        return sum(self.tuned) / len(self.tuned) - sum(self.base) / len(self.base)

    @property
    def run_variance(self) -> float | None:
        return _run_variance(self.sides)

    @property
    def p(self) -> float:
        """The p-value of the verdict: the larger of `p_items` and `p_runs`."""
        return max(self.p_items, self.p_runs or 0.0)

    def runs_needed(self) -> int | None:
        """Return the number of runs of each side that would show a difference of this size with 80 % power.

        A fixed side stays at one run. None: it is more than `MAX_RUNS`, the difference is 0, or the variance between
        runs is not estimable.
        """
        variances = [side.variance for side in self.sides]
        if any(variance is None for variance in variances):
            return None
        one_run = sum(variance or 0.0 for variance in variances)
        normal = NormalDist()
        z, z_power = normal.inv_cdf((1 + CONFIDENCE) / 2), normal.inv_cdf(POWER)
        for runs in range(MIN_RUNS, MAX_RUNS + 1):
            between = one_run / runs
            width = sqrt(t_quantile(CONFIDENCE, runs - 1) ** 2 * between + z * z * self.item_variance)
            if width + z_power * sqrt(between + self.item_variance) <= abs(self.difference):
                return runs
        return None


def run_figures(
    base: NDArray[float64],
    tuned: NDArray[float64],
    labels: Sequence[Hashable] | None = None,
    *,
    fixed_base: bool = False,
) -> RunFigures:
    """Return the figures of two arrays with one row per run and one column per item; 1 is right, 0 is wrong.

    `labels` has the group of each item, None if every item is one of its own. `fixed_base`: the only run of base has no
    variance between runs.
    """
    n = base.shape[1]
    difference = tuned.mean(axis=0) - base.mean(axis=0)
    names: Sequence[Hashable] = range(n) if labels is None else labels
    sides = (_side_variance(base, fixed=fixed_base), _side_variance(tuned, fixed=False))
    # The averaged outcomes still vary with the runs; that part belongs to the runs.
    noise = sum(
        _noise(side) for side, found in zip((base, tuned), sides, strict=True) if found.variance is not None
    )
    item_variance = max(0.0, mean_variance(names, difference.tolist()) - noise) if n > 1 else 0.0
    groups = None if labels is None else len(set(labels))
    fixed = float((tuned.mean(axis=0) * (1 - base.mean(axis=0))).sum())
    broken = float((base.mean(axis=0) * (1 - tuned.mean(axis=0))).sum())
    model = _Model(n, fixed, broken, groups, item_variance, sides)
    p_items = sign_flip(group_sums(names, _whole_numbers(base, tuned)))
    p_runs = None if _run_variance(sides) is None else model.p()
    return RunFigures(
        n=n,
        base=tuple(base.mean(axis=1).tolist()),
        tuned=tuple(tuned.mean(axis=1).tolist()),
        fixed=fixed,
        broken=broken,
        groups=groups,
        item_variance=item_variance,
        sides=sides,
        p_items=p_items,
        p_runs=p_runs,
        interval=agree_with_test(model.interval(CONFIDENCE), max(p_items, p_runs or 0.0), fixed - broken),
    )


def _whole_numbers(base: NDArray[float64], tuned: NDArray[float64]) -> list[int]:
    """Return the averaged differences of the items, multiplied by the numbers of runs so that they are whole."""
    runs = lcm(len(base), len(tuned))
    right = [side.sum(axis=0).astype(int) * (runs // len(side)) for side in (tuned, base)]
    values: list[int] = (right[0] - right[1]).tolist()
    divisor = gcd(*values) or 1
    return [value // divisor for value in values]


def _side_variance(side: NDArray[float64], *, fixed: bool) -> SideVariance:
    runs = len(side)
    variance = 0.0 if fixed else float(side.mean(axis=1).var(ddof=1)) if runs >= MIN_RUNS else None
    return SideVariance(runs=runs, fixed=fixed, variance=variance)


def _noise(side: NDArray[float64]) -> float:
    """Return the variance of the mean over runs and items that comes from single answers: run by item interaction."""
    runs, n = side.shape
    if runs == 1 or n == 1:
        return 0.0
    residuals = side - side.mean(axis=0) - side.mean(axis=1, keepdims=True) + side.mean()
    return float((residuals**2).sum() / (runs - 1) / (n - 1) / (n * runs))


def _run_variance(sides: Sequence[SideVariance]) -> float | None:
    total = 0.0
    for side in sides:
        if side.variance is None:
            return None
        total += side.variance / side.runs
    return total


def run_freedom(sides: Sequence[SideVariance]) -> int:
    """Return the degrees of freedom of the variance between runs: R - 1 if the runs of one side vary.

    If both vary, they are those of Welch, B. L. (1947), Biometrika 34:28-35, rounded down: from R - 1 of the side with
    fewer runs to the sum of both.
    """
    parts = [(side.variance / side.runs, side.runs - 1) for side in sides if side.variance]
    total = sum(part for part, _ in parts)
    # The addition keeps rounding errors from lowering a whole number.
    return int(total**2 / sum(part**2 / freedom for part, freedom in parts) + 1e-9)


@dataclass(frozen=True, slots=True)
class _Model:
    """What interval and p-value are computed from; see `RunFigures`."""

    n: int
    fixed: float
    broken: float
    groups: int | None
    item_variance: float
    sides: tuple[SideVariance, SideVariance]

    def interval(self, confidence: float) -> Interval:
        """Return the interval of the difference, of items and runs together.

        The distances of its bounds from the difference are those of Tango's interval of the items, with the quantile of
        Student's t for groups, and that of the runs by Student's t (see `run_freedom`), added as squares (Zou, G. Y.
        and Donner, A. (2008), Statistics in Medicine 27:1693-1702).
        """
        difference = (self.fixed - self.broken) / self.n
        items = self._item_interval(confidence)
        variance = _run_variance(self.sides)
        runs = t_quantile(confidence, run_freedom(self.sides)) * sqrt(variance) if variance else 0.0
        low = difference - hypot(difference - items.low, runs)
        high = difference + hypot(items.high - difference, runs)
        return Interval(max(-1.0, low), min(1.0, high))

    def _item_interval(self, confidence: float) -> Interval:
        if self.groups == 1:
            return Interval(-1.0, 1.0)
        quantile = (
            NormalDist().inv_cdf((1 + confidence) / 2)
            if self.groups is None
            else t_quantile(confidence, self.groups - 1)
        )
        difference = (self.fixed - self.broken) / self.n
        # The variance if each side had one run and items were independent.
        single = ((self.fixed + self.broken) / self.n - difference**2) / self.n
        effect = max(SMALLEST_EFFECT, self.item_variance / single) if single > 1e-15 else 1.0
        return score_interval(self.n / effect, self.fixed / effect, self.broken / effect, quantile)

    def p(self) -> float:
        """Return the smallest p-value, 1 minus confidence, at which the interval excludes 0."""
        if self.fixed == self.broken:
            return 1.0
        excluded, included = 0.0, 1.0
        # Forty halvings: a precision of 1e-12.
        for _ in range(40):
            middle = (excluded + included) / 2
            low, high = self.interval(middle)
            excluded, included = (middle, included) if low > 0 or high < 0 else (excluded, middle)
        return 1.0 - excluded
