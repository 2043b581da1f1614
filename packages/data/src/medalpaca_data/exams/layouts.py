"""Readers for the layouts exams come in. Each returns what is there; judging it is `exam.judge`'s work."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import existing, is_text, read_json, read_text, sha256_file, sha256_listing
from ..core.records import read_records
from .item import LETTERS, Item, RawExam, content_item_id

STEP_FILE = re.compile(r"step([1-9]\d*)\.json")
IMAGE_LIST = "question_with_images.json"
MEDMCQA_OPTIONS = ("opa", "opb", "opc", "opd")
PUBMEDQA_OPTIONS = ("yes", "no", "maybe")
PUBMEDQA_TEST = "test_ground_truth.json"  # PubMed number to key, of the 500 test questions


class Broken:
    """Records that cannot be read: the first is refused, or all are listed as (place, reason)."""

    def __init__(self, listed: list[tuple[str, str]] | None) -> None:
        self.listed = listed

    def __call__(self, error: UserError, place: str) -> None:
        """Note that what is at `place` cannot be read, or raise `error`."""
        if self.listed is None:
            raise error from None
        self.listed.append((place, str(error).removeprefix(place).lstrip(": ")))


def read_exam(path: Path, broken: list[tuple[str, str]] | None = None) -> RawExam:
    """The exam in a directory (reference layout) or a file (MedQA, MedMCQA, PubMedQA, MMLU, CSV or our own JSONL).

    With `broken`, records that cannot be read are put there as (place, reason) instead of being refused.
    """
    existing(path, "exam")
    note = Broken(broken)
    if path.is_dir():
        return _reference(path, note)
    if path.suffix.lower() == ".csv" and not _has_header(path):
        return _mmlu(path, note)
    return _records(path, note)


# The reference layout: stepN.json, stepN_solutions.json, question_with_images.json -------------------------------


def _reference(path: Path, broken: Broken) -> RawExam:
    steps = {
        int(match[1]): file for file in sorted(path.iterdir()) if (match := STEP_FILE.fullmatch(file.name))
    }
    if not steps:
        raise UserError(
            f"{path}: no step1.json, step2.json or step3.json in it; name an exam file or such a directory"
        )
    items: list[Item] = []
    hashes: list[tuple[str, str]] = []
    for step, file in steps.items():
        solutions = path / f"step{step}_solutions.json"
        items += _step(step, file, solutions, broken)
        hashes += [(part.name, sha256_file(part)) for part in (file, solutions)]
    source_sha256 = sha256_listing(hashes)
    images, warnings = _images(path, source_sha256)
    unknown = sorted(images - {item.id for item in items})
    if unknown and broken.listed is None:
        raise UserError(f"{path / IMAGE_LIST}: {unknown[0]} is no item of this exam ({len(unknown)} such)")
    return RawExam(path.name, tuple(items), source_sha256, images, warnings)


def _step(step: int, file: Path, solutions: Path, broken: Broken) -> list[Item]:
    keys, questions = read_json(solutions), read_json(file)
    if not isinstance(keys, dict):
        raise UserError(f"{solutions}: an object of number to letter was expected")
    if not isinstance(questions, list):
        raise UserError(f"{file}: a list of questions was expected")
    items = []
    for n, record in enumerate(questions, 1):
        where = f"{file} item {n}"
        try:
            number = _field(record, "no", where)
            item = Item(
                id=f"step{step}-{number}",
                question=_text(record, "question", where),
                options=_options(record.get("options") or {}, where),
                answer=str(keys.get(str(number), "")).strip(),
                step=step,
                image=_name(record, "image", where) or _name(record, "image_url", where),
            )
        except UserError as error:
            broken(error, where)
        else:
            items.append(item)
    return items


def _images(path: Path, source_sha256: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Ids of items that need a picture: from the exam's own list, or the shipped one if this is that exam."""
    listed = path / IMAGE_LIST
    if listed.is_file():
        return _image_ids(read_json(listed), str(listed)), ()
    known = json.loads(files(__package__).joinpath("usmle_sample_images.json").read_text(encoding="utf-8"))
    if source_sha256 == known["source_sha256"]:
        return _image_ids(known["images"], "usmle_sample_images.json"), ()
    warning = (
        f"{path}: no {IMAGE_LIST}, and not the known copy of the USMLE sample exam: "
        "items that need a picture cannot be told apart and are scored"
    )
    return frozenset(), (warning,)


