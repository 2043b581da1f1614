import io
import json
import sqlite3
import zipfile
from pathlib import Path

import genanki
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medalpaca_data.core import streams
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.formats.apkg import NoteType, read_notes
from medalpaca_data.sources.anki import Anki
from medalpaca_data.sources.base import Reject

FRONT, BACK = "{{Front}}", "{{FrontSide}}<hr id=answer>{{Back}}<div>{{hint:Extra}}</div>"
BASIC = genanki.Model(
    1607392311,
    "Plain",
    fields=[{"name": "Front"}, {"name": "Back"}, {"name": "Extra"}],
    templates=[{"name": "One", "qfmt": FRONT, "afmt": BACK}],
)
CLOZE = genanki.Model(
    1607392313,
    "Gaps",
    model_type=genanki.Model.CLOZE,
    fields=[{"name": "Text"}, {"name": "Extra"}],
    templates=[{"name": "Cloze", "qfmt": "{{cloze:Text}}", "afmt": "{{cloze:Text}}<br>{{Extra}}"}],
)


def write_deck(path: Path, *notes: tuple[genanki.Model, list[str]]) -> Path:
    deck = genanki.Deck(2059400110, "Heart::Rhythm")
    for number, (model, fields) in enumerate(notes):
        deck.add_note(genanki.Note(model=model, fields=fields, guid=f"g{number}"))
    genanki.Package(deck).write_to_file(str(path), timestamp=1_700_000_000)
    return path


@pytest.fixture
def deck(tmp_path):
    return lambda *notes: write_deck(tmp_path / "deck.apkg", *notes)


def as_anki21(path: Path, *, version: int | None = 2) -> Path:
    """The package in the second layout: the database under the other name, and the stub of the first beside it."""
    database, stub = _database(path), _stub(path.parent)
    return _package(path, {"collection.anki2": stub, "collection.anki21": database}, version)


