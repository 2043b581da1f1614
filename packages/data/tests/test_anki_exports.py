"""Anki text exports, as Anki 26.9 wrote them, and CrowdAnki decks in the add-on's published layout."""

from __future__ import annotations

import json

import genanki
import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import FileNote
from medalpaca_data.core.row import Row
from medalpaca_data.sources import Anki
from medalpaca_data.sources.base import Reject

ONE_GAP = "Say what belongs in the gap in this text."
CARD = "Answer the question on this flash card."

# Written by Anki 26.9.3: "Notes in Plain Text" with HTML, tags, deck, note type and unique identifier.
FULL = (
    "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\n#deck column:3\n#tags column:6\n"
    'G$c2?.!<~.\tBasic\tHeart::Rhythm\t"Which node sets the ""pace""?"\tThe <b>sinus</b> node<br>'
    "(SA node)\tcardio exam\n"
    '"j]rb#1P!y|"\tBasic\tHeart::Rhythm\t"Two\tlines\nhere"\t50\u2013100 mg; twice\t\n'
    '"NCD!y5{I#G"\tBasic (and reversed card)\tHeart::Rhythm\tHeparin\tAnticoagulant\t\n'
    "KvoQ|dpp[/\tCloze\tHeart::Rhythm\tThe {{c1::sinus::which}} node sets the {{c2::pace}}.\textra text\t\n"
    '"ESYo#z)06]"\tBasic\tHeart::Rhythm\t"#hash first"\t<img src=\'a.png\'>\t\n'
)
# The same notes without all of these, and the cards of the fourth.
PLAIN = (
    '#separator:tab\n#html:false\n"Which node sets the ""pace""?"\tThe sinus node (SA node)\n'
    '"Two\tlines here"\t50\u2013100 mg; twice\nHeparin\tAnticoagulant\n'
    'The {{c1::sinus::which}} node sets the {{c2::pace}}.\textra text\n"#hash first"\t\n'
)
CARDS = (
    '#separator:tab\n#html:true\n"The <span class=""cloze-inactive"" data-ordinal=""1"">sinus</span> node sets the '
    '<span class=""cloze"" data-cloze=""pace"" data-ordinal=""2"">[...]</span>."\t"The <span class=""cloze-inactive"" '
    'data-ordinal=""1"">sinus</span> node sets the <span class=""cloze"" data-ordinal=""2"">pace</span>.<br>\n'
    'extra text"\n'
)


def read(root, path="."):
    records = list(Anki(path=path).records(root))
    rows = [record for record in records if isinstance(record, Row)]
    rejects = [(r.location, r.reason, r.by_rule) for r in records if isinstance(r, Reject)]
    return rows, rejects, [record for record in records if isinstance(record, FileNote)]


def test_notes_with_all_columns(write, tmp_path):
    write("full.txt", FULL)
    rows, rejects, [note] = read(tmp_path, "full.txt")
    assert [(row.source_id, row.instruction, row.input, row.output) for row in rows] == [
        ("full.txt line 7 card 1", CARD, 'Which node sets the "pace"?', "The sinus node\n(SA node)"),
        ("full.txt line 9 card 1", CARD, "Two lines here", "50\u2013100 mg; twice"),
        ("full.txt line 10 card 1", CARD, "Heparin", "Anticoagulant"),
        ("full.txt line 11 card 1", ONE_GAP, "The ____ (which) node sets the pace.", "sinus"),
        ("full.txt line 11 card 2", ONE_GAP, "The sinus node sets the ____.", "pace"),
    ]
    assert rejects == [("line 12 card 1", "a card with a picture", True)]
    assert {row.attribution for row in rows} == {"Anki deck Heart::Rhythm"}
    assert [row.group for row in rows] == [
        f"anki:{guid}" for guid in ("G$c2?.!<~.", "j]rb#1P!y|", "NCD!y5{I#G", *["KvoQ|dpp[/"] * 2)
    ]
    reason = "a text export has no card templates; only front and back are read"
    assert note == FileNote(file="full.txt", left_out=(("column 5 (notes: 1)", reason),))


