"""Read the notes and cards of an Anki package (.apkg, .colpkg), in all three formats of the collection.

A package is a zip archive with a SQLite database: `collection.anki2`, `collection.anki21`, or `collection.anki21b`.
The last is compressed with Zstandard and keeps its note types in tables instead of JSON. A newer package also has a
database in the oldest format, whose one note is a request to update Anki. Then the file `meta` names the valid one.

The database is not trusted. It is read from a private copy, read-only, from plain tables only. Reading fails after more
steps of SQLite's virtual machine than a database of its size needs.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..core.errors import UserError, one_line
from ..core.files import parse_json
from ..core.streams import BoundedReader, max_unpacked_size, read_members

COLLECTION_NAMES = {1: "collection.anki2", 2: "collection.anki21", 3: "collection.anki21b"}
# The value of `type` in a cloze note type.
CLOZE_TYPE = 1
# Largest size of one value of the database, in bytes. The JSON of all note types of a large collection is some MB.
MAX_VALUE_LENGTH = 64 << 20
# Limit on the steps of SQLite's virtual machine, and steps between two checks of it. Reading needs about one step for
# each byte of the database.
BASE_STEPS, STEPS_PER_BYTE = 1_000_000, 20
STEPS_PER_CHECK = 10_000

NOTES_QUERY = """
    SELECT notes.id, notes.guid, notes.mid, notes.flds, cards.ord, cards.did
    FROM notes LEFT JOIN cards ON cards.nid = notes.id ORDER BY notes.id, cards.ord
"""


@dataclass(frozen=True, slots=True)
class NoteType:
    """A note type: its field names, and a (front, back) template for each kind of card."""

    name: str
    cloze: bool
    fields: tuple[str, ...]
    templates: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A note: the values of its fields as HTML, and its cards.

    A card is (number from 0, full deck name); the name is "" if the deck is unknown. `guid` is the id of the note in
    all packages. `type` is None if the package does not contain the note type. `place` is the location of the note in
    its file; "" is its id.
    """

    id: int
    guid: str
    type: NoteType | None
    values: tuple[str, ...]
    cards: tuple[tuple[int, str], ...]
    place: str = ""


def read_notes(path: Path) -> Iterator[Note]:
    """Yield all notes of a package, ordered by id. Bytes that are not UTF-8 become lone surrogates.

    Raises UserError for a file that is not an Anki package, is damaged, or unpacks to more than `max_unpacked_size`.
    """
    with tempfile.TemporaryDirectory(prefix="apkg") as folder:
        database = _unpack(path, Path(folder))
        try:
            connection = _open(database)
        except sqlite3.Error as error:
            raise UserError(f"{path}: its collection cannot be opened ({one_line(error)})") from None
        try:
            yield from _query_notes(connection, str(path))
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UserError(f"{path}: its collection is damaged ({one_line(error)})") from None
        finally:
            connection.close()


def _unpack(path: Path, folder: Path) -> Path:
    """Extract the package's database to a file in `folder` and return that file."""
    names = set()
    version = None
    for name, file in read_members(path, ("meta", *COLLECTION_NAMES.values())):
        names.add(name)
        if name == "meta":
            version = _parse_protobuf(file.read(1 << 10)).get(1)
    if "meta" in names and version not in COLLECTION_NAMES:
        raise UserError(
            f"{path}: unknown package format {version!r}; known are 1 to 3. "
            "Export the deck again with 'Support older Anki versions'"
        )
    newest = [name for name in reversed(COLLECTION_NAMES.values()) if name in names]
    collection = COLLECTION_NAMES[version] if isinstance(version, int) else newest[0] if newest else None
    if collection not in names:
        raise UserError(
            f"{path}: contains no {collection or 'collection'}, so it is not a complete Anki package; export it again"
        )
    packed, database = folder / "packed", folder / "collection"
    for name, file in read_members(path, collection or ""):
        if name == collection:
            _copy(file, packed)
    if collection != COLLECTION_NAMES[3]:
        return packed
    import zstandard

    with packed.open("rb") as file:
        reader = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(file))
        limit = max_unpacked_size(packed.stat().st_size)
        _copy(cast(BinaryIO, BoundedReader(reader, limit, f"{path}: {collection}")), database)
    return database