def as_anki21b(path: Path, *, version: int | None = 3) -> Path:
    """The package in the third layout: schema 18, note types and decks in tables, the database packed by Zstandard."""
    file = path.parent / "schema18"
    file.write_bytes(_database(path))
    connection = sqlite3.connect(file)
    connection.create_collation("unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
    models, decks = (
        json.loads(text) for text in connection.execute("SELECT models, decks FROM col").fetchone()
    )
    connection.executescript(
        """
        CREATE TABLE notetypes(id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL COLLATE unicase,
            mtime_secs INTEGER NOT NULL, usn INTEGER NOT NULL, config BLOB NOT NULL);
        CREATE UNIQUE INDEX idx_notetypes_name ON notetypes (name);
        CREATE TABLE fields(ntid INTEGER NOT NULL, ord INTEGER NOT NULL, name TEXT NOT NULL COLLATE unicase,
            config BLOB NOT NULL, PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
        CREATE UNIQUE INDEX idx_fields_name_ntid ON fields (name, ntid);
        CREATE TABLE templates(ntid INTEGER NOT NULL, ord INTEGER NOT NULL, name TEXT NOT NULL COLLATE unicase,
            mtime_secs INTEGER NOT NULL, usn INTEGER NOT NULL, config BLOB NOT NULL, PRIMARY KEY (ntid, ord))
            WITHOUT ROWID;
        CREATE TABLE decks(id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL COLLATE unicase,
            mtime_secs INTEGER NOT NULL, usn INTEGER NOT NULL, common BLOB NOT NULL, kind BLOB NOT NULL);
        UPDATE col SET models = '', decks = '';
        """
    )
    for key, model in models.items():
        kind = b"\x08\x01" if model["type"] else b""
        config = kind + _message(3, ".card { color: black }") + b"\x38\x01"
        connection.execute("INSERT INTO notetypes VALUES (?, ?, 0, 0, ?)", (int(key), model["name"], config))
        for number, field in enumerate(model["flds"]):
            connection.execute(
                "INSERT INTO fields VALUES (?, ?, ?, ?)", (int(key), number, field["name"], b"")
            )
        for number, one in enumerate(model["tmpls"]):
            config = _message(1, one["qfmt"]) + _message(2, one["afmt"])
            values = (int(key), number, one["name"], config)
            connection.execute("INSERT INTO templates VALUES (?, ?, ?, 0, 0, ?)", values)
    for key, one in decks.items():
        name = one["name"].replace("::", "\x1f")
        connection.execute("INSERT INTO decks VALUES (?, ?, 0, 0, x'', x'')", (int(key), name))
    connection.commit()
    connection.close()
    packed = zstandard.ZstdCompressor().compress(file.read_bytes())
    return _package(path, {"collection.anki2": _stub(path.parent), "collection.anki21b": packed}, version)


def _message(number: int, text: str) -> bytes:
    data = text.encode()
    length, size = bytearray(), len(data)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + data


def _database(path: Path) -> bytes:
    with zipfile.ZipFile(path) as package:
        return package.read("collection.anki2")


def _stub(folder: Path) -> bytes:
    return _database(write_deck(folder / "stub.apkg", (BASIC, ["Please update Anki.", "", ""])))


def _package(path: Path, members: dict[str, bytes], version: int | None) -> Path:
    with zipfile.ZipFile(path, "w") as package:
        for name, data in members.items():
            package.writestr(name, data)
        if version is not None:
            package.writestr("meta", bytes([8, version]))
        package.writestr("media", b"{}")
    return path


# The three layouts ------------------------------------------------------------------------------------------------

LAYOUTS = {
    "anki2": lambda path: path,
    "generated anki21": as_anki21,
    "generated anki21 without meta": lambda path: as_anki21(path, version=None),
    "generated anki21b": as_anki21b,
    "generated anki21b without meta": lambda path: as_anki21b(path, version=None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_notes(deck, layout):
    path = deck(
        (BASIC, ["Usual dose?", "<b>5&nbsp;mg</b>", ""]), (CLOZE, ["{{c1::a::which}} {{c2::b}}", "more"])
    )
    basic, cloze = read_notes(LAYOUTS[layout](path))
    assert basic.type == NoteType("Plain", False, ("Front", "Back", "Extra"), ((FRONT, BACK),))
    assert (basic.guid, basic.values) == ("g0", ("Usual dose?", "<b>5&nbsp;mg</b>", ""))
    assert basic.cards == ((0, "Heart::Rhythm"),)
    assert cloze.type is not None
    assert (cloze.type.cloze, cloze.type.fields) == (True, ("Text", "Extra"))
    assert (cloze.guid, cloze.values) == ("g1", ("{{c1::a::which}} {{c2::b}}", "more"))
    assert cloze.cards == ((0, "Heart::Rhythm"), (1, "Heart::Rhythm"))


def test_a_format_to_come_is_refused_not_read_as_its_stub(deck):
    path = as_anki21b(deck((BASIC, ["Q", "A", ""])), version=4)
    with pytest.raises(UserError, match=r"unknown package format 4.*[Ee]xport the deck again"):
        list(read_notes(path))


def test_a_package_without_what_its_meta_promises(tmp_path):
    path = _package(tmp_path / "x.apkg", {"collection.anki2": _stub(tmp_path)}, 3)
    with pytest.raises(UserError, match=r"contains no collection\.anki21b"):
        list(read_notes(path))


def change(path: Path, sql: str) -> None:
    file = path.parent / "changed"
    file.write_bytes(_database(path))
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.close()
    _package(path, {"collection.anki2": file.read_bytes()}, None)


# Files that are not what they should be ---------------------------------------------------------------------------


def test_a_view_instead_of_a_table_is_not_computed(deck):
    path = deck((BASIC, ["Q", "A", ""]))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"
    change(path, f"DROP TABLE notes; CREATE VIEW notes AS {endless}")
    with pytest.raises(UserError, match="no table 'notes'"):
        list(read_notes(path))


def test_more_work_than_the_size_explains_is_ended(deck):
    path = deck((BASIC, ["Q", "A", ""]))
    # Every card belongs to every note, which no real table can say, its ids being keys: 9 million cards in 100 kB.
    change(
        path,
        "DROP TABLE notes; CREATE TABLE notes(id, guid, mid, flds);"
        "DROP TABLE cards; CREATE TABLE cards(nid, ord, did);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000)"
        "INSERT INTO cards SELECT 1, 0, 1 FROM n;"
        "INSERT INTO notes SELECT 1, 1, 1, 'x' FROM cards;",
    )
    with pytest.raises(UserError, match=r"damaged \(interrupted\)"):
        list(read_notes(path))


@pytest.fixture
def small_bound(monkeypatch):
    """What any file may unpack to, made small, so that a bomb need not be big."""
    monkeypatch.setattr(streams, "BASE_SIZE", 1 << 16)


def test_a_zip_bomb_is_refused(tmp_path, small_bound):
    path = tmp_path / "bomb.apkg"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("collection.anki2", bytes(2 << 20))
    with pytest.raises(UserError, match="unpacks to more than 200 times"):
        list(read_notes(path))


def test_a_zstandard_bomb_is_refused(tmp_path, small_bound):
    bomb = zstandard.ZstdCompressor().compress(bytes(2 << 20))
    path = _package(tmp_path / "bomb.apkg", {"collection.anki21b": bomb}, 3)
    with pytest.raises(UserError, match="unpacks to more than 200 times"):
        list(read_notes(path))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound package of each database layout: its members, by the collection's name."""
    folder = tmp_path_factory.mktemp("sound")
    notes = (BASIC, ["Q", "A", ""]), (CLOZE, ["{{c1::a}} {{c2::b::h}}", ""])
    old = write_deck(folder / "old.apkg", *notes)
    new = as_anki21b(write_deck(folder / "new.apkg", *notes))
    with zipfile.ZipFile(new) as package:
        tables = zstandard.ZstdDecompressor().decompress(package.read("collection.anki21b"))
    return [_database(old), tables], [old.read_bytes(), new.read_bytes()]


def consume(folder: Path, data: bytes) -> None:
    path = folder / "any.apkg"
    path.write_bytes(data)
    try:
        records = list(Anki(path=path.name).records(folder))
    except UserError as error:
        assert "\n" not in str(error)
        assert "any.apkg" in str(error)
        return
    assert all(isinstance(record, Row | Reject) for record in records)


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: cut and cut % len(changed)])


MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12)
CUTS = st.one_of(st.none(), st.integers(1, 1 << 20))
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.binary(max_size=300))
@example(b"PK\x03\x04")
@example(b"PK\x05\x06" + bytes(18))
def test_any_bytes_are_read_or_refused(tmp_path, data):
    consume(tmp_path, data)


