"""Anki packages (.apkg, .colpkg): the notes and cards of a collection, in any of its three formats.

A package is a zip with a SQLite database: `collection.anki2`, `collection.anki21`, or `collection.anki21b`, which is
packed by Zstandard and keeps its note types in tables instead of JSON. A newer package also holds the oldest format,
with a single note that asks to update Anki; the file `meta` says which one counts. The database is not trusted: it is
read from a private copy, read-only, only from plain tables, and no longer than its size explains.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..core.archive import Bounded, bound, read_members
from ..core.errors import UserError, one_line
from ..core.files import parse_json

COLLECTIONS = {1: "collection.anki2", 2: "collection.anki21", 3: "collection.anki21b"}
CLOZE = 1  # the kind of a note type
LONGEST = 64 << 20  # bytes of one value; the JSON of all note types of a large collection is some MB
STEP = 10_000  # of SQLite's virtual machine, between two looks at what is left
STEPS_FREE, STEPS_PER_BYTE = 1_000_000, 20  # reading needs about one a byte

NOTES = """
    SELECT notes.id, notes.guid, notes.mid, notes.flds, cards.ord, cards.did
    FROM notes LEFT JOIN cards ON cards.nid = notes.id ORDER BY notes.id, cards.ord
"""


@dataclass(frozen=True, slots=True)
class NoteType:
    """What notes of a type have in common: field names, and for each kind of card its front and back template."""

    name: str
    cloze: bool
    fields: tuple[str, ...]
    templates: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """`cards` are (number from 0, deck with its parents). `type` is None where the package lacks it."""

    id: int
    guid: str
    type: NoteType | None
    values: tuple[str, ...]
    cards: tuple[tuple[int, str], ...]


def read_notes(path: Path) -> Iterator[Note]:
    """All notes of a package, by id. Bytes that are no UTF-8 become lone surrogates, for the caller to find.

    Raises UserError for what is no Anki package, is damaged, or unpacks to far more than it weighs.
    """
    with tempfile.TemporaryDirectory(prefix="apkg") as folder:
        database = _unpack(path, Path(folder))
        try:
            connection = _open(database)
        except sqlite3.Error as error:
            raise UserError(f"{path}: its collection cannot be opened ({one_line(error)})") from None
        try:
            yield from _notes(connection, str(path))
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UserError(f"{path}: its collection is damaged ({one_line(error)})") from None
        finally:
            connection.close()


def _unpack(path: Path, folder: Path) -> Path:
    """The package's database as a file in `folder`."""
    names = {}
    version = None
    for name, file in read_members(path, ("meta", *COLLECTIONS.values())):
        names[name] = True
        if name == "meta":
            version = _protobuf(file.read(1 << 10)).get(1)
    if "meta" in names and version not in COLLECTIONS:
        raise UserError(
            f"{path}: its meta names no known format; export it again, for older versions of Anki"
        )
    newest = [name for name in reversed(COLLECTIONS.values()) if name in names]
    wanted = COLLECTIONS[version] if isinstance(version, int) else newest[0] if newest else None
    if wanted not in names:
        raise UserError(f"{path}: no {wanted or 'collection'} in it; this is no whole Anki package")
    packed, database = folder / "packed", folder / "collection"
    for name, file in read_members(path, wanted or ""):
        if name == wanted:
            _copy(file, packed)
    if wanted != COLLECTIONS[3]:
        return packed
    import zstandard

    with packed.open("rb") as file:
        reader = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(file))
        _copy(cast(BinaryIO, Bounded(reader, bound(packed.stat().st_size), f"{path}: {wanted}")), database)
    return database


def _copy(source: BinaryIO, target: Path) -> None:
    with target.open("wb") as file:
        while data := source.read(1 << 20):
            file.write(data)


