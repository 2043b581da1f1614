"""Tables of the profile `recall`: cells under a heading such as "Name", "MRN" or "Phone" are identifiers."""

from __future__ import annotations

import re

from .rules import Span

COLUMNS = {
    "name": re.compile(
        r"(?i)(?:(?:patient|pt|full|first|last|given|family|preferred|maiden)?[ _]?names?|"
        r"surname|forename|nachname|vorname|patient|patientin|pat\.?|attending|provider|"
        r"physician|consultant|pcp|gp|nurse|rn|"
        r"surgeon|contact|next of kin|nok|resident|doctor|arzt|hausarzt|behandler|kontakt|"
        r"angehörige|carer|staff|clinician|seen by|therapist|referrer|referring|reviewer|"
        r"author|user|team|assigned(?: to)?|primary|covering|relative|guardian|spouse|"
        r"mother|father)"
        r"(?: (?:name|physician|provider|nurse|person))?"
    ),
    "date": re.compile(r"(?i)(?:dob|d\.o\.b\.?|date of birth|birth ?date|geb\.?(?:-?datum)?|geburtsdatum)"),
    "mrn": re.compile(
        r"(?i)(?:mrn|mr#?|hosp(?:ital)? (?:no|number|nr)\.?|nhs(?: no| number)?|chi|unit (?:no|"
        r"number)|patient id|pat\.?-?id|fall(?:nummer|-?nr\.?)|id|case(?: no)?|chart(?: no|"
        r" #)?|csn|fin)"
    ),
    "phone": re.compile(
        r"(?i)(?:tele?(?:fon|phone)?|phone(?: no| number)?|mobile|cell|handy|pager|ext\.?|"
        r"bleep|fax|contact (?:no|number)|tel\.?)"
    ),
    "place": re.compile(
        r"(?i)(?:address|adresse|anschrift|postcode|zip(?: code)?|plz|town|city|ort|wohnort|"
        r"hospital|facility|employer|arbeitgeber)"
    ),
    "other": re.compile(r"(?i)(?:accession(?: no| #)?|acc#?|specimen(?: no| id)?|room|rm|zimmer)"),
}
EMPTY = re.compile(
    r"(?i)(?:n/?a|none|nil|unknown|unk|-+|\u2013|keine?r?|pending|tbc|tbd|self|same|"
    r"ditto|\"|yes|no|m|f|male|female)\.?"
)


def find_cells(text: str) -> list[Span]:
    """Return the cells of tables between columns whose heading names a class of identifiers.

    The columns are separated by |, tabs, commas, semicolons, or at least two spaces.
    """
    spans: list[Span] = []
    kinds: list[str] = []
    mark = ""
    at = 0
    for line in text.split("\n"):
        heading = _heading(line)
        if heading:
            mark, kinds = heading
        elif not line.strip() or not mark or not _is_row(line, mark, len(kinds)):
            if not re.fullmatch(r"[\s|:=+-]+", line):
                mark = ""
        else:
            spans += [
                Span(at + start, at + start + len(cell), kind, "table")
                for (cell, start), kind in zip(_cells(line, mark), kinds, strict=False)
                if kind and cell and not EMPTY.fullmatch(cell) and len(cell) < 60
            ]
        at += len(line) + 1
    return spans


def _heading(line: str) -> tuple[str, list[str]] | None:
    """Return the separator and the class of each column, if the line is a heading with at least two known columns."""
    if len(line) > 300:
        return None
    for mark in ("|", "\t", ";", ",", "  "):
        if line.count(mark) < 1:
            continue
        cells = _cells(line, mark)
        kinds = [_kind(cell) for cell, _ in cells]
        if sum(map(bool, kinds)) >= 2 and all(len(cell) < 30 for cell, _ in cells):
            return mark, kinds
    return None


def _is_row(line: str, mark: str, columns: int) -> bool:
    count = len(_cells(line, mark))
    return count > 1 and (mark == "|" or abs(count - columns) <= 1)


def _cells(line: str, mark: str) -> list[tuple[str, int]]:
    cells = []
    at = 0
    if mark == "  ":
        return [(match[0].rstrip(), match.start()) for match in re.finditer(r"\S(?:\S| (?! ))*", line)]
    for part in line.split(mark):
        cells.append((part.strip(), at + len(part) - len(part.lstrip())))
        at += len(part) + 1
    return cells


def _kind(heading: str) -> str:
    for kind, pattern in COLUMNS.items():
        if pattern.fullmatch(heading.strip("* ")):
            return kind
    return ""
