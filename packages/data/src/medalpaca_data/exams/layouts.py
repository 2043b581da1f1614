"""Reader of exam files and directories. The layouts of single records are in `published_layouts`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import existing, read_json, sha256_file, sha256_listing
from ..core.records import FileNote, OnNote, read_records
from .columns import Columns, Record
from .fields import ExamFields
from .item import LETTERS, Item, RawExam, content_item_id
from .mmlu_csv import TEXT_WORDS, is_mmlu_csv, read_mmlu_csv
from .published_layouts import LAYOUTS, Layout, Located, column_reader
from .step_files import read_step_files

# Name of the file with PubMed number and answer of the 500 test questions of PubMedQA.
PUBMEDQA_TEST = "test_ground_truth.json"
# Number of records in which a known layout is searched, because the first ones may be invalid.
SEARCHED = 100
# Number of characters of a key in a message.
MAX_KEY = 40
# Number of keys, and of known layouts, in a message.
MAX_KEYS, SHOWN_LAYOUTS = 20, 5
# Suffixes of tables, whose first line must have the column names.
TABLES = (".csv", ".tsv", ".xlsx")
SEE = "see docs/write-an-exam.md"
# Suffixes of files that are no exams, and the kind of source of a recipe that reads them.
OTHER_KINDS = {
    ".apkg": "anki", ".colpkg": "anki", ".7z": "stack_exchange", ".xml": "medquad or mediqa", ".pdf": "documents",
    ".docx": "documents", ".html": "documents", ".htm": "documents", ".md": "documents", ".txt": "documents",
}  # fmt: skip
# Keys of training rows, and the addition to the message that refuses them as an exam.
TRAINING_KEYS = {
    frozenset(
        {"instruction", "output"}
    ): " (training rows: `kind: alpaca` in a recipe of `data build` reads them)",
    frozenset({"conversations"}): " (conversations: `kind: chat` in a recipe of `data build` reads them)",
    frozenset({"messages"}): " (conversations: `kind: chat` in a recipe of `data build` reads them)",
}


def read_exam(path: Path, fields: ExamFields | None = None) -> RawExam:
    """Return the exam in a directory (2023 reference layout: stepN.json and solutions) or in a file of one record each.

    `fields` names the columns of a file in another layout. Raises UserError for an unknown layout.
    """
    existing(path, "exam")
    if path.is_dir():
        if fields is not None:
            raise UserError(f"{path}: fields are for an exam file, and this is a directory; give one file")
        return read_step_files(path)
    if kind := OTHER_KINDS.get(path.suffix.lower()):
        raise UserError(
            f"{path}: not an exam file; `kind: {kind}` in a recipe of `data build` reads {path.suffix.lower()} files "
            "(an exam is .json, .jsonl, .csv, .tsv, .xlsx or .parquet)"
        )
    if fields is None and is_mmlu_csv(path):
        return read_mmlu_csv(path)
    return _read_records(path, fields)


def _read_records(path: Path, fields: ExamFields | None) -> RawExam:
    records: list[Located] = []
    invalid: list[tuple[str, str]] = []
    notes: list[FileNote] = []
    for location, record in _read_file(path, notes.append):
        if isinstance(record, UserError):
            invalid.append((location, str(record).removeprefix(f"{path} {location}").lstrip(": ")))
        elif not isinstance(record, dict):
            invalid.append((location, "not an object with keys"))
        else:
            records.append((location, record))
    if not records:
        reason = f" ({invalid[0][0]}: {invalid[0][1]})" if invalid else ""
        raise UserError(f"{path}: the file has no items{reason}{''.join(f'; {note.text}' for note in notes)}")
    hashes = [(path.name, sha256_file(path))]
    if len(records) == 1:
        records, listed = _unpack(path, *records[0])
        hashes += [(file.name, sha256_file(file)) for file in listed]
        if not records:
            raise UserError(f"{path}: the file has no items{f' that {listed[0]} names' if listed else ''}")
    layout = _find_layout(path, records) if fields is None else _fields_layout(path, records, fields)
    changes, unread = Counter[str](), Counter[str]()
    reader = layout.reader(path, records, changes)
    items = []
    for location, values in records:
        record = Record(values)
        try:
            items.append(_with_place(reader(record, location), location))
        except UserError as error:
            invalid.append((location, str(error).removeprefix(location).lstrip(": ")))
        else:
            unread.update(record.unread())
    source_sha256 = hashes[0][1] if len(hashes) == 1 else sha256_listing(hashes)
    return RawExam(
        path.stem,
        tuple(items),
        source_sha256,
        images=frozenset(item.id for item in items if item.image),
        warnings=tuple(note.text for note in notes),
        invalid=tuple(invalid),
        file=str(path),
        unread=dict(unread),
        changes=dict(changes),
    )


def _with_place(item: Item, location: str) -> Item:
    """Return an item that has no id of its own with its line or row."""
    has_own_id = item.id != content_item_id(item.question, item.options.values())
    return item if has_own_id else replace(item, place=location)


def _read_file(path: Path, on_note: OnNote) -> Iterator[tuple[str, Any]]:
    """Yield (location, record) of every record of a file. `on_note` is called with its encoding, delimiter or sheet."""
    if path.suffix.lower() != ".xlsx":
        return read_records(path, on_note=on_note)
    from ..formats.tabular import read_sheet_records

    return read_sheet_records(path, on_note=on_note)


def _find_layout(path: Path, records: Sequence[Located]) -> Layout:
    for _, record in records[:SEARCHED]:
        for layout in LAYOUTS:
            if layout.matches(Record(record)):
                return layout
    names = [str(key) for key in records[0][1]]
    keys = {name.strip().casefold() for name in names}
    hint = next((hint for wanted, hint in TRAINING_KEYS.items() if wanted <= keys), "")
    # Column names are no single numbers before a single letter.
    is_line = sum(name.strip().isdigit() for name in names) > 1 and names[-1].strip() in tuple(LETTERS)
    if path.suffix.lower() in TABLES and (is_line or any(map(_is_text_of_item, names))):
        raise UserError(
            f"{path}: unknown exam layout: the first line has no column names ({len(names)} cells, texts of an item); "
            f"write column names such as question,A,B,C,D,answer above it; {SEE}"
        )
    found = ", ".join(name if len(name) <= MAX_KEY else f"{name[:MAX_KEY]}..." for name in names[:MAX_KEYS])
    more = f", ... {len(names) - MAX_KEYS} more" if len(names) > MAX_KEYS else ""
    known = "; ".join(f"{layout.name}: {layout.example}" for layout in _nearest(keys))
    raise UserError(
        f"{path}: unknown exam layout with the keys {found or '(none)'}{more}{hint}; "
        "name the columns with fields, such as --fields '{question: Q, options: [A, B, C], answer: K}', "
        f"or rename the keys to those of a known layout ({known}); {SEE}"
    )


def _nearest(keys: set[str]) -> list[Layout]:
    """Return the layouts that share most keys with a record, those with fewest other keys first; at most 5."""

    def distance(layout: Layout) -> tuple[int, int]:
        words = set(re.findall(r"\w+", layout.example.casefold())) - {"to", "or"}
        return -len(words & keys), len(words - keys)

    # The layout for files of one's own is always among them.
    own = LAYOUTS[-1]
    return [*sorted(LAYOUTS[:-1], key=distance)[: SHOWN_LAYOUTS - 1], own]


def _is_text_of_item(name: str) -> bool:
    """Return whether a column name is rather a text of an item, as in a file without column names."""
    return len(name.split()) >= TEXT_WORDS or name.rstrip().endswith("?") or len(name) > MAX_KEY


def _fields_layout(path: Path, records: Sequence[Located], fields: ExamFields) -> Layout:
    found = dict.fromkeys(str(key) for _, record in records for key in record)
    if missing := [column for column in fields.columns if column not in Record(found)]:
        raise UserError(f"{path}: fields: no column {missing[0]!r}; the file has: {', '.join(found)}")
    return Layout("fields", "", lambda _: True, column_reader(Columns.from_fields(fields)))


def _unpack(path: Path, location: str, record: dict[str, Any]) -> tuple[list[Located], list[Path]]:
    """Return the records of a file whose only record contains all items, and the other files read."""
    values = list(record.values())
    if values and all(isinstance(value, dict) and "final_decision" in value for value in values):
        return _pubmedqa_records(path, record)
    if exams := record.get("exams"):
        return _head_qa_records(exams), []
    return [(location, record)], []


def _head_qa_records(exams: Any) -> list[Located]:
    """Return the records of the authors' file of HEAD-QA: exams with a name, each with a list `data`."""
    named = exams.items() if isinstance(exams, dict) else enumerate(exams if isinstance(exams, list) else [])
    records = []
    for name, exam in named:
        if not isinstance(exam, dict) or not isinstance(exam.get("data"), list):
            raise UserError(f"exams {name}: no list 'data'")
        common = {"name": exam.get("name", name), "category": exam.get("category")}
        for n, record in enumerate(exam["data"], 1):
            records.append((f"exam {name} row {n}", common | record if isinstance(record, dict) else {}))
    return records


def _pubmedqa_records(path: Path, value: Mapping[str, Any]) -> tuple[list[Located], list[Path]]:
    """Return the records of the authors' file, an object of PubMed number to record, and the other files read.

    If the list of test questions is in the same directory, only those are returned.
    """
    records = [(number, record | {"pubid": number}) for number, record in value.items()]
    test_file = path.with_name(PUBMEDQA_TEST)
    if not test_file.is_file():
        return records, []
    test = read_json(test_file)
    if not isinstance(test, dict | list):
        raise UserError(f"{test_file}: not a JSON object or list of PubMed ids")
    return [(where, record) for where, record in records if record["pubid"] in test], [test_file]