def _image_ids(value: Any, where: str) -> frozenset[str]:
    try:
        return frozenset(f"{step}-{number}" for step, numbers in value.items() for number in numbers)
    except (AttributeError, TypeError):
        raise UserError(f'{where}: {{"step1": [numbers], ...}} was expected') from None


# One record per item ----------------------------------------------------------------------------------------------


def _records(path: Path, broken: Broken) -> RawExam:
    records = []
    for place, record in read_records(path):
        where = f"{path} {place}"
        if isinstance(record, UserError):
            broken(record, where)
        elif not isinstance(record, dict):
            broken(UserError(f"{where}: an object was expected"), where)
        else:
            records.append((where, record))
    if not records:
        raise UserError(f"{path}: no items in it")
    first = records[0][1]
    hashes = [(path.name, sha256_file(path))]
    if first and all(isinstance(value, dict) and "final_decision" in value for value in first.values()):
        # PubMedQA's own file: one object, PubMed number to record; its test questions are named in a second file.
        records = [(f"{path} {number}", value | {"pubid": number}) for number, value in first.items()]
        first = records[0][1]
        listed = path.with_name(PUBMEDQA_TEST)
        if listed.is_file():
            test = read_json(listed)
            records = [(where, record) for where, record in records if record["pubid"] in test]
            hashes.append((listed.name, sha256_file(listed)))
    if "answer_idx" in first:
        reader = _medqa
    elif "cop" in first:
        reader = partial(_medmcqa, base=_medmcqa_base(path, records))
    elif "final_decision" in first:
        reader = _pubmedqa
    elif "choices" in first and isinstance(first.get("answer"), int):
        reader = _mmlu_record
    else:
        reader = _own
    items = []
    for where, record in records:
        try:
            items.append(reader(record, where))
        except UserError as error:
            broken(error, where)
    images = frozenset(item.id for item in items if item.image)
    source_sha256 = hashes[0][1] if len(hashes) == 1 else sha256_listing(hashes)
    return RawExam(path.stem, tuple(items), source_sha256, images)


def _own(record: dict[str, Any], where: str) -> Item:
    """Ours: id, step, question, options (object or list), answer (letter, or the option's text), subject, image.

    A table has its options in columns called A, B, ... instead; an item may leave the last ones empty.
    """
    question = _text(record, "question", where)
    lettered = {} if "options" in record else _lettered(record)
    options = _options(lettered or _field(record, "options", where), where)
    answer = str(_field(record, "answer", where)).strip()
    if answer not in options:
        answer = next((letter for letter, text in options.items() if text == answer), answer)
    return Item(
        id=_name(record, "id", where) or content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=answer,
        step=_step_number(record.get("step"), where),
        subject=_name(record, "subject", where),
        image=_name(record, "image", where),
    )


def _medqa(record: dict[str, Any], where: str) -> Item:
    question = _text(record, "question", where)
    options = _options(_field(record, "options", where), where)
    part = _name(record, "meta_info", where)
    return Item(
        id=content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=str(_field(record, "answer_idx", where)),
        step=1 if part == "step1" else None,  # the rest is "step2&3", which is no step
        subject=part,
    )


