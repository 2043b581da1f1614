"""Alpaca rows under any column names, and conversations in the layouts of chat training."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.sources import Alpaca, Chat
from medalpaca_data.sources.base import Reject

ASKED, ANSWERED = "What does a thermometer measure?", "Temperature."
OPENAI = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
SHAREGPT = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]
TOOL = "a turn with an unknown role, such as tool"
LATER = [{"role": "user", "content": "In what unit?"}, {"role": "assistant", "content": "Degrees."}]


def read(source) -> list:
    return list(source.records(Path()))


def texts(row: Row) -> tuple[str, str, str]:
    return row.instruction, row.input, row.output


# Columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": ASKED, "output": ANSWERED},
        {"instruction": ASKED, "input": "", "output": ANSWERED, "text": "the same, rendered"},
        {"instruction": ASKED, "context": "", "response": ANSWERED},
        {"instruction": ASKED, "response": ANSWERED},
        {"prompt": ASKED, "completion": ANSWERED},
        {"prompt": ASKED, "response": ANSWERED},
        {"id": 7, "question": ASKED, "answer": ANSWERED},
    ],
)
def test_well_known_columns_are_known(write, record):
    [row] = read(Alpaca(path=str(write("rows.json", [record]))))
    assert texts(row) == (ASKED, "", ANSWERED)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_other_columns_are_named(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    frame = pl.DataFrame({"Q": [ASKED], "Note": ["of a child"], "A": [ANSWERED], "topic": ["devices"]})
    match suffix:
        case "json":
            path.write_text(json.dumps(frame.to_dicts()))
        case "jsonl":
            frame.write_ndjson(path)
        case "csv":
            frame.write_csv(path)
        case _:
            frame.write_parquet(path)
    fields = {"instruction": "Q", "input": "Note", "output": "A", "group": "topic"}
    [row] = read(Alpaca(path=str(path), fields=fields, licence="CC0"))
    assert texts(row) == (ASKED, "of a child", ANSWERED)
    assert (row.group, row.licence, row.source) == ("devices", "CC0", "alpaca")


def test_unknown_and_missing_columns_are_told(write):
    path = str(write("rows.jsonl", [{"ask": ASKED, "say": ANSWERED}, {"messages": OPENAI}]))
    assert [reject.reason for reject in read(Alpaca(path=path))] == [
        "no key 'instruction'",
        "a conversation of several turns; use kind: chat",
    ]
    rows = read(Alpaca(path=path, fields={"input": "ask", "output": "say"}))
    assert texts(rows[0]) == ("", ASKED, ANSWERED)
    assert rows[1].reason == "no column 'ask', which the recipe names under fields"
    for fields in ({"instruction": "ask"}, {"output": "say"}, {"answer": "say"}, {}):
        with pytest.raises(ValueError, match="fields"):
            Alpaca(path=path, fields=fields)


def test_test_rows_are_left_out_by_rule(write, row):
    path = str(write("rows.json", [row(1, split="test"), row(2, split="train")]))
    left, kept = read(Alpaca(path=path))
    assert (left.reason, left.by_rule, kept.split) == ("test row", True, "train")


# Conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        {"messages": OPENAI},
        {"conversations": SHAREGPT, "id": "x_1"},
        {"conversations": OPENAI},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, OPENAI[1]]},
        {"prompt": OPENAI[:1], "completion": OPENAI[1:]},
        {"prompt": ASKED, "messages": OPENAI},
    ],
)
def test_one_exchange_is_one_row(write, record):
    [row] = read(Chat(path=str(write("talk.jsonl", [record]))))
    assert texts(row) == (ASKED, "", ANSWERED)
    assert (row.source_id, row.split) == ("talk.jsonl line 1", "none")


def test_nested_parquet_and_a_column_of_another_name(tmp_path):
    path = tmp_path / "talk.parquet"
    pl.DataFrame({"dialogue": [OPENAI]}).write_parquet(path)
    [row] = read(Chat(path=str(path), turns="dialogue", split="train"))
    assert (texts(row), row.split) == ((ASKED, "", ANSWERED), "train")


def test_what_the_system_says_is_the_instruction(write):
    talk = [{"role": "system", "content": "Answer in one word."}, *OPENAI]
    [row] = read(Chat(path=str(write("talk.json", [{"messages": talk}]))))
    assert texts(row) == ("Answer in one word.", ASKED, ANSWERED)


def test_later_exchanges_are_left_out_by_rule_and_counted(write):
    path = write("talk.json", [{"messages": [*OPENAI, *LATER, *LATER]}, {"messages": OPENAI}])
    first, second, third, other = read(Chat(path=str(path)))
    assert texts(first) == texts(other) == (ASKED, "", ANSWERED)
    assert [(reject.location, reject.by_rule) for reject in (second, third)] == [
        ("row 1 exchange 2", True),
        ("row 1 exchange 3", True),
    ]


@pytest.mark.parametrize(
    ("turns", "reason", "by_rule"),
    [
        (OPENAI[1:], "the conversation does not begin with a question and its answer", False),
        (OPENAI[:1] * 2, "the conversation does not begin with a question and its answer", False),
        ([], "no list of turns", False),
        ("text", "no list of turns", False),
        ([1], "a turn that is not an object", False),
        ([{"role": "user", "content": " "}, OPENAI[1]], "an empty question or answer", False),
        ([{"role": "user", "content": None}, OPENAI[1]], "a turn without text", False),
        ([{"role": "user", "content": "\ud800"}, OPENAI[1]], "not valid Unicode (half a surrogate pair)", False),
        ([OPENAI[0], {"role": "tool", "content": "37"}], TOOL, True),
        ([{"role": "user", "content": [{"type": "image"}]}, OPENAI[1]], "a turn that is not only text", True),
    ],
)  # fmt: skip
def test_what_is_no_exchange_is_rejected_with_its_reason(write, turns, reason, by_rule):
    [reject] = read(Chat(path=str(write("talk.json", [{"messages": turns}]))))
    assert (reject.reason, reject.by_rule) == (reason, by_rule)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "conversations", "role", "from", "content", "value", "text", "prompt"]
            ),
            inner | st.sampled_from(["user", "assistant", "system", "human", "gpt"]),
            max_size=3,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.lists(VALUES, max_size=4))
def test_any_record_is_a_row_or_a_reject(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("any") / "talk.json"
    path.write_text(json.dumps(values))
    for cls in (Chat, Alpaca):
        records = read(cls(path=str(path)))
        assert len([r for r in records if not (isinstance(r, Reject) and "exchange" in r.location)]) == len(
            values
        )


@given(st.data())
def test_any_bytes_end_in_rows_or_an_error_for_the_user(tmp_path_factory, damaged, data):
    folder = tmp_path_factory.mktemp("damaged")
    good = json.dumps([{"messages": OPENAI}, {"instruction": ASKED, "output": ANSWERED}]).encode()
    name = data.draw(st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.json.gz"]))
    (folder / name).write_bytes(data.draw(damaged(good)))
    for cls in (Chat, Alpaca):
        try:
            read(cls(path=str(folder / name)))
        except UserError as error:
            assert name in str(error)
