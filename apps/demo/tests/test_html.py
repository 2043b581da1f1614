"""The page's parts as text: no torch, no browser."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from medalpaca_data.exams.item import Item
from medalpaca_demo.html import header, label, prompt, status, stem
from medalpaca_demo.inference import rate
from medalpaca_demo.job import Answer, Progress
from medalpaca_demo.side_by_side import answer_column, option_table, percent

BAD = "<script>alert(1)</script>"
ITEM = Item(id=BAD, question=BAD, options={"A": BAD, "B": "b"}, answer="B", step=1, subject=BAD)
DONE = Progress(
    state="done",
    scores=MappingProxyType(
        {"base": rate((-1.0, -2.0), ("A", "B"), "letter"), "tuned": rate((-9.0, -0.1), "AB", "letter")}
    ),
    answers=MappingProxyType({"base": Answer(BAD, 4, 2.0, "length"), "tuned": Answer("  ", 3, 0.5, "end")}),
)


def test_foreign_text_is_escaped_everywhere() -> None:
    html = "".join(
        (
            header(BAD, BAD, 1),
            stem(ITEM),
            option_table(ITEM, DONE, "letter"),
            status(ITEM, Progress(state="failed", error=BAD)),
            answer_column("base", DONE),
            prompt(BAD),
        )
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 10


def test_both_verdicts_and_the_key_are_said_in_words() -> None:
    said = status(ITEM, DONE)
    assert "Base chooses A (wrong), Fine-tuned chooses B (right). Key: B." in said
    assert 'role="status"' in said


def test_time_and_speed_stand_above_the_answer_and_its_end_below() -> None:
    column = answer_column("base", DONE)
    assert "2.0 s · 4 tokens · 2 tok/s" in column
    assert "cut at the limit of 4 tokens" in column
    assert "(no visible text: 3 tokens)" in answer_column("tuned", DONE)


def test_who_waits_is_told_how_long_and_for_whom() -> None:
    assert "Waiting for the model… 3 s (2 before you)" in status(ITEM, Progress(ahead=2), 3.2)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0.0%"), (0.0001, "<0.1%"), (0.486, "48.6%"), (0.9999, ">99.9%"), (1.0, "100.0%")],
)
def test_percentages_do_not_round_to_certainty(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_a_label_holds_what_its_filter_should_find() -> None:
    item = Item(
        id="step1-62", question="?", options={"A": "a", "B": "b"}, answer="A", step=1, subject="Cardiology"
    )
    assert label(7, item) == "7 · step1-62 · Step 1 · Cardiology"
    assert label(7, Item(id="x", question="?", options={"A": "a"}, answer="A")) == "7 · x"
