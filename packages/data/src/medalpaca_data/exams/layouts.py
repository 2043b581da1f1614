"""Readers of exam files. `LAYOUTS` lists the known layouts of one record per item; the first that matches is used."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import existing, read_json, read_text, sha256_file, sha256_listing
from ..core.records import read_records
from .item import (
    LETTERS,
    InvalidRecords,
    Item,
    RawExam,
    content_item_id,
    encodable_text,
    lettered_options,
    option_texts,
    optional_text,
    required_text,
    required_value,
    step_number,
)
from .step_files import read_step_files

MEDMCQA_OPTIONS = ("opa", "opb", "opc", "opd")
PUBMEDQA_OPTIONS = ("yes", "no", "maybe")
# Name of the file with PubMed number and answer of the 500 test questions of PubMedQA.
PUBMEDQA_TEST = "test_ground_truth.json"
# Number of records in which a known layout is searched, because the first ones may be invalid.
SEARCHED = 100

Record = Mapping[str, Any]
Located = tuple[str, dict[str, Any]]
ReadItem = Callable[[Record, str], Item]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of one record per item.

    `reader` receives the path and all records; it returns the function that converts (record, location) to an item
    and raises UserError for an invalid record. `example` lists keys of the layout for error messages.
    """

    name: str
    example: str
    matches: Callable[[Record], bool]
    reader: Callable[[Path, Sequence[Located]], ReadItem]


def read_exam(path: Path, invalid: list[tuple[str, str]] | None = None) -> RawExam:
    """Return the exam in a directory (2023 reference layout: stepN.json and solutions) or in a file of one record each.

    (location, reason) of invalid records is appended to `invalid`. Without it the first one raises UserError.
    """
    existing(path, "exam")
    records = InvalidRecords(invalid)
    if path.is_dir():
        return read_step_files(path, records)
    if path.suffix.lower() == ".csv" and not _has_header(path):
        return _read_mmlu_csv(path, records)
    return _read_records(path, records)


def _read_records(path: Path, invalid: InvalidRecords) -> RawExam:
    records: list[Located] = []
    for location, record in read_records(path):
        where = f"{path} {location}"
        if isinstance(record, UserError):
            invalid.add(record, where)
        elif not isinstance(record, dict):
            invalid.add(UserError(f"{where}: not an object with keys"), where)
        else:
            records.append((where, record))
    if not records:
        raise UserError(f"{path}: the file has no items")
    hashes = [(path.name, sha256_file(path))]
    if _is_pubmedqa_object(records[0][1]):
        records, listed = _pubmedqa_records(path, records[0][1])
        hashes += [(file.name, sha256_file(file)) for file in listed]
    read_item = _find_layout(path, records).reader(path, records)
    items = []
    for where, record in records:
        try:
            items.append(read_item(record, where))
        except UserError as error:
            invalid.add(error, where)
    images = frozenset(item.id for item in items if item.image)
    source_sha256 = hashes[0][1] if len(hashes) == 1 else sha256_listing(hashes)
    return RawExam(path.stem, tuple(items), source_sha256, images)


def _find_layout(path: Path, records: Sequence[Located]) -> Layout:
    for _, record in records[:SEARCHED]:
        for layout in LAYOUTS:
            if layout.matches(record):
                return layout
    known = "; ".join(f"{layout.name}: {layout.example}" for layout in LAYOUTS)
    raise UserError(
        f"{path}: unknown exam layout with the keys {', '.join(map(str, records[0][1])) or '(none)'}; "
        f"rename the keys to those of a known layout ({known})"
    )


def _read_own(record: Record, where: str) -> Item:
    """Read the project's layout: id, step, question, options, answer, subject, image.

    `options` is an object or a list; a table has columns A, B, ... instead, and the last ones may be empty.
    `answer` is a letter or the text of an option. Without `id`, question and options determine the id.
    """
    question = required_text(record, "question", where)
    lettered = {} if "options" in record else lettered_options(record)
    options = option_texts(lettered or required_value(record, "options", where), where)
    answer = str(required_value(record, "answer", where)).strip()
    if answer not in options:
        answer = next((letter for letter, text in options.items() if text == answer), answer)
    return Item(
        id=optional_text(record, "id", where) or content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=answer,
        step=step_number(record.get("step"), where),
        subject=optional_text(record, "subject", where),
        image=optional_text(record, "image", where),
    )


def _read_medqa(record: Record, where: str) -> Item:
    question = required_text(record, "question", where)
    options = option_texts(required_value(record, "options", where), where)
    part = optional_text(record, "meta_info", where)
    return Item(
        id=content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=str(required_value(record, "answer_idx", where)),
        # The other part is "step2&3", which is not one step.
        step=1 if part == "step1" else None,
        subject=part,
    )


