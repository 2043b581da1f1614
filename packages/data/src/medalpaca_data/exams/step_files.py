"""Reader of the 2023 reference layout of USMLE exams: a directory with stepN.json and stepN_solutions.json."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import read_json, sha256_file, sha256_listing
from .item import InvalidRecords, Item, RawExam, option_texts, optional_text, required_text, required_value

STEP_FILE = re.compile(r"step([1-9]\d*)\.json")
IMAGE_LIST = "question_with_images.json"


def read_step_files(path: Path, invalid: InvalidRecords) -> RawExam:
    """Read the 2023 reference layout: stepN.json, stepN_solutions.json, question_with_images.json."""
    steps = {
        int(match[1]): file for file in sorted(path.iterdir()) if (match := STEP_FILE.fullmatch(file.name))
    }
    if not steps:
        raise UserError(
            f"{path}: no step1.json, step2.json or step3.json in this directory; give one of its files, "
            "or a directory with step files"
        )
    items: list[Item] = []
    hashes: list[tuple[str, str]] = []
    for step, file in steps.items():
        solutions = path / f"step{step}_solutions.json"
        items += _read_step(step, file, solutions, invalid)
        hashes += [(part.name, sha256_file(part)) for part in (file, solutions)]
    source_sha256 = sha256_listing(hashes)
    images, warnings = _find_images(path, source_sha256)
    unknown = sorted(images - {item.id for item in items})
    if unknown and invalid.listed is None:
        raise UserError(
            f"{path / IMAGE_LIST}: {len(unknown)} items are not in the exam, such as {unknown[0]}"
        )
    return RawExam(path.name, tuple(items), source_sha256, images, warnings)


def _read_step(step: int, file: Path, solutions: Path, invalid: InvalidRecords) -> list[Item]:
    keys, questions = read_json(solutions), read_json(file)
    if not isinstance(keys, dict):
        raise UserError(f"{solutions}: not a JSON object of item number to letter")
    if not isinstance(questions, list):
        raise UserError(f"{file}: not a JSON list of questions")
    items = []
    for n, record in enumerate(questions, 1):
        where = f"{file} item {n}"
        try:
            number = required_value(record, "no", where)
            item = Item(
                id=f"step{step}-{number}",
                question=required_text(record, "question", where),
                options=option_texts(record.get("options") or {}, where),
                answer=str(keys.get(str(number), "")).strip(),
                step=step,
                image=optional_text(record, "image", where) or optional_text(record, "image_url", where),
            )
        except UserError as error:
            invalid.add(error, where)
        else:
            items.append(item)
    return items


def _find_images(path: Path, source_sha256: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return ids of items that need a picture, from the exam's list or the bundled one (else none), and warnings."""
    listed = path / IMAGE_LIST
    if listed.is_file():
        return _image_ids(read_json(listed), str(listed)), ()
    known = json.loads(files(__package__).joinpath("usmle_sample_images.json").read_text(encoding="utf-8"))
    if source_sha256 == known["source_sha256"]:
        return _image_ids(known["images"], "usmle_sample_images.json"), ()
    warning = (
        f"{path}: there is no {IMAGE_LIST}, and the files are not the known copy of the USMLE sample exam; "
        "items that need a picture cannot be identified and are scored"
    )
    return frozenset(), (warning,)


def _image_ids(value: Any, where: str) -> frozenset[str]:
    try:
        return frozenset(f"{step}-{number}" for step, numbers in value.items() for number in numbers)
    except (AttributeError, TypeError):
        raise UserError(f'{where}: not a JSON object of the form {{"step1": [numbers], ...}}') from None
