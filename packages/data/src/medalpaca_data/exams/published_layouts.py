"""Layouts of exam files with one record per item. The first layout in `LAYOUTS` that matches a record is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .answers import answer_numbers, label_options
from .columns import Columns, EmptyCases, Record, forms_of, join_case, read_item
from .item import LETTERS, Item, content_item_id, encodable_text, optional_text, required_text, required_value
from .step_files import step_in_name

MEDMCQA_OPTIONS = ("opa", "opb", "opc", "opd")
PUBMEDQA_OPTIONS = ("yes", "no", "maybe")

Located = tuple[str, dict[str, Any]]
ReadItem = Callable[[Record, str], Item]
PrepareReader = Callable[[Path, Sequence[Located], Counter[str]], ReadItem]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of one record per item.

    `reader` receives path, all records and the counter of changes; it returns the function that converts (record,
    location) to an item and raises UserError for an invalid record. `example` lists keys of the layout for messages.
    """

    name: str
    example: str
    matches: Callable[[Record], bool]
    reader: PrepareReader


def column_reader(columns: Columns) -> PrepareReader:
    """Return the reader of a layout whose items differ only in the names of their columns."""

    def prepare(path: Path, records: Sequence[Located], changes: Counter[str]) -> ReadItem:
        forms = forms_of(columns, [record for _, record in records])
        cases = EmptyCases(columns)

        def read(record: Record, where: str) -> Item:
            return cases.mark(read_item(record, where, columns, forms, changes), record)

        return read

    return prepare


def _medqa_reader(path: Path, records: Sequence[Located], changes: Counter[str]) -> ReadItem:
    read = column_reader(Columns(answers=("answer_idx", "answer"), subject="meta_info"))(
        path, records, changes
    )

    def read_medqa(record: Record, where: str) -> Item:
        item = read(record, where)
        # The other part is "step2&3", which is not one step.
        return replace(item, step=1) if item.subject == "step1" else item

    return read_medqa


def _booklet_reader(path: Path, records: Sequence[Located], changes: Counter[str]) -> ReadItem:
    """Return the reader of a USMLE booklet: one step per file, with the number of the step in the file name."""
    read = column_reader(Columns(id="no", letters=False))(path, records, changes)
    step = step_in_name(path.stem)

    def read_booklet(record: Record, where: str) -> Item:
        item = read(record, where)
        return item if step is None else replace(item, id=f"step{step}-{item.id}", step=step)

    return read_booklet


def _head_qa_reader(path: Path, records: Sequence[Located], changes: Counter[str]) -> ReadItem:
    columns = Columns(question="qtext", options="answers", answers=("ra",), id="qid", subject="category")
    read = column_reader(columns)(path, records, changes)

    def read_head_qa(record: Record, where: str) -> Item:
        item = read(record, where)
        # The number of a question is unique within one exam only.
        exam = optional_text(record, "name", where)
        return replace(item, id=f"{exam}-{item.id}") if exam else item

    return read_head_qa


def _medmcqa_reader(path: Path, records: Sequence[Located], changes: Counter[str]) -> ReadItem:
    """Return the reader for the numbering of this copy: the correct option is counted from 0 or from 1.

    Only a 0 or a 4 shows which numbering a copy has; UserError is raised if there is neither, or both.
    """
    numbers = {number for _, record in records if (number := _cop(Record(record))) is not None}
    if not numbers:
        value = next((value for _, record in records if (value := Record(record).get("cop"))), "no value")
        raise UserError(
            f"{path}: 'cop' has no number from 0 to 4 (found {value!r}); if it has letters or texts, name the columns: "
            "--fields '{question: question, options: [opa, opb, opc, opd], answer: cop}'"
        )
    if {0, 4} <= numbers:
        raise UserError(
            f"{path}: 'cop' has both 0 and 4, so that it counts neither from 0 nor from 1; correct the wrong values"
        )
    if not numbers & {0, 4}:
        found = ", ".join(map(str, sorted(numbers)))
        raise UserError(
            f"{path}: the correct answer is ambiguous: 'cop' may count from 0 or from 1 (found {found}; a 0 or a 4 "
            "decides it); use a larger part of MedMCQA, or set answer_base in fields"
        )
    base = 0 if 0 in numbers else 1
    cases = EmptyCases(Columns())

    def read_medmcqa(record: Record, where: str) -> Item:
        done: list[str] = []
        question = join_case(record, required_text(record, "question", where), Columns(), where, done)
        options = label_options([(None, record.get(name) or "") for name in MEDMCQA_OPTIONS], where).texts
        number = _cop(record)
        if number is None:
            raise UserError(
                f"{where}: 'cop' is {record.get('cop')!r}, not a number from {base} to {base + 3}"
            )
        changes.update(done)
        item = Item(
            id=optional_text(record, "id", where) or content_item_id(question, options.values()),
            question=question,
            options=options,
            answer=LETTERS[number - base],
            subject=optional_text(record, "subject_name", where),
        )
        return cases.mark(item, record)

    return read_medmcqa