@pytest.mark.parametrize("name", [b"\xff\xfe\xfd\xfc", bytes(4)])
def test_a_member_whose_name_is_no_name(tmp_path, name):
    path = tmp_path / "x.apkg"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("\xe9\xe9", b"")
    path.write_bytes(path.read_bytes().replace("\xe9\xe9".encode(), name))
    with pytest.raises(UserError, match=r"x\.apkg: "):
        list(read_notes(path))


@QUICK
@given(st.integers(0, 1), MUTATIONS, CUTS)
def test_a_damaged_package_is_read_or_refused(tmp_path, sound, which, changes, cut):
    consume(tmp_path, mutated(sound[1][which], changes, cut))


@QUICK
@given(st.integers(0, 1), MUTATIONS, CUTS, st.sampled_from([0, 100, 4096, 20_000]))
def test_a_damaged_database_is_read_or_refused(tmp_path, sound, which, changes, cut, start):
    name, pack = [("collection.anki2", bytes), ("collection.anki21b", zstandard.ZstdCompressor().compress)][
        which
    ]
    data = sound[0][which]
    near = [(start + place % 400, value) for place, value in changes]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as package:
        package.writestr(name, pack(mutated(data, near, cut)))
        package.writestr("meta", bytes([8, [1, 3][which]]))
    consume(tmp_path, target.getvalue())


@QUICK
@given(st.binary(max_size=60))
def test_any_meta_is_read_or_refused(tmp_path, sound, data):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as package:
        package.writestr("collection.anki2", sound[0][0])
        package.writestr("meta", data)
    consume(tmp_path, target.getvalue())


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@QUICK
@given(st.booleans(), st.one_of(st.text(max_size=20), JSON.map(json.dumps)))
@example(True, "9" * 5000)
@example(True, '{"1": {"name": 1, "flds": [], "tmpls": [], "type": []}}')
def test_any_note_types_are_read_or_refused(tmp_path, sound, types, text):
    file = tmp_path / "database"
    file.write_bytes(sound[0][0])
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("UPDATE col SET models = ?" if types else "UPDATE col SET decks = ?", (text,))
    connection.commit()
    connection.close()
    consume(
        tmp_path, _package(tmp_path / "any.apkg", {"collection.anki2": file.read_bytes()}, None).read_bytes()
    )


def test_notes_are_read_from_a_copy(deck):
    path = deck((BASIC, ["Q", "A", ""]))
    before = path.read_bytes()
    assert len(list(read_notes(path))) == 1
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["deck.apkg"]
