"""MedMCQA: questions of Indian medical entrance exams, four options, numbered from 0 or from 1 as the copy has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import UserError
from ..core.records import read_records
from ..core.row import Row
from ..exams.item import LETTERS, Item
from ..exams.layouts import MEDMCQA_OPTIONS
from .base import About, LeftOut, Name, PlainFile, Record, TrainOrDev, agreed_split, exam_row, row_split

OPTION = re.compile(r"\n\s*Option ([A-Z]):")
LETTER = re.compile(r"\(([A-Z])\)")


class MedMCQA(PlainFile):
    """`cop` numbers the right option from 0 in some copies and from 1 in others; `cop_from` says which.

    Without it a file tells by a 0 or a 4 in it; one that holds neither is refused. Explanations (`exp`) are not used:
    an answer is what the exam will ask for.
    """

    about: ClassVar[About] = About(
        title="MedMCQA: questions of the Indian AIIMS and NEET PG entrance exams, four options",
        format=".json or .jsonl (.gz): question, opa to opd, cop, choice_type; or instances with input and output",
        get="the MedMCQA repository (github.com/medmcqa/medmcqa) names its download, data.zip; unpack it",
        licence="MIT (repository licence; questions from public exam and practice papers)",
        size="150 MB",
        rows="182,822 read from train (published); dev: 2,816 of 4,183 (measured)",
        remark="was not in the 2023 Medical Meadow; dev is an exam elsewhere; test, without answers, is refused",
    )

    kind: Literal["medmcqa"] = "medmcqa"
    name: Name = "medmcqa"
    licence: str | None = "MIT"
    attribution: str | None = "A. Pal, L. K. Umapathi, M. Sankarasubbu: MedMCQA (CHIL 2022)"
    url: str | None = "https://github.com/medmcqa/medmcqa"
    split: TrainOrDev
    cop_from: Literal[0, 1] | None = None

    def files(self, root: Path) -> list[Path]:
        [file] = super().files(root)
        agreed_split(file, self.split)
        return [file]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        [file] = self.files(root)
        known = (
            self if self.cop_from is not None else self.model_copy(update={"cop_from": detect_cop_from(file)})
        )
        return super(MedMCQA, known).records(root, seed)

    def row(self, record: Any, source_id: str) -> Row:
        if not isinstance(record, Mapping):
            raise ValueError("not an object")
        split = row_split(record.get("split"), self.split)
        if "instances" in record:
            return exam_row(self, _from_instance(record["instances"]), source_id, split)
        if record.get("choice_type") == "multi":
            raise LeftOut("choice type multi")
        question, number = record.get("question"), _number(record.get("cop"))
        if not isinstance(question, str):
            raise ValueError("no question")
        if number is None:
            raise ValueError("no 'cop', the number of the right option")
        place = number - (self.cop_from or 0)  # `records` has settled it
        if not 0 <= place < len(MEDMCQA_OPTIONS):
            raise ValueError("'cop' is the number of no option")
        texts = [str(record.get(name) or "") for name in MEDMCQA_OPTIONS]
        item = Item(
            id="", question=question, options=dict(zip(LETTERS, texts, strict=False)), answer=LETTERS[place]
        )
        return exam_row(self, item, source_id, split)


def detect_cop_from(file: Path) -> Literal[0, 1] | None:
    """From what the right option is numbered in `file`: None if it holds no `cop` because it needs none."""
    seen: set[int | None] = set()
    other = False
    for _, record in read_records(file):
        if isinstance(record, Mapping):
            other = other or "instances" in record
            seen.add(_number(record.get("cop")))
    if seen & {0, 4} == {0}:
        return 0
    if seen & {0, 4} == {4}:
        return 1
    if other and not seen & {0, 1, 2, 3, 4}:
        return None
    if not seen & {0, 1, 2, 3, 4}:
        raise UserError(
            f"{file}: no answers in it (no 'cop' from 0 to 4); the test split has none, use train or dev"
        )
    raise UserError(
        f"{file}: copies number the right option from 0 or from 1, and 'cop' in this file tells not which; "
        f"set cop_from: to 0 or 1"
    )


def _number(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool | float) else int(value)
    except (TypeError, ValueError):
        return None


def _from_instance(instance: Any) -> Item:
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
