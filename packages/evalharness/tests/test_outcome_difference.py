"""When missing answers of two models count as a difference, and what they leave open."""

from __future__ import annotations

import dataclasses

import pytest

from medalpaca_evalharness.outcome_difference import find_outcome_difference
from medalpaca_evalharness.samples import Answer

ANSWER = Answer(
    item_id="",
    step=None,
    label="",
    right=False,
    input_hash="",
    letters=("A", "B"),
    choices=("A", "B"),
    key=0,
    chosen=None,
    outcome="wrong",
    scores=(),
    sha256="",
)


def pairs(*groups):
    """Pairs of answers: (number, outcome of base, outcome of tuned)."""
    return [
        tuple(
            dataclasses.replace(ANSWER, right=outcome == "correct", outcome=outcome)
            for outcome in (base, tuned)
        )
        for number, base, tuned in groups
        for _ in range(number)
    ]


@pytest.mark.parametrize(
    ("groups", "differ"),
    [
        # 2 of 100 items: below 3 items, and p = 0.5.
        ([(98, "correct", "correct"), (2, "unparsed", "correct")], False),
        # 3 of 150 items are 2 points.
        ([(147, "correct", "correct"), (3, "unparsed", "wrong")], True),
        # 3 of 151 items are less than 2 points, and p = 0.25.
        ([(148, "correct", "correct"), (3, "unparsed", "wrong")], False),
        # 6 of 1,000 items are 0.6 points, but p = 0.03.
        ([(994, "correct", "correct"), (6, "correct", "refused")], True),
        # Equally many missing, of different kinds: each kind differs.
        ([(90, "correct", "correct"), (5, "truncated", "wrong"), (5, "wrong", "refused")], True),
        # Equally many of one kind, on different items.
        ([(90, "correct", "correct"), (5, "unparsed", "wrong"), (5, "wrong", "unparsed")], False),
        ([(50, "wrong", "correct")], False),
    ],
)
def test_when_the_models_differ(groups, differ):
    assert (find_outcome_difference(pairs(*groups)) is not None) == differ


def test_extremes_and_selected_items_by_hand():
    found = find_outcome_difference(
        pairs(
            (40, "correct", "correct"),
            (20, "wrong", "correct"),
            (10, "correct", "wrong"),
            (20, "unparsed", "correct"),
            (4, "correct", "truncated"),
            (6, "refused", "refused"),
        )
    )
    assert found is not None
    assert found.base == {"unparsed": 20, "refused": 6, "truncated": 0}
    assert found.tuned == {"unparsed": 0, "refused": 6, "truncated": 4}
    # Right: 54 of base, 80 of tuned. Missing: 26 and 10.
    assert (found.lowest, found.highest) == (0.0, 0.36)
    assert (found.selected, found.fixed, found.broken) == (70, 20, 10)
    assert found.difference == 10 / 70
    assert found.sentence("tuned") == (
        "The models differ in how often an answer was found: missing are 26 of 100 answers of base (20 unparsed, 6 "
        "refused) and 10 of 100 answers of tuned (6 refused, 4 truncated). Depending on these answers, the difference "
        "is between +0.0 and +36.0 points. Selected items, the 70 that both answered: +14.3 points, 20 fixed and 10 "
        "broken, p = 0.0987."
    )
