"""Calibration and answer sets: by hand, against other implementations, and simulated."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.errors import CheckFailed
from medalpaca_evalharness.calibration import (
    Prediction,
    brier_score,
    conformal_sets,
    conformal_threshold,
    equal_mass_bins,
    evaluate_split,
    measure_calibration,
    selective_accuracy,
    softmax,
    split_halves,
)


def prediction(name: object, shares: list[float], key: int) -> Prediction:
    return Prediction(
        item_id=str(name), probabilities=tuple(shares), key=key, right=shares.index(max(shares)) == key
    )


def drawn(n: int, seed: int, *, boast: float = 1.0) -> list[Prediction]:
    """Items with 2 to 6 options whose key is drawn from the model's own shares; `boast` then sharpens those."""
    rng = random.Random(seed)
    found = []
    for i in range(n):
        scores = [rng.gauss(0, 1.2) for _ in range(rng.randint(2, 6))]
        key = rng.choices(range(len(scores)), softmax(scores, ""))[0]
        found.append(prediction(i, list(softmax([boast * score for score in scores], "")), key))
    return found


@given(st.lists(st.floats(-900, 0), min_size=2, max_size=26))
def test_softmax_against_scipy(scores):
    assert softmax(scores, "x") == pytest.approx(scipy.special.softmax(scores), abs=1e-12)


def test_infinite_scores_are_refused():
    assert softmax([float("-inf"), 0.0], "x") == (0.0, 1.0)
    with pytest.raises(CheckFailed, match=r"item x: log-likelihoods .* not finite"):
        softmax([float("-inf")] * 2, "x")


def test_calibration_by_hand():
    # Twenty items in two bins: ten at 0.6 with 3 right, ten at 0.9 with 9 right.
    items = [prediction(f"a{i}", [0.6, 0.4], 0 if i < 3 else 1) for i in range(10)]
    items += [prediction(f"b{i}", [0.1, 0.9], 1 if i < 9 else 0) for i in range(10)]
    found = measure_calibration(items)
    assert [(b.n, b.right, round(b.confidence, 10)) for b in found.bins] == [(10, 3, 0.6), (10, 9, 0.9)]
    assert found.ece == pytest.approx((10 * 0.3 + 10 * 0) / 20, abs=1e-12)
    # 3 * 2 * 0.4^2 + 7 * 2 * 0.6^2 + 9 * 2 * 0.1^2 + 1 * 2 * 0.9^2 = 0.96 + 5.04 + 0.18 + 1.62
    assert found.brier == pytest.approx(7.8 / 20, abs=1e-12)
    assert found.brier_of_guessing == 0.5
    assert [(c.coverage, c.n, c.right) for c in found.covered] == [(0.5, 10, 9), (0.8, 16, 9), (1.0, 20, 12)]
    assert found.small


def test_coverage_is_rounded_up_to_whole_items():
    items = [prediction(i, [share, 1 - share], 0) for i, share in enumerate((0.6, 0.7, 0.8))]
    assert [selective_accuracy(items, share).n for share in (0.1, 0.5, 2 / 3, 1.0)] == [1, 2, 2, 3]


def test_brier_against_numpy_for_any_number_of_options():
    for item in drawn(200, 3):
        outcome = np.eye(len(item.probabilities))[item.key]
        assert brier_score(item) == pytest.approx(
            float(((np.array(item.probabilities) - outcome) ** 2).sum()), abs=1e-12
        )


@given(st.integers(1, 400))
def test_bins_have_equal_mass(n):
    sizes = [len(members) for members in equal_mass_bins(drawn(n, 1))]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(10, max(1, n // 10))


def test_figures_are_independent_of_sample_order():
    items = [prediction(i, [0.5, 0.5], i % 2) for i in range(60)]
    turned = items[::-1]
    assert measure_calibration(items) == measure_calibration(turned)
    assert conformal_sets(items) == conformal_sets(turned)
    assert selective_accuracy(items, 0.5) == selective_accuracy(turned, 0.5)


def test_ece_of_a_calibrated_model_is_as_expected():
    # Simulated: 60 exams of 400 items whose keys are drawn from the model's own shares.
    found = [measure_calibration(drawn(400, seed)) for seed in range(60)]
    mean = sum(c.ece for c in found) / 60
    expected = sum(c.ece_of_perfect for c in found) / 60
    assert mean == pytest.approx(expected, rel=0.1)
    boasting = measure_calibration(drawn(400, 0, boast=3.0))
    assert boasting.ece > 2 * boasting.ece_of_perfect


@given(st.lists(st.floats(0, 1), min_size=20, max_size=200), st.sampled_from([0.5, 0.8, 0.9]))
def test_conformal_threshold_against_numpy(scores, target):
    n = len(scores)
    rank = int(np.ceil((n + 1) * target - 1e-12))
    expected = np.quantile(scores, (rank - 1) / (n - 1), method="nearest") if rank <= n else 1.0
    assert conformal_threshold(scores, target) == pytest.approx(float(expected), abs=1e-10)


def test_ece_against_numpy():
    items = drawn(325, 5)
    confidence = np.array([max(item.probabilities) for item in items])
    right = np.array([int(np.argmax(item.probabilities)) == item.key for item in items], dtype=float)
    order = np.lexsort((np.array([item.item_id for item in items]), confidence))
    edges = np.floor(np.arange(11) * 325 / 10).astype(int)
    gaps = [
        abs(float(confidence[order[low:high]].mean() - right[order[low:high]].mean())) * (high - low)
        for low, high in pairwise(edges)
    ]
    found = measure_calibration(items)
    assert found.ece == pytest.approx(sum(gaps) / 325, abs=1e-10)
    shares = [sum(b.confidence * b.n for b in found.bins), sum(b.right for b in found.bins)]
    assert shares == pytest.approx([confidence.sum(), right.sum()], abs=1e-9)


def test_conformal_threshold_by_hand():
    scores = [i / 10 for i in range(1, 10)]  # nine: ceil(10 * 0.9) = 9th, ceil(10 * 0.8) = 8th
    assert conformal_threshold(scores, 0.9) == 0.9
    assert conformal_threshold(scores, 0.8) == 0.8
    assert conformal_threshold(scores, 0.95) == 1.0  # too few items to promise that


@pytest.mark.parametrize("boast", [1.0, 3.0])
def test_conformal_sets_cover_for_an_overconfident_model(boast):
    # Simulated: 400 exams of 120 items; split conformal promises 90 % at least, and 90 % + 1/61 at most.
    held = [
        evaluate_split(*split_halves(drawn(120, seed, boast=boast), seed), 0.9).held for seed in range(400)
    ]
    assert 0.895 < sum(held) / 400 < 0.92


def test_conformal_sets_need_enough_items():
    assert conformal_sets(drawn(39, 0)) is None
    found = conformal_sets(drawn(300, 0))
    assert found is not None
    assert (found.calibrated_on, found.n, found.splits) == (150, 150, 50)
    assert 0.85 < found.held < 0.95
    assert found.spread.low <= found.held <= found.spread.high
    assert 1 <= found.mean_size <= 6