def _medmcqa_base(path: Path, records: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Copies number the right option from 0 or from 1. Only a 0 or a 4 tells which, so without either we refuse."""
    keys = {_cop(record, where) for where, record in records}
    if keys <= {0, 1, 2, 3} and 0 in keys:
        return 0
    if keys <= {1, 2, 3, 4} and 4 in keys:
        return 1
    raise UserError(f"{path}: 'cop' runs neither from 0 to 3 nor from 1 to 4, so the key cannot be told")


def _cop(record: dict[str, Any], where: str) -> int:
    try:
        return int(_field(record, "cop", where))
    except (TypeError, ValueError):
        raise UserError(f"{where}: 'cop' is {record['cop']!r}, not a number") from None


def _medmcqa(record: dict[str, Any], where: str, base: int) -> Item:
    question = _text(record, "question", where)
    options = _options([record.get(name) for name in MEDMCQA_OPTIONS], where)
    return Item(
        id=_name(record, "id", where) or content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=LETTERS[_cop(record, where) - base],
        subject=_name(record, "subject_name", where),
    )


def _pubmedqa(record: dict[str, Any], where: str) -> Item:
    """A question about an abstract, in the names of the authors' file or of the hub's; yes, no or maybe."""
    context = record.get("CONTEXTS")
    if context is None:
        inner = record.get("context")
        context = inner.get("contexts") if isinstance(inner, Mapping) else None
    if not isinstance(context, list) or not all(isinstance(part, str) for part in context):
        raise UserError(f"{where}: no abstract ('CONTEXTS', a list of texts)")
    asked = _text(record, "QUESTION" if "QUESTION" in record else "question", where)
    question = _encodable("\n\n".join((*context, asked)), "CONTEXTS", where)
    decision = str(record["final_decision"] if record.get("final_decision") else "").strip().lower()
    letters = {text: letter for letter, text in zip(LETTERS, PUBMEDQA_OPTIONS, strict=False)}
    return Item(
        id=f"pubmed-{_field(record, 'pubid', where)}",
        question=question,
        options={letter: text for text, letter in letters.items()},
        answer=letters.get(decision, ""),
    )


def _mmlu_record(record: dict[str, Any], where: str) -> Item:
    """MMLU as the hub has it: `choices` and the number of the right one, from 0."""
    question = _text(record, "question", where)
    options = _options(_field(record, "choices", where), where)
    number = record["answer"]
    return Item(
        id=content_item_id(question, options.values()),
        question=question,
        options=options,
        answer=LETTERS[number] if isinstance(number, int) and 0 <= number < len(LETTERS) else str(number),
        subject=_name(record, "subject", where),
    )


def _has_header(path: Path) -> bool:
    """Whether a CSV file names its columns: MMLU's own does not."""
    try:
        first = next(csv.reader(io.StringIO(read_text(path), newline="")), [])
    except csv.Error:
        return False  # reading it will say where
    names = {name.strip().lower() for name in first}
    return "question" in names and bool(names & {"answer", "answer_idx", "cop"})


def _mmlu(path: Path, broken: Broken) -> RawExam:
    """MMLU: no header; question, the options, the letter."""
    subject = re.sub(r"_(dev|val|test)$", "", path.stem)
    items = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if len(row) < 4:
                broken(UserError(f"{where}: question, options and answer were expected"), where)
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
        raise UserError(f"{path}: no items in it")
    return RawExam(path.stem, tuple(items), sha256_file(path))


# Fields -----------------------------------------------------------------------------------------------------------


def _field(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: an object was expected")
    if record.get(name) is None:
        raise UserError(f"{where}: no {name!r}")
    return record[name]


def _text(record: Any, name: str, where: str) -> str:
    value = _field(record, name, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return _encodable(value, name, where)


def _lettered(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a record that has them in fields called by their letters, without the empty ones at the end."""
    found = {letter: record[letter] for letter in LETTERS if letter in record}
    while found and not str(found[last := next(reversed(found))] or "").strip():
        del found[last]
    return found


def _name(record: Mapping[str, Any], name: str, where: str) -> str | None:
    """A short field that may be missing or a number."""
    value = record.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return _encodable(str(value), name, where)


def _options(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, list):
        if len(value) > len(LETTERS):
            raise UserError(f"{where}: {len(value)} options, at most {len(LETTERS)} can be lettered")
        value = dict(zip(LETTERS, value, strict=False))
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: 'options' is neither an object nor a list")
    texts = {str(letter): "" if text is None else str(text) for letter, text in value.items()}
    return {letter: _encodable(text, f"option {letter}", where) for letter, text in texts.items()}


def _encodable(text: str, name: str, where: str) -> str:
    if not is_text(text):
        raise UserError(f"{where}: {name!r} holds half a surrogate pair, which is no text")
    return text


def _step_number(value: Any, where: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: 'step' is {value!r}, not a number") from None