def _cop(record: Record) -> int | None:
    """Return the number of the correct option, None if it is no number from 0 to 4."""
    numbers = answer_numbers(record.get("cop"))
    return numbers[0] if numbers and numbers[0] <= 4 else None


def _read_pubmedqa(record: Record, where: str) -> Item:
    """Read a question about an abstract with the answers yes, no and maybe; keys of the authors or of the hub."""
    context = record.get("CONTEXTS")
    if context is None:
        inner = record.get("context")
        context = inner.get("contexts") if isinstance(inner, Mapping) else None
    if not isinstance(context, list) or not all(isinstance(part, str) for part in context):
        raise UserError(f"{where}: no abstract; 'CONTEXTS' must be a list of texts")
    asked = required_text(record, "QUESTION" if "QUESTION" in record else "question", where)
    question = encodable_text("\n\n".join((*context, asked)), "CONTEXTS", where)
    decision = str(record["final_decision"] if record.get("final_decision") else "").strip().lower()
    letters = {text: letter for letter, text in zip(LETTERS, PUBMEDQA_OPTIONS, strict=False)}
    return Item(
        id=f"pubmed-{required_value(record, 'pubid', where)}",
        question=question,
        options={letter: text for text, letter in letters.items()},
        answer=letters.get(decision, ""),
    )


def _has(*names: str, without: Sequence[str] = ()) -> Callable[[Record], bool]:
    """Return the test for records that have all `names` and none of `without`."""
    return lambda record: (
        all(name in record for name in names) and not any(name in record for name in without)
    )


def _is_mmlu(record: Record) -> bool:
    return "choices" in record and isinstance(record.get("answer"), int)


def _is_own(record: Record) -> bool:
    return _has("question", "answer")(record) and ("options" in record or _has("A", "B")(record))


# The order matters: a record of an earlier layout may also have the keys of a later one.
LAYOUTS = (
    Layout("MedMCQA", "question, opa to opd, cop", _has("cop"), _medmcqa_reader),
    Layout(
        "PubMedQA",
        "pubid, question, context, final_decision",
        _has("final_decision"),
        lambda *_: _read_pubmedqa,
    ),
    Layout("HEAD-QA", "qid, qtext, answers, ra", _has("qtext", "answers", "ra"), _head_qa_reader),
    Layout(
        "MMLU",
        "question, choices, answer (index)",
        _is_mmlu,
        column_reader(Columns(options="choices", bases={"answer": 0}, subject="subject")),
    ),
    Layout(
        "MMLU-Pro",
        "question_id, question, options, answer, answer_index",
        _has("question", "options", "answer_index"),
        column_reader(
            Columns(
                answers=("answer", "answer_index"),
                bases={"answer_index": 0},
                id="question_id",
                subject="category",
            )
        ),
    ),
    Layout(
        "Medbullets",
        "question, opa to ope, answer_idx, answer",
        _has("question", "opa", "opb", "answer_idx"),
        column_reader(Columns(options=(*MEDMCQA_OPTIONS, "ope"), answers=("answer_idx", "answer"))),
    ),
    Layout(
        "CRAFT-MD or MEDIQ",
        "id, context, question, options, answer_idx",
        _has("id", "question", "options", "answer_idx", "context"),
        column_reader(Columns(answers=("answer_idx", "answer"), id="id")),
    ),
    Layout(
        "HLE",
        "idx, question, options, answer_idx",
        _has("idx", "question", "options", "answer_idx"),
        column_reader(Columns(answers=("answer_idx", "answer"), id="idx")),
    ),
    Layout("MedQA", "question, options, answer_idx", _has("answer_idx"), _medqa_reader),
    Layout(
        "MedXpertQA",
        "id, question, options, label",
        _has("question", "options", "label", without=("answer",)),
        column_reader(Columns(answers=("label",), id="id", subject="body_system")),
    ),
    Layout(
        "AfriMed-QA",
        "sample_id, question, A to E, answer",
        _has("sample_id", "question", "A", "B", "answer"),
        column_reader(Columns(id="sample_id", subject="specialty", letters=False)),
    ),
    Layout(
        "AfriMed-QA (release)",
        "sample_id, question, answer_options, correct_answer",
        _has("question", "answer_options", "correct_answer"),
        column_reader(
            Columns(
                options="answer_options",
                answers=("correct_answer",),
                id="sample_id",
                subject="specialty",
                letters=False,
            )
        ),
    ),
    Layout(
        "BigBio",
        "id, question, choices, answer",
        _has("question", "choices", "answer"),
        column_reader(Columns(options="choices", id="id", letters=False)),
    ),
    Layout(
        "USMLE booklet",
        "no, question, options, answer",
        _has("no", "question", "options", "answer"),
        _booklet_reader,
    ),
    Layout(
        "MedAlpaca",
        "question, options or A B C ..., answer",
        _is_own,
        column_reader(Columns(id="id", step="step", subject="subject", group="group", letters=False)),
    ),
)
