"""The layouts that MEDIQA's collections come in: what stands in them, before it is a row.

MEDIQA: answers to consumers' health questions, and summaries of them, in the layouts of three collections.

2019, task 3 (XML): retrieved answers with a reference score. 2021, task 1 (.xlsx): a question and its short form;
task 2 (.xlsx and .txt): several answers and their summary. MEDIQA-AnS (.json): answers, summaries of one and of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from xml.etree.ElementTree import Element

from pydantic import BeforeValidator, Field

from ..core.archive import open_bytes
from ..core.errors import UserError
from ..core.files import existing, is_text, read_text, sha256_bytes
from ..core.joined_digits import JoinedDigits, find_joined_digits
from ..core.json_stream import read_object
from ..core.row import Row
from ..formats.tabular import read_sheet
from ..formats.xml import element_text, read_elements
from .base import About, BaseSource, Context, Name, Record, Reject, agreed_split, no_test, no_test_file

ANSWER = "Answer this consumer's health question."
SHORTEN = "Put this consumer's health question into one short question."
SUMMARISE = {
    "abstractive": "Answer the question with a short summary of the passage in your own words.",
    "extractive": "Answer the question with the sentences of the passage that matter for it, as they stand.",
}
SUMMARISE_ALL = {
    "abstractive": "Answer the question with one short summary of all the passages in your own words.",
    "extractive": "Answer the question with the sentences of all the passages that matter for it, as they stand.",
}
WAYS = {"abstractive": "abs_summ", "extractive": "ext_summ"}  # how upstream's keys end
ROOT = re.compile(rb"<([A-Za-z][\w.-]*)")


class Found(NamedTuple):
    """What can be a row, if its texts are there."""

    file: str
    place: str
    instruction: str
    input: str
    output: str
    question: str  # what its group is named by
    url: str | None
    record: Any


def root_name(file: Path) -> str:
    """The name of an XML file's outermost element, '' if it is not near the beginning: it says which set it is."""
    with open_bytes(file) as stream:
        match = ROOT.search(stream.read(4096))
    return match[1].decode() if match else ""


def judged(file: Path, min_score: int, max_rank: int | None) -> Iterator[Found | Reject | Context]:
    """2019, task 3: every answer with a reference score of at least `min_score`, and of a rank up to `max_rank`."""
    some = False
    with open_bytes(file) as stream:
        for place, element in read_elements(stream, str(file), {"Question"}):
            some = True
            yield Context("questions")
            question = _child(element, "QuestionText")
            for n, answer in enumerate(element.iter("Answer"), 1):
                score, rank = (_whole(answer.get(name)) for name in ("ReferenceScore", "ReferenceRank"))
                record = {"question": question, **answer.attrib, "answer": _child(answer, "AnswerText")}
                where = f"{place} answer {n}"
                if score is None:
                    yield Reject(file.name, where, "no reference score", record)
                elif score < min_score:
                    yield Reject(file.name, where, f"reference score below {min_score}", record, by_rule=True)
                elif max_rank is not None and (rank is None or rank > max_rank):
                    yield Reject(file.name, where, f"reference rank beyond {max_rank}", record, by_rule=True)
                else:
                    url = _child(answer, "AnswerURL")
                    text = record["answer"]
                    yield Found(file.name, where, ANSWER, question, text, question, url or None, record)
    if not some:
        raise UserError(f"{file}: no <Question> in it, so not the layout of MEDIQA 2019, task 3")


def shortened(file: Path) -> Iterator[Found]:
    """2021, task 1: a consumer's question and an expert's short form of it."""
    for place, row in _table(file, "nlmquestion", "summary"):
        question = row["nlmquestion"]
        yield Found(file.name, place, SHORTEN, question, row["summary"], question, None, row)


def merged(file: Path, questions: Path, summaries: Sequence[Path]) -> Iterator[Found | Reject | Context]:
    """2021, task 2: short questions, their answers (a workbook), and lists of summaries of those answers."""
    asked: dict[str, str] = {}
    for _, number, text in _numbered(questions):
        asked[number] = text
        yield Context("questions")
    answers: dict[str, list[str]] = {}
    for _, row in _table(file, "questionid", "answer"):
        if row["answer"]:
            answers.setdefault(row["questionid"], []).append(row["answer"])
        yield Context("answers")
    for listed in summaries:
        way = _way(listed)
        for place, number, text in _numbered(listed):
            question, passages = asked.get(number, ""), answers.get(number, [])
            record = {"number": number, "summary": text}
            if not passages:
                yield Reject(listed.name, place, "no answers to its number", record)
                continue
            task = _task(way, question, passages)
            yield Found(listed.name, place, *task, text, question, None, record)


