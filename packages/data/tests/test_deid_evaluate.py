"""`data deid evaluate`: three formats of annotated notes, counts by hand, intervals, and no text in any output."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.cli import main
from medalpaca_data.core.errors import UserError
from medalpaca_data.deid.annotated_notes import CLASSES, Note, i2b2_class, mask_form, read_notes
from medalpaca_data.deid.evaluate import bootstrap, evaluate, evaluation_as_json, template_of, wilson
from medalpaca_data.deid.rules import Span

TEXT = "Quillon saw Dr. Zeb\u00e9 on 3/5/2021, tel 555-1234."
SPANS = [[0, 7, "bare"], [16, 20, "name"], [24, 32, "date"], [38, 46, "phone"]]


def spans(*triples):
    return tuple(Span(*triple, "annotation") for triple in triples)


def note(text=TEXT, annotated=SPANS, identity="a-0-1", **fields):
    return Note(identity, text, spans(*annotated), fields)


def detector(*ranges):
    return lambda text: [Span(start, end, "other", "test") for start, end in ranges]


# Formats ------------------------------------------------------------------------------------------------------


def test_json_lines(write):
    record = {"id": "a-0-1", "style": "chat", "beds": 3, "list": [1], "text": TEXT, "spans": SPANS[::-1]}
    assert read_notes(write("n.jsonl", [record])) == [note(style="chat", beds="3")]
    # Without an id, the location is the id.
    assert read_notes(write("n.jsonl", [{"text": "x", "spans": []}])) == [Note("line 1", "x", (), {})]


def test_csv_with_marks(write):
    text = 'id,text,language\n7,"[[bare|Quillon]] saw\nDr. [[name|Zeb\u00e9]].",en\n'
    [read] = read_notes(write("n.csv", text))
    assert read == Note(
        "7", "Quillon saw\nDr. Zeb\u00e9.", spans((0, 7, "bare"), (16, 20, "name")), {"language": "en"}
    )


I2B2 = """<?xml version="1.0" encoding="UTF-8" ?>
<deIdi2b2>
<TEXT><![CDATA[
Record date: 2067-05-03
Mr. Quillon &
Zebra, 91, a baker, seen Monday, 2066, at 40, in Ohio.
]]></TEXT>
<TAGS>
<DATE id="P0" start="14" end="24" text="2067-05-03" TYPE="DATE" comment="" />
<NAME id="P1" start="29" end="44" text="Quillon &amp; Zebra" TYPE="PATIENT" comment="" />
<AGE id="P2" start="46" end="48" text="91" TYPE="AGE" comment="" />
<PROFESSION id="P3" start="52" end="57" text="baker" TYPE="PROFESSION" comment="" />
<DATE id="P4" start="64" end="70" text="Monday" TYPE="DATE" comment="" />
<DATE id="P5" start="72" end="76" text="2066" TYPE="DATE" comment="" />
<AGE id="P6" start="81" end="83" text="40" TYPE="AGE" comment="" />
<LOCATION id="P7" start="88" end="92" text="Ohio" TYPE="STATE" comment="" />
</TAGS>
</deIdi2b2>
"""


def test_i2b2_xml(write, tmp_path):
    write("set/b/110-02.xml", I2B2)
    write("set/a/110-01.xml", I2B2)
    write("set/._110-01.xml", "resource fork")
    notes = read_notes(tmp_path / "set")
    assert [one.id for one in notes] == ["110-01", "110-02"]
    assert notes == [Note(one.id, one.text, one.spans, {}) for one in notes]
    found = [(one.kind, notes[0].text[one.start : one.end]) for one in notes[0].spans]
    assert found == [
        ("date", "2067-05-03"), ("name", "Quillon &\nZebra"), ("age", "91"), ("profession", "baker"),
        ("reldate", "Monday"), ("year", "2066"), ("age_to_89", "40"), ("state", "Ohio"),
    ]  # fmt: skip
    assert template_of(notes[0]) == "110"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("date", "2010", "year"), ("date", "'09", "date"), ("date", "Thanksgiving", "reldate"),
        ("age", "89", "age_to_89"), ("age", "90", "age"), ("age", "ninety-one", "age"), ("age", "sixty", "age_to_89"),
        ("town", "2010", "town"),
    ],
)  # fmt: skip
def test_i2b2_dates_and_ages_are_divided_by_safe_harbor(kind, text, expected):
    assert i2b2_class(kind, text) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.jsonl", [7], "n.jsonl line 1: found int; allowed: an object with text and spans"),
        ("n.jsonl", [{"spans": []}], "line 1: text is missing; allowed: a string; the file has: 'spans'"),
        ("n.jsonl", [{"text": "x", "spans": {}}], "line 1: spans is dict; allowed: a list"),
        ("n.jsonl", [{"text": "Quillon", "spans": [[0, True, "bare"]]}], r"spans\[0\]: found a list of 3"),
        ("n.jsonl", [{"text": "Quillon", "spans": [[0, 8, "bare"]]}], r"start 0 and end 8 .* <= 7, the number"),
        ("n.jsonl", [{"text": "Quillon", "spans": [[3, 3, "bare"]]}], "start 3 and end 3"),
        ("n.jsonl", [{"text": "Quillon.", "spans": [[7, 8, "bare"]]}], "no letter and no digit"),
        ("n.jsonl", [{"text": "Quillon", "spans": [[0, 7, "nom"]]}], "class 'nom' is not known; allowed: name, bare"),
        ("n.jsonl", "", "n.jsonl: no note in the file"),
        ("n.jsonl", '{"text": "Quillon"\n', "n.jsonl line 1: not valid JSON"),
        ("n.txt", "Quillon", "n.txt: .txt is not a format of annotated notes; allowed: .jsonl"),
        ("n.csv", "note\nQuillon\n", "n.csv line 2: no column 'text'; the file has: 'note'"),
        ("n.csv", "Mrs Quillon of 3 High St slept\nx\n", "the file has: 'Xxx Xxxxxxx xx 9 Xxxx Xx xxxxx'"),
        ("n.csv", "text\n[[bare|Quillon]\n", r"line 2: '\[\[' at character 0 does not begin a mark"),
        ("n.csv", "text\n[[bare|Qui [[name|llon]]]]\n", r"'\[\[' at character 0 does not begin"),
        ("n.csv", "text\n[[nom|Quillon]]\n", "line 2 mark 1: class 'nom' is not known"),
        ("n.csv", "text\nx [[bare|...]]\n", "mark 1: characters 2 to 5 have no letter"),
        ("n.xml", "<note>Quillon</note>", "n.xml: found element 'note'; allowed: 'deIdi2b2'"),
        ("n.xml", "<deIdi2b2><TAGS/></deIdi2b2>", "n.xml: no element TEXT; allowed: deIdi2b2 with"),
        ("n.xml", I2B2.replace('"PATIENT"', '"CHILD"'), r"TAGS\[1\]: TYPE 'CHILD' of the tag 'NAME' .* PATIENT"),
        ("n.xml", I2B2.replace('"29"', '"x"'), r"TAGS\[1\]: start is 'x'; allowed: a whole number"),
        ("n.xml", I2B2.replace('"29"', '"30"'), r"characters 30 to 44 of TEXT have the shape 'xxxxxxx? & Xxxxx'"),
        ("n.xml", I2B2.replace("</TAGS>", ""), "n.xml line 18: not well-formed XML"),
        ("n.xml", '<!DOCTYPE x [<!ENTITY a "b">]>' + I2B2[41:], "declares a document type; refused"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_without_text_of_the_note(write, name, content, message, capsys):
    path = write(name, content)
    with pytest.raises(UserError, match=message) as caught:
        main(["deid", "evaluate", str(path)])
    assert "uillon" not in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == "" and caught.value.exit_code == 2


def test_a_directory_without_xml_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no \*.xml file in the directory"):
        read_notes(tmp_path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "mark ", "a] ", "| "]),
            st.sampled_from(CLASSES),
            st.text("aB9 .", min_size=1),
        )
    )
)
def test_marks_are_removed_and_become_spans(tmp_path_factory, parts):
    parts = [(before, kind, f"x{inner}") for before, kind, inner in parts]
    marked = "".join(f"{before}[[{kind}|{inner}]]" for before, kind, inner in parts)
    path = tmp_path_factory.mktemp("marks") / "n.tsv"
    path.write_text(f"text\tward\n{marked or 'x'}\t1\n")
    [read] = read_notes(path)
    assert read.text == ("".join(before + inner for before, _, inner in parts) or "x")
    assert [(s.kind, read.text[s.start : s.end]) for s in read.spans] == [
        (kind, inner) for _, kind, inner in parts
    ]


# Figures ------------------------------------------------------------------------------------------------------


def test_an_identifier_counts_only_if_every_letter_and_digit_is_covered():
    # The phone number without its hyphen, the date without its first digit, the bare name without its last letter.
    result = evaluate([note()], detector((0, 6), (16, 20), (25, 32), (38, 41), (42, 46)))
    assert result.tally.found == Counter(name=1, phone=1) and result.tally.n.total() == 4
    # Letters and digits: Quillon 7, Zebé 4, 352021 6, 5551234 7.
    assert (result.tally.characters, result.tally.leaked) == (24, 2)
    assert (result.tally.notes_with_leak, result.tally.notes_with_direct_leak) == (1, 1)
    assert result.missed == {"bare": {"Xxxxxxx": 1}, "date": {"9/9/9999": 1}}


def test_a_false_positive_is_a_word_outside_of_all_annotations():
    # "saw" by one character, "Dr", and the space and full stop beside it; the annotated phone number is none.
    result = evaluate([note()], detector((8, 9), (12, 16), (38, 46)))
    # Quillon saw Dr Zebé on 3 5 2021 tel 555 1234
    assert (result.tally.words, result.tally.false_positives) == (11, 2)
    assert evaluation_as_json(result)["false_positive_words_per_1000"] == 181.81818


def test_annotations_beyond_safe_harbor_are_neither_leak_nor_false_positive():
    one = note("Ohio, 2010: well", [(0, 4, "state"), (6, 10, "year")])
    shown = evaluation_as_json(evaluate([one], detector((0, 4))))
    assert shown["outside_safe_harbor"] == {"year": {"n": 1, "found": 0}, "state": {"n": 1, "found": 1}}
    assert shown["all"] == {"n": 0, "found": 0, "recall": None}
    assert (shown["notes_without_leak"], shown["false_positive_words"]) == (1.0, 0)


def test_overlapping_annotations_count_each_and_their_characters_once():
    result = evaluate([note("Ann Lee", [(0, 7, "name"), (4, 7, "bare")])], detector((4, 7)))
    assert result.tally.found == Counter(bare=1) and result.tally.n.total() == 2
    assert (result.tally.characters, result.tally.leaked) == (6, 3)


def test_results_by_field():
    notes = [note(style="a"), note(style="b"), note(style="b", language="de"), note("x", [], ward="9")]
    result = evaluate(notes, detector())
    assert {name: {v: t.notes for v, t in values.items()} for name, values in result.by.items()} == {
        "style": {"a": 1, "b": 2, "(none)": 1},
        "language": {"(none)": 3, "de": 1},
    }
    assert evaluate(notes, detector(), by=["ward"]).by.keys() == {"ward"}
    with pytest.raises(UserError, match="--by unit: no note has this field; allowed: language, style, ward"):
        evaluate(notes, detector(), by=["ward", "unit"])
    assert evaluate([note()], detector()).by == {}


def test_wilson_is_that_of_the_paper():
    # Newcombe 1998, Stat Med 17:857-872, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert [round(bound, 4) for n in ((81, 263), (15, 148), (0, 20), (1, 29)) for bound in wilson(*n)] == [
        0.2553, 0.3662, 0.0624, 0.1605, 0.0, 0.1611, 0.0061, 0.1718,
    ]  # fmt: skip
    assert wilson(7, 7)[1] == 1.0


def test_the_bootstrap_draws_templates():
    # Two forms of notes, each found always or never: the interval of 30 notes would be narrow.
    notes = [
        note("Ann", [(0, 3, "name")], f"t-{t}-{draw}", found=str(t % 2))
        for t in range(6)
        for draw in range(5)
    ]
    result = evaluate(notes, lambda text: [])
    assert (result.unit, result.units) == ("templates", 6)
    assert result.intervals["all"] == (0.0, 0.0)
    few = evaluate([one for one in notes if template_of(one) < "t-4"], lambda text: [])
    assert (few.unit, few.units) == ("notes", 20)
    named = evaluate([note(template=str(n % 7)) for n in range(14)], lambda text: [])
    assert (named.unit, named.units) == ("templates", 7)


def test_bootstrap_intervals():
    # Binomial with n = 400 and p = 1/2: standard error 0.025, so the interval is about 0.451 to 0.549.
    counts = [(1, n % 2, 0, 0, 1, 1, n % 2) for n in range(400)]
    intervals = bootstrap(counts)
    assert intervals["all"] == pytest.approx((0.451, 0.549), abs=0.006)
    assert intervals == bootstrap(counts)
    assert intervals["direct"] is None and intervals["notes_without_direct_leak"] == (1.0, 1.0)
    assert bootstrap(counts[:1])["all"] is None


def test_large_samples_are_drawn_in_parts(monkeypatch):
    counts = [(2, n % 3, 1, n % 2, 1, 1, 0) for n in range(50)]
    whole = bootstrap(counts)
    monkeypatch.setattr("medalpaca_data.deid.evaluate.MATRIX_SIZE", 7 * 50)
    assert bootstrap(counts) == whole


@given(st.data())
def test_properties_of_the_counts(data):
    text = data.draw(st.text("aB9 .\n\u00e9", min_size=1, max_size=40))
    places = st.lists(st.tuples(*[st.integers(0, len(text))] * 2).map(sorted), max_size=5)
    kinds = st.sampled_from(CLASSES)
    annotated = [
        (start, end, data.draw(kinds))
        for start, end in data.draw(places)
        if re.search(r"\w", text[start:end])
    ]
    found = [Span(start, end, "other", "r") for start, end in data.draw(places)]
    one = note(text, annotated)
    tally = evaluate([one], lambda _: found).tally
    everything = evaluate([one], lambda _: [Span(0, len(text), "name", "r")]).tally
    nothing = evaluate([one], lambda _: []).tally
    assert nothing.found.total() <= tally.found.total() <= everything.found.total() == len(annotated)
    assert 0 == everything.leaked <= tally.leaked <= nothing.leaked == tally.characters
    assert 0 == nothing.false_positives <= tally.false_positives <= everything.false_positives <= tally.words
    assert bool(tally.notes_with_leak) == (tally.found.total() < len(annotated)) == (tally.leaked > 0)
    exact = evaluate([one], lambda _: list(one.spans)).tally
    assert (exact.leaked, exact.false_positives) == (0, 0)


# The command --------------------------------------------------------------------------------------------------


PRECISE = ("--profile", "precise")


@pytest.fixture
def notes_file(write):
    records = [
        {"id": f"a-{n}", "style": "chat", "text": f"Mrs. Quillon, tel 617-867-53{n:02}, saw Zebrat.",
         "spans": [[5, 12, "name"], [18, 30, "phone"], [36, 42, "bare"]]}
        for n in range(40)
    ]  # fmt: skip
    return write("notes.jsonl", records)


def test_the_table_and_json_have_the_same_figures_and_no_text(notes_file, capsys):
    assert main(["deid", "evaluate", str(notes_file), *PRECISE, "--missed", "2"]) in (0, None)
    table = capsys.readouterr().out
    assert main(["deid", "evaluate", str(notes_file), *PRECISE, "--missed", "2", "--json"]) in (0, None)
    shown = json.loads(text := capsys.readouterr().out)
    assert not re.search("Quillon|Zebrat|617-867", table + text)
    assert shown["profile"] == "precise" and shown["ner"] is None and shown["notes"] == 40
    assert shown["classes"] == {
        "name": {"n": 40, "found": 40, "recall": 1.0, "interval": [0.91238, 1.0], "direct": True},
        "bare": {"n": 40, "found": 0, "recall": 0.0, "interval": [0.0, 0.08762], "direct": True},
        "phone": {"n": 40, "found": 40, "recall": 1.0, "interval": [0.91238, 1.0], "direct": True},
    }
    assert (
        shown["all"]
        == shown["direct"]
        == {"n": 120, "found": 80, "recall": 0.66667, "interval": [0.66667, 0.66667]}
    )
    assert shown["missed"] == {"bare": [{"form": "Xxxxxx", "n": 40}]}
    assert shown["by"]["style"]["chat"]["notes_without_direct_leak"] == 0.0
    assert shown["bootstrap"] == {"over": "notes", "units": 40, "samples": 2000, "seed": 0}
    row = next(line for line in table.splitlines() if "bare *" in line)
    assert re.findall(r"[\d.]+", row) == ["40", "0", "0.000", "0.000", "0.088"]


def test_small_classes_have_counts_only(write, capsys):
    path = write("n.csv", "text\n[[ssn|219-09-9999]] x\n[[ssn|219-09-9998]] x\n")
    main(["deid", "evaluate", str(path)])
    row = next(line for line in capsys.readouterr().out.splitlines() if "ssn *" in line)
    assert re.findall(r"[\d.]+", row) == ["2", "2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--missed", "-1"], "--missed -1 is not allowed; use 0 or more"),
        (["--by", "ward"], "--by ward: no note has this field; allowed: style"),
        (["--profile", "exact"], "invalid choice: 'exact'"),
        (["--ner", "no/such/model"], "deidentify.ner=no/such/model"),
    ],
)
def test_bad_options_are_refused(notes_file, options, message):
    with pytest.raises(UserError, match=message):
        main(["deid", "evaluate", str(notes_file), *options])


def test_a_model_is_used(notes_file, monkeypatch, capsys):
    class Tagger:
        version = "tagger 1"

        def __call__(self, text):
            return [Span(at, at + 6, "name", "NER")] if (at := text.find("Zebrat")) >= 0 else []

    monkeypatch.setattr("medalpaca_data.deid.ner.load_tagger", lambda ner: Tagger())
    main(["deid", "evaluate", str(notes_file), "--ner", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["ner"] == "tagger 1" and shown["all"]["recall"] == 1.0


def test_notes_are_held_one_at_a_time():
    alive = []

    def notes():
        for n in range(5):
            yield note(identity=str(n))
            alive.append(n)

    def only_this(text):
        assert len(alive) == seen["notes"]
        seen["notes"] += 1
        return []

    seen = {"notes": 0}
    evaluate(notes(), only_this)
    assert seen["notes"] == 5


def test_masks():
    assert mask_form("Zeb\u00e9 O'Neil\n\u4e2d 3/5 \u00b2") == "Xxxx X'Xxxx x 9/9 9"


def test_the_shared_notes(real):
    path = real.parent / "cases/deid/notes.jsonl"
    if not path.is_file():
        pytest.skip("no annotated notes in the shared directory")
    result = evaluate(read_notes(path), detector())
    assert (result.tally.notes, result.tally.n.total(), result.unit, result.units) == (
        94,
        1048,
        "templates",
        25,
    )
    assert np.isclose(result.tally.characters, result.tally.leaked)
