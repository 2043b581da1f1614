import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.ground.errors import UserError
from medalpaca_data.row import Row, content_id, parse_row, read_rows


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
        ({"instruction": "Q", "input": ""}, "no 'output'"),
        ({"instruction": "Q", "output": "  "}, "empty 'output'"),
        ({"instruction": "Q", "output": 3}, "'output' is int, not text"),
        ({"instruction": " ", "input": "", "output": "A"}, "neither 'instruction' nor 'input'"),
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
