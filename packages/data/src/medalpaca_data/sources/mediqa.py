"""MEDIQA: answers to consumers' health questions, and summaries of questions and answers, from three collections.

MEDIQA 2019, task 3 (.xml): retrieved answers with a reference score. MEDIQA 2021, task 1 (.xlsx): a question and its
short form; task 2 (.xlsx and .txt): several answers and their summary. MEDIQA-AnS (.json): answers, with a summary of
each and of all together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from xml.etree.ElementTree import Element

from pydantic import BeforeValidator, Field

from ..core.errors import BadRecord, UserError
from ..core.files import is_text, read_text, sha256_bytes
from ..core.joined_digits import JoinedDigits, find_joined_digits
from ..core.json_stream import read_json_object
from ..core.row import Row
from ..core.streams import open_bytes
from ..formats.tabular import read_sheet
from ..formats.xml import element_text, read_elements
from .answer_rules import Repair
from .base import (
    BaseSource,
    Context,
    Name,
    Record,
    Reject,
    SourceInfo,
    refuse_test_file,
    refuse_test_split,
    resolve_split,
)

ANSWER_INSTRUCTION = "Answer this consumer's health question."
SHORTEN_INSTRUCTION = "Put this consumer's health question into one short question."
SUMMARY_INSTRUCTIONS = {
    "abstractive": "Answer the question with a short summary of the passage in your own words.",
    "extractive": "Answer the question with the sentences of the passage that matter for it, as they stand.",
}
JOINT_SUMMARY_INSTRUCTIONS = {
    "abstractive": "Answer the question with one short summary of all the passages in your own words.",
    "extractive": "Answer the question with the sentences of all the passages that matter for it, as they stand.",
}
# Ends of the keys of MEDIQA-AnS for each kind of summary.
SUMMARY_KEYS = {"abstractive": "abs_summ", "extractive": "ext_summ"}
# Note of the A.D.A.M. encyclopedia at the end of an answer, or of a part of it.
CREDIT = re.compile(r"\s*\bUpdated by: .{1,400}?\bA\.D\.A\.M\. Editorial team\.?", re.DOTALL)
ROOT_TAG = re.compile(rb"<([A-Za-z][\w.-]*)")


class Candidate(NamedTuple):
    """The texts of a possible row. An empty `question` or `output` makes it a reject.

    The group of the row is made from `question`. `url` is None if the record has none. `record` is the raw record,
    which is stored with a reject.
    """

    file: str
    location: str
    instruction: str
    input: str
    output: str
    question: str
    url: str | None
    record: Any


def read_root_name(file: Path) -> str:
    """Return the name of the root element of an XML file, or "" if it is not in the first 4 kB.

    In the files of MEDIQA 2019, this name contains the split.
    """
    with open_bytes(file) as stream:
        match = ROOT_TAG.search(stream.read(4096))
    return match[1].decode() if match else ""


def read_scored_answers(
    file: Path, min_score: int, max_rank: int | None
) -> Iterator[Candidate | Reject | Context]:
    """Yield a candidate or a reject for each answer of MEDIQA 2019, task 3, and a context record for each question.

    A rule excludes answers with a reference score below `min_score` or a reference rank beyond `max_rank`. If
    `max_rank` is None, any rank is used. Raises UserError if the file has no question.
    """
    empty = True
    with open_bytes(file) as stream:
        for location, element in read_elements(stream, str(file), {"Question"}):
            empty = False
            yield Context("questions")
            question = _child_text(element, "QuestionText")
            for n, answer in enumerate(element.iter("Answer"), 1):
                score, rank = (_parse_int(answer.get(name)) for name in ("ReferenceScore", "ReferenceRank"))
                record = {"question": question, **answer.attrib, "answer": _child_text(answer, "AnswerText")}
                where = f"{location} answer {n}"
                if score is None:
                    yield Reject(file.name, where, "no reference score", record)
                elif score < min_score:
                    yield Reject(file.name, where, f"reference score below {min_score}", record, by_rule=True)
                elif max_rank is not None and (rank is None or rank > max_rank):
                    yield Reject(file.name, where, f"reference rank beyond {max_rank}", record, by_rule=True)
                else:
                    url = _child_text(answer, "AnswerURL")
                    text = record["answer"]
                    yield Candidate(
                        file.name, where, ANSWER_INSTRUCTION, question, text, question, url or None, record
                    )
    if empty:
        raise UserError(f"{file}: no <Question> in the file; expected the layout of MEDIQA 2019, task 3")


def read_question_summaries(file: Path) -> Iterator[Candidate]:
    """Yield the pairs of MEDIQA 2021, task 1: a consumer's question and its short form by an expert."""
    for location, row in _read_table(file, "nlmquestion", "summary"):
        question = row["nlmquestion"]
        yield Candidate(
            file.name, location, SHORTEN_INSTRUCTION, question, row["summary"], question, None, row
        )


