"""Items that are not independent, such as questions on one vignette: test and interval by groups of items.

The test flips the sign of each group's sum. The interval uses a design effect. Without groups of two or more items, the
exact McNemar test and Tango's interval hold, and nothing of this module is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from math import fsum, gcd
from typing import Any

from .statistics import CONFIDENCE, Interval, mcnemar_exact, score_interval, t_quantile

# Below this number of groups, the interval is approximate.
MIN_GROUPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Figures of a paired comparison whose items belong to groups.

    `groups`: the number of groups, where an item without a group is one of its own. `largest`: the number of items in
    the largest group. `design_effect`: the variance of the difference by groups, divided by its variance if items were
    independent; at least 1. `p`: the exact p-value of `sign_flip`. `interval`: see `clustered_interval`.
    """

    groups: int
    largest: int
    design_effect: float
    p: float
    interval: Interval

    @property
    def approximate(self) -> bool:
        """True if there are too few groups for an interval of full coverage."""
        return self.groups < MIN_GROUPS

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self) | {"interval": list(self.interval), "approximate": self.approximate}


def make_clusters(groups: Sequence[str | None], differences: Sequence[int]) -> Clusters | None:
    """Return the figures by groups, or None if no group has two or more items.

    `groups` has the group of each item, None for an item without one. `differences` has 1 for a fixed item, -1 for a
    broken one, else 0.
    """
    labels = label_groups(groups)
    if labels is None:
        return None
    sums = group_sums(labels, differences)
    n, fixed, broken = len(labels), differences.count(1), differences.count(-1)
    p = sign_flip(sums)
    effect = design_effect(labels, differences)
    quantile = t_quantile(CONFIDENCE, len(sums) - 1) if len(sums) > 1 else None
    interval = (
        Interval(-1.0, 1.0)
        if quantile is None
        else score_interval(n / effect, fixed / effect, broken / effect, quantile)
    )
    return Clusters(
        groups=len(sums),
        largest=max(Counter(labels).values()),
        design_effect=effect,
        p=p,
        interval=agree_with_test(interval, p, sum(sums)),
    )


def label_groups(groups: Sequence[str | None]) -> list[Hashable] | None:
    """Return one label per item, of its own for an item without a group; None if no label occurs twice."""
    labels: list[Hashable] = [i if group is None else group for i, group in enumerate(groups)]
    return labels if len(set(labels)) < len(labels) else None


def group_sums(labels: Sequence[Hashable], values: Sequence[int]) -> list[int]:
    """Return the sum of `values` of each group, in the order in which the groups occur."""
    sums = dict.fromkeys(labels, 0)
    for label, value in zip(labels, values, strict=True):
        sums[label] += value
    return list(sums.values())


def sign_flip(sums: Sequence[int]) -> float:
    """Return the two-sided exact p-value of the hypothesis that the sign of every sum is random.

    It is the share of all 2^G assignments of signs whose total is at least as far from 0 as the total of `sums`. The
    distribution of the total is computed by convolution, one sum at a time, so nothing is drawn at random. If the sums
    are 1, -1 and 0, it is the exact McNemar test. Sums of zero carry no information. Fisher, R. A. (1935), The Design
    of Experiments, section 21.
    """
    import numpy as np

    sizes = [abs(value) for value in sums if value]
    if not sizes:
        return 1.0
    divisor = gcd(*sizes)
    sizes = [size // divisor for size in sizes]
    if max(sizes) == 1:
        positive = sum(value > 0 for value in sums)
        return mcnemar_exact(positive, len(sizes) - positive)
    # chances[i]: the probability that the positive sums add up to i. The total is 2 i - sum(sizes).
    chances = np.zeros(sum(sizes) + 1)
    chances[0] = 1.0
    filled = 1
    for size in sorted(sizes):
        before = chances[:filled] / 2
        chances[:filled] = before
        chances[size : size + filled] += before
        filled += size
    distance = abs(sum(sums)) // divisor
    tail = chances[(filled - 1 - distance) // 2 + distance :]
    return min(1.0, 2 * fsum(tail.tolist())) if distance else 1.0


def design_effect(labels: Sequence[Hashable], differences: Sequence[int]) -> float:
    """Return the factor by which groups raise the variance of the mean difference; at least 1.

    If it cannot be estimated, because all differences are equal or there is one group, it is that of groups whose items
    always agree: the mean size of the group of an item. Rao, J. N. K. and Scott, A. J. (1992), Biometrics 48:577-585.
    """
    n = len(labels)
    mean = sum(differences) / n
    independent = fsum((value - mean) ** 2 for value in differences) / n / n
    if independent == 0 or len(set(labels)) == 1:
        return sum(size * size for size in Counter(labels).values()) / n
    return max(1.0, mean_variance(labels, differences) / independent)


def mean_variance(labels: Sequence[Hashable], differences: Sequence[float]) -> float:
    """Return the variance of the mean of `differences`, robust to dependence within groups.

    Liang, K.-Y. and Zeger, S. L. (1986), Biometrika 73:13-22, multiplied by G / (G - 1) for G groups. It is 0 for one
    group.
    """
    n = len(labels)
    mean = fsum(differences) / n
    residuals = dict.fromkeys(labels, 0.0)
    for label, value in zip(labels, differences, strict=True):
        residuals[label] += value - mean
    groups = len(residuals)
    if groups == 1:
        return 0.0
    return groups / (groups - 1) * fsum(value * value for value in residuals.values()) / n / n


def agree_with_test(interval: Interval, p: float, direction: float) -> Interval:
    """Return the interval with the bound next to 0 set to 0 where interval and test disagree about 0.

    `direction` has the sign of the difference.
    """
    low, high = interval
    if p >= 1 - CONFIDENCE:
        return Interval(min(low, 0.0), max(high, 0.0))
    return Interval(max(low, 0.0), high) if direction > 0 else Interval(low, min(high, 0.0))
