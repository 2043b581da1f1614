"""MMLU: the medical subjects' dev and val questions. Its test split, which the 2023 data trained on, is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ..core.errors import UserError
from ..core.files import existing, read_text
from ..core.row import Row
from ..exams.item import LETTERS, Item
from .base import About, BaseSource, Name, Reject, exam_row, named_split, no_test, no_test_file

# Medicine and what it stands on. Without professional_medicine: 44 of the USMLE sample items stand in its parts.
SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "high_school_biology",
    "human_aging",
    "human_sexuality",
    "medical_genetics",
    "nutrition",
    "virology",
)


class MMLU(BaseSource):
    """`path` holds dev/SUBJECT_dev.csv and val/SUBJECT_val.csv, without headings: question, four options, letter.

    Its dev and val are few-shot examples and a tuning set, no exam of ours: rows are declared `none`, to be trained on.
    """

    about: ClassVar[About] = About(
        title="MMLU, medical subjects, dev and val: general knowledge questions with four options",
        format="a directory of dev/SUBJECT_dev.csv and val/SUBJECT_val.csv",
        get="the MMLU repository (github.com/hendrycks/test) names its download, data.tar; unpack it",
        licence="MIT",
        size="150 kB of a download of 166 MB",
        rows="265 (measured: 50 dev, 215 val, ten subjects); test is refused",
        remark=(
            "professional_medicine is left out by default: 44 of the 376 items of the USMLE sample exam stand in its "
            "dev, val and test parts (6 in val)"
        ),
    )

    kind: Literal["mmlu"] = "mmlu"
    name: Name = "mmlu"
    licence: str | None = "MIT"
    attribution: str | None = "D. Hendrycks et al.: Measuring Massive Multitask Language Understanding (2021)"
    url: str | None = "https://github.com/hendrycks/test"
    path: str
    subjects: tuple[Annotated[str, Field(pattern=r"^[a-z_]+$")], ...] = Field(default=SUBJECTS, min_length=1)
    split: Annotated[tuple[Literal["dev", "val"], ...], BeforeValidator(no_test)] = Field(
        default=("dev", "val"), min_length=1
    )

    def files(self, root: Path) -> list[Path]:
        folder = existing(root / Path(self.path).expanduser(), f"directory (source {self.name!r})")
        if named_split(Path(self.path).name) == "test":
            raise UserError(
                f"{folder}: a directory named test is refused; name the one that holds dev and val"
            )
        names = [(split, f"{subject}_{split}.csv") for split in self.split for subject in self.subjects]
        return [no_test_file(existing(folder / split / name)) for split, name in names]

    def records(self, root: Path, seed: int = 0) -> Iterator[Row | Reject]:
        for file in self.files(root):
            subject = file.stem.rpartition("_")[0]
            reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
            while True:
                try:
                    record = next(reader)
                except StopIteration:
                    break
                except csv.Error as error:
                    raise UserError(f"{file} line {reader.line_num}: not valid CSV ({error})") from None
                place = f"line {reader.line_num}"
                try:
                    yield exam_row(self, _item(record), f"{file.name} {place}", "none", subject)
                except ValueError as error:
                    yield Reject.of(file.name, place, error, record)


def _item(record: list[str]) -> Item:
    if len(record) != 6:
        raise ValueError("not six fields (question, four options, letter)")
    question, *options, answer = record
    return Item(
        id="", question=question, options=dict(zip(LETTERS, options, strict=False)), answer=answer.strip()
    )
