"""MedMCQA: questions of Indian medical entrance exams with four options, numbered from 0 or from 1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.row import Row
from ..exams.item import LETTERS, Item
from ..exams.published_layouts import MEDMCQA_OPTIONS
from .answer_rules import find_lost_letters, needs_picture
from .base import (
    DataFile,
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

OPTION = re.compile(r"\n\s*Option ([A-Z]):")
LETTER = re.compile(r"\(([A-Z])\)")
# About every tenth record of the published files has lost these letters from all its words.
LOST_LETTERS = "rt"


class MedMCQA(ColumnSource):
    """A file of MedMCQA. Its column `cop` numbers the correct option from 0 in some copies, from 1 in others.

    `cop_from` sets the first number. By default it is detected: a file with a 0 counts from 0, one with a 4 from 1. A
    file with neither or both is refused. Explanations (`exp`) are not used, because the exam expects only the answer.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="MedMCQA: questions of the Indian AIIMS and NEET PG entrance exams, four options",
        format=".json or .jsonl (.gz): question, opa to opd, cop, choice_type; or instances with input and output",
        get="data.zip, linked in the repository github.com/medmcqa/medmcqa; unpack it",
        licence="MIT (repository licence; questions from public exam and practice papers)",
        size="150 MB",
        rows="182,822 read from train (published); dev: 2,557 of 4,183 (measured)",
        remark="not in the 2023 Medical Meadow; others use dev as an exam; test has no answers and is refused",
    )

    columns_read: ClassVar[frozenset[str]] = frozenset(
        {"question", *MEDMCQA_OPTIONS, "cop", "choice_type", "instances", "split"}
    )

    kind: Literal["medmcqa"] = "medmcqa"
    name: Name = "medmcqa"
    licence: str | None = "MIT"
    attribution: str | None = "A. Pal, L. K. Umapathi, M. Sankarasubbu: MedMCQA (CHIL 2022)"
    url: str | None = "https://github.com/medmcqa/medmcqa"
    split: TrainOrDev
    cop_from: Literal[0, 1] | None = None

    def select(self, root: Path) -> Selection:
        selection = super().select(root)
        for file in selection.files:
            resolve_split(file.path, self.split)
        return selection

    def read_file(self, file: DataFile) -> Iterator[Record]:
        cop_from = self.cop_from
        if cop_from is None:
            cop_from = detect_cop_from(file.path, (value for _, value in self.values(file)))
        return super(MedMCQA, self.model_copy(update={"cop_from": cop_from})).read_file(file)

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        split = parse_row_split(record.get("split"), self.split)
        if "instances" in record:
            return self._item_row(_item_from_instance(record["instances"]), source_id, split)
        if record.get("choice_type") == "multi":
            raise ExcludedError("choice type multi")
        question, number = record.get("question"), _parse_int(record.get("cop"))
        if not isinstance(question, str):
            raise ValueError("no question")
        if number is None:
            raise ValueError("no 'cop', the number of the correct option")
        # `read_file` has set cop_from.
        index = number - (self.cop_from or 0)
        if not 0 <= index < len(MEDMCQA_OPTIONS):
            raise ValueError("'cop' is not the number of an option")
        texts = [_option_text(record.get(name), name) for name in MEDMCQA_OPTIONS]
        item = Item(
            id="", question=question, options=dict(zip(LETTERS, texts, strict=False)), answer=LETTERS[index]
        )
        return self._item_row(item, source_id, split)

    def _item_row(self, item: Item, source_id: str, split: str) -> Row:
        if find_lost_letters("\n".join((item.question, *item.options.values())), LOST_LETTERS):
            raise ExcludedError("the letters 'rt' are missing, as in 'hea' for 'heart'")
        if needs_picture(item.question):
            raise ExcludedError("a question about a picture")
        return make_exam_row(self, item, source_id, split)


def _option_text(value: Any, name: str) -> str:
    if isinstance(value, bool | Mapping | list):
        raise ValueError(f"{name!r} is {type(value).__name__}, not text")
    return str(value or "")


def detect_cop_from(file: Path, records: Iterable[Any]) -> Literal[0, 1] | None:
    """Return the number of the first option in `records`: 0, 1, or None for the layout `instances`, without `cop`.

    Raises UserError if the file has no answers, or if `cop` has neither the value 0 nor 4, or has both.
    """
    numbers: set[int | None] = set()
    has_instances = False
    for record in records:
        if isinstance(record, Mapping):
            has_instances = has_instances or "instances" in record
            numbers.add(_parse_int(record.get("cop")))
    if numbers & {0, 4} == {0}:
        return 0
    if numbers & {0, 4} == {4}:
        return 1
    valid = [number for number in range(5) if number in numbers]
    if has_instances and not valid:
        return None
    if not valid:
        raise UserError(
            f"{file}: no answers (no 'cop' from 0 to 4); the test split has none, use train or dev"
        )
    raise UserError(
        f"{file}: the correct answer is ambiguous: 'cop' has the values {', '.join(map(str, valid))} and may count "
        "from 0 or from 1; set cop_from: to 0 or 1"
    )


def _parse_int(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool | float) else int(value)
    except (TypeError, ValueError):
        return None


def _item_from_instance(instance: Any) -> Item:
    if not isinstance(instance, Mapping):
        raise ValueError("'instances' is not an object")
    question, *rest = OPTION.split(str(instance.get("input") or ""))
    options = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    letters = LETTER.findall(str(instance.get("output") or ""))
    if len(letters) != 1:
        raise ValueError("no letter in parentheses as the answer")
    return Item(
        id="", question=question.removeprefix("QUESTION:").strip(), options=options, answer=letters[0]
    )
