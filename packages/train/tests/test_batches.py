"""The plan: everything once per epoch, within the budget, the same from the same numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_train.batches import in_order, make_plan
from medalpaca_train.recipe import Recipe


def recipe(**changes: object) -> Recipe:
    return Recipe(**({"model": "m", "data": "d", "max_tokens": 100, "batch_tokens": 200} | changes))  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 100), min_size=1, max_size=200),
    seed=st.integers(0, 9),
    accumulate=st.integers(1, 3),
)
def test_every_sample_once_per_epoch_within_the_budget(
    lengths: list[int], seed: int, accumulate: int
) -> None:
    plan = make_plan(lengths, recipe(seed=seed, accumulate=accumulate, epochs=2))
    micro = [batch for step in plan.steps for batch in step]
    assert sorted(i for batch in micro for i in batch) == sorted([*range(len(lengths))] * 2)
    assert all(max(lengths[i] for i in batch) * len(batch) <= 200 for batch in micro)
    assert plan.steps_per_epoch * 2 == len(plan.steps)


def test_plan_depends_on_lengths_and_seed_only() -> None:
    lengths = [5 + i % 40 for i in range(300)]
    assert make_plan(lengths, recipe()).sha256 == make_plan(lengths, recipe()).sha256
    assert make_plan(lengths, recipe()).sha256 != make_plan(lengths, recipe(seed=1)).sha256


def test_known_plan_is_stable_between_versions() -> None:
    """A changed plan would refuse every checkpoint of an earlier version: change it on purpose."""
    assert make_plan([5, 9, 7, 3, 8, 6], recipe(max_tokens=8, batch_tokens=20)).steps == [
        [[1, 4]],
        [[2, 5]],
        [[0, 3]],
    ]


def test_little_is_padding() -> None:
    lengths = [8 + (i * 7919) % 92 for i in range(2000)]
    micro = in_order(lengths, 2000)
    slots = sum(max(lengths[i] for i in batch) * len(batch) for batch in micro)
    assert sum(lengths) / slots > 0.95


def test_fractions_of_epochs_and_max_steps() -> None:
    lengths = [50] * 80
    whole = len(make_plan(lengths, recipe()).steps)
    assert len(make_plan(lengths, recipe(epochs=0.5)).steps) == whole // 2
    assert len(make_plan(lengths, recipe(epochs=2.5)).steps) == whole * 5 // 2
    assert len(make_plan(lengths, recipe(epochs=9, max_steps=3)).steps) == 3
