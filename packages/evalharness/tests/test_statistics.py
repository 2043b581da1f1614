"""The statistics against published and independent values."""

from __future__ import annotations

from math import comb, exp, lgamma, log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medalpaca_evalharness.comparison import Row
from medalpaca_evalharness.statistics import (
    Stratum,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_interval,
    tango,
    wilson,
)

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_wilson_by_hand():
    # z = 1.959963984540054: centre (43/91 + z^2/182) / (1 + z^2/91) = 0.4736402199, margin 0.1004821835
    # (30-digit decimals).
    assert wilson(43, 91) == pytest.approx((0.3731580364, 0.5741224034), abs=1e-10)


def test_wilson_of_newcombe():
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3 (score, no continuity correction).
    for (right, n), bounds in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert tuple(round(bound, 4) for bound in wilson(right, n)) == bounds


def test_wilson_stays_between_zero_and_one():
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0


@settings(deadline=None)  # scipy's own time varies
@given(counts)
def test_wilson_against_scipy(pair):
    right, n = pair
    reference = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((reference.low, reference.high), abs=1e-10)


def test_mcnemar_by_hand():
    # 2 * (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 2 * 79 / 4096
    assert mcnemar_exact(10, 2) == mcnemar_exact(2, 10) == 158 / 4096
    assert round(mcnemar_exact(10, 2), 4) == 0.0386


def test_mcnemar_at_the_edges():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(7, 7) == 1.0  # both tails overlap in the middle
    assert mcnemar_exact(5, 0) == 0.0625  # five discordant pairs can never reach 5 %
    assert mcnemar_exact(6, 0) == 0.03125


@settings(deadline=None)  # scipy's own time varies
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_mcnemar_against_scipy(fixed, broken):
    if fixed + broken:
        reference = binomtest(fixed, fixed + broken, 0.5).pvalue
        assert mcnemar_exact(fixed, broken) == pytest.approx(reference, abs=1e-10)
        other = mcnemar([[3, broken], [fixed, 5]], exact=True).pvalue
        assert mcnemar_exact(fixed, broken) == pytest.approx(other, abs=1e-10)


def test_tango_of_fagerland():
    # Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33:2850-2875, table V: airway hyper-responsiveness,
    # 1 and 7 of 21 pairs are discordant.
    assert tuple(round(bound, 3) for bound in tango(21, 1, 7)) == (-0.517, -0.026)


def closed_form(n: int, b: int, c: int) -> tuple[float, float]:
    """Tango's bounds as the roots of a quartic: Yang, Sun and Hardin (2013), Statistics in Medicine 32:1336-1342."""
    import numpy as np

    g = norm.ppf(0.975) ** 2
    d, k = b - c, n / g
    quartic = (
        n * n * (k + 1) ** 2,
        -n * d * (k + 1) * (4 * k + 1),
        2 * k * d * d * (3 * k + 2) - n * n * ((b + c) / g + 1),
        n * d * (2 * (b + c) / g + 1) - d**3 * (4 * k + 1) / g,
        d * d * (d * d / g - (b + c)) / g,
    )
    real = [root.real for root in np.roots(quartic) if abs(root.imag) < 1e-6]
    return min(real), max(real)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_tango_against_its_closed_form(counts):
    n, fixed, broken = counts
    if fixed + broken <= n and fixed != broken and max(fixed, broken) < n:
        assert tango(n, fixed, broken) == pytest.approx(closed_form(n, fixed, broken), abs=1e-6)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_tango_is_symmetric_and_holds_the_difference(counts):
    n, fixed, broken = counts
    if fixed + broken <= n:
        low, high = tango(n, fixed, broken)
        assert -1 <= low <= (fixed - broken) / n <= high <= 1
        assert tango(n, broken, fixed) == pytest.approx((-high, -low), abs=1e-12)