def _medmcqa_reader(path: Path, records: Sequence[Located]) -> ReadItem:
    """Return the reader for the numbering of this copy: the correct option is counted from 0 or from 1.

    Only a 0 or a 4 shows which numbering a copy has; UserError is raised if there is neither, or both.
    """
    keys = {_cop(record, where) for where, record in records}
    if keys <= {0, 1, 2, 3} and 0 in keys:
        return partial(_read_medmcqa, base=0)
    if keys <= {1, 2, 3, 4} and 4 in keys:
        return partial(_read_medmcqa, base=1)
    found = ", ".join(map(str, sorted(keys)))
    raise UserError(
        f"{path}: the correct answer is ambiguous: 'cop' may count from 0 or from 1 (found {found}; one of 0 and 4 is "
        "needed); use a larger part of MedMCQA"
    )


def _cop(record: Record, where: str) -> int:
    try:
        return int(required_value(record, "cop", where))
    except (TypeError, ValueError):
        raise UserError(f"{where}: 'cop' is {record['cop']!r}, not a number") from None


def _read_medmcqa(record: Record, where: str, base: int) -> Item:
    question = required_text(record, "question", where)
    options = option_texts([record.get(name) for name in MEDMCQA_OPTIONS], where)
    return Item(
        id=optional_text(record, "id", where) or content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=LETTERS[_cop(record, where) - base],
        subject=optional_text(record, "subject_name", where),
    )


def _is_pubmedqa_object(record: Record) -> bool:
    return bool(record) and all(
        isinstance(value, dict) and "final_decision" in value for value in record.values()
    )


def _pubmedqa_records(path: Path, value: Record) -> tuple[list[Located], list[Path]]:
    """Return the records of the authors' file, an object of PubMed number to record, and the other files read.

    If the list of test questions is in the same directory, only those are returned.
    """
    records = [(f"{path} {number}", record | {"pubid": number}) for number, record in value.items()]
    test_file = path.with_name(PUBMEDQA_TEST)
    if not test_file.is_file():
        return records, []
    test = read_json(test_file)
    return [(where, record) for where, record in records if record["pubid"] in test], [test_file]


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


def _read_mmlu(record: Record, where: str) -> Item:
    """Read MMLU as published on the hub: `choices`, and the index of the correct one from 0."""
    question = required_text(record, "question", where)
    options = option_texts(required_value(record, "choices", where), where)
    index = record.get("answer")
    return Item(
        id=content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=LETTERS[index] if isinstance(index, int) and 0 <= index < len(LETTERS) else str(index),
        subject=optional_text(record, "subject", where),
    )


def _has_header(path: Path) -> bool:
    """Return whether a CSV file begins with column names.

    MMLU's own files have none: every line ends with the letter of one of the options before it. An empty file has none.
    """
    try:
        first = next(csv.reader(io.StringIO(read_text(path), newline="")), [])
    except csv.Error:
        return False
    names = {name.strip().lower() for name in first}
    if "question" in names and names & {"answer", "answer_idx", "cop"}:
        return True
    return bool(first) and first[-1].strip() not in LETTERS[: max(0, len(first) - 2)]


def _read_mmlu_csv(path: Path, invalid: InvalidRecords) -> RawExam:
    """Read an MMLU file without column names: question, options, letter."""
    subject = re.sub(r"_(dev|val|test)$", "", path.stem)
    items = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if len(row) < 4:
                error = f"{where}: {len(row)} fields; at least 4 are needed: question, two options, letter"
                invalid.add(UserError(error), where)
                continue
            question, *options, answer = row
            items.append(
                Item(
                    id=content_item_id(question, options),
                    question=question,
                    options=dict(zip(LETTERS, options, strict=False)),
                    answer=answer.strip(),
                    subject=subject,
                )
            )
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None
    if not items:
        raise UserError(f"{path}: the file has no items")
    return RawExam(path.stem, tuple(items), sha256_file(path))


# The order matters: a record of an earlier layout may also have the keys of a later one.
LAYOUTS = (
    Layout(
        "MedQA",
        "question, options, answer_idx",
        lambda record: "answer_idx" in record,
        lambda *_: _read_medqa,
    ),
    Layout("MedMCQA", "question, opa to opd, cop", lambda record: "cop" in record, _medmcqa_reader),
    Layout(
        "PubMedQA",
        "pubid, question, context, final_decision",
        lambda record: "final_decision" in record,
        lambda *_: _read_pubmedqa,
    ),
    Layout(
        "MMLU",
        "question, choices, answer (index)",
        lambda record: "choices" in record and isinstance(record.get("answer"), int),
        lambda *_: _read_mmlu,
    ),
    Layout(
        "MedAlpaca",
        "question, options or A B C ..., answer",
        lambda record: "question" in record,
        lambda *_: _read_own,
    ),
)
