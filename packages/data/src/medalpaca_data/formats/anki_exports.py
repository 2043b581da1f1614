"""Read the notes of an Anki text export ("Notes in Plain Text", .txt) and of a CrowdAnki deck (deck.json).

A text export has no card templates: the first field is the front and the second the back, or the first field has cloze
deletions. The lines at its start that begin with # name the separator, the columns and whether the fields are HTML
(Anki manual, "Text Files"). A CrowdAnki deck has the templates, but does not list the cards.
"""

from __future__ import annotations

import csv
import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..core.delimited import MAX_LINE_LENGTH, field_limit, find_delimiter
from ..core.encoding import UTF_8
from ..core.errors import UserError
from ..core.files import read_json
from ..core.records import FileNote, OnNote, ignore_note
from ..core.text_files import TextFile, decode_lines, open_text
from .apkg import CLOZE_TYPE, Note, NoteType

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|", "colon": ":"}
# Columns of a text export that are not fields of a note.
OTHER_COLUMNS = ("guid", "notetype", "deck", "tags")
CLOZE = re.compile(r"\{\{c([0-9]{1,4}(?:,[0-9]{1,4}){0,20})::", re.IGNORECASE)
FRONT, BACK = "{{1}}", "{{FrontSide}}<hr id=answer>{{2}}"
UNREAD_FIELD = "a text export has no card templates; only front and back are read"
MAX_DECKS = 10_000


def is_text_export(path: Path) -> bool:
    """Return whether a text file begins with a header line of an Anki text export."""
    with open_text(TextFile(path)) as file:
        first = file.readline(1 << 10).removeprefix(b"\xef\xbb\xbf")
    return re.match(rb"#(?:separator|html|columns|tags|guid|notetype|deck)\b[^:\n]{0,20}:", first) is not None


def read_text_notes(path: Path, on_note: OnNote = ignore_note) -> Iterator[Note]:
    """Yield the notes of a text export in file order; their `place` is the last line of the note.

    `on_note` is called for another encoding than UTF-8, and for fields that are not read.
    Raises UserError, with file and line, for a broken quotation mark and for a file without notes.
    """
    text = TextFile(path)
    unread: Counter[str] = Counter()
    count = 0
    with open_text(text) as file:
        lines = decode_lines(file, str(path), MAX_LINE_LENGTH)
        header: dict[str, str] = {}
        first, header_lines = "", 0
        for first in lines:
            if not first.startswith("#"):
                break
            header_lines += 1
            key, _, value = first[1:].rstrip("\r\n").partition(":")
            header[key.strip().lower()] = value
        separator = header.get("separator", "")
        delimiter = SEPARATORS.get(separator.strip().lower(), separator[:1]) or find_delimiter([first], "\t")
        names = header["columns"].split(delimiter) if "columns" in header else []
        others = {
            kind: int(column) - 1
            for kind in OTHER_COLUMNS
            if (column := header.get(f"{kind} column", "").strip()).isdecimal()
        }
        is_html = header.get("html", "true").strip().lower() != "false"
        body = chain([] if first.startswith("#") else [first], lines)
        for number, values in _records(body, delimiter, header_lines, str(path)):
            columns = [n for n in range(len(values)) if n not in others.values()]
            fields = [values[n] if is_html else _as_html(values[n]) for n in columns]
            named = {
                kind: values[n] if n < len(values) else header.get(kind, "") for kind, n in others.items()
            }
            note = _text_note(
                fields, named | {"place": f"line {number}", "file": path.name}, header.get("deck", "")
            )
            count += 1
            read = 1 if note.type and note.type.cloze else 2
            for n in columns[read:]:
                if values[n].strip():
                    unread[names[n] if n < len(names) else f"column {n + 1}"] += 1
            yield note
    if not count:
        raise UserError(f"{path}: no notes in the file; export it from Anki as 'Notes in Plain Text'")
    left_out = tuple((f"{name} (notes: {number:,})", UNREAD_FIELD) for name, number in unread.items())
    encoding = text.found if text.found != UTF_8 else None
    if encoding or left_out:
        on_note(FileNote(file=path.name, encoding=encoding, left_out=left_out))