def test_tango_without_discordant_pairs_by_hand():
    # The bound d of 0 discordant pairs solves n d = z^2 (1 + d), from the score with the shares (d, 0, 1 - d).
    z2 = norm.ppf(0.975) ** 2
    assert tango(40, 0, 0) == pytest.approx((-z2 / (40 + z2), z2 / (40 + z2)), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        # p = 0.0625, while Tango's own bounds are +0.4 and +18.1 points.
        ((60, 5, 0), (0.0, 18.1)),
        ((60, 0, 5), (-18.1, 0.0)),
        # p = 0.03125.
        ((60, 6, 0), (3.4, 20.1)),
        ((324, 25, 12), (0.3, 7.9)),
        ((1, 1, 0), (-58.7, 100.0)),
    ],
)
def test_the_interval_agrees_with_the_test(counts, bounds):
    low, high = paired_interval(*counts)
    assert (round(100 * low, 1) + 0.0, round(100 * high, 1) + 0.0) == bounds


@pytest.mark.parametrize("n", [40, 60])
def test_no_interval_contradicts_the_exact_test(n):
    """Every count of fixed and broken items: the interval excludes 0 if and only if p < 0.05."""
    for fixed in range(n + 1):
        for broken in range(n + 1 - fixed):
            low, high = paired_interval(n, fixed, broken)
            significant = 2 * binom.cdf(min(fixed, broken), fixed + broken, 0.5) < 0.05
            assert (low > 0 or high < 0) == significant, (fixed, broken)


DISCORDANCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
DIRECTIONS = (1.0, 0.75, 0.5)


def outcomes(n: int, discordance: float, fixed: float) -> list[tuple[int, int, float]]:
    """All counts of fixed and broken items with a probability above 1e-10, and their probabilities."""
    up, down = discordance * fixed, discordance * (1 - fixed)
    most = min(n, int(n * discordance + 9 * (sqrt(n * discordance) + 1)))
    found = []
    for b in range(most + 1):
        for c in range(most + 1 - b if down else 1):
            whole = lgamma(n + 1) - lgamma(b + 1) - lgamma(c + 1) - lgamma(n - b - c + 1)
            chance = exp(
                whole + b * log(up) + (c * log(down) if c else 0) + (n - b - c) * log(1 - discordance)
            )
            if chance > 1e-10:
                found.append((b, c, chance))
    return found


def coverage(n: int, discordance: float, fixed: float) -> float:
    """The probability that the interval holds the true difference, by complete enumeration."""
    truth = discordance * (2 * fixed - 1)
    held = 0.0
    for b, c, chance in outcomes(n, discordance, fixed):
        low, high = paired_interval(n, b, c)
        held += chance * (low - 1e-12 <= truth <= high + 1e-12)
    return held


def test_the_lowest_coverage_at_40_items():
    assert coverage(40, 0.2, 1.0) == pytest.approx(0.9283, abs=5e-5)


@pytest.mark.slow
def test_coverage_by_complete_enumeration():
    """At least 92.5 % in every cell; on average 94.5 to 97.5 % where 10 or more items are expected to be discordant."""
    many = []
    for n in (40, 60, 120, 324):
        for discordance in DISCORDANCES:
            for fixed in DIRECTIONS:
                held = coverage(n, discordance, fixed)
                assert held >= 0.925, (n, discordance, fixed)
                if n * discordance >= 10:
                    many.append(held)
    assert 0.945 <= sum(many) / len(many) <= 0.975


@pytest.mark.slow
def test_coverage_and_agreement_of_drawn_results():
    """50,000 results of 1,273 items per cell: coverage, and no interval that contradicts the exact test."""
    import numpy as np

    draw = np.random.default_rng(0)
    n, known = 1273, {}
    for discordance in DISCORDANCES:
        for fixed in DIRECTIONS:
            up, down = discordance * fixed, discordance * (1 - fixed)
            drawn = draw.multinomial(n, [up, down, 1 - up - down], 50_000)[:, :2]
            pairs, times = np.unique(drawn, axis=0, return_counts=True)
            held = 0
            for (b, c), count in zip(pairs.tolist(), times.tolist(), strict=True):
                if (b, c) not in known:
                    known[b, c] = paired_interval(n, b, c)
                low, high = known[b, c]
                held += count * (low - 1e-12 <= up - down <= high + 1e-12)
                assert (low > 0 or high < 0) == (mcnemar_exact(b, c) < 0.05)
            assert held / 50_000 >= 0.925


