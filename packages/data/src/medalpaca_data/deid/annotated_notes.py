"""Read annotated notes: texts in which people have marked every identifier, to measure a detector on them.

Three formats are read, one note at a time:

- JSON Lines: `{"id": ..., "text": ..., "spans": [[start, end, class], ...]}`; other keys are fields of the note.
- i2b2 2014 XML (Stubbs and Uzuner 2015, J Biomed Inform 58 Suppl:S20-29): a file, or a directory of files.
- CSV or TSV: the column `text` has marks `[[class|identifier]]`; other columns are fields of the note.

Messages never contain text of a note. Where a message needs some, it has its shape: `Xxxx 99`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ..core.errors import UserError
from ..core.files import existing
from ..core.records import read_records
from ..formats.xml import read_elements
from .rules import Span

# Classes of annotated identifiers. `name` is announced by a title, label or relative, and `bare` is not. `reldate` is
# a relative or partial date, `town` a bare town, `hosp` a hospital, clinic or ward with a proper name.
CLASSES = (
    "name", "bare", "date", "reldate", "age", "place", "town", "hosp", "employer", "phone", "fax", "email", "url",
    "ip", "ssn", "mrn", "plan", "account", "licence", "vehicle", "device", "biometric", "photo", "other",
)  # fmt: skip
DIRECT = frozenset({"name", "bare", "date", "phone", "fax", "ssn", "mrn", "plan", "email", "account"})
# Annotated by i2b2, but no identifier under Safe Harbor: neither a leak nor, if covered, a false positive.
BEYOND = ("age_to_89", "year", "state", "country", "profession")
# TYPE of a tag in i2b2 2014 -> class. `i2b2_class` divides dates and ages further.
I2B2_TYPES: Mapping[str, str] = {
    "PATIENT": "name", "DOCTOR": "name", "USERNAME": "name", "DATE": "date", "AGE": "age", "PHONE": "phone",
    "FAX": "fax", "EMAIL": "email", "URL": "url", "IPADDR": "ip", "IPADDRESS": "ip", "SSN": "ssn",
    "MEDICALRECORD": "mrn", "HEALTHPLAN": "plan", "ACCOUNT": "account", "LICENSE": "licence",
    "VEHICLE": "vehicle", "DEVICE": "device", "BIOID": "biometric", "IDNUM": "other", "HOSPITAL": "hosp",
    "DEPARTMENT": "hosp", "ORGANIZATION": "employer", "STREET": "place", "CITY": "town", "ZIP": "place",
    "LOCATION-OTHER": "place", "ROOM": "other", "OTHER": "other", "STATE": "state", "COUNTRY": "country",
    "PROFESSION": "profession",
}  # fmt: skip
I2B2_ROOT = "deIdi2b2"
ANNOTATION = "annotation"
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
MARK = re.compile(r"\[\[([^\[\]|]*)\|((?:(?!\[\[).)*?)\]\]", re.DOTALL)
NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Note:
    """An annotated note.

    `spans` are in order; the kind of each is one of `CLASSES` or `BEYOND`. `fields` are further values of the record,
    such as `style` and `language`.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    fields: Mapping[str, str]


def read_notes(path: Path) -> list[Note]:
    """Return all notes of a file or directory; see `iter_notes`."""
    return list(iter_notes(path))


def iter_notes(path: Path) -> Iterator[Note]:
    """Yield the notes of a file (.jsonl, .ndjson, .json, .csv or .tsv, also .gz; .xml) or a directory of .xml files.

    Raises UserError, with file and row, for the first record that is not a note, and if there is no note.
    """
    path = existing(path, "file or directory")
    count = 0
    for note in _notes(path):
        count += 1
        yield note
    if not count:
        raise UserError(f"{path}: no note in the file")