def _copy(source: BinaryIO, target: Path) -> None:
    with target.open("wb") as file:
        while data := source.read(1 << 20):
            file.write(data)


def _open(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_LENGTH)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Pages of a damaged file can refer to each other in a loop. A valid file needs far fewer steps than the limit.
    checks = iter(range((BASE_STEPS + STEPS_PER_BYTE * database.stat().st_size) // STEPS_PER_CHECK))
    connection.set_progress_handler(lambda: next(checks, None) is None, STEPS_PER_CHECK)
    connection.create_collation(
        "unicase", lambda a, b: (a.casefold() > b.casefold()) - (a.casefold() < b.casefold())
    )
    return connection


def _query_notes(connection: sqlite3.Connection, where: str) -> Iterator[Note]:
    # A view can run without end and a virtual table can run other code, so both are ignored.
    tables = {
        name
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
        if isinstance(sql, str) and not sql.upper().startswith("CREATE VIRTUAL")
    }
    if missing := {"col", "notes", "cards"} - tables:
        raise UserError(
            f"{where}: its collection has no table {min(missing)!r}, so it is not a complete Anki package; "
            "export it again"
        )
    if {"notetypes", "fields", "templates", "decks"} <= tables:
        types, decks = _read_types_from_tables(connection), _read_decks_from_table(connection)
    else:
        types, decks = _read_types_and_decks_from_json(connection, where)
    for _, group in itertools.groupby(connection.execute(NOTES_QUERY), key=lambda row: row[0]):
        rows = list(group)
        number, guid, kind, values, *_ = rows[0]
        cards = [(ord_, decks.get(deck, "")) for *_, ord_, deck in rows if isinstance(ord_, int)]
        values = tuple(values.split("\x1f")) if isinstance(values, str) else ()
        yield Note(number, str(guid or number), types.get(kind), values, tuple(cards))


def _read_types_and_decks_from_json(
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
            types[int(key)] = NoteType(str(model["name"]), model.get("type") == CLOZE_TYPE, fields, templates)
        for key, deck in named.items():
            decks[int(key)] = str(deck["name"])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"{where}: the note types and decks in its table col cannot be read") from None
    return types, decks


def _read_types_from_tables(connection: sqlite3.Connection) -> dict[Any, NoteType]:
    fields: dict[Any, list[str]] = {}
    for key, name in connection.execute("SELECT ntid, name FROM fields ORDER BY ntid, ord"):
        fields.setdefault(key, []).append(str(name))
    templates: dict[Any, list[tuple[str, str]]] = {}
    for key, config in connection.execute("SELECT ntid, config FROM templates ORDER BY ntid, ord"):
        sides = _parse_protobuf(config)
        templates.setdefault(key, []).append((_decode_text(sides.get(1)), _decode_text(sides.get(2))))
    return {
        key: NoteType(
            str(name),
            _parse_protobuf(config).get(1) == CLOZE_TYPE,
            tuple(fields.get(key, ())),
            tuple(templates.get(key, ())),
        )
        for key, name, config in connection.execute("SELECT id, name, config FROM notetypes")
    }


def _read_decks_from_table(connection: sqlite3.Connection) -> dict[Any, str]:
    rows = connection.execute("SELECT id, name FROM decks")
    return {key: str(name).replace("\x1f", "::") for key, name in rows}


def _decode_text(value: int | bytes | None) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else ""


def _parse_protobuf(data: Any) -> Mapping[int, int | bytes]:
    """Return {field number: last value} of a Protocol Buffers message with fields of type varint and bytes.

    From a field of another type on, the message is ignored. A value that is not bytes gives {}.
    """
    values: dict[int, int | bytes] = {}
    if not isinstance(data, bytes):
        return values
    position = 0
    while position < len(data):
        key, position = _parse_varint(data, position)
        value, position = _parse_varint(data, position) if key & 7 in (0, 2) else (0, len(data))
        if key & 7 == 2:
            values[key >> 3] = data[position : position + value]
            position += value
        elif key & 7 == 0:
            values[key >> 3] = value
    return values


def _parse_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value, shift, position = value | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            break
    return value, position