@pytest.mark.parametrize("pair", [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_refused(pair):
    with pytest.raises(ValueError, match=r"of"):
        wilson(*pair)


@pytest.mark.parametrize("values", [[0.3], [0.01, 0.04, 0.03], [0.02, 0.02, 1.0, 0.0], [0.9, 0.6, 0.001]])
def test_holm_against_statsmodels(values):
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-10)


def test_holm_bounds_the_family_wise_error():
    # Simulated: 4,000 exams of three steps without any effect; one or more below 5 % in 5 % of them, as p is uniform.
    import random

    random.seed(1)
    alarms = sum(min(holm([random.random() for _ in range(3)])) < 0.05 for _ in range(4000))
    assert 0.038 < alarms / 4000 < 0.062  # 1 - (1 - 0.05/3)^3 = 4.9 %, within 3.5 standard errors


def test_holm_bounds_the_error_for_models_with_one_base():
    # Simulated: 3,000 exams of 200 items, a base and four models as good as it; the comparisons share the base, so
    # that their p-values hang together. The exact test is conservative, so fewer than 5 % is right; four tests that
    # nobody adjusts give more than that.
    import numpy as np

    rng = np.random.default_rng(3)
    alarms = unadjusted = 0
    for _ in range(3000):
        base, *others = rng.random((5, 200)) < 0.6
        values = [mcnemar_exact(int((one & ~base).sum()), int((base & ~one).sum())) for one in others]
        alarms += min(holm(values)) < 0.05
        unadjusted += min(values) < 0.05
    assert 0.015 < alarms / 3000 < 0.05 < unadjusted / 3000


@pytest.mark.parametrize("n", [1, 12, 325])
def test_bootstrap_without_broken_items_is_binomial(n):
    fixed = (n + 2) // 3
    low, high = paired_bootstrap([Stratum(n, fixed, 0)])
    assert (low, high) == tuple(binom.ppf([0.025, 0.975], n, fixed / n) / n)


def test_bootstrap_against_scipy():
    import numpy as np
    from scipy.stats import bootstrap

    base = np.array([1] * 90 + [0] * 40 + [1] * 15 + [0] * 55)
    tuned = np.array([1] * 90 + [1] * 40 + [0] * 15 + [0] * 55)
    reference = bootstrap(
        (tuned, base),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    # Drawing wanders by about one item; the exact distribution does not.
    assert paired_bootstrap([Stratum(200, 40, 15)]) == pytest.approx(tuple(reference), abs=1.01 / 200)


def test_strata_keep_their_size():
    # A stratum without variation adds nothing but its share.
    low, high = paired_bootstrap([Stratum(100, 20, 10)])
    both = paired_bootstrap([Stratum(100, 20, 10), Stratum(100, 0, 0)])
    assert both == (low / 2, high / 2)
    assert paired_bootstrap([Stratum(5, 5, 0)]) == (1.0, 1.0)


def test_bootstrap_coverage():
    # Simulated: 2,000 exams of 150 items in two steps, true difference 0.09; 95 % intervals hold it in about 94 %.
    import numpy as np

    rng = np.random.default_rng(2)
    draws = [rng.multinomial(n, [a, b, 1 - a - b], 2000) for n, a, b in ((100, 0.2, 0.1), (50, 0.12, 0.05))]
    truth = (100 * 0.1 + 50 * 0.07) / 150
    held = 0
    for one, two in zip(*draws, strict=True):
        interval = paired_bootstrap([Stratum(100, one[0], one[1]), Stratum(50, two[0], two[1])])
        held += interval.low - 1e-12 <= truth <= interval.high + 1e-12
    assert 0.92 < held / 2000 < 0.965


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 2, 2), (3, -1, 0)])
def test_impossible_strata_are_refused(counts):
    with pytest.raises(ValueError, match="of"):
        paired_bootstrap([Stratum(*counts)])
    with pytest.raises(ValueError, match="of"):
        tango(*counts)


