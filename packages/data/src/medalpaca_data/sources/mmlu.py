"""MMLU: dev and val questions of the medical subjects. The test split, which the 2023 data contained, is refused."""

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
from .base import (
    BaseSource,
    Name,
    Reject,
    SourceInfo,
    make_exam_row,
    refuse_test_file,
    refuse_test_split,
    split_from_name,
)

# Medicine and its foundations, without professional_medicine, which contains 44 items of the USMLE sample exam.
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
    """MMLU: `path` contains dev/SUBJECT_dev.csv and val/SUBJECT_val.csv with question, four options and letter.

    The files have no headings. `subjects` and `split` select the files. All rows have the split "none", so that they
    may be used for training, because neither dev nor val is an exam here.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="MMLU, medical subjects, dev and val: general knowledge questions with four options",
        format="a directory of dev/SUBJECT_dev.csv and val/SUBJECT_val.csv",
        get="data.tar, linked in the repository github.com/hendrycks/test; unpack it",
        licence="MIT",
        size="150 kB of a download of 166 MB",
        rows="265 (measured: 50 dev, 215 val, ten subjects); test is refused",
        remark=(
            "professional_medicine is not used by default: its dev, val and test splits contain 44 of the 376 items of "
            "the USMLE sample exam (6 in val)"
        ),
    )

    kind: Literal["mmlu"] = "mmlu"
    name: Name = "mmlu"
    licence: str | None = "MIT"
    attribution: str | None = "D. Hendrycks et al.: Measuring Massive Multitask Language Understanding (2021)"
    url: str | None = "https://github.com/hendrycks/test"
    path: str
    subjects: tuple[Annotated[str, Field(pattern=r"^[a-z_]+$")], ...] = Field(default=SUBJECTS, min_length=1)
    split: Annotated[tuple[Literal["dev", "val"], ...], BeforeValidator(refuse_test_split)] = Field(
        default=("dev", "val"), min_length=1
    )

    def files(self, root: Path) -> list[Path]:
        folder = self.resolve(root, self.path, "directory")
        if split_from_name(Path(self.path).name) == "test":
            raise UserError(
                f"{folder}: the name says test, and test splits are not used; "
                "set path: to the directory that contains dev and val"
            )
        names = [(split, f"{subject}_{split}.csv") for split in self.split for subject in self.subjects]
        return [refuse_test_file(existing(folder / split / name)) for split, name in names]

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
                location = f"line {reader.line_num}"
                try:
                    yield make_exam_row(self, _parse_item(record), f"{file.name} {location}", "none", subject)
                except ValueError as error:
                    yield Reject.of(file.name, location, error, record)


def _parse_item(record: list[str]) -> Item:
    if len(record) != 6:
        raise ValueError("not six fields (question, four options, letter)")
    question, *options, answer = record
    return Item(
        id="", question=question, options=dict(zip(LETTERS, options, strict=False)), answer=answer.strip()
    )
