"""What is known of the published parts of Medical Meadow, and how a row of each is repaired.

The published parts of Medical Meadow as they are on the hub: known defects repaired where that is certain.

Which part a file is, the recipe says with `set`; the instruction that the part is known by must agree. Two parts are
refused as a whole, whatever they are called: MMMLU is the test split of MMLU, and every PubMed Causal label is wrong.
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
from ..core.records import read_records
from ..core.row import Row, parse_row
from ..exams.item import Item, content_item_id
from .alpaca import WRONG_LABELS
from .base import About, LeftOut, Name, PlainFile, Record, Reject, exam_row, row_split
from .pubmed_health_advice import FEWEST_WORDS, PLACEHOLDER
from .pubmed_health_advice import INSTRUCTION as ADVICE_INSTRUCTION
from .wikidoc import subject, tidy_question, unfit

GPT = "gpt-3.5-turbo (2023, prompt never published)"

LONGEST_OPTIONS = 20_000  # characters of a printed dict that are parsed


@dataclass(frozen=True, slots=True)
class Part:
    """One published part: the instruction that all its rows share (None: each has its own), its licence, its author."""

    instruction: re.Pattern[str] | None
    licence: str
    generator: str | None = None


_QUESTION = re.compile("Answer this question truthfully")
PARTS: Mapping[str, Part] = {
    "medical_flashcards": Part(_QUESTION, "cc (no version stated)", GPT),
    "wikidoc": Part(_QUESTION, "CC BY-SA 3.0 (WikiDoc); tagged cc", GPT),
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
NOT_BUILT: Mapping[str, str] = {
    "mmmlu": "is the test split of MMLU; kind mmlu builds from dev and val",
    "pubmed_causal": "has every one of its labels wrong; kind pubmed_causal builds them from the corpus itself",
    "usmle_self_assessment": "is the exam; nothing is trained on it",
    "stack_exchange": "was withdrawn because it named no authors; kind stack_exchange builds it with them",
    "stackexchange": "was withdrawn because it named no authors; kind stack_exchange builds it with them",
}
ADVICE = {
    "This is no advice": "No advice",
    "This is a weak advice": "Weak advice",
    "This is a strong advice": "Strong advice",
}


def advice(row: Row) -> str:
    """The class in the words of the corpus' own source."""
    if row.output.strip() not in ADVICE:
        raise ValueError("output is none of the three classes")
    return ADVICE[row.output.strip()]


def printed_item(row: Row) -> Item:
    """The exam item of a MedQA row: `Q:question? ` and a line with the options as a printed Python dict.

    The question mark behind every question was added; `E: Text` is the answer.
    """
    question, brace, printed = row.input.partition("\n{")
    if not brace or len(printed) > LONGEST_OPTIONS:
        raise ValueError("no options in braces")
    try:
        options = ast.literal_eval("{" + printed.strip().rstrip(","))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("the options are no printed dict") from None
    if not isinstance(options, dict) or not all(
        isinstance(text, str) for pair in options.items() for text in pair
    ):
        raise ValueError("the options are no printed dict")
    letter, _, text = row.output.partition(":")
    if options.get(letter.strip(), "").strip() != text.strip():
        raise ValueError("the answer is not the option that its letter names")
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
PROBED = 100  # rows at a file's start that are looked at before anything is built


