"""MEDIQA: answers to consumers' health questions, and summaries of them, in the layouts of three collections.

2019, task 3 (XML): retrieved answers with a reference score. 2021, task 1 (.xlsx): a question and its short form;
task 2 (.xlsx and .txt): several answers and their summary. MEDIQA-AnS (.json): answers, summaries of one and of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from ..deleted import JoinedDigits, joined
from ..ground.errors import UserError
from ..ground.files import existing, is_text, sha256_bytes
from ..row import Row
from . import mediqa_layouts as layouts
from .base import About, BaseSource, Name, Record, Reject
from .splits import agreed_split, no_test, no_test_file


class Origin(NamedTuple):
    """Whose a collection is."""

    url: str
    licence: str
    attribution: str


Y2019 = Origin(
    "https://github.com/abachaa/MEDIQA2019",
    "none stated (public NLM task; the answers are of the sites they were taken from)",
    "A. Ben Abacha, C. Shivade, D. Demner-Fushman: Overview of the MEDIQA 2019 Shared Task (BioNLP 2019)",
)
Y2021 = Origin(
    "https://github.com/abachaa/MEDIQA2021",
    "CC BY 4.0",
    "A. Ben Abacha et al.: Overview of the MEDIQA 2021 Shared Task on Summarization (BioNLP 2021)",
)
ANS = Origin(
    "https://doi.org/10.17605/OSF.IO/FYG46",
    "CC0 1.0 (summaries; the passages are of the sites they were taken from)",
    "M. Savery et al.: Question-driven summarization of answers to consumer health questions (Scientific Data 2020)",
)


class MEDIQA(BaseSource):
    """The layout is told by the file. `split` need only be given where the file's name does not say it.

    Of task 2 `path` is the answers' workbook, `questions` the short questions and `summaries` the files of summaries.
    """

    about: ClassVar[About] = About(
        title="MEDIQA: consumers' health questions with judged answers, short forms and summaries",
        format=".xml (2019 task 3), .xlsx (2021 task 1), .xlsx with .txt (2021 task 2), .json (MEDIQA-AnS); .xml.gz",
        get=(
            "github.com/abachaa/MEDIQA2019 (MEDIQA_Task3_QA), github.com/abachaa/MEDIQA2021 (Task1, Task2); "
            "MEDIQA-AnS: osf.io/fyg46, question_driven_answer_summarization_primary_dataset.json"
        ),
        licence="CC BY 4.0 (2021), CC0 1.0 (AnS), none stated (2019)",
        size="8 MB",
        rows="634 of 1,701 answers (2019 train), 94 of 234 (2019 dev), 50 and 100 (2021 dev); AnS 2,520 (2,208 + 312)",
        default=False,
        remark=(
            "the 2019 files state no licence; 147 of the 154 distinct questions of MEDIQA-AnS are 2019 test questions: "
            "who trains on it has no 2019 test left"
        ),
        patient_text=True,
    )

    kind: Literal["mediqa"] = "mediqa"
    name: Name = "mediqa"
    path: str
    split: Annotated[Literal["train", "dev", "none"] | None, BeforeValidator(no_test)] = None
    min_score: int = Field(default=3, ge=1, le=4)  # 4 excellent, 3 incomplete, 2 related, 1 wrong (2019)
    max_rank: int | None = Field(default=None, ge=1)  # only the best so many answers to a question (2019)
    questions: str | None = None
    summaries: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        names = [self.path, *([self.questions] if self.questions else []), *self.summaries]
        return [
            no_test_file(existing(root / Path(name).expanduser(), f"file (source {self.name!r})"))
            for name in names
        ]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        file, *more = self.files(root)
        suffix = (file.with_suffix("") if file.suffix.lower() == ".gz" else file).suffix.lower()
        if more and suffix != ".xlsx":
            raise UserError(
                f"{file}: questions and summaries belong to the answers' workbook of 2021, task 2"
            )
        split: str | None = "none"
        match suffix:
            case ".xml":
                split = agreed_split(file, self.split, layouts.root_name(file))
                origin, found = Y2019, layouts.judged(file, self.min_score, self.max_rank)
            case ".xlsx" if self.summaries:
                split = agreed_split(file, self.split)
                origin, found = Y2021, layouts.merged(file, self._questions(root), more[1:])
            case ".xlsx":
                split = agreed_split(file, self.split)
                origin, found = Y2021, layouts.shortened(file)
            case ".json":
                split = agreed_split(file, self.split) or "none"
                origin, found = ANS, layouts.summarised(file)
            case _:
                raise UserError(f"{file}: an .xml, .xlsx or .json file of MEDIQA was expected")
        if split is None:
            raise UserError(f"{file}: its name says neither train nor dev; set split: to one of them")
        for record in found:
            yield self._record(record, file, origin, split) if isinstance(record, layouts.Found) else record

    def _questions(self, root: Path) -> Path:
        if self.questions is None:
            raise UserError(
                f"{self.path}: summaries need the file of short questions; name it with questions:"
            )
        return root / Path(self.questions).expanduser()

    def _record(self, found: layouts.Found, file: Path, origin: Origin, split: str) -> Row | Reject:
        if reason := _fault(found):
            return Reject(found.file, found.place, reason, found.record)
        if digits := joined(found.input) or joined(found.output):
            return Reject.of(found.file, found.place, JoinedDigits(digits), found.record)
        # One name for a question in all collections, so that it is on one side of a split wherever it stands.
        question = sha256_bytes(" ".join(found.question.lower().split()).encode())
        return self.make(
            source_id=f"{found.file} {found.place}",
            instruction=found.instruction,
            input=found.input,
            output=found.output,
            url=found.url or self.url or origin.url,
            licence=self.licence or origin.licence,
            attribution=self.attribution or origin.attribution,
            split=split,
            group=f"mediqa:{question[:12]}",
        )


def _fault(found: layouts.Found) -> str | None:
    if not all(map(is_text, (found.question, found.input, found.output, found.url or ""))):
        return "half a surrogate pair, which is no text"
    if not found.question:
        return "no question"
    return None if found.output else "no answer"
