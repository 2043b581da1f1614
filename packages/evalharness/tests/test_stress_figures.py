"""Test the figures of a stress result: by hand, by an independent computation, and by their invariants."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness.stress.figures import StressFigures, find_differences, side_figures, stress_figures
from medalpaca_evalharness.stress.option_order import (
    gap_with_derivatives,
    mean,
    memorisation_gap,
    position_bias,
)
from medalpaca_evalharness.stress.perturbations import cyclic_orders
from medalpaca_evalharness.stress.result import (
    ExcludedVariant,
    ScoredItem,
    Side,
    StressRun,
    Variant,
    read_stress,
    write_stress,
)

Choose = Callable[[ScoredItem, Variant], int]  # the position that is chosen


def scored(name: str, options: int, key: int, choose: Choose, fixed: tuple[int, ...] = ()) -> ScoredItem:
    """Return an item answered by "base" with the positions that `choose` returns."""
    same = tuple(range(options))
    variants = [
        Variant("published", same),
        *(Variant("order", order) for order in cyclic_orders(options, fixed)),
    ]
    variants += [Variant(way, same) for way in ("none_of_the_above", "options_only", "question_only")]
    empty = ScoredItem(
        item=name, step=None, key=key, fixed=fixed, asked_sha256="0" * 64, variants=tuple(variants), scores={}
    )
    rows = tuple(
        tuple(0.0 if at == choose(empty, variant) else -1.0 for at in same) for variant in empty.variants
    )
    return ScoredItem(
        item=name, step=None, key=key, fixed=fixed, asked_sha256="0" * 64, variants=tuple(variants),
        scores={"base": rows},
    )  # fmt: skip


def with_choices(name: str, options: int, key: int, *positions: int) -> ScoredItem:
    """Return an item with the chosen position of each variant; the last position also for all further variants."""
    return scored(
        name,
        options,
        key,
        lambda one, variant: positions[min(one.variants.index(variant), len(positions) - 1)],
    )


# By hand ----------------------------------------------------------------------------------------------------

# Two options each. In the other order the key of one and three stands at B, that of two at A.
THREE = (
    with_choices("one", 2, 0, 0, 0, 1),  # A as published, right; A in the other order, wrong
    with_choices("two", 2, 1, 1, 0, 1),  # B, right; A, right
    with_choices("three", 2, 0, 1, 1, 1),  # B, wrong; B, right
)


def test_three_items_by_hand():
    found = side_figures(THREE, "base").orders
    assert found is not None
    assert (found.n, found.asked) == (3, 6)
    assert found.published.count == 2
    assert found.every_order.value == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert (found.robust.count, found.robust.chance) == (1, pytest.approx(1 / 4))
    assert (found.consistent.count, found.consistent.chance) == (1, pytest.approx(1 / 2))
    # A and B were chosen three times each.
    assert found.position_bias is not None
    assert found.position_bias.index == 0
    assert found.position_bias.letters == {"A": (3, 3.0), "B": (3, 3.0)}
    # Half of sqrt(2 V / pi) for either letter with V = 6 / 4, of at most 3.
    assert found.position_bias.guessing == pytest.approx(sqrt(2 * 1.5 / np.pi) / 3)
    # A(B) = 1/2 from one and three, A(A) = 1 from two: (1 - 1) + (1 - 1/2) + (0 - 1), over three.
    assert found.memorisation_gap is not None
    assert found.memorisation_gap.value == pytest.approx(-1 / 6)
    moves = gap_with_derivatives(THREE, "base")
    assert moves is not None
    assert list(moves.derivatives.values()) == pytest.approx([5 / 36, 2 / 9, -13 / 36])
    half = norm.ppf(0.975) * sqrt((5 / 36) ** 2 + (2 / 9) ** 2 + (13 / 36) ** 2)
    assert found.memorisation_gap.interval == pytest.approx((max(-1, -1 / 6 - half), -1 / 6 + half))


def test_bias_by_hand():
    # Four options, one item: B three times and C once, of 1 each. |0-1| + |3-1| + |1-1| + |0-1| = 4, half of it 2,
    # of at most 4 - 1.
    found = position_bias([with_choices("one", 4, 0, 1, 1, 1, 2, 0)], "base")
    assert found is not None
    assert (found.index, found.favoured) == (pytest.approx(2 / 3), "B")
    # With D in place, three options move; the choice of D says nothing. B twice of 2/3 each: (2/3 + 4/3 + 2/3) / 2.
    stays = scored("one", 4, 0, lambda one, variant: (1, 1, 3, 0)[min(one.variants.index(variant), 3)], (3,))
    found = position_bias([stays], "base")
    assert found is not None
    assert found.letters == {
        "A": (0, pytest.approx(2 / 3)),
        "B": (2, pytest.approx(2 / 3)),
        "C": (0, pytest.approx(2 / 3)),
    }
    assert found.index == pytest.approx(1)


def test_none_of_the_above_by_hand():
    # published, other order, none of the above, options only, question only
    items = [
        with_choices("one", 2, 0, 0, 0, 1, 0, 0),
        with_choices("two", 2, 0, 0, 0, 0, 1, 0),
        with_choices("three", 2, 0, 1, 0, 0, 1, 1),
        *(with_choices(f"lost{n}", 2, 0, 0, 0, 1, 1, 1) for n in range(4)),
    ]
    found = side_figures(items, "base")
    assert found.none_of_the_above is not None
    assert (found.none_of_the_above.published.count, found.none_of_the_above.perturbed.count) == (6, 2)
    assert found.none_of_the_above.drop.value == pytest.approx(4 / 7)
    assert found.none_of_the_above.p == pytest.approx(binomtest(1, 6).pvalue)
    assert found.options_only is not None
    assert found.question_only is not None
    assert (found.options_only.count, found.question_only.count) == (1, 2)
    assert found.question_only.interval == pytest.approx(binomtest(2, 7).proportion_ci(method="wilson"))


def test_mean_has_the_normal_interval():
    values = [0.25, 1.0, 0.5, 0.0, 1.0]
    half = norm.ppf(0.975) * np.std(values, ddof=1) / sqrt(5)
    assert mean(values).interval == pytest.approx(
        (max(0, np.mean(values) - half), min(1, np.mean(values) + half))
    )
    assert mean([0.5]).interval == (0, 1)


# Models whose figures are known -----------------------------------------------------------------------------

exams = st.lists(st.tuples(st.integers(2, 9), st.integers(0, 8)), min_size=1, max_size=12)


def exam_of(shape: list[tuple[int, int]], choose: Choose) -> list[ScoredItem]:
    return [scored(f"item{n}", options, key % options, choose) for n, (options, key) in enumerate(shape)]


@given(exams, st.integers(0, 1))
def test_always_one_letter(shape, letter):
    items = exam_of(shape, lambda one, variant: letter)
    found = side_figures(items, "base").orders
    assert found is not None
    assert found.position_bias is not None
    assert found.position_bias.index == pytest.approx(1)
    assert (found.robust.count, found.consistent.count) == (0, 0)
    # Right in exactly one order of each, whatever the keys are.
    assert found.every_order.value == pytest.approx(np.mean([1 / options for options, _ in shape]))
    assert found.memorisation_gap is None or found.memorisation_gap.value == pytest.approx(0)


@given(exams)
def test_remembered_letters(shape):
    items = exam_of(shape, lambda one, variant: one.key)
    found = side_figures(items, "base")
    assert found.orders is not None
    assert found.orders.published.value == 1
    assert found.orders.robust.value == 0
    assert found.orders.memorisation_gap is None or found.orders.memorisation_gap.value == pytest.approx(1)
    assert found.question_only is not None
    assert found.question_only.value == 1


@given(exams, st.integers(0, 8))
def test_always_one_option(shape, option):
    items = exam_of(shape, lambda one, variant: variant.order.index(option % one.options))
    found = side_figures(items, "base").orders
    assert found is not None
    assert found.position_bias is not None
    assert found.position_bias.index == pytest.approx(0)
    assert found.consistent.value == 1
    assert found.robust.count == found.published.count == round(found.every_order.value * found.n)


@given(exams)
def test_always_right(shape):
    found = side_figures(exam_of(shape, lambda one, variant: variant.order.index(one.key)), "base").orders
    assert found is not None
    assert found.robust.value == 1
    assert found.memorisation_gap is None or found.memorisation_gap.value == pytest.approx(0)


# Any answers ------------------------------------------------------------------------------------------------


@st.composite
def answered(draw: st.DrawFn) -> list[ScoredItem]:
    """Items of several sizes, answered anyhow."""
    items = []
    for n in range(draw(st.integers(1, 8))):
        options = draw(st.integers(2, 5))
        positions = draw(st.lists(st.integers(0, options - 1), min_size=options + 3, max_size=options + 3))
        items.append(with_choices(f"item{n}", options, draw(st.integers(0, options - 1)), *positions))
    return items


def weighted_gap(items: list[ScoredItem], weights: list[float]) -> float | None:
    """Compute the gap by its definition in the docstring, item by item, with weights."""
    right: dict[tuple[int, int], float] = {}
    asked: dict[tuple[int, int], float] = {}
    for one, weight in zip(items, weights, strict=True):
        for variant, row in zip(one.variants, one.scores["base"], strict=True):
            if variant.perturbation == "order":
                position = variant.order.index(one.key)
                place = (one.options, position)
                asked[place] = asked.get(place, 0) + weight
                right[place] = right.get(place, 0) + weight * (row.index(max(row)) == position)
    total = apart = 0.0
    for one, weight in zip(items, weights, strict=True):
        if (place := (one.options, one.key)) in asked:
            row = one.scores["base"][0]
            total += weight
            apart += weight * ((row.index(max(row)) == one.key) - right[place] / asked[place])
    return apart / total if total else None


@settings(max_examples=40)
@given(answered())
def test_the_gap_and_its_derivatives_match_the_definition(items):
    found, expected = gap_with_derivatives(items, "base"), weighted_gap(items, [1.0] * len(items))
    assert (found is None) == (expected is None)
    if found is None:
        return
    assert found.value == pytest.approx(expected)
    assert sum(found.derivatives.values()) == pytest.approx(0, abs=1e-12)
    for at, one in enumerate(items):
        step = 1e-6
        more, less = ([1.0 + (sign * step if n == at else 0) for n in range(len(items))] for sign in (1, -1))
        slope = (weighted_gap(items, more) - weighted_gap(items, less)) / (2 * step)
        assert found.derivatives[one.item] == pytest.approx(slope, abs=1e-6)


@settings(max_examples=40)
@given(answered())
def test_bounds_and_order_of_items(items):
    found = side_figures(items, "base")
    turned = side_figures(items[::-1], "base")
    assert (
        list(
            find_differences(
                StressFigures({"base": found}, None).as_json(),
                StressFigures({"base": turned}, None).as_json(),
                "",
            )
        )
        == []
    )
    assert found.orders is not None
    assert found.orders.robust.count <= min(found.orders.published.count, found.orders.consistent.count)
    assert found.orders.position_bias is not None
    assert -1e-12 <= found.orders.position_bias.index <= 1 + 1e-12
    for share in (found.published, found.orders.robust, found.orders.consistent):
        assert 0 <= share.interval.low <= share.value <= share.interval.high <= 1


def test_the_interval_of_the_gap_matches_the_bootstrap():
    """The standard error from derivatives against 1,000 resamples of 150 items."""
    draw = np.random.default_rng(5)
    items = []
    for n in range(150):
        options, knows = int(draw.integers(3, 6)), draw.random() < 0.3
        key = int(draw.integers(options))
        remembers = draw.random() < 0.4

        def choose(
            one: ScoredItem, variant: Variant, knows: bool = knows, remembers: bool = remembers
        ) -> int:
            if variant.perturbation == "published" and remembers:
                return one.key
            return variant.order.index(one.key) if knows else int(draw.integers(one.options))

        items.append(with_choices(f"item{n}", options, key, *_positions(options, key, choose)))
    found = memorisation_gap(items, "base")
    assert found is not None
    weights = draw.multinomial(150, [1 / 150] * 150, size=1000).astype(float)
    spread = np.std([weighted_gap(items, list(row)) for row in weights])
    assert (found.interval.high - found.interval.low) / 2 / norm.ppf(0.975) == pytest.approx(spread, rel=0.1)
    assert found.interval.low > 0


@pytest.mark.slow
def test_false_positive_rate_without_memorisation():
    """400 exams of 4 to 9 options, models that know some answers and prefer letters: 2.5 % on either side."""
    draw = np.random.default_rng(1)
    above = below = 0
    for _ in range(400):
        preference, items = draw.normal(0, 1.5, 9), []
        for n, options in enumerate([5] * 80 + [4] * 14 + [6] * 12 + [7] * 2 + [9] * 2):
            texts, noise = draw.normal(0, 1, options), draw.normal(0, 0.5, (options + 3, options))
            key = int(draw.integers(options))
            texts[key] += 2 * (draw.random() < 0.4)
            empty = with_choices(f"item{n}", options, key, 0)
            drawn = zip(empty.variants, noise, strict=True)
            scores = [preference[:options] + texts[list(variant.order)] + row for variant, row in drawn]
            items.append(with_choices(f"item{n}", options, key, *(int(row.argmax()) for row in scores)))
        found = memorisation_gap(items, "base")
        assert found is not None
        above += found.interval.low > 0
        below += found.interval.high < 0
    assert above / 400 < 0.045
    assert below / 400 < 0.045


def _positions(options: int, key: int, choose: Choose) -> list[int]:
    """Choose a position per variant once, so that random choices stay the same."""
    empty = with_choices("", options, key, 0)
    return [choose(empty, variant) for variant in empty.variants]


def test_the_expected_bias_of_random_answers():
    draw = np.random.default_rng(11)
    seen = []
    for _ in range(40):
        items = [with_choices(f"item{n}", 5, 0, *map(int, draw.integers(0, 5, size=8))) for n in range(60)]
        found = position_bias(items, "base")
        assert found is not None
        seen.append(found.index)
    assert np.mean(seen) == pytest.approx(found.guessing, rel=0.1)


# Two sides, and the file ------------------------------------------------------------------------------------

SIDE = Side(
    model="m", base="m", base_sha256="1" * 64, adapter=None, adapter_sha256=None, dtype="torch.float32"
)


def two_sides() -> StressRun:
    base = exam_of([(4, 0), (4, 1), (5, 2), (5, 4), (3, 2)], lambda one, variant: 0)
    tuned = exam_of(
        [(4, 0), (4, 1), (5, 2), (5, 4), (3, 2)], lambda one, variant: variant.order.index(one.key)
    )
    items = tuple(
        ScoredItem(
            item=one.item, step=1, key=one.key, fixed=(), asked_sha256=one.asked_sha256, variants=one.variants,
            scores={"base": one.scores["base"], "tuned": other.scores["base"]},
        )
        for one, other in zip(base, tuned, strict=True)
    )  # fmt: skip
    return StressRun(
        version="1", exam="small", exam_sha256="2" * 64, exam_items=5, scoring="letter", prompt_id="p", stress_id="s",
        sides={"base": SIDE, "tuned": SIDE}, excluded=(ExcludedVariant("item0", "order", "a reason"),), items=items,
    )  # fmt: skip


def test_the_difference_between_two_sides():
    found = stress_figures(two_sides()).difference
    assert found is not None
    assert (found.fixed, found.broken, found.robust.value) == (5, 0, 1)
    assert found.p == pytest.approx(2 / 2**5)
    assert found.memorisation_gap is not None
    assert found.memorisation_gap.value == pytest.approx(0)


def test_a_file_is_read_as_it_was_written(tmp_path):
    stress = two_sides()
    write_stress(tmp_path / "stress.json", stress, stress_figures(stress).as_json())
    assert (
        read_stress(tmp_path)
        == read_stress(tmp_path / "stress.json")
        == (stress, stress_figures(stress).as_json())
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(format="other 1"), "not a result of `exam stress`"),
        (lambda value: value.pop("items"), "'items'"),
        (lambda value: value["items"].append(value["items"][0]), "an item occurs twice"),
        (lambda value: value["items"][0].update(key=4), "key 4"),
        (lambda value: value["items"][0].update(key="A"), "'A' is not an integer"),
        (lambda value: value["items"][0]["scores"]["base"][0].append(0), "not 4 numbers"),
        (lambda value: value["items"][0]["scores"]["base"][0].__setitem__(0, float("nan")), "not 4 numbers"),
        (lambda value: value["items"][0]["variants"][1].update(order=[0, 0, 1, 2]), "an order is not a permutation"),
        (lambda value: value["items"][0]["variants"][0].update(perturbation="order"), "variants order"),
        (lambda value: value["items"][0]["scores"].pop("tuned"), "scores of base"),
        (lambda value: value["sides"].pop("base"), "sides tuned"),
        (lambda value: value.update(scoring="reasoning"), "'reasoning'"),
        (lambda value: value["sides"]["base"].update(base=3), "3 is not a text"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(tmp_path, change, message):
    stress = two_sides()
    file = tmp_path / "stress.json"
    write_stress(file, stress, stress_figures(stress).as_json())
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))
    with pytest.raises(UserError, match=message) as raised:
        read_stress(tmp_path)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