def test_notes_without_html_and_cards(write, tmp_path):
    write("plain.txt", PLAIN)
    rows, rejects, _ = read(tmp_path, "plain.txt")
    assert [(row.source_id, row.output) for row in rows] == [
        ("plain.txt line 3 card 1", "The sinus node (SA node)"),
        ("plain.txt line 4 card 1", "50\u2013100 mg; twice"),
        ("plain.txt line 5 card 1", "Anticoagulant"),
        ("plain.txt line 6 card 1", "sinus"),
        ("plain.txt line 6 card 2", "pace"),
    ]
    assert rejects == [("line 7 card 1", "no answer", False)]
    assert len({row.group for row in rows}) == 4
    write("plain.txt", "#separator:tab\n#html:false\nIs 3 < 5?\tyes & <no>\n")
    [row] = read(tmp_path, "plain.txt")[0]
    assert (row.input, row.output) == ("Is 3 < 5?", "yes & <no>")
    write("cards.txt", CARDS)
    [row] = read(tmp_path, "cards.txt")[0]
    assert (row.input, row.output) == (
        "The sinus node sets the [...].",
        "The sinus node sets the pace.\nextra text",
    )


@pytest.mark.parametrize(
    ("name", "mark"), [("Semicolon", ";"), ("comma", ","), ("Pipe", "|"), ("!", "!"), (None, "\t")]
)
def test_separators_columns_and_common_values(write, tmp_path, name, mark):
    head = f"#separator:{name}\n" if name else ""
    lines = [
        mark.join(("Front", "Back", "Source")),
        mark.join(("Q1", "A1", "a book")),
        mark.join(("Q2", "A2", "")),
    ]
    text = f"{head}#deck:Liver\n#columns:{lines[0]}\n# a comment\n{lines[1]}\n# another\n\n{lines[2]}\n"
    write("n.txt", text.encode("utf-16"))
    rows, _, [note] = read(tmp_path, "n.txt")
    first = 5 if name else 4
    assert [(row.source_id, row.input, row.output, row.attribution) for row in rows] == [
        (f"n.txt line {first} card 1", "Q1", "A1", "Anki deck Liver"),
        (f"n.txt line {first + 3} card 1", "Q2", "A2", "Anki deck Liver"),
    ]
    assert note.encoding == "utf-16"
    assert [entry for entry, _ in note.left_out] == ["Source (notes: 1)"]


def test_text_exports_that_cannot_be_read(write, tmp_path):
    write("n.txt", '#separator:tab\nQ\tA\n"Q\tA\n')
    with pytest.raises(UserError, match=r"n.txt line 3: not a valid text export \(unexpected end of data\)"):
        read(tmp_path, "n.txt")
    write("n.txt", "#separator:tab\n")
    with pytest.raises(UserError, match=r"n.txt: no notes in the file"):
        read(tmp_path, "n.txt")
    write("n.csv", "a,b\n")
    with pytest.raises(UserError, match=r"n.csv: not a deck; allowed are .apkg, .colpkg, .*use kind: alpaca"):
        read(tmp_path, "n.csv")


BASIC = {
    "__type__": "NoteModel",
    "crowdanki_uuid": "b1",
    "name": "Basic",
    "type": 0,
    "flds": [{"name": "Back", "ord": 1}, {"name": "Front", "ord": 0}],
    "tmpls": [
        {"name": "Card 2", "ord": 1, "qfmt": "{{Back}}", "afmt": "{{FrontSide}}<hr id=answer>{{Front}}"},
        {"name": "Card 1", "ord": 0, "qfmt": "{{Front}}", "afmt": "{{FrontSide}}<hr id=answer>{{Back}}"},
    ],
}
CLOZE = {
    "__type__": "NoteModel",
    "crowdanki_uuid": "c1",
    "name": "Cloze",
    "type": 1,
    "flds": [{"name": "Text", "ord": 0}, {"name": "Extra", "ord": 1}],
    "tmpls": [{"name": "Cloze", "ord": 0, "qfmt": "{{cloze:Text}}", "afmt": "{{cloze:Text}}<br>{{Extra}}"}],
}


def crowdanki_note(model, guid, *fields):
    return {
        "__type__": "Note",
        "fields": fields,
        "flags": 0,
        "guid": guid,
        "note_model_uuid": model,
        "tags": [],
    }