@pytest.mark.parametrize(
    "counts", [[(7, 3, 1)], [(12, 2, 5), (5, 0, 2)], [(6, 6, 0)], [(9, 4, 4), (3, 1, 0), (2, 0, 0)]]
)
def test_bootstrap_against_the_multinomial_of_scipy(counts):
    # Every way in which a resampled stratum can come out, with its probability.
    from itertools import product

    from scipy.stats import multinomial

    ways = []
    for n, fixed, broken in counts:
        shares = [fixed / n, broken / n, (n - fixed - broken) / n]
        outcomes = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
        ways.append([(i - j, multinomial.pmf((i, j, k), n, shares)) for i, j, k in outcomes])
    chances: dict[int, float] = {}
    for way in product(*ways):
        total, chance = sum(one for one, _ in way), 1.0
        for _, one in way:
            chance *= one
        chances[total] = chances.get(total, 0.0) + chance
    n = sum(one for one, _, _ in counts)

    def quantile(share: float) -> float:
        below = 0.0
        for total in sorted(chances):
            below += chances[total]
            if below >= share - 1e-12:
                return total / n
        return 1.0

    found = paired_bootstrap([Stratum(*one) for one in counts])
    assert found == pytest.approx((quantile(0.025), quantile(0.975)), abs=1e-10)


# Right of how many, LLaMA 13B and MedAlpaca 13B, in medAlpaca's README as 22.2, 24.8, 27.6 and 47.3, 47.7, 60.2 %.
# Step 1's two shares have no common denominator; these are the nearest counts of the 94 that others found.
PUBLISHED = {"Step 1": (94, 21, 44), "Step 2": (109, 27, 52), "Step 3": (123, 34, 74)}


@pytest.mark.parametrize("step", PUBLISHED)
def test_the_published_verdict_by_hand(step):
    """Only marginals are published. Whatever the pairing was, `Row` says what the binomial test by hand says."""
    n, base, tuned = PUBLISHED[step]
    if step != "Step 1":
        shares = {"Step 2": (24.8, 47.7), "Step 3": (27.6, 60.2)}[step]
        assert (round(100 * base / n, 1), round(100 * tuned / n, 1)) == shares
    verdicts = set()
    for broken in range(base + 1):
        fixed = tuned - base + broken
        if base - broken + fixed + broken > n:  # more items than there are
            break
        row = Row(
            label=step,
            both_right=base - broken,
            fixed=fixed,
            broken=broken,
            both_wrong=n - base - fixed,
            chance=0.2,
        )
        assert (row.n, row.base_right, row.tuned_right) == (n, base, tuned)
        # By hand: 2 * sum of C(fixed + broken, k) up to the smaller count, over 2^(fixed + broken).
        discordant = fixed + broken
        p = 2 * sum(comb(discordant, k) for k in range(broken + 1)) / 2**discordant
        assert row.p == pytest.approx(p, abs=1e-10)
        assert row.verdict == ("better" if p < 0.05 else "not shown to differ")
        verdicts.add(row.verdict)
    assert verdicts == {"better"}


def test_the_published_comparison_as_counts():
    """LLaMA 13B against MedAlpaca 13B on Step 3, 27.6 and 60.2 % in medAlpaca's README: 34 and 74 of 123.

    Only the marginals are published, so every pairing that they allow is gone through: b broken and 40 + b fixed.
    """
    assert (round(3400 / 123, 1), round(7400 / 123, 1)) == (27.6, 60.2)
    assert mcnemar_exact(40, 0) == 2 / 2**40
    values = [mcnemar_exact(40 + broken, broken) for broken in range(35)]
    assert values == sorted(values)  # the more broken, the weaker
    assert values[-1] == pytest.approx(2 * binom.cdf(34, 108, 0.5), abs=1e-10)
    assert values[-1] < 0.0002  # better, whatever the pairing was
    # LLaMA 13B and Alpaca 13B, 27.6 and 30.1 %: 34 and 37. With no item broken p = 2/2^3, and it only rises.
    assert round(3700 / 123, 1) == 30.1
    assert min(mcnemar_exact(3 + broken, broken) for broken in range(35)) == 0.25
