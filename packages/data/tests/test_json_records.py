"""JSON records: a key that occurs twice, and lists by split beside other values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalpaca_data.core.errors import BadRecord, UserError
from medalpaca_data.core.json_keys import as_json_text
from medalpaca_data.core.records import read_records
from medalpaca_data.core.row import Row
from medalpaca_data.sources import Alpaca, PubMedQA
from medalpaca_data.sources.base import Reject

GOOD = '{"instruction": "Q", "input": "", "output": "A"}'
TWICE = '{"instruction": "Q", "input": "first case", "output": "A", "input": "second"}'
TURN = '{"messages": [{"role": "user", "content": "child?", "content": "5"}, {"role": "assistant", "content": "A"}]}'


@pytest.mark.parametrize(
    ("name", "text", "locations"),
    [
        ("r.jsonl", f"{GOOD}\n{TWICE}\n{TURN}\n{GOOD}\n", ("line 2", "line 3")),
        ("r.json", f"{GOOD}\n{TWICE}\n{TURN}\n{GOOD}\n", ("line 2", "line 3")),
        ("r.json", f"[{GOOD}, {TWICE}, {TURN}, {GOOD}]", ("row 2", "row 3")),
        ("r.json", f'{{"version": 1, "data": [{GOOD}, {TWICE}, {TURN}, {GOOD}]}}', ("row 2", "row 3")),
        (
            "r.json",
            f'{{"train": [{GOOD}, {TWICE}, {TURN}, {GOOD}]}}',
            ("train row 2", "train row 3"),
        ),
    ],
)
def test_a_record_with_a_key_twice_is_rejected(write, name, text, locations):
    found = dict(read_records(write(name, text)))
    bad = {place: value for place, value in found.items() if isinstance(value, BadRecord)}
    assert {place: value.reason for place, value in bad.items()} == {
        locations[0]: "the key 'input' occurs twice",
        locations[1]: "the key 'content' occurs twice",
    }
    assert "first case" in bad[locations[0]].record
    assert "child?" in bad[locations[1]].record
    assert len(found) == 4


def test_one_record_in_a_file_with_a_key_twice(write):
    [(place, bad)] = read_records(write("r.json", TWICE))
    assert (place, bad.reason, bad.record) == ("row 1", "the key 'input' occurs twice", TWICE)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"train": [{GOOD}], "train": [{GOOD}]}}',
        '{"instruction": {"0": "a", "0": "b"}, "output": {"0": "c"}}',
    ],
)
def test_a_key_twice_around_the_records_is_refused(write, text):
    with pytest.raises(
        UserError, match=r"r.json: the key '(train|0)' occurs twice in an object around the rec"
    ):
        list(read_records(write("r.json", text)))


def test_a_long_key_is_not_shown(write):
    [(_, bad)] = read_records(write("r.jsonl", '{"a\\nb": 1, "a\\nb": 2}\n'))
    assert bad.reason == "a key occurs twice"


def test_the_text_of_a_record_is_that_of_json():
    value = {"a": [1, None, {"b": "ü"}], "c": {}, "d": []}
    assert as_json_text(value) == json.dumps(value, ensure_ascii=False)


def test_pubmedqa_rejects_a_record_with_a_key_twice(write, tmp_path):
    record = '{"QUESTION": "Q?", "LONG_ANSWER": "A", "CONTEXTS": ["c"], "LONG_ANSWER": "B"}'
    write("ori_pqaa.json", f'{{"1": {record}}}')
    [reject] = PubMedQA(path="ori_pqaa.json", subset="pqaa").records(tmp_path)
    assert (reject.location, reject.reason) == ("pmid=1", "the key 'LONG_ANSWER' occurs twice")


def alpaca(root: Path):
    records = list(Alpaca(path="r.json").records(root))
    rows = [(record.source_id, record.split) for record in records if isinstance(record, Row)]
    return rows, [(record.location, record.reason) for record in records if isinstance(record, Reject)]


@pytest.mark.parametrize("key", ["test", "Test", "test_set", "testset", "testing", "Test split", "test_data"])
def test_a_test_split_beside_other_values_is_not_used(write, row, tmp_path, key):
    write("r.json", {"version": 1, key: [row(1), row(2)], "info": ["a", "b"]})
    assert alpaca(tmp_path) == ([], [(f"{key} row 1", "test row"), (f"{key} row 2", "test row")])


def test_a_validation_split_beside_other_values_is_held_out(write, row, tmp_path):
    write("r.json", {"info": "x", "validation": [row(1)]})
    assert alpaca(tmp_path) == ([("r.json validation row 1", "dev")], [])
    write("r.json", {"version": 1, "train": [row(1)], "dev_set": [row(2, split="train")], "test": [row(3)]})
    assert alpaca(tmp_path) == (
        [("r.json train row 1", "train"), ("r.json dev_set row 1", "train")],
        [("test row 1", "test row")],
    )
    write("r.json", {"data": [row(1)], "test": [row(3)], "empty": []})
    assert alpaca(tmp_path) == ([("r.json data row 1", "none")], [("test row 1", "test row")])
    write("r.json", {"version": 1, "train_data": [row(1)]})
    assert alpaca(tmp_path) == ([("r.json train_data row 1", "train")], [])


def test_a_list_under_another_name_is_read_as_before(write, row, tmp_path):
    write("r.json", {"version": 1, "data": [row(1)]})
    assert alpaca(tmp_path) == ([("r.json row 1", "none")], [])
