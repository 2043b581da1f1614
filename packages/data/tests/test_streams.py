"""JSON read record by record gives what json.loads gives, whatever the blanks, and names the line of a fault."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core import json_stream
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.json_stream import is_json_list, read_json_list
from medalpaca_data.core.text_files import read_json_lines

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.lists(JSON, max_size=8), st.sampled_from([None, 0, 3]), st.integers(1, 40))
def test_a_list_is_what_the_library_reads(tmp_path_factory, values, indent, chunk):
    path = tmp_path_factory.mktemp("list") / "rows.json"
    path.write_text("\n " + json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8")
    before, json_stream.CHUNK_SIZE = json_stream.CHUNK_SIZE, chunk  # so that records lie across chunks
    try:
        assert [value for _, value in read_json_list(path)] == values
        assert is_json_list(path)
    finally:
        json_stream.CHUNK_SIZE = before


def test_places_gzip_and_byte_order_mark(tmp_path):
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress("\ufeff[1, {}]".encode()))
    assert list(read_json_list(path)) == [("row 1", 1), ("row 2", {})]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: .*expected a list"),
        ('{"a": 1}', "expected a list"),
        ("[1, 2", "line 1: .*the file is truncated"),
        ('[1,\n{"a": }]', "line 2: not valid JSON"),
        ('[1,\n\n{"a": "no end', "line 3: not valid JSON"),
        ("[1 2]", "expected ',' or ']'"),
        ("[1,]", "not valid JSON"),
        ("[1] [2]", "unexpected text after the end"),
        ("[" + "9" * 5000 + "]", "too many digits"),
        ("[" + "[" * 200_000, "nested too deeply"),
        (b'["\xff"]', "not UTF-8"),
    ],
)
def test_a_damaged_list_is_refused_with_its_line(write, text, said):
    path = write("rows.json", text)
    with pytest.raises(UserError, match=said):
        list(read_json_list(path))


def test_damaged_lines_are_told_one_by_one(write):
    path = write("rows.jsonl", '{"a": 1}\n\n{"a": \n[2]\r\n')
    (first, bad, last) = read_json_lines(path)
    assert (first, last) == (("line 1", {"a": 1}), ("line 4", [2]))
    assert bad[0] == "line 3"
    assert "rows.jsonl line 3: not valid JSON" in str(bad[1])
    assert bad[1].record == '{"a": '


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_what_is_not_utf8_is_told_with_its_line(tmp_path, name):
    path = tmp_path / name
    data = b"\xef\xbb\xbf[1]\n" + b"[2]\n" * 5000 + b'["\xff"]\n[3]\n'
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(UserError, match=rf"{name} line 5002: not UTF-8"):
        list(read_json_lines(path))


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text('[]{},:"\\ \n1e-.tfn', max_size=60).map(str.encode), st.booleans())
def test_no_bytes_end_in_anything_but_an_error_for_the_user(tmp_path_factory, data, packed):
    path = tmp_path_factory.mktemp("any") / ("rows.json.gz" if packed else "rows.json")
    path.write_bytes(data)
    for read in (read_json_list, read_json_lines):
        try:
            list(read(path))
        except UserError as error:
            assert "rows.json" in str(error)