def _notes(path: Path) -> Iterator[Note]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.xml") if not file.name.startswith("."))
        if not files:
            raise UserError(f"{path}: no *.xml file in the directory; allowed: i2b2 2014 XML, or give a file")
        for file in files:
            yield from _i2b2_notes(file)
        return
    if path.suffix.lower() == ".xml":
        yield from _i2b2_notes(path)
        return
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: {suffix or 'a file without a suffix'} is not a format of annotated notes; allowed: "
            f"{' '.join(SUFFIXES)} (also with .gz), .xml, or a directory of .xml files"
        )
    for location, record in read_records(path):
        if isinstance(record, UserError):
            raise record
        where = f"{path} {location}"
        yield (_marked_note if suffix in (".csv", ".tsv") else _json_note)(record, where, location)


def mask_form(text: str) -> str:
    """Return the shape of a text: X for capitals, x for other letters, 9 for digits; white space becomes a space."""
    return "".join(
        " " if c.isspace() else c if not c.isalnum() else "X" if c.isupper() else "x" if c.isalpha() else "9"
        for c in text
    )


# JSON Lines ---------------------------------------------------------------------------------------------------


def _json_note(record: Any, where: str, location: str) -> Note:
    if not isinstance(record, dict):
        raise UserError(f"{where}: found {type(record).__name__}; allowed: an object with text and spans")
    text, spans = record.get("text"), record.get("spans")
    if not isinstance(text, str):
        raise UserError(f"{where}: text is {_type(text)}; allowed: a string{_columns(record)}")
    if not isinstance(spans, list):
        raise UserError(
            f"{where}: spans is {_type(spans)}; allowed: a list of [start, end, class]{_columns(record)}"
        )
    return Note(
        _identity(record.get("id"), location),
        text,
        _sorted(_json_span(span, text, f"{where} spans[{n}]") for n, span in enumerate(spans)),
        _fields(record, "id", "text", "spans"),
    )


def _json_span(value: Any, text: str, where: str) -> Span:
    match value:
        case [int() as start, int() as end, str() as kind] if bool not in (type(start), type(end)):
            return _span(start, end, kind, text, where)
        case _:
            shown = f"a list of {len(value)}" if isinstance(value, list) else _type(value)
            raise UserError(
                f"{where}: found {shown}; allowed: [start, end, class], two whole numbers and a text"
            )


def _span(start: int, end: int, kind: str, text: str, where: str) -> Span:
    if kind not in CLASSES and kind not in BEYOND:
        raise UserError(
            f"{where}: class {_word(kind)} is not known; allowed: {', '.join((*CLASSES, *BEYOND))}; rename the class"
        )
    if not 0 <= start < end <= len(text):
        raise UserError(
            f"{where}: start {start} and end {end} are not a part of the text; allowed: 0 <= start < end <= "
            f"{len(text)}, the number of its characters"
        )
    if not any(c.isalnum() for c in text[start:end]):
        raise UserError(
            f"{where}: characters {start} to {end} have no letter and no digit; allowed: an identifier with at least "
            "one; correct or remove the annotation"
        )
    return Span(start, end, kind, ANNOTATION)


# CSV ----------------------------------------------------------------------------------------------------------


def _marked_note(record: Mapping[str, str], where: str, location: str) -> Note:
    if "text" not in record:
        raise UserError(
            f"{where}: no column 'text'{_columns(record)}; rename the column that has the marked text"
        )
    marked = record["text"]
    parts: list[str] = []
    spans: list[Span] = []
    at = length = 0
    for match in MARK.finditer(marked):
        parts += [_unmarked(marked, at, match.start(), where), match[2]]
        start = length + match.start() - at
        length = start + len(match[2])
        at = match.end()
        spans.append(Span(start, length, match[1].strip(), ANNOTATION))
    text = "".join([*parts, _unmarked(marked, at, len(marked), where)])
    return Note(
        _identity(record.get("id"), location),
        text,
        tuple(_span(s.start, s.end, s.kind, text, f"{where} mark {n}") for n, s in enumerate(spans, 1)),
        _fields(record, "id", "text"),
    )


def _unmarked(marked: str, start: int, end: int, where: str) -> str:
    """Return a part of the text without marks. Raises UserError if it contains the beginning of a mark."""
    if (found := marked.find("[[", start, end)) >= 0:
        raise UserError(
            f"{where}: '[[' at character {found} does not begin a mark; allowed: [[class|identifier]], "
            "not nested; correct the mark"
        )
    return marked[start:end]