class Published(PlainFile):
    """A file of a `medalpaca/medical_meadow_*` dataset: instruction, input and output.

    A constant instruction that only says to answer gives way to the question; MedQA's options, published as a printed
    Python dict, are asked as the exam asks them.
    """

    about: ClassVar[About] = About(
        title="the parts of Medical Meadow as published in 2023",
        format=".json (.gz too): a list of instruction, input and output",
        get="datasets medalpaca/medical_meadow_* on the Hugging Face hub (hub:, revision:, file:), or a copy on disk",
        licence="per part, and often unclear; flash cards and WikiDoc questions were written with gpt-3.5-turbo",
        size="1 MB (pubmed_causal) to 1.4 GB (cord19)",
        rows="5,850 of 5,942 wikidoc_patient_information, 8,655 of 8,676 health_advice (measured); published: 33,955 "
        "medical_flashcards, 10,000 wikidoc, 2,208 mediqa, 10,178 medqa, 821,007 cord19",
        default=False,
        remark="mmmlu (the test split of MMLU) and pubmed_causal (all labels wrong) are refused; rows name no origin",
    )

    kind: Literal["published"] = "published"
    name: Name = "published"
    set: SetName

    @field_validator("set", mode="before")
    @classmethod
    def _can_be_built(cls, value: Any) -> Any:
        value = value.removeprefix("medical_meadow_") if isinstance(value, str) else value
        if isinstance(value, str) and value in NOT_BUILT:
            raise ValueError(f"the published {value} {NOT_BUILT[value]}")
        return value

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        [file] = self.files(root)
        _refuse(file)
        contradicted = _contradicted(file) if self.set == "health_advice" else frozenset()
        for record in super().records(root, seed):
            if isinstance(record, Row) and record.input in contradicted:
                place = (record.source_id or "").removeprefix(file.name).strip()
                yield Reject(file.name, place, "contradictory label", {"input": record.input})
            else:
                yield record

    def row(self, record: Any, source_id: str) -> Row:
        row = parse_row(record)
        split = row_split(row.split, "train" if self.set == "medqa" else "none")
        return replace(self._repaired(row, source_id), split=split)

    def _repaired(self, row: Row, source_id: str) -> Row:
        if not _is_of(self.set, row.instruction.strip()):
            raise ValueError(f"its instruction is not that of set {self.set}")
        if not row.input.strip():
            raise ValueError("no input")
        output = row.output.strip()
        match self.set:
            case "medqa":
                return exam_row(self, printed_item(row), source_id, "train")
            case "mediqa":
                question = " ".join(row.instruction.lower().split())
                return self.make(
                    source_id=source_id,
                    instruction=row.instruction.strip(),
                    input=row.input.strip(),
                    output=output,
                    group=f"{self.name}:{content_item_id(question, ())}",
                )
            case "cord19":
                return self.make(
                    source_id=source_id, instruction=TITLE_INSTRUCTION, input=row.input.strip(), output=output
                )
            case "health_advice":
                return self._advice(row, source_id)
            case "wikidoc" | "wikidoc_patient_information":
                question = tidy_question(row.input)
                if reason := unfit(question, output):
                    raise LeftOut(reason)
            case "medical_flashcards":
                question = row.input.strip()
        about = subject(question)
        group = f"{self.name}:{about}" if about else None
        return self.make(source_id=source_id, instruction=question, output=output, group=group)

    def make(self, **texts: Any) -> Row:
        part = PARTS[self.set]
        return super().make(**{"licence": self.licence or part.licence, "generator": part.generator, **texts})

    def _advice(self, row: Row, source_id: str) -> Row:
        sentence = row.input.strip()
        if sentence.lower() == PLACEHOLDER:
            raise ValueError("a placeholder, no sentence")
        if len(sentence.split()) < FEWEST_WORDS:
            raise LeftOut(f"fewer than {FEWEST_WORDS} words")
        return self.make(
            source_id=source_id, instruction=ADVICE_INSTRUCTION, input=sentence, output=advice(row)
        )


def _is_of(part: str, instruction: str) -> bool:
    """Whether a row may be of a part: of one whose rows have their own instructions, if it is no other's."""
    known = PARTS[part].instruction
    if known:
        return known.fullmatch(instruction) is not None
    return not any(other.instruction.fullmatch(instruction) for other in PARTS.values() if other.instruction)


def _refuse(file: Path) -> None:
    """Refuse a file whose content is one of the two parts that must not be trained on."""
    from ..exams.contamination import KnownQuestions

    start = [value for _, value in islice(read_records(file), PROBED) if isinstance(value, Mapping)]
    if any(WRONG_LABELS.search(str(value.get("instruction"))) for value in start):
        raise UserError(f"{file}: the published pubmed_causal {NOT_BUILT['pubmed_causal']}")
    texts = (
        "\n".join(str(value.get(name)) for name in ("instruction", "input", "output")) for value in start
    )
    found = KnownQuestions.load().find(texts)
    if len(found) * 2 > len(start):
        raise UserError(
            f"{file}: {len(found)} of its first {len(start)} rows are questions of {found[0][1]}; refused"
        )


def _contradicted(file: Path) -> frozenset[str]:
    """Sentences that stand under more than one label."""
    labels: dict[str, set[str]] = {}
    for _, value in read_records(file):
        if isinstance(value, Mapping):
            labels.setdefault(str(value.get("input")).strip(), set()).add(str(value.get("output")).strip())
    return frozenset(sentence for sentence, said in labels.items() if len(said) > 1)
