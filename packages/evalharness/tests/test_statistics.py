"""The statistics against published and independent values."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medalpaca_evalharness.comparison import Row
from medalpaca_evalharness.statistics import (
    Stratum,
    detectable_difference,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    power_analysis,
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


@pytest.mark.parametrize(
    ("n", "discordance", "points"), [(94, 0.1, 9.1), (94, 0.2, 12.9), (325, 0.3, 8.5), (1273, 0.1, 2.5)]
)
def test_detectable_difference_of_the_power_table(n, discordance, points):
    # (1.959964 + 0.841621) * sqrt(discordance / n), in points.
    exact = 100 * 2.801585 * (discordance / n) ** 0.5
    assert round(exact, 1) == points
    discordant = round(discordance * n)
    expected = 100 * 2.801585 * (discordant / n / n) ** 0.5
    assert 100 * detectable_difference(n, discordant) == pytest.approx(expected, abs=1e-4)


def test_detectable_difference_has_its_power():
    # Simulated: 1,000 pairs of exams of 325 items, 20 % discordant, the true difference as computed.
    import random

    random.seed(0)
    n, discordance = 325, 0.2
    difference = detectable_difference(n, round(n * discordance))
    found = 0
    for _ in range(1000):
        draws = [random.random() for _ in range(n)]
        fixed = sum(draw < (discordance + difference) / 2 for draw in draws)
        broken = sum((discordance + difference) / 2 <= draw < discordance for draw in draws)
        found += mcnemar_exact(fixed, broken) < 0.05
    # The exact test is a little conservative, the formula a little optimistic: 80 % is the right size, not exact.
    assert 0.70 < found / 1000 < 0.86


@pytest.mark.parametrize("pair", [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_refused(pair):
    with pytest.raises(ValueError, match=r"of"):
        wilson(*pair)
    with pytest.raises(ValueError, match=r"of"):
        detectable_difference(pair[1], pair[0])


@pytest.mark.parametrize(
    ("n", "half_width", "paired", "unpaired"),
    [
        (94, 9.9, [9.1, 12.9, 15.8], 20.0),
        (325, 5.3, [4.9, 6.9, 8.5], 10.8),
        (1273, 2.7, [2.5, 3.5, 4.3], 5.4),
        (1598, 2.4, [2.2, 3.1, 3.8], 4.9),
        (4183, 1.5, [1.4, 1.9, 2.4], 3.0),
    ],
)
def test_the_power_table(n, half_width, paired, unpaired):
    row = power_analysis(n)
    assert round(100 * row.half_width, 1) == half_width
    assert [round(100 * value, 1) for value in row.paired] == paired
    assert round(100 * row.unpaired, 1) == unpaired


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


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_detectable_difference_against_scipy(pair):
    n, discordant = pair
    size = norm.ppf(0.975) + norm.ppf(0.8)
    assert detectable_difference(n, discordant) == pytest.approx(
        size * (discordant / n / n) ** 0.5, abs=1e-10
    )
    row = power_analysis(n)
    error = (0.6 * 0.4 / n) ** 0.5
    assert row.half_width == pytest.approx(norm.ppf(0.975) * error, abs=1e-10)
    assert row.unpaired == pytest.approx(size * 2**0.5 * error, abs=1e-10)
    assert row.paired == pytest.approx([size * (share / n) ** 0.5 for share in (0.1, 0.2, 0.3)], abs=1e-10)


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
            interval=paired_bootstrap([Stratum(n, fixed, broken)]),
        )
        assert (row.n, row.base_right, row.tuned_right) == (n, base, tuned)
        # By hand: 2 * sum of C(fixed + broken, k) up to the smaller count, over 2^(fixed + broken).
        discordant = fixed + broken
        p = 2 * sum(comb(discordant, k) for k in range(broken + 1)) / 2**discordant
        assert row.p == pytest.approx(p, abs=1e-10)
        assert row.verdict == ("better" if p < 0.05 else "no difference detectable at this n")
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
