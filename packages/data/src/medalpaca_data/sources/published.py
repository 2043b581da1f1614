"""The parts of Medical Meadow as published in 2023, with known defects repaired where the repair is certain.

The recipe names the part with `set`, and the instruction in the rows must match it. Two parts are refused under any
name: MMMLU is the test split of MMLU, and all labels of PubMed Causal are wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from ..core.errors import UserError
from ..core.row import Row, parse_row
from ..exams.item import Item, content_item_id
from .alpaca import WRONG_LABEL_INSTRUCTION
from .base import (
    DataFile,
    ExcludedError,
    Name,
    Record,
    Reject,
    SourceInfo,
    make_exam_row,
    parse_row_split,
)
from .columns import ALPACA_COLUMNS, ColumnSource
from .pubmed_health_advice import INSTRUCTION as ADVICE_INSTRUCTION
from .pubmed_health_advice import MIN_WORDS, PLACEHOLDER
from .wikidoc import clean_question, find_exclusion, find_subject

GPT_GENERATOR = "gpt-3.5-turbo (2023, prompt never published)"

# Largest number of characters of a printed dictionary that is parsed.
MAX_OPTIONS_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Part:
    """A published part of Medical Meadow: the instruction of all its rows, its licence, and its generator.

    `instruction` is None if each row has its own. `generator` is the model that wrote the rows, None if no model is
    known.
    """

    instruction: re.Pattern[str] | None
    licence: str
    generator: str | None = None


_QUESTION = re.compile("Answer this question truthfully")
PARTS: Mapping[str, Part] = {
    "medical_flashcards": Part(_QUESTION, "cc (no version stated)", GPT_GENERATOR),
    "wikidoc": Part(_QUESTION, "CC BY-SA 3.0 (WikiDoc); tagged cc", GPT_GENERATOR),
    "wikidoc_patient_information": Part(_QUESTION, "CC BY-SA 3.0 (WikiDoc); tagged cc"),
    "mediqa": Part(None, "CC0 1.0 (upstream)"),
    "cord19": Part(re.compile("Please summ[ae]ri[sz]e the given abstract to a title"), "of each paper"),
    "medqa": Part(
        re.compile("Please answer with one of the option in the bracket"), "MIT (upstream repository)"
    ),
    "health_advice": Part(
        re.compile(re.escape("Question: is this a 2) strong advice, 1) weak advice 0) no advice?")),
        "none stated (upstream repository)",
    ),
}
REFUSED_PARTS: Mapping[str, str] = {
    "mmmlu": "is the test split of MMLU; use kind: mmlu, which reads dev and val",
    "pubmed_causal": "has only wrong labels; use kind: pubmed_causal, which reads the original corpus",
    "usmle_self_assessment": "is the exam, which must not be used for training",
    "stack_exchange": "was withdrawn because it named no authors; use kind: stack_exchange, which names them",
    "stackexchange": "was withdrawn because it named no authors; use kind: stack_exchange, which names them",
}
ADVICE_CLASSES = {
    "This is no advice": "No advice",
    "This is a weak advice": "Weak advice",
    "This is a strong advice": "Strong advice",
}


def parse_advice_class(row: Row) -> str:
    """Return the class of a row of health advice, such as "Weak advice".

    Raises ValueError if the output is not a key of `ADVICE_CLASSES`.
    """
    if row.output.strip() not in ADVICE_CLASSES:
        raise ValueError(f"'output' is not one of {', '.join(map(repr, ADVICE_CLASSES))}")
    return ADVICE_CLASSES[row.output.strip()]


def parse_medqa_item(row: Row) -> Item:
    """Return the exam item of a published MedQA row. Raises ValueError if the row is not in this format.

    The input is `Q:question? ` and a line with the options as a printed Python dictionary; the output is `E: Text`. The
    question mark is not part of the original question.
    """
    question, brace, printed = row.input.partition("\n{")
    if not brace or len(printed) > MAX_OPTIONS_LENGTH:
        raise ValueError("no options in braces")
    try:
        options = ast.literal_eval("{" + printed.strip().rstrip(","))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("the options are not a printed dictionary") from None
    if not isinstance(options, dict) or not all(
        isinstance(text, str) for pair in options.items() for text in pair
    ):
        raise ValueError("the options are not a printed dictionary")
    letter, _, text = row.output.partition(":")
    if options.get(letter.strip(), "").strip() != text.strip():
        raise ValueError("the text of the answer differs from the option with its letter")
    question = question.strip().removeprefix("Q:").removesuffix("?").strip()
    return Item(id="", question=question, options=options, answer=letter.strip())


SetName = Literal[
    "medical_flashcards",
    "wikidoc",
    "wikidoc_patient_information",
    "mediqa",
    "cord19",
    "medqa",
    "health_advice",
]
TITLE_INSTRUCTION = "Write the title of a scientific paper with this abstract."
# Number of records at the start of a file that are checked before its rows are read.
PROBED_ROWS = 100


class Published(ColumnSource):
    """A file of a `medalpaca/medical_meadow_*` dataset with instruction, input and output.

    The instruction that all rows of a part share is replaced: by the question, or for cord19 and health_advice by an
    instruction that names the task. The options of MedQA, published as a printed Python dictionary, are written in the
    prompt format of the exam.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="the parts of Medical Meadow as published in 2023",
        format=".json (.gz too): a list of instruction, input and output",
        get="datasets medalpaca/medical_meadow_* on the Hugging Face hub (hub:, revision:, file:), or a copy on disk",
        licence="per part, often unclear; flash cards and WikiDoc questions were generated with gpt-3.5-turbo",
        size="1 MB (pubmed_causal) to 1.4 GB (cord19)",
        rows="5,850 of 5,942 wikidoc_patient_information, 8,655 of 8,676 health_advice (measured); published: 33,955 "
        "medical_flashcards, 10,000 wikidoc, 2,208 mediqa, 10,178 medqa, 821,007 cord19",
        default=False,
        remark="mmmlu (the test split of MMLU) and pubmed_causal (all labels wrong) are refused; rows have no origin",
    )

    columns_read: ClassVar[frozenset[str]] = ALPACA_COLUMNS

    kind: Literal["published"] = "published"
    name: Name = "published"
    set: SetName

    @field_validator("set", mode="before")
    @classmethod
    def _refuse_unusable_part(cls, value: Any) -> Any:
        value = value.removeprefix("medical_meadow_") if isinstance(value, str) else value
        if isinstance(value, str) and value in REFUSED_PARTS:
            raise ValueError(f"the published {value} {REFUSED_PARTS[value]}")
        return value

    def has_wikitext(self) -> bool:
        return self.set in ("wikidoc", "wikidoc_patient_information")

    def read_file(self, file: DataFile) -> Iterator[Record]:
        _refuse_known_content(file.path, (value for _, value in self.values(file)))
        contradictions: frozenset[str] = frozenset()
        if self.set == "health_advice":
            contradictions = _find_contradictions(value for _, value in self.values(file))
        for record in super().read_file(file):
            if isinstance(record, Row) and record.input in contradictions:
                location = (record.source_id or "").removeprefix(file.name).strip()
                yield Reject(file.name, location, "contradictory label", {"input": record.input})
            else:
                yield record

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(record)
        split = parse_row_split(row.split, "train" if self.set == "medqa" else "none")
        return replace(self._repair(row, source_id), split=split)

    def _repair(self, row: Row, source_id: str) -> Row:
        if not _matches_part(self.set, row.instruction.strip()):
            raise ValueError(f"the instruction is not that of set {self.set}")
        if not row.input.strip():
            raise ValueError("no input")
        output = row.output.strip()
        match self.set:
            case "medqa":
                return make_exam_row(self, parse_medqa_item(row), source_id, "train")
            case "mediqa":
                question = " ".join(row.instruction.lower().split())
                return self.make_row(
                    source_id=source_id,
                    instruction=row.instruction.strip(),
                    input=row.input.strip(),
                    output=output,
                    group=f"{self.name}:{content_item_id(question, ())}",
                )
            case "cord19":
                return self.make_row(
                    source_id=source_id, instruction=TITLE_INSTRUCTION, input=row.input.strip(), output=output
                )
            case "health_advice":
                return self._advice(row, source_id)
            case "wikidoc" | "wikidoc_patient_information":
                question = clean_question(row.input)
                if reason := find_exclusion(question, output):
                    raise ExcludedError(reason)
            case "medical_flashcards":
                question = row.input.strip()
        about = find_subject(question)
        group = f"{self.name}:{about}" if about else None
        return self.make_row(source_id=source_id, instruction=question, output=output, group=group)

    def make_row(self, **texts: Any) -> Row:
        part = PARTS[self.set]
        return super().make_row(
            **{"licence": self.licence or part.licence, "generator": part.generator, **texts}
        )

    def _advice(self, row: Row, source_id: str) -> Row:
        sentence = row.input.strip()
        if sentence.lower() == PLACEHOLDER:
            raise ValueError("a placeholder instead of a sentence")
        if len(sentence.split()) < MIN_WORDS:
            raise ExcludedError(f"fewer than {MIN_WORDS} words")
        return self.make_row(
            source_id=source_id,
            instruction=ADVICE_INSTRUCTION,
            input=sentence,
            output=parse_advice_class(row),
        )