def _open(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Pages that point at each other would be read for ever; a sound file never comes near the limit.
    looks = iter(range((STEPS_FREE + STEPS_PER_BYTE * database.stat().st_size) // STEP))
    connection.set_progress_handler(lambda: next(looks, None) is None, STEP)
    connection.create_collation(
        "unicase", lambda a, b: (a.casefold() > b.casefold()) - (a.casefold() < b.casefold())
    )
    return connection


def _notes(connection: sqlite3.Connection, where: str) -> Iterator[Note]:
    # A view may compute without end and a virtual table run other code, so neither counts as a table.
    tables = {
        name
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
        if isinstance(sql, str) and not sql.upper().startswith("CREATE VIRTUAL")
    }
    if missing := {"col", "notes", "cards"} - tables:
        raise UserError(f"{where}: its collection has no table {min(missing)}; this is no whole Anki package")
    if {"notetypes", "fields", "templates", "decks"} <= tables:
        types, decks = _types_in_tables(connection), _decks_in_table(connection)
    else:
        types, decks = _types_and_decks_in_json(connection, where)
    for _, group in itertools.groupby(connection.execute(NOTES), key=lambda row: row[0]):
        rows = list(group)
        number, guid, kind, values, *_ = rows[0]
        cards = [(ord_, decks.get(deck, "")) for *_, ord_, deck in rows if isinstance(ord_, int)]
        values = tuple(values.split("\x1f")) if isinstance(values, str) else ()
        yield Note(number, str(guid or number), types.get(kind), values, tuple(cards))


def _types_and_decks_in_json(
    connection: sqlite3.Connection, where: str
) -> tuple[dict[Any, NoteType], dict[Any, str]]:
    row = connection.execute("SELECT models, decks FROM col").fetchone() or ("", "")
    types: dict[Any, NoteType] = {}
    decks: dict[Any, str] = {}
    try:
        models, named = (parse_json(text, f"{where}: table col") for text in map(str, row))
        for key, model in models.items():
            fields = tuple(str(one["name"]) for one in model["flds"])
            templates = tuple((str(one["qfmt"]), str(one["afmt"])) for one in model["tmpls"])
            types[int(key)] = NoteType(str(model["name"]), model.get("type") == CLOZE, fields, templates)
        for key, deck in named.items():
            decks[int(key)] = str(deck["name"])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"{where}: the note types and decks in its table col cannot be read") from None
    return types, decks


def _types_in_tables(connection: sqlite3.Connection) -> dict[Any, NoteType]:
    fields: dict[Any, list[str]] = {}
    for key, name in connection.execute("SELECT ntid, name FROM fields ORDER BY ntid, ord"):
        fields.setdefault(key, []).append(str(name))
    templates: dict[Any, list[tuple[str, str]]] = {}
    for key, config in connection.execute("SELECT ntid, config FROM templates ORDER BY ntid, ord"):
        sides = _protobuf(config)
        templates.setdefault(key, []).append((_text(sides.get(1)), _text(sides.get(2))))
    return {
        key: NoteType(
            str(name),
            _protobuf(config).get(1) == CLOZE,
            tuple(fields.get(key, ())),
            tuple(templates.get(key, ())),
        )
        for key, name, config in connection.execute("SELECT id, name, config FROM notetypes")
    }


def _decks_in_table(connection: sqlite3.Connection) -> dict[Any, str]:
    rows = connection.execute("SELECT id, name FROM decks")
    return {key: str(name).replace("\x1f", "::") for key, name in rows}


def _text(value: int | bytes | None) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else ""


def _protobuf(data: Any) -> Mapping[int, int | bytes]:
    """Field number -> last value, of a Protocol Buffers message of numbers and texts; what follows damage is left."""
    values: dict[int, int | bytes] = {}
    if not isinstance(data, bytes):
        return values
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at) if key & 7 in (0, 2) else (0, len(data))
        if key & 7 == 2:
            values[key >> 3] = data[at : at + value]
            at += value
        elif key & 7 == 0:
            values[key >> 3] = value
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            break
    return value, at
