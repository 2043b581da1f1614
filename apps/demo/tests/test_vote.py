"""Blind votes: random sides, counting, and the sign test."""

from __future__ import annotations

import json

import pytest

from medalpaca_demo.tabs.vote import Vote, as_jsonl, count_votes, draw_left_side, parse_choice


def vote(name: str, left: str, choice: str) -> Vote:
    return Vote(name, left, parse_choice(choice), 1.25)  # type: ignore[arg-type]


def test_the_left_side_is_random_and_reproducible() -> None:
    sides = [draw_left_side(7, f"q{n}") for n in range(2000)]
    assert sides == [draw_left_side(7, f"q{n}") for n in range(2000)]
    # 2,000 fair coins fall outside 900 to 1,100 once in 100,000 times.
    assert 900 < sides.count("base") < 1100
    assert sides != [draw_left_side(8, f"q{n}") for n in range(2000)]


def test_votes_count_for_the_model() -> None:
    votes = [
        vote("a", "base", "right"),
        vote("b", "tuned", "left"),
        vote("c", "base", "left"),
        vote("d", "base", "same"),
        vote("e", "base", "poor"),
        vote("c", "base", "right"),  # replaces the first vote
    ]
    found = count_votes(votes)
    assert (found.base, found.tuned, found.same, found.poor, found.n) == (0, 3, 1, 1, 5)
    assert found.p == 0.25  # 2 * (1/2)**3


@pytest.mark.parametrize(("base", "tuned", "p"), [(0, 0, 1.0), (2, 10, 0.0385742), (1, 9, 0.0214844)])
def test_the_sign_test(base: int, tuned: int, p: float) -> None:
    """Compare with tabled values of the binomial distribution."""
    votes = [vote(f"b{n}", "base", "left") for n in range(base)]
    votes += [vote(f"t{n}", "base", "right") for n in range(tuned)]
    assert count_votes(votes).p == pytest.approx(p, abs=1e-6)


def test_the_export_contains_no_text() -> None:
    (line,) = map(json.loads, as_jsonl([vote("q", "tuned", "right")], "f" * 64).splitlines())
    assert line == {
        "exam_sha256": "f" * 64,
        "id": "q",
        "left": "tuned",
        "right": "base",
        "vote": "right",
        "winner": "base",
        "seconds": 1.2,
    }


def test_an_invalid_vote_is_refused() -> None:
    with pytest.raises(ValueError, match="<b>"):
        parse_choice("<b>")
