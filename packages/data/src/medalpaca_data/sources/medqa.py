"""MedQA (US, five or four options): exam questions as letter questions, so that training asks as the exam will.

Reads the original JSONL (also with MetaMap phrases, four options, gzipped), whose split must be declared, and the
JSON list of `instances` that carries train rows (options inside the text, the answer as text). Test is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.row import Row
from ..exams.item import Item
from .base import About, Name, PlainFile, TrainOrDev, agreed_split, exam_row, row_split

OPTION = re.compile(r"\n\s*Option ([A-Z]): ")


class MedQA(PlainFile):
    """`split` is what the file is: nothing in it says so."""

    about: ClassVar[About] = About(
        title="MedQA, US part: questions in the style of the USMLE, four or five options",
        format=".jsonl or .json (.gz): question, options, answer_idx; or instances with input and output",
        get="the MedQA repository (github.com/jind11/MedQA) names its download; directory questions/US",
        licence="MIT (repository); the questions come from preparation sites",
        size="15 MB",
        rows="10,178 train (published), 1,272 dev (measured); test is refused",
        remark="train holds questions from USMLE preparation: check the rows against the exam before believing a score",
    )

    kind: Literal["medqa"] = "medqa"
    name: Name = "medqa"
    licence: str | None = "MIT"
    attribution: str | None = "D. Jin et al.: What Disease does this Patient Have? (2020)"
    url: str | None = "https://github.com/jind11/MedQA"
    split: TrainOrDev

    def files(self, root: Path) -> list[Path]:
        [file] = super().files(root)
        agreed_split(file, self.split)
        return [file]

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        item = _from_instance(record["instances"]) if "instances" in record else _from_original(record)
        return exam_row(self, item, source_id, row_split(record.get("split"), self.split))


def _from_original(record: Mapping[str, Any]) -> Item:
    question, options = record.get("question"), record.get("options")
    if not isinstance(question, str) or not isinstance(options, Mapping):
        raise ValueError("no 'question' and 'options'")
    options = {str(letter): str(text) for letter, text in options.items()}
    return Item(id="", question=question, options=options, answer=str(record.get("answer_idx") or ""))


def _from_instance(instance: Any) -> Item:
    if not isinstance(instance, Mapping):
        raise ValueError("'instances' is not an object")
    question, *rest = OPTION.split(str(instance.get("input") or ""))
    options = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    answer = str(instance.get("output") or "").strip()
    if answer not in options:  # the letter, or (usually) the option's text
        letters = [letter for letter, text in options.items() if text == answer]
        if len(letters) != 1:
            raise ValueError(f"the answer is {'none' if not letters else 'more than one'} of the options")
        answer = letters[0]
    question = question.removeprefix("Question:").strip()
    return Item(id="", question=question, options=options, answer=answer)