def read_answer_summaries(
    file: Path, questions: Path, summaries: Sequence[Path]
) -> Iterator[Candidate | Reject | Context]:
    """Yield the summaries of MEDIQA 2021, task 2, each with its question and the answers that it summarises.

    `file` is the workbook with the answers, `questions` the file of short questions, and `summaries` the files of
    summaries. Questions and answers are context records.
    """
    question_by_number: dict[str, str] = {}
    for _, number, text in _read_numbered_lines(questions):
        question_by_number[number] = text
        yield Context("questions")
    answers: dict[str, list[str]] = {}
    for _, row in _read_table(file, "questionid", "answer"):
        if row["answer"]:
            answers.setdefault(row["questionid"], []).append(row["answer"])
        yield Context("answers")
    for summary_file in summaries:
        kind = _summary_kind(summary_file)
        for location, number, text in _read_numbered_lines(summary_file):
            question, passages = question_by_number.get(number, ""), answers.get(number, [])
            record = {"number": number, "summary": text}
            if not passages:
                yield Reject(summary_file.name, location, "no answers with this question number", record)
                continue
            task = _summary_prompt(kind, question, passages)
            yield Candidate(summary_file.name, location, *task, text, question, None, record)


def read_mediqa_ans(file: Path) -> Iterator[Candidate | Reject]:
    """Yield the summaries of MEDIQA-AnS: an extractive and an abstractive one for each passage and each question.

    An answer gives four candidates: its section and its full page, with two summaries each. A question gives two more,
    for the sections of all its answers. A missing passage gives a reject.
    """
    for number, record in read_json_object(file):
        location = (
            f"question {number}" if number.isascii() and number.isalnum() else "question without a number"
        )
        if isinstance(record, BadRecord):
            yield Reject.of(file.name, location, record)
            continue
        answers = record.get("answers") if isinstance(record, Mapping) else None
        if not isinstance(answers, Mapping):
            yield Reject(file.name, location, "no answers; the primary dataset file was expected", record)
            continue
        question = _strip_text(record.get("question"))
        parts = [answer if isinstance(answer, Mapping) else {} for answer in answers.values()]
        for n, answer in enumerate(parts, 1):
            url = _strip_text(answer.get("url")) or None
            for part, (kind, key) in product(("section", "article"), SUMMARY_KEYS.items()):
                where = f"{location} answer {n} {part} {kind}"
                if passage := _strip_text(answer.get(part)):
                    task = _summary_prompt(kind, question, [passage])
                    summary = _strip_text(answer.get(f"answer_{key}"))
                    yield Candidate(file.name, where, *task, summary, question, url, answer)
                else:
                    yield Reject(file.name, where, f"no {part}", answer)
        sections = list(filter(None, (_strip_text(answer.get("section")) for answer in parts)))
        for kind, key in SUMMARY_KEYS.items():
            where = f"{location} all {kind}"
            if sections:
                task = _summary_prompt(kind, question, sections)
                yield Candidate(
                    file.name, where, *task, _strip_text(record.get(f"multi_{key}")), question, None, record
                )
            else:
                yield Reject(file.name, where, "no section", record)


