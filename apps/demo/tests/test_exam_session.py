"""Exam session: drawing a block, changing answers, time limit, and scores."""

from __future__ import annotations

import json

from medalpaca_data.exams.item import Item
from medalpaca_demo.tabs.exam import GRACE_SECONDS, as_json, count_scores, start_session

ITEMS = tuple(
    Item(
        id=f"i{n}",
        question="?",
        options={"A": "a", "B": "b"},
        answer="AB"[n % 2],
        step=1 + n % 2,
        subject="even" if n % 2 == 0 else "odd",
    )
    for n in range(30)
)


def test_a_block_has_no_repeats_and_one_step() -> None:
    block = start_session(ITEMS, 10, "2", False, 0.0, seed=4)
    assert len(set(block.order)) == 10
    assert {ITEMS[index].step for index in block.order} == {2}
    assert block.order == start_session(ITEMS, 10, "2", False, 0.0, seed=4).order
    assert len(start_session(ITEMS, 40, "", False, 0.0, seed=4).order) == 30


def test_answers_change_only_before_the_end() -> None:
    block = start_session(ITEMS, 10, "", False, 0.0, seed=1).pick("A", 1.0).pick("B", 2.0)
    assert dict(block.answers) == {block.order[0]: "B"}
    assert block.move(-1).position == 0
    assert block.move(99).position == 9
    ended = block.end(5.0)
    assert ended.pick("A", 6.0).answers == block.answers
    assert ended.end(9.0).ended == 5.0


def test_the_server_decides_when_time_is_up() -> None:
    block = start_session(ITEMS, 10, "", True, 100.0, seed=1)
    assert block.seconds_left(100.0) == 900.0
    assert not block.is_over(1000.0)
    late = block.pick("A", 1000.0 + GRACE_SECONDS + 1)
    assert late.ended is not None
    assert not late.answers


def test_unanswered_counts_as_wrong_and_subjects_add_up() -> None:
    block = start_session(ITEMS, 10, "", False, 0.0, seed=1)
    block = block.pick(ITEMS[block.index].answer, 1.0).end(60.0)
    chosen = {
        "base": {index: ITEMS[index].answer for index in block.order},
        "tuned": dict.fromkeys(block.order, "A"),
    }
    total, *parts = count_scores(block, ITEMS, chosen)  # type: ignore[arg-type]
    assert (total.n, total.you, total.models["base"]) == (10, 1, 10)
    assert total.models["tuned"] == sum(ITEMS[index].answer == "A" for index in block.order)
    assert sum(part.n for part in parts) == 10
    assert sum(part.models["tuned"] for part in parts) == total.models["tuned"]
    kept = json.loads(as_json(block, ITEMS, "f" * 64, chosen))  # type: ignore[arg-type]
    assert kept["seconds"] == 60.0
    assert kept["answers"][1]["you"] is None
    assert set(kept["answers"][0]) == {"id", "key", "you", "base", "tuned"}
