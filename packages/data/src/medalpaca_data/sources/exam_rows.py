"""Exam items as rows: letter questions, so that training asks as the exam will."""

from __future__ import annotations

from ..exams.asked import LETTER_INSTRUCTION, exam_input
from ..exams.exam import unscorable
from ..exams.item import Item, content_item_id
from ..ground.files import is_text
from ..row import Row
from .base import BaseSource


def exam_row(source: BaseSource, item: Item, source_id: str, split: str, subject: str = "") -> Row:
    """An item's row, its group the subject and question. Raises ValueError with the reason where it has none."""
    if reason := unscorable(item):
        # Letters come from the record, and a reason names a kind of fault.
        raise ValueError(
            "option letters do not run from A" if reason.startswith("option letters") else reason
        )
    if not all(map(is_text, (item.question, *item.options.values()))):
        raise ValueError("half a surrogate pair, which is no text")
    question = content_item_id(" ".join(item.question.lower().split()), ())
    return source.make(
        source_id=source_id,
        instruction=LETTER_INSTRUCTION,
        input=exam_input(item),
        output=f"{item.answer}: {item.options[item.answer].strip()}",
        split=split,
        group=":".join(filter(None, (source.name, subject, question))),
    )
