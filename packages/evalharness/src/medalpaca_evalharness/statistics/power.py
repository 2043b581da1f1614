"""What an exam of a given size can show at all: to be looked at before the model is."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

from .paired import CONFIDENCE, POWER, detectable_difference

DISCORDANCES = (0.1, 0.2, 0.3)  # share of items on which two models of one family differ
TYPICAL = 0.6  # the accuracy for which the table is made


class Power(NamedTuple):
    """One row of the power table, as shares of 1."""

    n: int
    half_width: float  # of the 95 % interval of one accuracy
    paired: tuple[float, ...]  # smallest difference shown with 80 % power, one per discordance
    unpaired: float  # the same for two models on two sets of items


def power(n: int, share: float = TYPICAL) -> Power:
    """What `n` items show around an accuracy of `share`.

    Normal approximations, as in Miller, E. (2024), "Adding Error Bars to Evals", arXiv 2411.00640, section 5.
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