def summarised(file: Path) -> Iterator[Found | Reject]:
    """MEDIQA-AnS: of every answer its section and its whole page, each summed up in two ways; and all answers together.

    An answer gives four rows, a question two more, over the sections of its answers.
    """
    for number, record in read_object(file):
        place = f"question {number}" if number.isascii() and number.isalnum() else "question without a number"
        answers = record.get("answers") if isinstance(record, Mapping) else None
        if not isinstance(answers, Mapping):
            yield Reject(file.name, place, "no answers; the primary dataset file was expected", record)
            continue
        question = _said(record.get("question"))
        parts = [answer if isinstance(answer, Mapping) else {} for answer in answers.values()]
        for n, answer in enumerate(parts, 1):
            url = _said(answer.get("url")) or None
            for part, (way, key) in product(("section", "article"), WAYS.items()):
                where = f"{place} answer {n} {part} {way}"
                if passage := _said(answer.get(part)):
                    task = _task(way, question, [passage])
                    summary = _said(answer.get(f"answer_{key}"))
                    yield Found(file.name, where, *task, summary, question, url, answer)
                else:
                    yield Reject(file.name, where, f"no {part}", answer)
        sections = list(filter(None, (_said(answer.get("section")) for answer in parts)))
        for way, key in WAYS.items():
            where = f"{place} all {way}"
            if sections:
                task = _task(way, question, sections)
                yield Found(
                    file.name, where, *task, _said(record.get(f"multi_{key}")), question, None, record
                )
            else:
                yield Reject(file.name, where, "no section", record)


def _task(way: str, question: str, passages: Sequence[str]) -> tuple[str, str]:
    """Instruction and input: the question over the passage, or over the numbered passages."""
    if len(passages) == 1:
        return SUMMARISE[way], f"Question: {question}\n\nPassage: {passages[0]}"
    numbered = (f"Passage {n}: {text}" for n, text in enumerate(passages, 1))
    return SUMMARISE_ALL[way], "\n\n".join((f"Question: {question}", *numbered))


def _table(file: Path, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a workbook under its headings, in small letters and without blanks and marks."""
    rows = read_sheet(file)
    _, top = next(rows, ("", {}))
    headings = {column: re.sub(r"[^a-z]", "", text.lower()) for column, text in top.items()}
    if missing := sorted(set(needed) - set(headings.values())):
        raise UserError(f"{file}: no column {missing[0]!r} in its first row, so not the layout expected here")
    for place, cells in rows:
        row = {heading: cells.get(column, "") for column, heading in headings.items()}
        yield place, row


def _numbered(file: Path) -> Iterator[tuple[str, str, str]]:
    """Lines of `number||text`."""
    for n, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            number, bars, text = line.partition("||")
            if not bars:
                raise UserError(f"{file} line {n}: a number, two bars and a text were expected")
            yield f"line {n}", number.strip(), text.strip()


def _way(file: Path) -> str:
    """From the name; upstream's own files are spelt MultiAbstrativeSummaries."""
    name = file.name.lower()
    if ("extractive" in name) == ("abstra" in name):
        raise UserError(f"{file}: its name says neither extractive nor abstractive; name it so")
    return "extractive" if "extractive" in name else "abstractive"


def _child(element: Element, name: str) -> str:
    child = element.find(name)
    return "" if child is None else element_text(child).strip()


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _said(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


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
                split = agreed_split(file, self.split, root_name(file))
                origin, found = Y2019, judged(file, self.min_score, self.max_rank)
            case ".xlsx" if self.summaries:
                split = agreed_split(file, self.split)
                origin, found = Y2021, merged(file, self._questions(root), more[1:])
            case ".xlsx":
                split = agreed_split(file, self.split)
                origin, found = Y2021, shortened(file)
            case ".json":
                split = agreed_split(file, self.split) or "none"
                origin, found = ANS, summarised(file)
            case _:
                raise UserError(f"{file}: an .xml, .xlsx or .json file of MEDIQA was expected")
        if split is None:
            raise UserError(f"{file}: its name says neither train nor dev; set split: to one of them")
        for record in found:
            yield self._record(record, file, origin, split) if isinstance(record, Found) else record

    def _questions(self, root: Path) -> Path:
        if self.questions is None:
            raise UserError(
                f"{self.path}: summaries need the file of short questions; name it with questions:"
            )
        return root / Path(self.questions).expanduser()

    def _record(self, found: Found, file: Path, origin: Origin, split: str) -> Row | Reject:
        if reason := _fault(found):
            return Reject(found.file, found.place, reason, found.record)
        if digits := find_joined_digits(found.input) or find_joined_digits(found.output):
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


def _fault(found: Found) -> str | None:
    if not all(map(is_text, (found.question, found.input, found.output, found.url or ""))):
        return "half a surrogate pair, which is no text"
    if not found.question:
        return "no question"
    return None if found.output else "no answer"