def _records(
    lines: Iterator[str], delimiter: str, before: int, where: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the last line, fields) for each record that is neither blank nor a comment."""
    starts: list[str] = []

    def noted() -> Iterator[str]:
        for line in lines:
            starts.append(line[:1])
            yield line

    reader = csv.reader(noted(), strict=True, delimiter=delimiter)
    while True:
        starts.clear()
        start = before + reader.line_num + 1
        try:
            with field_limit():
                fields = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{where} line {start}: not a valid text export ({error}); export it again"
            ) from None
        if fields is None:
            return
        if fields and starts[0] != "#":
            yield before + reader.line_num, fields


def _text_note(fields: list[str], named: Mapping[str, str], deck: str) -> Note:
    first = fields[0] if fields else ""
    numbers = cloze_numbers([first])
    kind = NoteType(
        named.get("notetype", ""),
        bool(numbers),
        tuple(str(n) for n in range(1, max(len(fields), 2) + 1)),
        (("{{cloze:1}}", "{{cloze:1}}"),) if numbers else ((FRONT, BACK),),
    )
    values = tuple(fields) if len(fields) > 1 else (first, "")
    place = named["place"]
    return Note(
        0,
        named.get("guid") or f"{named['file']} {place}",
        kind,
        values,
        tuple((number, named.get("deck") or deck) for number in numbers or (0,)),
        place,
    )


def cloze_numbers(values: list[str]) -> list[int]:
    """Return the numbers of the cloze cards of a note, from 0 and sorted."""
    numbers = {int(n) - 1 for value in values for match in CLOZE.findall(value) for n in match.split(",")}
    return sorted(number for number in numbers if number >= 0)


def _as_html(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def is_crowdanki_name(path: Path) -> bool:
    """Return whether a file has the name of a CrowdAnki deck: deck.json, or the name of its directory."""
    return path.suffix.lower() == ".json" and path.stem in ("deck", path.parent.name)


def read_crowdanki_notes(path: Path) -> Iterator[Note]:
    """Yield the notes of a CrowdAnki deck and its subdecks; their `place` is their number in the file.

    A note has a card for each template of its type, or for each number of its cloze deletions. Raises UserError for a
    file that is not a CrowdAnki deck.
    """
    root = read_json(path)
    if not isinstance(root, dict) or root.get("__type__") != "Deck":
        raise UserError(f"{path}: not a CrowdAnki deck (no '__type__': 'Deck')")
    decks = list(_decks(root, path))
    types: dict[str, NoteType] = {}
    for _, deck in decks:
        for model in deck.get("note_models") or ():
            types[str(model["crowdanki_uuid"])] = _note_type(model, path)
    count = 0
    for name, deck in decks:
        for note in deck.get("notes") or ():
            count += 1
            fields = note.get("fields") if isinstance(note, dict) else None
            if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
                raise UserError(f"{path} note {count}: no list of fields; export the deck again")
            kind = types.get(str(note.get("note_model_uuid")))
            numbers: list[int] = []
            if kind:
                numbers = cloze_numbers(fields) if kind.cloze else list(range(len(kind.templates)))
            guid = str(note.get("guid") or f"{path.name} note {count}")
            # A note without its type has one card, which is rejected with the reason.
            cards = tuple((number, name) for number in (numbers if kind else [0]))
            yield Note(count, guid, kind, tuple(fields), cards)


def _decks(root: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (full name, deck) for a deck and its subdecks."""
    waiting: list[tuple[str, Any]] = [("", root)]
    for _ in range(MAX_DECKS):
        if not waiting:
            return
        parent, deck = waiting.pop()
        if not isinstance(deck, dict):
            raise UserError(f"{path}: a subdeck is not an object; export the deck again")
        name = str(deck.get("name") or "")
        full = name if not parent or name.startswith(f"{parent}::") else f"{parent}::{name}"
        yield full, deck
        waiting += [(full, child) for child in reversed(deck.get("children") or [])]
    raise UserError(f"{path}: more than {MAX_DECKS:,} decks")


def _note_type(model: Mapping[str, Any], path: Path) -> NoteType:
    try:
        fields, templates = (
            sorted(model[key], key=lambda entry: entry.get("ord", 0)) for key in ("flds", "tmpls")
        )
        return NoteType(
            str(model.get("name", "")),
            model.get("type") == CLOZE_TYPE,
            tuple(str(entry["name"]) for entry in fields),
            tuple((str(entry["qfmt"]), str(entry["afmt"])) for entry in templates),
        )
    except (LookupError, TypeError, AttributeError):
        raise UserError(f"{path}: a note type cannot be read; export the deck again") from None
