"""MedQA (US, five or four options): exam questions as letter questions, so that training asks as the exam will.

Reads the original JSONL, whose split must be declared, and the JSON list of `instances` that carries train rows
(options inside the text, the answer as text). The test split is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from ..exam import Item, unscorable
from ..exam_prompt import LETTER_INSTRUCTION, exam_input
from ..ground.errors import UserError
from ..row import Row
from .base import FileSource, Name

OPTION = re.compile(r"\n\s*Option ([A-Z]): ")


class MedQA(FileSource):
    """`split` is what the file is: nothing in it says so."""

    kind: Literal["medqa"] = "medqa"
    name: Name = "medqa"
    licence: str | None = "MIT"
    attribution: str | None = "D. Jin et al.: What Disease does this Patient Have? (2020)"
    url: str | None = "https://github.com/jind11/MedQA"
    split: Literal["train", "dev"]

    @field_validator("split", mode="before")
    @classmethod
    def _no_test(cls, value: Any) -> Any:
        if value == "test":
            raise ValueError("test rows are never used for training; only train and dev can be built from")
        return value

    def files(self, root: Path) -> list[Path]:
        files = super().files(root)
        name = files[0].stem.lower()
        if re.search(r"(^|[^a-z])test([^a-z]|$)", name):
            raise UserError(f"{files[0]}: a file named test is refused; only train and dev can be built from")
        return files

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        item = _from_instance(record["instances"]) if "instances" in record else _from_original(record)
        if reason := unscorable(item):
            raise ValueError(reason)
        return Row(
            instruction=LETTER_INSTRUCTION,
            input=exam_input(item),
            output=f"{item.answer}: {item.options[item.answer].strip()}",
            source=self.name,
            source_id=source_id,
            url=self.url,
            licence=self.licence,
            attribution=self.attribution,
            split=self.split,
        )


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
