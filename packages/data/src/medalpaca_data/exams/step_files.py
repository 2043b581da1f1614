"""Reader of the 2023 reference layout of USMLE exams: a directory with stepN.json and stepN_solutions.json.

Parsed USMLE booklets may be in the same directory layout, with the answer in each question and no file of solutions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_json, sha256_file, sha256_listing
from .answers import AnswerForms, find_answer, read_options
from .columns import Columns, EmptyCases, Record, join_case
from .item import Item, RawExam, required_text, required_value
from .media import media

STEP_FILE = re.compile(r"step([1-9]\d*)\.json")
IMAGE_LIST = "question_with_images.json"


def step_in_name(name: str) -> int | None:
    """Return the number of the USMLE Step in a file name such as step2_2024, None if it has none."""
    match = re.search(r"step[\s_-]*([1-3])(?!\d)", name, re.IGNORECASE)
    return int(match[1]) if match else None


class _Reader:
    """Reads the files of one directory and collects what was not read or was changed."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.hashes: list[tuple[str, str]] = []
        self.invalid: list[tuple[str, str]] = []
        self.unread: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        # Whether a question declares whether it has media.
        self.declares_media = False

    def read_step(self, step: int, file: Path, solutions: Path) -> None:
        """Read the questions and the answers of one step."""
        questions = read_json(file)
        if not isinstance(questions, list):
            raise UserError(f"{file}: not a JSON list of questions")
        self.hashes.append((file.name, sha256_file(file)))
        keys = None
        if solutions.is_file() or not any(
            isinstance(record, dict) and "answer" in record for record in questions
        ):
            keys = read_json(solutions)
            if not isinstance(keys, dict):
                raise UserError(f"{solutions}: not a JSON object of item number to letter")
            self.hashes.append((solutions.name, sha256_file(solutions)))
        cases = EmptyCases(Columns())
        for n, values in enumerate(questions, 1):
            where = f"{file.name} item {n}"
            try:
                record = Record(values if isinstance(values, dict) else {})
                self.items.append(cases.mark(self._read_item(step, record, keys, where), record))
            except UserError as error:
                self.invalid.append((where, str(error).removeprefix(where).lstrip(": ")))
            else:
                self.unread.update(record.unread())

    def _read_item(self, step: int, record: Record, keys: dict[str, Any] | None, where: str) -> Item:
        number = required_value(record, "no", where)
        options = read_options(record.get("options") or {}, where)
        done: list[str] = []
        question = join_case(record, required_text(record, "question", where), Columns(), where, done)
        self.changes.update(done)
        key = record.get("answer") if keys is None else keys.get(str(number), "")
        answer, fault = find_answer([(key, None)], options, AnswerForms(letters=True))
        self.declares_media = self.declares_media or "has_media" in record
        return Item(
            id=f"step{step}-{number}",
            question=question,
            options=options.texts,
            answer=answer,
            step=step,
            image=media(record),
            fault=fault,
        )


def read_step_files(path: Path) -> RawExam:
    """Read the 2023 reference layout: stepN.json, stepN_solutions.json, question_with_images.json."""
    steps = {
        int(match[1]): file for file in sorted(path.iterdir()) if (match := STEP_FILE.fullmatch(file.name))
    }
    if not steps:
        raise UserError(
            f"{path}: no step1.json, step2.json or step3.json in this directory; give one of its files, "
            "or a directory with step files"
        )
    reader = _Reader()
    for step, file in steps.items():
        reader.read_step(step, file, path / f"step{step}_solutions.json")
    source_sha256 = sha256_listing(reader.hashes)
    declared = frozenset(item.id for item in reader.items if item.image)
    listed, warnings = _find_images(path, source_sha256)
    if listed is None:
        listed = declared
        if reader.declares_media:
            warnings = ()
    elif unknown := sorted(listed - {item.id for item in reader.items}):
        text = f"{IMAGE_LIST}: {len(unknown)} items are not in the exam, such as {unknown[0]}"
        if not reader.invalid:
            raise UserError(f"{path / IMAGE_LIST}: {text.removeprefix(IMAGE_LIST + ': ')}")
        warnings = (*warnings, text)
    return RawExam(
        path.name,
        tuple(reader.items),
        source_sha256,
        listed,
        warnings,
        invalid=tuple(reader.invalid),
        file=str(path),
        unread=dict(reader.unread),
        changes=dict(reader.changes),
    )


def _find_images(path: Path, source_sha256: str) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """Return ids of items that need a picture, from the exam's list or the bundled one (else None), and warnings."""
    listed = path / IMAGE_LIST
    if listed.is_file():
        return _image_ids(read_json(listed), str(listed)), ()
    known = json.loads(files(__package__).joinpath("usmle_sample_images.json").read_text(encoding="utf-8"))
    if source_sha256 == known["source_sha256"]:
        return _image_ids(known["images"], "usmle_sample_images.json"), ()
    warning = (
        f"{path}: there is no {IMAGE_LIST}, and the files are not the known copy of the USMLE sample exam; "
        "items that need a picture but declare none cannot be identified and are scored"
    )
    return None, (warning,)


def _image_ids(value: Any, where: str) -> frozenset[str]:
    try:
        return frozenset(f"{step}-{number}" for step, numbers in value.items() for number in numbers)
    except (AttributeError, TypeError):
        raise UserError(f'{where}: not a JSON object of the form {{"step1": [numbers], ...}}') from None