def _summary_prompt(kind: str, question: str, passages: Sequence[str]) -> tuple[str, str]:
    """Return instruction and input; the input is the question, then the passage or the numbered passages."""
    if len(passages) == 1:
        return SUMMARY_INSTRUCTIONS[kind], f"Question: {question}\n\nPassage: {passages[0]}"
    numbered = (f"Passage {n}: {text}" for n, text in enumerate(passages, 1))
    return JOINT_SUMMARY_INSTRUCTIONS[kind], "\n\n".join((f"Question: {question}", *numbered))


def _read_table(file: Path, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (location, {heading: text}) for the rows of a workbook below the first.

    Headings are in lower case and contain only letters. Raises UserError if a heading in `needed` is missing.
    """
    rows = read_sheet(file)
    _, top = next(rows, ("", {}))
    headings = {column: re.sub(r"[^a-z]", "", text.lower()) for column, text in top.items()}
    if missing := sorted(set(needed) - set(headings.values())):
        raise UserError(
            f"{file}: no column {missing[0]!r} in the first row; the file has: {', '.join(headings.values()) or 'none'}"
        )
    for location, cells in rows:
        row = {heading: cells.get(column, "") for column, heading in headings.items()}
        yield location, row


def _read_numbered_lines(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (location, number, text) for lines of the form `number||text`; raise UserError for another line."""
    for n, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            number, bars, text = line.partition("||")
            if not bars:
                raise UserError(f"{file} line {n}: expected 'NUMBER||TEXT', found no '||'")
            yield f"line {n}", number.strip(), text.strip()


def _summary_kind(file: Path) -> str:
    """Return "extractive" or "abstractive" from the file name, or raise UserError.

    One of the original files is spelled MultiAbstrativeSummaries.
    """
    name = file.name.lower()
    if ("extractive" in name) == ("abstra" in name):
        raise UserError(
            f"{file}: the file name must contain either 'extractive' or 'abstractive'; rename the file"
        )
    return "extractive" if "extractive" in name else "abstractive"


def _child_text(element: Element, name: str) -> str:
    child = element.find(name)
    return "" if child is None else element_text(child).strip()


def _parse_int(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _strip_text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


class Origin(NamedTuple):
    """Address, licence and attribution of a collection, for rows and settings without their own."""

    url: str
    licence: str
    attribution: str


MEDIQA_2019 = Origin(
    "https://github.com/abachaa/MEDIQA2019",
    "none stated (public NLM task; the answers are of the sites they were taken from)",
    "A. Ben Abacha, C. Shivade, D. Demner-Fushman: Overview of the MEDIQA 2019 Shared Task (BioNLP 2019)",
)
MEDIQA_2021 = Origin(
    "https://github.com/abachaa/MEDIQA2021",
    "CC BY 4.0",
    "A. Ben Abacha et al.: Overview of the MEDIQA 2021 Shared Task on Summarization (BioNLP 2021)",
)
MEDIQA_ANS = Origin(
    "https://doi.org/10.17605/OSF.IO/FYG46",
    "CC0 1.0 (summaries; the passages are of the sites they were taken from)",
    "M. Savery et al.: Question-driven summarization of answers to consumer health questions (Scientific Data 2020)",
)


class MEDIQA(BaseSource):
    """A file of MEDIQA; its suffix selects the layout.

    `split` is required only if neither the file name nor the root element contains it; a .json file may have none. For
    2021, task 2, `path` is the workbook of answers, `questions` the file of short questions, and `summaries` the files
    of summaries. `min_score` (4 excellent, 3 incomplete, 2 related, 1 incorrect) and `max_rank` (1 is the best answer)
    apply to 2019.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="MEDIQA: consumers' health questions with scored answers, short forms and summaries",
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
            "the 2019 files state no licence; 147 of the 154 distinct questions of MEDIQA-AnS are 2019 test questions, "
            "so a model trained on it cannot be tested on the 2019 test set"
        ),
        patient_text=True,
    )

    kind: Literal["mediqa"] = "mediqa"
    name: Name = "mediqa"
    path: str
    split: Annotated[Literal["train", "dev", "none"] | None, BeforeValidator(refuse_test_split)] = None
    min_score: int = Field(default=3, ge=1, le=4)
    max_rank: int | None = Field(default=None, ge=1)
    questions: str | None = None
    summaries: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        names = [self.path, *([self.questions] if self.questions else []), *self.summaries]
        return [refuse_test_file(self.resolve(root, name)) for name in names]

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        file, *more = self.files(root)
        suffix = (file.with_suffix("") if file.suffix.lower() == ".gz" else file).suffix.lower()
        if more and suffix != ".xlsx":
            raise UserError(
                f"{file}: the keys questions and summaries are only for the .xlsx workbook of MEDIQA 2021, task 2; "
                "remove them, or give the workbook as path"
            )
        if self.questions is not None and not self.summaries:
            raise UserError(
                f"{file}: the key questions needs summaries, the files of summaries; set it or remove questions"
            )
        split: str | None = "none"
        match suffix:
            case ".xml":
                split = resolve_split(file, self.split, read_root_name(file))
                origin, candidates = MEDIQA_2019, read_scored_answers(file, self.min_score, self.max_rank)
            case ".xlsx" if self.summaries:
                split = resolve_split(file, self.split)
                origin, candidates = MEDIQA_2021, read_answer_summaries(file, self._questions(root), more[1:])
            case ".xlsx":
                split = resolve_split(file, self.split)
                origin, candidates = MEDIQA_2021, read_question_summaries(file)
            case ".json":
                split = resolve_split(file, self.split) or "none"
                origin, candidates = MEDIQA_ANS, read_mediqa_ans(file)
            case _:
                raise UserError(f"{file}: expected an .xml, .xlsx or .json file of MEDIQA, found {suffix!r}")
        if split is None:
            raise UserError(
                f"{file}: the file name contains neither train nor dev; set split: to train, dev or none"
            )
        for record in candidates:
            row = self._record(record, file, origin, split) if isinstance(record, Candidate) else record
            if isinstance(row, Row) and (plain := CREDIT.sub("", row.output)) not in (row.output, ""):
                yield Repair("credit of the reviewers removed")
                row = replace(row, output=plain, id="")
            yield row

    def _questions(self, root: Path) -> Path:
        if self.questions is None:
            raise UserError(
                f"{self.path}: the key summaries needs questions, the file of questions; set it or remove summaries"
            )
        return root / Path(self.questions).expanduser()

    def _record(self, candidate: Candidate, file: Path, origin: Origin, split: str) -> Row | Reject:
        if reason := _find_fault(candidate):
            return Reject(candidate.file, candidate.location, reason, candidate.record)
        if digits := find_joined_digits(candidate.input) or find_joined_digits(candidate.output):
            return Reject.of(candidate.file, candidate.location, JoinedDigits(digits), candidate.record)
        # A question has the same group in all collections, so that its rows stay on one side of the validation split.
        question = sha256_bytes(" ".join(candidate.question.lower().split()).encode())
        return self.make_row(
            source_id=f"{candidate.file} {candidate.location}",
            instruction=candidate.instruction,
            input=candidate.input,
            output=candidate.output,
            url=candidate.url or self.url or origin.url,
            licence=self.licence or origin.licence,
            attribution=self.attribution or origin.attribution,
            split=split,
            group=f"mediqa:{question[:12]}",
        )


def _find_fault(candidate: Candidate) -> str | None:
    if not all(map(is_text, (candidate.question, candidate.input, candidate.output, candidate.url or ""))):
        return "not valid Unicode (half a surrogate pair)"
    if not candidate.question:
        return "no question"
    return None if candidate.output else "no answer"
