import copy
import gzip
import json

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.errors import MAX_RECORD_TEXT, BadRecord, UserError
from medalpaca_data.core.records import read_records, read_rows
from medalpaca_data.core.row import Row, content_id, parse_row


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_of_an_alpaca_file(write, name, row):
    rows = read_rows(write(name, [row(1), row(2, input="about", licence="MIT")]))
    assert [r.output for r in rows] == ["Answer 1", "Answer 2"]
    assert (rows[1].input, rows[1].licence, rows[1].source) == ("about", "MIT", None)


def test_csv_parquet_and_a_wrapped_list(write, tmp_path, row):
    polars.DataFrame([row(1), row(2)]).write_parquet(tmp_path / "r.parquet")
    polars.DataFrame([row(1), row(2, output="two\nlines, quoted")]).write_csv(tmp_path / "r.csv")
    assert len(read_rows(tmp_path / "r.parquet")) == 2
    assert read_rows(tmp_path / "r.csv")[1].output == "two\nlines, quoted"
    assert len(read_rows(write("hub.json", {"version": 1, "data": [row(1)]}))) == 1


def test_a_broken_line_17_is_named(write):
    lines = ['{"instruction": "Q", "output": "A"}'] * 16 + ['{"instruction": "Q", '] + ['{"a": 1}']
    with pytest.raises(UserError, match=r"rows\.jsonl line 17: not valid JSON"):
        read_rows(write("rows.jsonl", "\n".join(lines)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"instruction": "Q", "input": ""}, "no key 'output'"),
        ({"instruction": "Q", "output": "  "}, "empty 'output'"),
        ({"instruction": "Q", "output": 3}, "'output' is int, not text"),
        ({"instruction": " ", "input": "", "output": "A"}, "'instruction' and 'input' are both empty"),
        (["Q", "A"], "not an object"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(write, bad, message, row):
    with pytest.raises(UserError, match=f"row 2: {message}"):
        read_rows(write("rows.json", [row(1), bad]))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise_anything_but_its_own_error(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    try:
        read_rows(path)
    except UserError as error:
        assert str(path) in str(error)


def test_the_id_is_the_content(row):
    assert (
        parse_row(row(1)).id
        == parse_row(row(1, source="elsewhere")).id
        == content_id("Question 1?", "", "Answer 1")
    )
    assert parse_row(row(1)).id != parse_row(row(2)).id
    # Moving a text from one field to the next makes another row.
    assert Row(instruction="ab", input="", output="c").id != Row(instruction="a", input="b", output="c").id


def test_a_path_is_no_pattern(tmp_path, row):
    for name, n in (("g[1]", 1), ("g1", 2)):
        (tmp_path / name).mkdir()
        polars.DataFrame([row(n)]).write_parquet(tmp_path / name / "train.parquet")
    [found] = read_rows(tmp_path / "g[1]")
    assert found.output == "Answer 1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Q,,Take aspirin, but not with warfarin", "line 3: more or fewer fields than headings"),
        ("Q,only", "line 3: more or fewer fields than headings"),
        ('Q,,"no end', "line 3: not valid CSV"),
    ],
)
def test_a_csv_line_is_never_cut_or_lost(write, line, message):
    text = f"instruction,input,output\nQ,,A\n{line}\nQ,,A\n"
    with pytest.raises(UserError, match=message):
        read_rows(write("r.csv", text))


def test_half_a_surrogate_pair_is_refused(write):
    with pytest.raises(UserError, match="row 1: 'output' is not valid Unicode"):
        read_rows(write("r.json", '[{"instruction": "Q", "output": "\\ud800"}]'))


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.json.gz", "r.json"])
def test_jsonl_gzipped_and_by_another_name(tmp_path, row, name):
    text = "\ufeff" + "".join(json.dumps(row(n)) + "\r\n\n" for n in (1, 2))
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert [(place, record["output"]) for place, record in read_records(tmp_path / name)] == [
        ("line 1", "Answer 1"),
        ("line 3", "Answer 2"),
    ]


def test_what_is_wrong_in_gzipped_text_is_said_with_its_line(tmp_path, row):
    path = tmp_path / "r.jsonl.gz"
    for data, message in (
        (gzip.compress(json.dumps(row(1)).encode() + b"\n\xff"), "line 2: not UTF-8"),
        (gzip.compress(json.dumps(row(1)).encode())[:-12], "damaged or truncated"),
        (gzip.compress(b"1" * 5000), "a number with too many digits"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=message):
            read_rows(path)
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(b"instruction,input,output\nQ,,A\n\xff"))
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        read_rows(path)


def test_jsonl_by_another_name_whose_first_line_is_broken(write, row):
    path = write("r.json", '{"instruction": \n' + json.dumps(row(1)) + "\n")
    (_, broken), (place, record) = read_records(path)
    assert isinstance(broken, BadRecord)
    assert broken.record == '{"instruction": '
    assert (place, record) == ("line 2", row(1))


def test_a_record_that_cannot_be_read_is_kept_as_it_stands(write):
    table = 'instruction,input,output\nQ,,A\n\n"Q, of\ntwo lines",,take it, but not now\r\nQ,,A\n'
    first, (place, bad), last = read_records(write("a: b/r.csv", table))
    assert (first[1], place) == (last[1], "line 5")
    assert bad.record == '"Q, of\ntwo lines",,take it, but not now'
    assert bad.reason == "more or fewer fields than headings (a comma without quotes?)"
    lines = '{"instruction": "Q"\n' + '"' + "x" * MAX_RECORD_TEXT
    (_, short), (_, long) = read_records(write("a: b/r.jsonl", lines))
    assert (short.record, short.reason) == ('{"instruction": "Q"', "not valid JSON (Expecting ',' delimiter)")
    assert str(short).endswith(f"r.jsonl line 1: {short.reason}")
    assert long.record == '"' + "x" * (MAX_RECORD_TEXT - 1) + (
        f" [cut here; the record has {MAX_RECORD_TEXT + 1:,} characters]"
    )
    again = copy.deepcopy(long)  # as on its way from a worker process
    assert (str(again), again.reason, again.record) == (str(long), long.reason, long.record)


def test_two_columns_of_one_name_are_refused(write):
    with pytest.raises(UserError, match=r"two columns have the heading .output.; rename one"):
        read_rows(write("r.csv", "instruction,output,output\nQ,A,B\n"))


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True])
def test_provenance_is_text_or_a_number(row, value):
    with pytest.raises(ValueError, match=f"'licence' is {type(value).__name__}, not text"):
        parse_row(row(1, licence=value))
    assert parse_row(row(1, source_id=17)).source_id == "17"
    with pytest.raises(ValueError, match="'url' is not valid Unicode"):
        parse_row(row(1, url="\ud800"))


def test_a_file_with_other_columns_is_refused_with_its_columns(write):
    with pytest.raises(UserError, match=r"line 2: no key 'instruction' \(found: Frage, Antwort\)"):
        read_rows(write("rows.csv", "Frage;Antwort\nQ;A\n"))