# i2b2 2014 ----------------------------------------------------------------------------------------------------


def _i2b2_notes(path: Path) -> Iterator[Note]:
    count = 0
    with path.open("rb") as file:
        for _, root in read_elements(file, str(path), {I2B2_ROOT}):
            count += 1
            yield _i2b2_note(root, path)
    if not count:
        found = re.search(rb"<([A-Za-z][\w.-]{0,40})", path.read_bytes()[:4096])
        shown = f"element {found[1].decode()!r}" if found else "no element"
        raise UserError(f"{path}: found {shown}; allowed: {I2B2_ROOT!r}, the root of i2b2 2014 XML")


def _i2b2_note(root: Element, path: Path) -> Note:
    element, tags = root.find("TEXT"), root.find("TAGS")
    if element is None or tags is None:
        missing = "TEXT" if element is None else "TAGS"
        raise UserError(f"{path}: no element {missing}; allowed: {I2B2_ROOT} with the elements TEXT and TAGS")
    text = "".join(element.itertext())
    spans = [_i2b2_span(tag, text, f"{path} TAGS[{n}]") for n, tag in enumerate(tags)]
    return Note(path.stem, text, _sorted(spans), {})


def _i2b2_span(tag: Element, text: str, where: str) -> Span:
    kind = tag.get("TYPE", "").strip().upper()
    if kind not in I2B2_TYPES:
        raise UserError(
            f"{where}: TYPE {_word(tag.get('TYPE', ''))} of the tag {_word(tag.tag)} is not known; allowed: "
            f"{', '.join(I2B2_TYPES)}"
        )
    for name in ("start", "end"):
        if not NUMBER.fullmatch(tag.get(name, "")):
            raise UserError(f"{where}: {name} is {_word(tag.get(name, ''))}; allowed: a whole number")
    start, end = int(tag.get("start", "")), int(tag.get("end", ""))
    span = _span(start, end, I2B2_TYPES[kind], text, where)
    # XML turns line breaks in attributes into spaces.
    annotated = tag.get("text")
    if annotated is None or annotated.split() != text[start:end].split():
        raise UserError(
            f"{where}: characters {start} to {end} of TEXT have the shape {mask_form(text[start:end])!r}, and the "
            f"attribute text has {mask_form(annotated or '')!r}; allowed: the same text; correct start and end"
        )
    return Span(start, end, i2b2_class(span.kind, text[start:end]), ANNOTATION)


def i2b2_class(kind: str, text: str) -> str:
    """Return the class of an i2b2 annotation. Safe Harbor allows a year alone and an age up to 89.

    Dates without a digit, such as a weekday or a holiday, are relative dates. An age without a digit counts as over
    89 if it has "ninet" or "hundred".
    """
    if kind == "date":
        if re.fullmatch(r"\W*(?:18|19|20)[0-9]{2}\W*", text):
            return "year"
        return "date" if any(c.isdigit() for c in text) else "reldate"
    if kind == "age":
        numbers = [int(number) for number in NUMBER.findall(text)]
        is_over = max(numbers) > 89 if numbers else bool(re.search("ninet|hundred", text.lower()))
        return "age" if is_over else "age_to_89"
    return kind


# Messages -----------------------------------------------------------------------------------------------------


def _sorted(spans: Iterator[Span] | Sequence[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _identity(value: Any, location: str) -> str:
    return str(value) if isinstance(value, str | int) and str(value).strip() else location


def _fields(record: Mapping[str, Any], *without: str) -> dict[str, str]:
    return {
        str(key): str(value)
        for key, value in record.items()
        if key not in without and isinstance(value, str | int) and str(value).strip()
    }


def _type(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def _word(text: str) -> str:
    """Return a short word in quotes; anything longer may be text of a note, and only its shape is returned."""
    return repr(text if re.fullmatch(r"[\w.-]{0,30}", text) else mask_form(text[:60]))


def _columns(record: Mapping[str, Any]) -> str:
    """Return the names of columns for a message. If the first line is no heading, they are text of a note."""
    return f"; the file has: {', '.join(_word(str(key)) for key in list(record)[:20])}"
