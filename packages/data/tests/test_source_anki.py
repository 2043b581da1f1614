import sqlite3
import zipfile
from collections import Counter
from pathlib import Path

import genanki
import pytest

from medalpaca_data.core.config import load_config
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.row import Row
from medalpaca_data.sources.anki import Anki
from medalpaca_data.sources.base import Reject

BASIC = genanki.Model(
    1607392311,
    "Plain",
    fields=[{"name": "Front"}, {"name": "Back"}, {"name": "Extra"}],
    templates=[
        {
            "name": "One",
            "qfmt": "{{Front}}",
            "afmt": "{{FrontSide}}<hr id=answer>{{Back}}<div>{{hint:Extra}}</div>",
        }
    ],
)
BOTH_WAYS = genanki.Model(
    1607392312,
    "Both ways",
    fields=[{"name": "Drug"}, {"name": "Class"}, {"name": "Antidote"}],
    templates=[
        {"name": "1", "qfmt": "Class of {{Drug}}?", "afmt": "{{FrontSide}}<hr id='answer'>{{Class}}"},
        {"name": "2", "qfmt": "{{Class}}", "afmt": "{{FrontSide}}<hr id='answer'>{{Drug}}"},
        {
            "name": "3",
            "qfmt": "{{#Antidote}}Antidote to {{Drug}}?{{type:Antidote}}{{/Antidote}}",
            "afmt": "{{Antidote}}",
        },
    ],
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


def read(path: Path) -> tuple[list[Row], Counter[tuple[str, bool]]]:
    """The rows; and of the others, how often each reason, with whether it is a rule's."""
    records = list(Anki(path=path.name).records(path.parent))
    assert all(isinstance(record, Row | Reject) for record in records)
    others = Counter((record.reason, record.by_rule) for record in records if isinstance(record, Reject))
    return [record for record in records if isinstance(record, Row)], others


def texts(path: Path) -> list[tuple[str, str]]:
    return [(row.input, row.output) for row in read(path)[0]]


def change(path: Path, sql: str) -> None:
    """Change the database in a package."""
    with zipfile.ZipFile(path) as package:
        database = package.read("collection.anki2")
    file = path.parent / "changed"
    file.write_bytes(database)
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.close()
    with zipfile.ZipFile(path, "w") as package:
        package.write(file, "collection.anki2")


def test_a_row_names_its_card_deck_and_note(deck):
    [row] = read(deck((BASIC, ["Q", "A", "aside"])))[0]
    assert (row.instruction, row.input, row.output) == ("Answer the question on this flash card.", "Q", "A")
    assert (row.group, row.attribution, row.split) == ("anki:g0", "Anki deck Heart::Rhythm", "none")
    assert row.source_id.startswith("deck.apkg note ")
    assert row.source_id.endswith(" card 1")


def test_each_kind_of_card_gives_a_row_but_not_the_reverse_of_another(deck):
    rows, others = read(
        deck((BOTH_WAYS, ["Heparin", "Anticoagulant", "Protamine"]), (BOTH_WAYS, ["A", "B", ""]))
    )
    assert [(row.input, row.output) for row in rows] == [
        ("Class of Heparin?", "Anticoagulant"),
        ("Antidote to Heparin?", "Protamine"),
        ("Class of A?", "B"),
    ]
    assert others == {("a reversed card", True): 2}
    assert [row.group for row in rows] == ["anki:g0", "anki:g0", "anki:g1"]


def test_a_card_whose_markup_parts_two_digits_is_a_reject(deck):
    path = deck((BASIC, ["Count?", "10<b>9</b>/L", ""]), (CLOZE, ["10{{c1::9}} and {{c2::b}}", ""]))
    assert texts(path) == [("10____ and b", "9")]
    assert read(path)[1] == {(JOINED, False): 2}


def test_the_clozes_of_a_note_stay_together(deck):
    rows, _ = read(deck((CLOZE, ["The {{c1::sinus::which}} node sets the {{c2::pace}}.", ""])))
    assert [(row.input, row.output) for row in rows] == [
        ("The ____ (which) node sets the pace.", "sinus"),
        ("The sinus node sets the ____.", "pace"),
    ]
    assert {row.group for row in rows} == {"anki:g0"}


def test_the_real_packages(real):
    folder = real / "anki" / "format_tests_ankitects"
    records = list(Anki(path=".").records(folder))
    assert Counter(type(record).__name__ for record in records) == {"Row": 6, "Reject": 2}
    reasons = [(record.file, record.reason) for record in records if isinstance(record, Reject)]
    assert reasons == [
        ("diffmodels2-2.apkg", "a reversed card"),
        ("media.apkg", "a card with sound or video"),
    ]


def test_clozes_nested_too_deeply_are_a_reject(deck):
    text = "{{c1::" * 30 + "x" + "}}" * 30
    assert read(deck((CLOZE, [text, ""])))[1] == {("clozes nested more than 20 deep", False): 1}


@pytest.mark.parametrize(
    ("front", "back", "reason", "by_rule"),
    [
        ("What is seen? <img src='x.png'>", "A fracture", "a card with a picture", True),
        ("Q", "<svg></svg> A", "a card with a picture", True),
        ("Q [sound:murmur.mp3]", "A", "a card with sound or video", True),
        ("Q", "[latex]x^2[/latex]", "a card with LaTeX, which Anki shows as a picture", True),
        ("Q", "[$]x^2[/$]", "a card with LaTeX, which Anki shows as a picture", True),
        ("Q", " <br> ", "no answer", False),
    ],
)
def test_what_cannot_be_put_into_words_is_left_out(deck, front, back, reason, by_rule):
    assert read(deck((BASIC, [front, back, ""]))) == ([], {(reason, by_rule): 1})


def test_a_picture_that_is_not_shown_leaves_the_card_in(deck):
    path = deck((BASIC, ["Q", "A", "<img src='x.png'>"]), (CLOZE, ["{{c1::A}} b", "<img src='x.png'>"]))
    assert texts(path) == [("Q", "A"), ("____ b", "A")]


def test_image_occlusion_is_left_out(deck):
    path = deck((CLOZE, ["{{c1::image-occlusion:rect:left=.1:top=.2}} b", ""]))
    assert read(path) == ([], {("an image occlusion card", True): 1})


def test_markup_goes_and_meaning_stays(deck):
    path = deck((BASIC, ["Is HbA<sub>1c</sub> &gt; 6.5&nbsp;%&hellip;", "<p>yes</p>no \\(x^2\\)", ""]))
    assert texts(path) == [("Is HbA1c > 6.5 %…", "yes\n\nno \\(x^2\\)")]


def test_several_gaps_are_asked_for_together(deck):
    [row], _ = read(deck((CLOZE, ["Give {{c1::salt}} and {{c1::<b>water</b>}}.", ""])))
    assert (row.input, row.output) == ("Give ____ and ____.", "salt; water")
    assert "semicolons" in row.instruction


def test_a_card_whose_deletion_is_gone_is_empty(deck):
    path = deck((CLOZE, ["{{c1::a}} {{c2::b}}", ""]))
    change(path, "UPDATE notes SET flds = '{{c1::a}} b' || char(31)")
    rows, others = read(path)
    assert (len(rows), others) == (1, {("an empty card", True): 1})


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("UPDATE notes SET mid = 5", "the note type is not in the package"),
        ("UPDATE notes SET flds = 'only one'", "the number of fields differs from the note type"),
        ("UPDATE notes SET flds = x'00'", "the number of fields differs from the note type"),
        ("UPDATE notes SET flds = CAST(x'51ff1f411f' AS TEXT)", "the text is not UTF-8"),
        ("UPDATE cards SET ord = 7", "the note type has no template for this card"),
        ("UPDATE cards SET ord = -1", "the note type has no template for this card"),
        ("DELETE FROM cards", "a note without a card"),
    ],
)
def test_a_broken_note_is_a_reject(deck, sql, reason):
    path = deck((BASIC, ["Q", "A", ""]))
    change(path, sql)
    assert read(path) == ([], {(reason, False): 1})


# Several decks ----------------------------------------------------------------------------------------------------


def test_a_directory_or_a_list_of_decks(tmp_path):
    for name in ("a.apkg", "sub/b.colpkg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_deck(tmp_path / name, (BASIC, [name, "A", ""]))
    (tmp_path / "notes.txt").write_text("no deck")
    assert [file.name for file in Anki(path=".").files(tmp_path)] == ["a.apkg", "b.colpkg"]
    several = Anki(paths=("a.apkg", "sub", "a.apkg"))
    assert [row.input for row in several.records(tmp_path)] == ["a.apkg", "sub/b.colpkg"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"none: no .apkg or .colpkg file"):
        Anki(path="none").files(tmp_path)
    with pytest.raises(UserError, match=r"either path: .* or paths:"):
        load_config(Anki, {})
