"""Parts of the page as HTML text, without a browser."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from medalpaca_data.exams.item import Item
from medalpaca_demo.html import header, item_label, prompt_html, question_html, status_line
from medalpaca_demo.inference import compute_option_scores
from medalpaca_demo.job import Answer, Progress
from medalpaca_demo.side_by_side import answer_card, format_share, option_table

BAD = "<script>alert(1)</script>"
ITEM = Item(id=BAD, question=BAD, options={"A": BAD, "B": "b"}, answer="B", step=1, subject=BAD)
DONE = Progress(
    state="done",
    scores=MappingProxyType(
        {
            "base": compute_option_scores((-1.0, -2.0), ("A", "B"), "letter"),
            "tuned": compute_option_scores((-9.0, -0.1), "AB", "letter"),
        }
    ),
    answers=MappingProxyType({"base": Answer(BAD, 4, 2.0, "length"), "tuned": Answer("  ", 3, 0.5, "end")}),
)


def test_outside_text_is_escaped() -> None:
    html = "".join(
        (
            header(BAD, BAD, 1),
            question_html(ITEM),
            option_table(ITEM, DONE, "letter"),
            status_line(ITEM, Progress(state="failed", error=BAD)),
            answer_card("base", DONE),
            prompt_html(BAD),
        )
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 10


def test_the_status_line_gives_choices_and_correct_answer() -> None:
    line = status_line(ITEM, DONE)
    for part in ("Base chooses A (wrong)", "Fine-tuned chooses B (right)", "Correct answer: B."):
        assert part in line
    assert 'role="status"' in line


def test_an_answer_shows_time_speed_and_end() -> None:
    column = answer_card("base", DONE)
    assert "2.0 s · 4 tokens · 2 tok/s" in column
    assert "limit of 4 tokens" in column
    assert "(no visible text: 3 tokens)" in answer_card("tuned", DONE)


def test_waiting_time_and_queue_are_shown() -> None:
    assert "Waiting for the model… 3 s (2 questions before yours)" in status_line(
        ITEM, Progress(ahead=2), 3.2
    )


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0.0%"), (0.0001, "<0.1%"), (0.486, "48.6%"), (0.9999, ">99.9%"), (1.0, "100.0%")],
)
def test_shares_are_not_rounded_to_0_or_100(share: float, shown: str) -> None:
    assert format_share(share) == shown


def test_item_labels() -> None:
    item = Item(
        id="step1-62", question="?", options={"A": "a", "B": "b"}, answer="A", step=1, subject="Cardiology"
    )
    assert item_label(7, item) == "7 · step1-62 · Step 1 · Cardiology"
    assert item_label(7, Item(id="x", question="?", options={"A": "a"}, answer="A")) == "7 · x"