def _matches_part(part: str, instruction: str) -> bool:
    """Return whether a row with this instruction can belong to a part.

    A part without a common instruction accepts any instruction that no other part has.
    """
    pattern = PARTS[part].instruction
    if pattern:
        return pattern.fullmatch(instruction) is not None
    return not any(other.instruction.fullmatch(instruction) for other in PARTS.values() if other.instruction)


def _refuse_known_content(file: Path, records: Iterator[Any]) -> None:
    """Raise UserError if the file must not be used for training.

    The first `PROBED_ROWS` records are checked. The file is refused if one of them has the instruction of the published
    PubMed Causal, or if more than half of them contain a question of a published test set.
    """
    from ..exams.known_questions import KnownQuestions

    start = [value for value in islice(records, PROBED_ROWS) if isinstance(value, Mapping)]
    if any(WRONG_LABEL_INSTRUCTION.search(str(value.get("instruction"))) for value in start):
        raise UserError(f"{file}: the published pubmed_causal {REFUSED_PARTS['pubmed_causal']}")
    texts = (
        "\n".join(str(value.get(name)) for name in ("instruction", "input", "output")) for value in start
    )
    matches = KnownQuestions.load().find(texts)
    if len(matches) * 2 > len(start):
        raise UserError(
            f"{file}: {len(matches)} of the first {len(start)} rows are questions of {matches[0][1]}, "
            "which must not be used for training; remove this source"
        )


def _find_contradictions(records: Iterator[Any]) -> frozenset[str]:
    """Return the sentences that occur with more than one label in the records of a file."""
    labels: dict[str, set[str]] = {}
    for value in records:
        if isinstance(value, Mapping):
            labels.setdefault(str(value.get("input")).strip(), set()).add(str(value.get("output")).strip())
    return frozenset(sentence for sentence, values in labels.items() if len(values) > 1)
