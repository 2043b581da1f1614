"""A person's sitting: nobody sees the key early, nobody gains time, and the counting is right."""

from __future__ import annotations

import json

from medalpaca_data.exams.item import Item
from medalpaca_demo.tabs.exam import GRACE, as_json, scores, sit

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


def test_a_block_is_drawn_without_repeats_and_from_the_step() -> None:
    block = sit(ITEMS, 10, "2", False, 0.0, seed=4)
    assert len(set(block.order)) == 10
    assert {ITEMS[index].step for index in block.order} == {2}
    assert block.order == sit(ITEMS, 10, "2", False, 0.0, seed=4).order
    assert len(sit(ITEMS, 40, "", False, 0.0, seed=4).order) == 30


def test_answers_can_change_until_the_end_and_not_after() -> None:
    block = sit(ITEMS, 10, "", False, 0.0, seed=1).pick("A", 1.0).pick("B", 2.0)
    assert dict(block.answers) == {block.order[0]: "B"}
    assert block.move(-1).at == 0
    assert block.move(99).at == 9
    ended = block.end(5.0)
    assert ended.pick("A", 6.0).answers == block.answers
    assert ended.end(9.0).ended == 5.0


def test_the_clock_belongs_to_the_server() -> None:
    block = sit(ITEMS, 10, "", True, 100.0, seed=1)
    assert block.left(100.0) == 900.0
    assert not block.over(1000.0)
    late = block.pick("A", 1000.0 + GRACE + 1)
    assert late.ended is not None
    assert not late.answers


def test_open_questions_count_as_wrong_and_subjects_add_up() -> None:
    block = sit(ITEMS, 10, "", False, 0.0, seed=1)
    block = block.pick(ITEMS[block.index].answer, 1.0).end(60.0)
    chosen = {
        "base": {index: ITEMS[index].answer for index in block.order},
        "tuned": dict.fromkeys(block.order, "A"),
    }
    whole, *parts = scores(block, ITEMS, chosen)  # type: ignore[arg-type]
    assert (whole.n, whole.you, whole.models["base"]) == (10, 1, 10)
    assert whole.models["tuned"] == sum(ITEMS[index].answer == "A" for index in block.order)
    assert sum(part.n for part in parts) == 10
    assert sum(part.models["tuned"] for part in parts) == whole.models["tuned"]
    kept = json.loads(as_json(block, ITEMS, "f" * 64, chosen))  # type: ignore[arg-type]
    assert kept["seconds"] == 60.0
    assert kept["answers"][1]["you"] is None
    assert set(kept["answers"][0]) == {"id", "key", "you", "base", "tuned"}
