"""Exact power and the smallest detectable difference, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from medalpaca_evalharness.power import (
    conditional_powers,
    detectable_difference,
    exact_power,
    power_analysis,
    smallest_difference,
)


def p_values(discordant: int) -> np.ndarray:
    """Two-sided p-values of 0 to all fixed items, from scipy's distribution; shape (discordant + 1,)."""
    counts = np.arange(discordant + 1)
    return np.minimum(1, 2 * binom.cdf(np.minimum(counts, discordant - counts), discordant, 0.5))


def reference_power(discordant: int, fixed: float) -> float:
    """The sum of the probabilities of all significant results."""
    chances = binom.pmf(np.arange(discordant + 1), discordant, fixed)
    return float(chances[p_values(discordant) < 0.05].sum())


def test_the_reference_is_the_binomial_test():
    assert p_values(11) == pytest.approx([binomtest(count, 11).pvalue for count in range(12)], abs=1e-12)


@pytest.mark.parametrize("fixed", [0.5, 0.63, 0.9, 1.0])
def test_conditional_power_against_scipy(fixed):
    found = conditional_powers(0, 60, fixed)
    assert found == pytest.approx([reference_power(pairs, fixed) for pairs in range(61)], abs=1e-10)


@pytest.mark.parametrize(("n", "discordance", "fixed"), [(12, 0.5, 0.8), (40, 0.2, 1.0), (94, 0.3, 0.7)])
def test_exact_power_against_scipy(n, discordance, fixed):
    expected = sum(binom.pmf(pairs, n, discordance) * reference_power(pairs, fixed) for pairs in range(n + 1))
    assert exact_power(n, discordance, fixed) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("discordant", range(6))
def test_up_to_five_changed_items_can_never_be_significant(discordant):
    assert detectable_difference(60, discordant) is None


def test_six_changed_items_by_hand():
    # Significant only if all 6 go one way (p = 0.03125): s^6 + (1 - s)^6 = 0.8 at s = 0.963492.
    s = (detectable_difference(60, 6) * 10 + 1) / 2
    assert s**6 + (1 - s) ** 6 == pytest.approx(0.8, abs=1e-6)
    assert detectable_difference(60, 6) == pytest.approx(0.0926985, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(6, 300).flatmap(lambda d: st.tuples(st.just(d), st.integers(d, 600))))
def test_the_detectable_difference_is_possible_and_has_its_power(counts):
    discordant, n = counts
    difference = detectable_difference(n, discordant)
    assert difference is not None
    assert 0 < difference <= discordant / n
    fixed = (difference * n / discordant + 1) / 2
    assert reference_power(discordant, fixed) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("pair", [(2, 3), (2, -1), (0, 0)])
def test_impossible_counts_are_refused(pair):
    with pytest.raises(ValueError, match="of"):
        detectable_difference(*pair)


@pytest.mark.parametrize(
    ("n", "half_width", "paired"),
    [
        # 40 items that differ on 10 %: even 4 of 4 in one direction are not significant.
        (40, 14.5, [None, 19.5, 24.2]),
        (94, 9.7, [9.1, 13.1, 16.3]),
        (325, 5.3, [5.1, 7.1, 8.7]),
        (1273, 2.7, [2.5, 3.6, 4.4]),
    ],
)
def test_the_power_table(n, half_width, paired):
    row = power_analysis(n)
    assert round(100 * row.half_width, 1) == half_width
    assert [value if value is None else round(100 * value, 1) for value in row.paired] == paired
    for discordance, difference in zip((0.1, 0.2, 0.3), row.paired, strict=True):
        assert difference is None or difference <= discordance
        assert (smallest_difference(n, discordance) is None) == (exact_power(n, discordance, 1.0) < 0.8)


def test_the_power_by_simulation():
    n, discordance = 325, 0.2
    difference = smallest_difference(n, discordance)
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    drawn = np.random.default_rng(0).multinomial(n, shares, 4000)
    found = sum(p_values(b + c)[b] < 0.05 for b, c, _ in drawn.tolist()) / 4000
    assert found == pytest.approx(0.8, abs=0.025)
