"""The plan of steps: every sample once per epoch, within the token budget, deterministic."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_train.packing import best_fit, make_plan
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
    assert all(sum(lengths[i] for i in batch) <= 200 for batch in micro)
    assert plan.steps_per_epoch * 2 == len(plan.steps)


def test_plan_depends_on_lengths_and_seed_only() -> None:
    lengths = [5 + i % 40 for i in range(300)]
    assert make_plan(lengths, recipe()).sha256 == make_plan(lengths, recipe()).sha256
    assert make_plan(lengths, recipe()).sha256 != make_plan(lengths, recipe(seed=1)).sha256


def test_known_plan_is_stable_between_versions() -> None:
    """A changed plan makes checkpoints of earlier versions unusable, so it must be changed on purpose only."""
    known = [[[1, 2]], [[4, 5]], [[0, 3]]]
    assert make_plan([5, 9, 7, 3, 8, 6], recipe(max_tokens=9, batch_tokens=16)).steps == known


@settings(deadline=None)
@given(lengths=st.lists(st.integers(2, 100), min_size=1, max_size=60))
def test_best_fit_is_best_fit_decreasing(lengths: list[int]) -> None:
    """Compare with the definition: the longest first, into the fullest bin with room."""
    bins: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        open_ = [b for b in bins if sum(b) + length <= 100]
        if open_:
            max(open_, key=sum).append(length)
        else:
            bins.append([length])
    packed = [[lengths[i] for i in micro] for micro in best_fit(range(len(lengths)), lengths, 100)]
    assert sorted(map(sum, packed)) == sorted(map(sum, bins))


def test_little_of_the_budget_stays_empty() -> None:
    lengths = [8 + (i * 7919) % 92 for i in range(2000)]
    micro = best_fit(range(2000), lengths, 2000)
    assert sum(lengths) / (2000 * len(micro)) > 0.99


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 100), min_size=1, max_size=90),
    rows=st.integers(1, 40),
    tokens=st.sampled_from([100, 230]),
)
def test_batch_rows_gives_the_same_rows_for_every_token_budget(
    lengths: list[int], rows: int, tokens: int
) -> None:
    large = make_plan(lengths, recipe(batch_rows=rows, batch_tokens=10_000))
    small = make_plan(lengths, recipe(batch_rows=rows, batch_tokens=tokens))
    assert [sorted(i for m in step for i in m) for step in large.steps] == [
        sorted(i for m in step for i in m) for step in small.steps
    ]
    assert all(sum(map(len, step)) == rows for step in small.steps[:-1])


def test_epochs_have_different_orders() -> None:
    lengths = [8 + (i * 7919) % 92 for i in range(200)]
    plan = make_plan(lengths, recipe(epochs=2))
    first, second = plan.steps[: plan.steps_per_epoch], plan.steps[plan.steps_per_epoch :]
    assert first != second
    for epoch in (first, second):
        assert sorted(i for step in epoch for micro in step for i in micro) == [*range(200)]


def test_fractions_of_epochs_and_max_steps() -> None:
    lengths = [50] * 80
    full = len(make_plan(lengths, recipe()).steps)
    assert len(make_plan(lengths, recipe(epochs=0.5)).steps) == full // 2
    assert len(make_plan(lengths, recipe(epochs=2.5)).steps) == full * 5 // 2
    assert len(make_plan(lengths, recipe(epochs=9, max_steps=3)).steps) == 3
