"""Test non-inferiority and equivalence against published values, exact integer arithmetic and complete enumeration."""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest
from scipy.stats import multinomial

from medalpaca_evalharness.noninferiority import (
    critical_counts,
    margin_test,
    one_sided_p,
    outcome_probability,
    sample_size,
)
from medalpaca_evalharness.statistics import tango_score

BOTH = ("noninferiority", "equivalence")


def test_the_score_of_tango_1998():
    # The trial of soft contact lenses: 43 both, 0 and 1 discordant of 44, margin 0.1. Published: Z = 1.709.
    assert tango_score(44, 0, 1, -0.1) == pytest.approx(1.709, abs=5e-4)


@pytest.mark.parametrize(
    ("n", "fixed", "broken", "bound"),
    [(5, 4, 0, 0.1), (13, 6, 3, -0.2), (7, 3, 4, -0.2), (8, 0, 0, -0.2), (13, 8, 0, 0.05), (10, 0, 6, 0.05)],
)
def test_the_p_value_is_the_largest_trinomial_sum(n, fixed, broken, bound):
    observed = tango_score(n, fixed, broken, bound) - 1e-9
    cells = [
        (i, j) for i in range(n + 1) for j in range(n + 1 - i) if tango_score(n, i, j, bound) >= observed
    ]
    weights = [factorial(n) // factorial(i) // factorial(j) // factorial(n - i - j) for i, j in cells]
    discordance = np.linspace(abs(bound), 1, 4001)
    total = sum(
        weight
        * ((discordance + bound) / 2) ** i
        * ((discordance - bound) / 2) ** j
        * (1 - discordance) ** (n - i - j)
        for weight, (i, j) in zip(weights, cells, strict=True)
    )
    assert one_sided_p(n, fixed, broken, bound) == pytest.approx(float(np.max(total)), abs=1e-6)


def test_without_a_discordant_item_the_p_value_has_a_closed_form():
    # The most extreme score belongs to every outcome without a broken item; most probable at the smallest discordance.
    assert one_sided_p(8, 0, 0, -0.2) == pytest.approx(float(Fraction(4, 5) ** 8))


def test_ten_items_in_integers():
    # Every item fixed, bound 1/10: the only outcome as extreme; the most probable discordance is 1.
    assert one_sided_p(10, 10, 0, 0.1) == pytest.approx(float(Fraction(11, 20) ** 10))
    # All fixed or all but one, which is the same: nothing lies between.
    one_less = one_sided_p(10, 9, 0, 0.1)
    assert one_less > one_sided_p(10, 10, 0, 0.1)


@pytest.mark.parametrize("bound", [-0.1, -0.03, 0.03, 0.2])
def test_the_score_meets_the_convexity_condition(bound):
    n = 25
    for fixed in range(n):
        for broken in range(n - fixed):
            here = tango_score(n, fixed, broken, bound)
            assert tango_score(n, fixed + 1, broken, bound) >= here - 1e-9
            assert tango_score(n, fixed, broken + 1, bound) <= here + 1e-9


@pytest.mark.parametrize(("n", "margin"), [(20, 0.1), (40, 0.03), (40, 0.1), (60, 0.05)])
def test_complete_enumeration_of_the_error_at_the_margin(n, margin):
    cells = [(i, j) for i in range(n + 1) for j in range(n + 1 - i)]
    # The p-value falls as the score grows, so the rejected outcomes are those from one score on.
    ordered = sorted(cells, key=lambda cell: tango_score(n, *cell, -margin))
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if one_sided_p(n, *ordered[middle], -margin) <= 0.025 else (middle + 1, high)
        )
    rejected = ordered[low:]
    assert all(one_sided_p(n, *cell, -margin) <= 0.025 for cell in rejected[:: len(rejected) // 20])
    for discordance in np.linspace(margin, 1, 151):
        shares = [(discordance - margin) / 2, (discordance + margin) / 2, 1 - discordance]
        counts = [(i, j, n - i - j) for i, j in rejected]
        assert multinomial.pmf(counts, n, np.clip(shares, 0, 1)).sum() <= 0.025 + 1e-9


@pytest.mark.parametrize("n", [5001, 8000])
def test_the_error_of_the_score_alone_where_it_is_used(n):
    for margin in (0.01, 0.03, 0.1):
        discordance = np.linspace(margin, 1, 200)
        counts = critical_counts(n, 1.959964, -margin)
        found = outcome_probability(n, counts, discordance, (discordance - margin) / 2 / discordance)
        assert found.max() <= 0.03


@pytest.mark.parametrize(
    ("n", "fixed", "broken", "answer"),
    [
        (324, 20, 18, "equivalent"),  # +0.6 points
        (324, 60, 20, "not worse"),  # +12.3 points
        (324, 5, 90, "worse"),  # -26.2 points
        (30, 5, 5, "cannot tell"),
        (10_000, 500, 500, "equivalent"),  # by the score alone
    ],
)
def test_answers(n, fixed, broken, answer):
    found = margin_test(n, fixed, broken, 0.1, tests=BOTH)
    assert found.answer == answer
    assert found.exact == (n <= 5000)
    only = margin_test(n, fixed, broken, 0.1, tests=("noninferiority",))
    assert only.answer == ("not worse" if answer == "equivalent" else answer)
    # Seen from the other side, the p-values change places.
    assert margin_test(n, broken, fixed, 0.1, tests=BOTH).p_not_worse == found.p_not_better


def test_items_needed():
    assert margin_test(60, 5, 3, 0.03, tests=BOTH).items_needed == 280
    # Equal to the margin or worse: no number is enough.
    assert margin_test(100, 3, 6, 0.03, tests=BOTH).items_needed is None
    assert margin_test(1273, 20, 150, 0.03, tests=BOTH).items_needed is None


@pytest.mark.parametrize(
    ("margin", "discordance", "needed"), [(0.03, 0.1, 920), (0.05, 0.2, 650), (0.05, 0.3, 950)]
)
def test_the_number_of_items_has_the_power(margin, discordance, needed):
    assert sample_size(margin, discordance) == needed
    counts = critical_counts(needed, 1.959964, -margin)
    power = sum(
        comb(needed, k) * discordance**k * (1 - discordance) ** (needed - k)
        * sum(comb(k, i) for i in range(counts[k], k + 1)) / 2**k
        for k in range(round(needed * discordance) - 60, round(needed * discordance) + 60)
    )  # fmt: skip
    assert power == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize("values", [(0, 0, 0, 0.1), (3, 2, 2, 0.1), (3, 1, 1, 0), (3, 1, 1, 1)])
def test_impossible_values_are_refused(values):
    with pytest.raises(ValueError, match="are not possible"):
        one_sided_p(*values)
