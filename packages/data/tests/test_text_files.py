"""Encodings and delimiters are found and reported; a broken quotation mark costs its own line and no other."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medalpaca_data.core import delimited
from medalpaca_data.core.delimited import AFTER_BROKEN_QUOTE, BROKEN_QUOTE, WRONG_FIELD_COUNT, DelimitedFile
from medalpaca_data.core.encoding import canonical_encoding
from medalpaca_data.core.errors import BadRecord, UserError
from medalpaca_data.core.records import FileNote, ReadOptions, read_records

HEAD = "instruction,input,output\n"


def read(path: Path, **options):
    """The records by location, and the notes."""
    notes: list[FileNote] = []
    found = dict(read_records(path, ReadOptions(**options), notes.append))
    return found, notes


GERMAN = HEAD.replace(",", ";") + "Dosis?;;5 µg bei 37 °C, Größe 2\u20134 cm\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
        ("utf-8-sig", None),
        ("utf-8", None),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_encoding_is_found_in_the_bytes(write, encoding, name, suffix):
    data = GERMAN.encode(encoding)
    path = write(f"r{suffix}", gzip.compress(data) if suffix.endswith("gz") else data)
    found, [note] = read(path)
    assert found == {
        "line 2": {"instruction": "Dosis?", "input": "", "output": "5 µg bei 37 °C, Größe 2\u20134 cm"}
    }
    assert (note.encoding, note.delimiter) == (name, ";")


def test_utf_16_of_either_byte_order_and_the_lines_of_its_records(write):
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        text = '{"output": "37 °C"}\n\n{"output": "\U0001f489"}\n'
        found, [note] = read(write("r.jsonl", mark + text.encode(name)))
        assert found == {"line 1": {"output": "37 °C"}, "line 3": {"output": "\U0001f489"}}
        assert note == FileNote(file="r.jsonl", encoding="utf-16")
    with pytest.raises(UserError, match=r"r.jsonl near line 1: not valid utf-16"):
        read(write("r.jsonl", codecs.BOM_UTF16_LE + "ab".encode("utf-16-le") + b"\x00"))


def test_latin_1_has_no_bytes_from_80_to_9f_and_cp1252_may_have_them_at_the_very_end(write):
    filler = '{"output": "Fieber über 38 °C, Husten"}\n' * 4000
    found, [note] = read(write("r.jsonl", filler.encode("latin-1")))
    assert note.encoding == "latin-1"
    assert found["line 4000"] == {"output": "Fieber über 38 °C, Husten"}
    found, [note] = read(write("r.jsonl", (filler + '{"output": "2\u20134"}').encode("cp1252")))
    assert note.encoding == "cp1252"
    assert (found["line 1"], found["line 4001"]) == (found["line 4000"], {"output": "2\u20134"})


@pytest.mark.parametrize(
    "data",
    [
        "{'output': 'ß'}\n".encode() * 9 + b"\xfc",  # UTF-8 with one damaged byte
        b'{"output": "\xfc"}\n' + '{"output": "größer und schöner"}\n'.encode() * 9,
        '{"output": "температура тела повышена"}\n'.encode("cp1251"),
        '{"output": "患者は発熱している"}\n'.encode("shift_jis"),
        '{"output": "病人发烧咳嗽"}\n'.encode("gb18030"),
        b'{"output": "a\x90b"}\n',  # in neither
    ],
)
def test_what_is_neither_is_refused_and_not_misread(write, data):
    with pytest.raises(
        UserError, match=r"r.jsonl line \d+: not UTF-8; convert the file to UTF-8, or name its"
    ):
        read(write("r.jsonl", data))


def test_the_encoding_can_be_set(write):
    text = '{"output": "температура"}\n'
    found, [note] = read(write("r.jsonl", text.encode("cp1251")), encoding="cp1251")
    assert (found["line 1"], note.encoding) == ({"output": "температура"}, "cp1251")
    assert read(write("r.jsonl", "[1]\n".encode("utf-16-le")), encoding="utf-16-le")[0] == {"line 1": [1]}
    with pytest.raises(UserError, match=r"r.jsonl near line 2: not valid ascii"):
        read(write("r.jsonl", b"[1]\n\xe9"), encoding="ascii")
    assert [canonical_encoding(name) for name in ("UTF8", "utf-8-sig", "Latin1", "Windows-1252")] == [
        "utf-8",
        "utf-8",
        "latin-1",
        "cp1252",
    ]
    for name in ("no-such", "hex", "\0"):
        with pytest.raises(ValueError, match="not a known text encoding"):
            canonical_encoding(name)


WESTERN = st.text("abcdefghij ,.äöüéß°µ\u2013“”€\n", max_size=120)


@settings(max_examples=60, deadline=None)
@example("x" * 40 + "é", "utf-8", 4)
@given(WESTERN, st.sampled_from(["utf-8", "utf-16", "cp1252"]), st.integers(1, 70))
def test_a_text_is_the_same_in_every_encoding(tmp_path_factory, text, encoding, pad):
    """Whatever the encoding and the position of its first character above ASCII, no character is lost."""
    path = tmp_path_factory.mktemp("any") / "r.json"
    value = "a" * 10 * pad + text
    path.write_bytes(f'["{"b" * pad}", {value!r:s}]'.replace("'", '"').encode(encoding))
    try:
        found, _ = read(path)
    except UserError as error:  # a short text with a chance sequence, or too many letters above ASCII
        assert encoding == "cp1252"
        assert "not UTF-8" in str(error)
        return
    if encoding != "cp1252":
        assert found["row 2"].replace("\n", "") == value.replace("\n", "")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_fits_the_records(write, delimiter):
    rows = [
        ["Frage, kurz", "Antwort"],
        ["Dosis; oral?", "1,5 mg; 2,5 mg | 3\tTage"],
        ["Wie\noft?", '"täglich"'],
    ]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    found, notes = read(write("r.csv", out.getvalue()))
    assert list(found.values()) == [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [note.delimiter for note in notes] == ([] if delimiter == "," else [delimiter])


def test_a_comma_in_a_heading_does_not_hide_semicolons(write):
    text = "Frage, kurz;Antwort\nWann?;morgens\nWie?;oral, nüchtern\nWo?;zu Hause\n"
    found, [note] = read(write("r.csv", text))
    assert (found["line 3"], note.delimiter) == ({"Frage, kurz": "Wie?", "Antwort": "oral, nüchtern"}, ";")
    found, _ = read(write("r.csv", text), delimiter=",")
    assert all(isinstance(record, BadRecord) for record in found.values()) is False
    assert sum(isinstance(record, BadRecord) for record in found.values()) == 2


@pytest.mark.parametrize("first", ["sep=|\r\n", '"sep=|"\n', "SEP=|\n"])
def test_the_line_of_excel_names_the_delimiter_and_is_no_heading(write, first):
    found, [note] = read(write("r.csv", first + "a|b\r\n1|2;3\r\n"))
    assert found == {"line 3": {"a": "1", "b": "2;3"}}
    assert note.delimiter == "|"


def broken(found):
    return {place: (bad.reason, bad.record) for place, bad in found.items() if isinstance(bad, BadRecord)}


def kept(found):
    return {place: row["output"] for place, row in found.items() if not isinstance(row, BadRecord)}


@pytest.mark.parametrize("later", ["", 'Q5,"a, b",A5\n', '"Q5\nof two lines",,A5\n'])
@pytest.mark.parametrize("bad", ['"Q3,,A3', 'Q3,,"A3', 'Q3,"",x"y", "A3', '"Q "3"",,A3'])
def test_a_broken_quotation_mark_costs_one_line(write, bad, later):
    found, _ = read(write("r.csv", f"{HEAD}Q2,,A2\n{bad}\nQ4,,A4\n{later}Q6,,A6\n"))
    assert set(broken(found)) == {"line 3"}
    assert broken(found)["line 3"][1] == bad
    assert list(kept(found).values()) == ["A2", "A4", *(["A5"] if later else []), "A6"]


def test_the_lines_of_a_text_that_is_never_closed_are_rejected_and_not_taken_for_rows(write):
    text = f'{HEAD}Q2,,A2\nQ3,,"Take it, but\nnot before meals\nand not, as some\nsay, often\n'
    found, _ = read(write("r.csv", text))
    assert kept(found) == {"line 2": "A2"}
    assert broken(found) == {
        "line 3": (BROKEN_QUOTE, 'Q3,,"Take it, but'),
        "line 4": (AFTER_BROKEN_QUOTE, "not before meals"),
        "line 5": (AFTER_BROKEN_QUOTE, "and not, as some"),
        "line 6": (AFTER_BROKEN_QUOTE, "say, often"),
    }


def test_the_rest_of_a_broken_record_is_no_row(write):
    text = f'{HEAD}"Q "2" begins\n\nand ends",,A2\nQ5,,A5\n'
    found, _ = read(write("r.csv", text))
    assert kept(found) == {"line 5": "A5"}
    assert list(broken(found)) == ["line 2", "line 4"]


def test_the_search_for_the_end_of_a_field_is_bounded(write, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_FIELD_LENGTH", 2000)
    rows = "".join(f"Q{n},,A{n}\n" for n in range(3000))
    path = write("r.csv", f'{HEAD}"open,,x\n{rows}"again,,y\n{rows}')
    found, most = {}, 0
    with path.open("rb") as file:
        table = delimited.DelimitedFile(file, "r.csv")
        for place, record in table.records():
            found[place] = record
            most = max(most, sum(map(len, table._taken)), sum(map(len, table._again)))
    assert len(kept(found)) == 6000
    assert list(broken(found)) == ["line 2", "line 3003"]
    assert most < 2100


LINES = st.lists(st.text('ab,;"\n\r\t', max_size=12), max_size=12)


@settings(max_examples=150, deadline=None)
@given(LINES, st.booleans())
def test_every_line_is_in_a_record_or_a_reject(tmp_path_factory, lines, named):
    """No text between the headings and the end of the file disappears."""
    path = tmp_path_factory.mktemp("any") / "r.csv"
    body = "\n".join(lines)
    path.write_text(("sep=,\n" if named else "") + "a,b\n" + body, encoding="utf-8", newline="")
    try:
        found, _ = read(path, delimiter=",")
    except UserError:
        return
    letters = "".join(
        record.record if isinstance(record, BadRecord) else "".join(record.values())
        for record in found.values()
    )
    for letter in "ab;":
        assert letters.count(letter) == body.count(letter)


def test_wrong_field_counts_stay_what_they_were(write):
    found, _ = read(write("r.csv", f"{HEAD}Q2,,A2,more\nQ3,,A3\n"))
    assert broken(found) == {"line 2": (WRONG_FIELD_COUNT, "Q2,,A2,more")}


def test_line_ends_of_old_macs_are_refused_with_what_to_do(write):
    with pytest.raises(
        UserError, match=r"r.csv line 1: .*carriage return alone; save the file with line feeds"
    ):
        read(write("r.csv", "a,b\r1,2\r"))


SWALLOWED = {
    "an inch mark closes it": (
        "instruction,output\n",
        [
            '"Which dose of a,5 mg',
            "Which dose of b?,6 mg",
            'Which needle is 12",7 mg',
            "Which dose of d?,8 mg",
        ],
        [1],
    ),
    "the next line closes it": (
        "instruction;output\n",
        ['"Which dose of a;5 mg', 'Which needle is 12";7 mg', "Which dose of d?;8 mg"],
        [1],
    ),
    "three columns, in the middle": (
        HEAD,
        ['Q1,"weight 50 kg,A1', "Q2,weight 60 kg,A2", "Q3,,A3", 'Q4,length 12",A4', "Q5,,A5"],
        [1],
    ),
    "the mark is in the last column": (
        "question\tanswer\n",
        ['Q1\t"5 mg', "Q2\t6 mg", 'Q3\t12"', "Q4\t8 mg"],
        [1],
    ),
    "the wrong number of fields in all": (
        "instruction,output\n",
        ['"Which dose of a,5 mg', "Which dose of b?,6 mg", 'Which needle is 12",7 mg,', "Which of d?,8 mg"],
        [1, 3],
    ),
    "the first line has a comma too many": (
        "instruction,output\n",
        [
            '"Which, of a,5 mg',
            *(f"Dose {n}?,{n} mg" for n in range(9)),
            'Which is 12",7 mg',
            "Which of d?,8 mg",
        ],
        [1],
    ),
    "two of them": (
        "instruction,output\n",
        ['"Dose a,5', "Dose b,6", '"Dose c,7', 'Needle 2",8', "Dose e,9", 'Needle 3",10', "Dose g,11"],
        [1, 3],
    ),
}


@pytest.mark.parametrize("case", SWALLOWED)
def test_a_broken_quotation_mark_that_a_later_record_closes_costs_one_line(write, case):
    head, lines, bad = SWALLOWED[case]
    found, _ = read(write("r.csv", head + "\n".join(lines) + "\n"))
    assert list(broken(found)) == [f"line {n + 1}" for n in bad]
    assert [found[f"line {n + 1}"].record for n in bad] == [lines[n - 1] for n in bad]
    delimiter = next(mark for mark in ",;\t" if mark in head)
    good = [line for n, line in enumerate(lines, 1) if n not in bad]
    assert [list(row.values()) for row in found.values() if not isinstance(row, BadRecord)] == [
        line.split(delimiter) for line in good
    ]


def test_two_hundred_records_behind_a_broken_quotation_mark(write):
    lines = ['"Which dose is first,1 mg', *(f"Which dose is number {n}?,{n} mg" for n in range(2, 202))]
    found, _ = read(
        write("r.csv", "instruction,output\n" + "\n".join(lines) + '\nWhich needle is 12",7 mg\n')
    )
    assert broken(found) == {"line 2": (BROKEN_QUOTE, '"Which dose is first,1 mg')}
    assert len(kept(found)) == 201
    assert kept(found)["line 203"] == "7 mg"


MULTILINE = [
    "Take it with food, not with milk.\nStop it, if it itches.\nCall, if it bleeds.",
    "First,\nsecond,\nthird",
    "Nausea, vomiting\nHeadache, dizziness\nFever, chills\nRash, itching\nCough, pain",
    "Nehmen Sie\n1,5 mg morgens\n2,5 mg abends",
    "A line\n\nanother, with a comma\n\nand an end; it is here",
    'She said "no,\nnever" and left',
    "a|b\nc|d\ne|f",
]


@pytest.mark.parametrize("text", MULTILINE)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_text_of_several_lines_stays_one_field(write, text, first, delimiter):
    rows = [["instruction", "output"], ["Q1", "A1"], [text, "A2"] if first else ["Q2", text], ["Q3", "A3"]]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    found, _ = read(write("r.csv", out.getvalue()), delimiter=delimiter)
    assert [list(row.values()) for row in found.values()] == rows[1:]


def test_the_samples_of_a_guess_show_a_wrong_one(write):
    text = '{"output": "MAP \u2265 65 mmHg, lactate \u2264 2"}\n'
    found, [note] = read(write("r.jsonl", text.encode("mac_roman")))
    assert found["line 1"] == {"output": "MAP \u00b3 65 mmHg, lactate \u00b2 2"}
    assert (note.guessed, note.samples) == (True, ("MAP \u00b3", "lactate \u00b2"))


def test_no_broken_quote_merges_or_loses_lines():
    """Random tables written without any quoting, with lone and paired quotation marks in every position."""
    chooser = random.Random(18)
    pieces = [
        '"5" mg',
        '"5" tablet',
        '5" needle',
        '"whole"',
        '"open',
        'close"',
        '"a" and "b"',
        '"',
        '""',
        '"q" ',
    ]
    kept = 0
    for _ in range(300):
        rows = [
            [chooser.choice(pieces) if chooser.random() < 0.4 else f"text {n} {column}" for column in "ab"]
            for n in range(chooser.randint(2, 8))
        ]
        text = "a\tb\n" + "".join("\t".join(row) + "\n" for row in rows)
        written = {tuple(cell.replace('"', "") for cell in row) for row in rows}
        lines = 0
        for _, value in DelimitedFile(io.BytesIO(text.encode()), "t.tsv", None, "\t").records():
            if isinstance(value, BadRecord):
                lines += value.record.count("\n") + 1
            else:
                lines += 1
                kept += 1
                assert tuple(cell.replace('"', "") for cell in value.values()) in written, text
        assert lines == len(rows), text
    assert kept > 700


def test_the_check_shows_the_encoding_as_a_build_does(tmp_path, capsys):
    from medalpaca_data.cli import main

    path = tmp_path / "rows.csv"
    path.write_bytes("instruction,output\nWann Fieber?,über 38 °C\n".encode("cp1252"))
    main(["check", str(path), "--exam", "medalpaca_pocket"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows.csv: encoding latin-1 (guessed; e.g." in shown and "if it is wrong, set encoding:)" in shown