def deck(name, notes, children=(), models=()):
    return {
        "__type__": "Deck",
        "children": list(children),
        "crowdanki_uuid": name,
        "deck_configurations": [],
        "media_files": ["a.png"],
        "name": name,
        "note_models": list(models),
        "notes": list(notes),
    }


def test_a_crowdanki_deck_with_a_subdeck(write, tmp_path):
    rhythm = deck("Rhythm", [crowdanki_note("c1", "g2", "The {{c2::sinus}} node sets the {{c3::pace}}.", "")])
    lost = crowdanki_note("x", "g3", "Q", "A")
    whole = deck(
        "Heart", [crowdanki_note("b1", "g1", "Organ of pumping?", "Heart"), lost], [rhythm], [BASIC, CLOZE]
    )
    write("Heart/deck.json", whole)
    write("Heart/media/a.png", "?")
    rows, rejects, _ = read(tmp_path, "Heart")
    assert [(row.source_id, row.input, row.output, row.attribution, row.group) for row in rows] == [
        ("deck.json note 1 card 1", "Organ of pumping?", "Heart", "Anki deck Heart", "anki:g1"),
        (
            "deck.json note 3 card 2",
            "The ____ node sets the pace.",
            "sinus",
            "Anki deck Heart::Rhythm",
            "anki:g2",
        ),
        (
            "deck.json note 3 card 3",
            "The sinus node sets the ____.",
            "pace",
            "Anki deck Heart::Rhythm",
            "anki:g2",
        ),
    ]
    assert rejects == [
        ("note 1 card 2", "a reversed card", True),
        ("note 2 card 1", "the note type is not in the package", False),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"__type__": "Note"}, "not a CrowdAnki deck"),
        ({"notes": [{"fields": "Q"}]}, "note 1: no list of fields"),
        ({"note_models": [{"crowdanki_uuid": "b1"}]}, "a note type cannot be read"),
        ({"note_models": ["x"]}, "a note type cannot be read"),
        ({"children": ["x"]}, "a subdeck is not an object"),
        ({"notes": {"a": 1}}, "note 1: no list of fields"),
    ],
)
def test_crowdanki_decks_that_cannot_be_read(write, tmp_path, change, message):
    write("deck.json", deck("D", [], models=[BASIC]) | change)
    with pytest.raises(UserError, match=message):
        read(tmp_path, "deck.json")


def test_a_directory_of_decks_of_all_types(write, tmp_path):
    model = genanki.Model(
        1607392311,
        "Plain",
        fields=[{"name": "F"}, {"name": "B"}],
        templates=[{"name": "1", "qfmt": "{{F}}", "afmt": "{{B}}"}],
    )
    package = genanki.Deck(2059400110, "P")
    package.add_note(genanki.Note(model=model, fields=["Qp", "Ap"], guid="p"))
    genanki.Package(package).write_to_file(str(tmp_path / "a.apkg"), timestamp=1_700_000_000)
    write("b/export.txt", PLAIN)
    write("b/readme.txt", "about these decks")
    write("Liver/Liver.json", deck("Liver", [crowdanki_note("b1", "g", "Ql", "Al")], models=[BASIC]))
    write("Liver/other.json", json.dumps({"a": 1}))
    write("b/deck.json", deck("B", [crowdanki_note("b1", "h", "Qb", "Ab")], models=[BASIC]))
    write("c/deck.json", deck("C", [crowdanki_note("b1", "i", "Qc", "Ac")], models=[BASIC]))
    files = [path.relative_to(tmp_path).as_posix() for path in Anki(path=".").files(tmp_path)]
    assert files == ["Liver/Liver.json", "a.apkg", "b/deck.json", "b/export.txt", "c/deck.json"]
    rows, _, notes = read(tmp_path)
    assert notes[-1].left_out == (("Liver/other.json", "not a deck"), ("b/readme.txt", "not a deck"))
    assert [row.source_id for row in rows if "deck.json" in row.source_id] == [
        "b/deck.json note 1 card 1",
        "c/deck.json note 1 card 1",
    ]
