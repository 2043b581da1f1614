"""How far a model has memorised secrets it was shown: their ranks among secrets of the same form that it was not.

Exposure is Carlini, Liu, Erlingsson, Kos and Song's ("The Secret Sharer", USENIX Security 2019): log2 |R| - log2 rank,
in bits, where R are the candidates and rank is the secret's place among them by the model's likelihood, 1 the most
likely. Here R is a sample of the space of secrets and the secret itself, so exposure ends at log2 |R|; more cannot be
told from so many candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """What the model gives away of one patient: the place of the true number, and whether it says it by itself."""

    repeats: int
    place: float
    extracted: bool


def rank(secret: float, others: Sequence[float]) -> float:
    """The place of a log-likelihood among others, 1 the highest; of equal ones the middle place."""
    above = sum(other > secret for other in others)
    level = sum(other == secret for other in others)
    return 1 + above + level / 2


def exposure(place: float, candidates: int) -> float:
    """Bits by which the rank `place` among `candidates` makes a secret easier to guess: log2(candidates / place)."""
    if not 1 <= place <= candidates:
        raise ValueError(f"place {place} of {candidates}")
    return math.log2(candidates) - math.log2(place)


def exposure_by_chance(candidates: int) -> float:
    """The mean exposure of a secret the model knows nothing of: all places equally likely. 1.44 bits for many."""
    return math.log2(candidates) - sum(map(math.log2, range(1, candidates + 1))) / candidates


def p_by_chance(places: Sequence[float], candidates: int) -> float:
    """How often secrets the model knows nothing of would be placed so high together, by Fisher's method.

    place / candidates is the p-value of one secret. Minus the sum of their logarithms is at most Gamma(n, 1)
    distributed under chance, so the result never says less than it should.
    """
    total = sum(math.log(candidates / place) for place in places)
    # Of a whole shape the survival function is a Poisson sum.
    return min(
        1.0,
        sum(math.exp(k * math.log(total) - total - math.lgamma(k + 1)) for k in range(len(places)))
        if total > 0
        else 1.0,
    )
