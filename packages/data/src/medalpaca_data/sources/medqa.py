"""MedQA, US part: exam questions with five or four options, in the prompt format of the exam.

Reads the original JSON Lines (also with MetaMap phrases, four options, gzipped). Reads also a JSON list of objects with
`instances`, which have the options in the question and the answer as text. The test split is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.row import Row
from ..exams.item import Item
from .answer_rules import Repair, needs_picture
from .base import (
    ExcludedError,
    Name,
    Record,
    SourceInfo,
    TrainOrDev,
    make_exam_row,
    parse_row_split,
    resolve_split,
)
from .columns import ColumnSource
from .data_files import Selection

OPTION = re.compile(r"\n\s*Option ([A-Z]): ")


class MedQA(ColumnSource):
    """A file of MedQA. `split` is required, because the records do not state it.

    A file whose name contains another split is refused.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="MedQA, US part: questions in the style of the USMLE, four or five options",
        format=".jsonl or .json (.gz): question, options, answer_idx; or instances with input and output",
        get="the archive linked in the repository github.com/jind11/MedQA; directory questions/US",
        licence="MIT (repository); the questions come from preparation sites",
        size="15 MB",
        rows="10,178 train (published); dev: 1,178 of 1,272 (measured), the others need a picture; test is refused",
        remark="train contains USMLE preparation questions: check the rows for contamination with the exam",
    )

    # `answer` is the text of the option `answer_idx`.
    columns_read: ClassVar[frozenset[str]] = frozenset(
        {"question", "options", "answer_idx", "answer", "instances", "split"}
    )

    kind: Literal["medqa"] = "medqa"
    name: Name = "medqa"
    licence: str | None = "MIT"
    attribution: str | None = "D. Jin et al.: What Disease does this Patient Have? (2020)"
    url: str | None = "https://github.com/jind11/MedQA"
    split: TrainOrDev

    def select(self, root: Path) -> Selection:
        selection = super().select(root)
        for file in selection.files:
            resolve_split(file.path, self.split)
        return selection

    def convert(self, value: Any, file: str, location: str) -> Iterator[Record]:
        for record in super().convert(value, file, location):
            if isinstance(record, Row) and _read_item(value) != _without_stray_quotes(_read_item(value)):
                yield Repair("stray quotation mark removed")
            yield record

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        item = _without_stray_quotes(_read_item(record))
        if needs_picture(item.question):
            raise ExcludedError("a question about a picture")
        return make_exam_row(self, item, source_id, parse_row_split(record.get("split"), self.split))


def _read_item(record: Mapping[str, Any]) -> Item:
    return _item_from_instance(record["instances"]) if "instances" in record else _item_from_record(record)


def _without_stray_quotes(item: Item) -> Item:
    """Return an item without the quotation marks that end a text but open none, as some copies have them."""
    options = {letter: _without_stray_quote(text) for letter, text in item.options.items()}
    return replace(item, question=_without_stray_quote(item.question), options=options)


def _without_stray_quote(text: str) -> str:
    is_stray = text.endswith('"') and text.count('"') % 2 == 1
    return text.removesuffix('"').rstrip() if is_stray else text


def _item_from_record(record: Mapping[str, Any]) -> Item:
    question, options = record.get("question"), record.get("options")
    if not isinstance(question, str) or not isinstance(options, Mapping):
        raise ValueError("no 'question' and 'options'")
    if any(isinstance(text, Mapping | list) for text in (*options.values(), record.get("answer_idx"))):
        raise ValueError("an option or 'answer_idx' is a structure, not text")
    options = {str(letter): str(text) for letter, text in options.items()}
    return Item(id="", question=question, options=options, answer=str(record.get("answer_idx") or ""))


def _item_from_instance(instance: Any) -> Item:
    if not isinstance(instance, Mapping):
        raise ValueError("'instances' is not an object")
    question, *rest = OPTION.split(str(instance.get("input") or ""))
    options = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    answer = str(instance.get("output") or "").strip()
    # The answer is a letter or, usually, the text of the option.
    if answer not in options:
        letters = [letter for letter, text in options.items() if text == answer]
        if len(letters) != 1:
            raise ValueError(f"the answer is {'none' if not letters else 'more than one'} of the options")
        answer = letters[0]
    question = question.removeprefix("Question:").strip()
    return Item(id="", question=question, options=options, answer=answer)
