"""Alpaca rows under any column names, and conversations in the layouts of chat training."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import Recipe
from medalpaca_data.shard import place_of
from medalpaca_data.sources import Alpaca, Chat
from medalpaca_data.sources.answer_rules import Repair
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.columns import Unread

ASKED, ANSWERED = "What does a thermometer measure?", "Temperature."
OPENAI = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
SHAREGPT = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]
KNOWN = "known are system, user, human, patient, student, assistant, gpt, ai, bot, model, doctor, "
KNOWN += "physician, teacher, tool"
NO_ROLE = f"the role of a turn is list, not text; {KNOWN}"
NO_LIST = "text that is no JSON list of turns; write the turns as a JSON list"
NO_ANSWER = "the conversation has no question with an answer"
LATER = [{"role": "user", "content": "In what unit?"}, {"role": "assistant", "content": "Degrees."}]


def unknown_role(found: str = "") -> str:
    return f"a turn with the unknown role{found}; {KNOWN}; rename it"


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


def test_a_record_in_another_layout_is_rejected(write):
    known = {"question": ASKED, "answer": ANSWERED}
    other = [{"ask": ASKED, "say": ANSWERED}, {"messages": OPENAI}, {"instruction": ASKED}, {"output": "A"}]
    path = str(write("mixed.jsonl", [known, *other]))
    assert [reject.reason for reject in read(Alpaca(path=path))[1:]] == [
        "the columns are in no known layout; name them under fields",
        "a conversation of several turns; use kind: chat",
        "no key 'output'",
        "no key 'instruction'",
    ]
    path = str(write("rows.jsonl", other))
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


def test_each_answer_is_a_row_with_all_turns_before_it(write):
    system = {"role": "system", "content": "Be short."}
    path = write("talk.json", [{"messages": [*OPENAI, *LATER]}, {"messages": [system, *OPENAI, *LATER]}])
    first, second, third, fourth = read(Chat(path=str(path)))
    earlier, question = f"User: {ASKED}\n\nAssistant: {ANSWERED}", "User: In what unit?"
    assert texts(first) == (ASKED, "", ANSWERED)
    assert texts(second) == (earlier, question, "Degrees.")
    assert texts(third) == ("Be short.", ASKED, ANSWERED)
    assert texts(fourth) == (f"Be short.\n\n{earlier}", question, "Degrees.")
    assert [row.source_id for row in (first, second)] == ["talk.json row 1", "talk.json row 1 answer 2"]
    # The rows of a conversation stay on one side of a split.
    assert [row.group for row in (first, second, third)] == ["chat:talk.json row 1"] * 2 + [
        "chat:talk.json row 2"
    ]


def test_no_answer_of_a_long_conversation_is_a_near_duplicate(write, tmp_path):
    words = [
        first + second for first in "abcdefghijkl" for second in ("rk", "mp", "lt", "st", "nd", "sk", "ft")
    ]
    talk = [turn("system", "You are a doctor.")]
    for n in range(10):
        asked, answered = (" ".join(words[(k * 7 + n * 5) % len(words)] for k in range(10)) for _ in range(2))
        talk += [turn("user", f"Why {asked} {words[n]}?"), turn("assistant", f"For {answered} {words[-n]}.")]
    path = write("talk.json", [{"messages": talk}])
    recipe = {"name": "mine", "validation": 0, "sources": [{"kind": "chat", "path": str(path)}]}
    built = build(Recipe.model_validate(recipe), tmp_path, tmp_path / "out")
    assert built.ledger["rows"] == {"train": 10, "validation": 0}


def turn(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"weight": "0"}, {"train": False}, {"loss": False}]
)
def test_an_answer_of_weight_0_is_only_in_the_prompt(write, mark):
    wrong = turn("assistant", "100 mg", **mark)
    talk = [turn("user", "Dose?"), wrong, turn("user", "Sure?"), turn("assistant", "10 mg.", weight=1)]
    row, left = read(Chat(path=str(write("talk.json", [{"messages": talk}]))))
    assert texts(row) == ("User: Dose?\n\nAssistant: 100 mg", "User: Sure?", "10 mg.")
    assert left == Reject(
        "talk.json",
        "row 1 turn 2",
        "an answer of weight 0 is not learned",
        {"role": "assistant", "text": "100 mg"},
        by_rule=True,
    )
    _, after_system = read(
        Chat(path=str(write("s.json", [{"messages": [turn("system", "Be short."), *talk]}])))
    )
    assert after_system.location == "row 1 turn 3"
    [none] = read(Chat(path=str(write("none.json", [{"messages": talk[:2]}]))))
    assert (none.reason, none.by_rule) == ("every answer of the conversation has weight 0", True)


def test_tools_are_in_the_prompt_and_calls_are_not_learned(write):
    call = {"id": "c1", "type": "function", "function": {"name": "dose", "arguments": '{"drug": "X"}'}}
    openai = [
        turn("user", "Dose of X?"),
        turn("assistant", None, tool_calls=[call]),
        turn("tool", "10 mg", tool_call_id="c1"),
        turn("assistant", "10 mg."),
        turn("user", "Thank you."),
    ]
    sharegpt = [
        {"from": "human", "value": "Dose of X?"},
        {"from": "function_call", "value": 'dose({"drug": "X"})'},
        {"from": "observation", "value": "10 mg"},
        {"from": "gpt", "value": "10 mg."},
        {"from": "human", "value": "Thank you."},
    ]
    prompt = 'User: Dose of X?\n\nAssistant calls a tool: dose({"drug": "X"})'
    for name, talk in {"messages": openai, "conversations": sharegpt}.items():
        row, called, last = read(Chat(path=str(write(f"{name}.json", [{name: talk}]))))
        assert texts(row) == (prompt, "Tool: 10 mg", "10 mg.")
        assert (called.reason, called.record["role"]) == ("a call of a tool is not learned", "call")
        assert (last.location, last.reason) == ("row 1 turn 5", "a turn after the last answer is not used")


def test_parts_of_a_turn_are_joined_and_a_greeting_is_not_learned(write):
    parts = [{"type": "text", "text": "A man of 60."}, {"type": "text", "text": "What next?"}]
    talk = [turn("assistant", "Hello."), turn("user", parts), turn("assistant", ["Rest."])]
    row, greeting = read(Chat(path=str(write("talk.json", [{"messages": talk}]))))
    assert texts(row) == ("Assistant: Hello.", "User: A man of 60.\nWhat next?", "Rest.")
    assert greeting.reason == "an answer without a question before it is not learned"


def test_columns_beside_the_turns(write):
    record = {
        "system": "Be short.",
        "context": "A man of 60.",
        "licence": "CC0",
        "id": "x",
        "tools": "[]",
        "messages": [turn("user", "Next?", name="Ann"), turn("assistant", "Rest.", name="Bo")],
        "prompt": "the same, rendered",
        "note": "",
    }
    source = Chat(path=str(write("talk.json", [record])))
    counter = Unread()
    [row] = source.counting(counter).records(Path())
    assert (texts(row), row.licence) == (("Be short.", "A man of 60.\n\nNext?", "Rest."), "CC0")
    assert counter == {"tools": 1, "prompt": 1, "messages.name": 2}
    twice = turn("system", "Be short.")
    repair, row = read(
        Chat(path=str(write("two.json", [{**record, "messages": [twice, *record["messages"]]}])))
    )
    assert (repair, row.instruction) == (Repair("equal system text written once"), "Be short.")
    [row] = read(Chat(path=str(write("organ.json", [{**record, "system": "Cardiology"}]))))
    assert row.instruction == "Cardiology"


def test_arguments_and_results_of_tools_as_objects_are_written_as_json(write):
    call = {"type": "function", "function": {"name": "vitals", "arguments": {"id": 5, "name": "M\u00fcller"}}}
    talk = [
        turn("user", "Heart rate?"),
        turn("assistant", None, tool_calls=[call, {"name": "clock"}]),
        turn("tool", {"hr": 80}),
        turn("assistant", "80 per minute."),
    ]
    row, *calls = read(Chat(path=str(write("talk.json", [{"messages": talk}]))))
    assert texts(row) == (
        'User: Heart rate?\n\nAssistant calls a tool: vitals({"id": 5, "name": "M\u00fcller"})\n\n'
        "Assistant calls a tool: clock()",
        'Tool: {"hr": 80}',
        "80 per minute.",
    )
    assert [(reject.reason, reject.by_rule) for reject in calls] == [
        ("a call of a tool is not learned", True)
    ] * 2


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        ("Human", "AI"),
        ("student", "teacher"),
        ("Patient", "Doctor"),
        ("patient", "physician"),
        ("user", "bot"),
        ("student", "model"),
        ("user", "teacher"),
    ],
)
def test_roles_of_people_and_programs(write, asks, answers):
    talk = [turn(asks, "Why?"), turn(answers, "Wind.")]
    assert [texts(row) for row in read(Chat(path=str(write("talk.json", [{"messages": talk}]))))] == [
        ("Why?", "", "Wind.")
    ]


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        (["doctor", "assistant"], "the roles assistant and doctor in one conversation are both assistant"),
        (["student", "user", "teacher"], "the roles student and user in one conversation are both user"),
        (["user", "doctor", "AI"], "the roles ai and doctor in one conversation are both assistant"),
    ],
)
def test_an_ambiguous_role_is_broken(write, roles, reason):
    talk = [turn(role, "Why?") for role in roles]
    [reject] = read(Chat(path=str(write("talk.json", [{"messages": talk}]))))
    assert (reject.reason, reject.by_rule) == (f"{reason}; rename them to user and assistant", False)


def test_a_role_in_patient_text_is_not_in_the_reason(write):
    path = str(write("talk.json", [{"messages": [turn("Anna Schmidt", "Why?"), OPENAI[1]]}]))
    [reject] = read(Chat(path=path, patient_text=True))
    assert reject.reason == unknown_role()


def test_turns_and_history_as_json_text_in_csv(tmp_path):
    path = tmp_path / "talk.csv"
    turns = [
        turn("system", "Be short."),
        *OPENAI,
        turn("user", 'In "\u00b0C"?', name="Ann"),
        turn("assistant", "Yes."),
    ]
    pl.DataFrame({"messages": [json.dumps(turns)], "topic": ["devices"]}).write_csv(path)
    counter = Unread()
    first, second = Chat(path=str(path)).counting(counter).records(Path())
    assert texts(first) == ("Be short.", ASKED, ANSWERED)
    assert texts(second) == (
        f"Be short.\n\nUser: {ASKED}\n\nAssistant: {ANSWERED}",
        'User: In "\u00b0C"?',
        "Yes.",
    )
    assert counter == {"topic": 1, "messages.name": 1}
    path = tmp_path / "history.csv"
    history = [json.dumps([[ASKED, ANSWERED]]), "[]", "[5 days of fever]"]
    pl.DataFrame(
        {"question": ["In what unit?"] * 3, "history": history, "answer": ["Degrees."] * 3}
    ).write_csv(path)
    assert [texts(row) for row in read(Alpaca(path=str(path)))] == [
        (f"User: {ASKED}\n\nAssistant: {ANSWERED}", "User: In what unit?", "Degrees."),
        ("In what unit?", "", "Degrees."),
        ("In what unit?", "[5 days of fever]", "Degrees."),
    ]


def test_a_file_without_turns_is_refused(write):
    path = str(write("rows.csv", "Question,Answer\nWhy?,Wind.\n"))
    with pytest.raises(
        UserError, match=r"rows\.csv: no list of turns; columns found: Question, Answer; known: messages"
    ):
        read(Chat(path=path))
    with pytest.raises(
        UserError,
        match=r"no list of turns in column 'talk'; .*; correct the column name in the key 'turns' \(",
    ):
        read(Chat(path=path, turns="talk"))


@pytest.mark.parametrize(
    ("turns", "reason", "by_rule"),
    [
        (OPENAI[1:], NO_ANSWER, False),
        (OPENAI[:1] * 2, NO_ANSWER, False),
        ([], "no list of turns", False),
        ("text", f"'messages' is {NO_LIST}", False),
        ("[{'role': 'user'}]", f"'messages' is {NO_LIST}", False),
        ({"a": 1}, "'messages' is dict, not a list of turns", False),
        ([1], "a turn that is not an object", False),
        ([{"role": "user", "content": " "}, OPENAI[1]], "an empty question or answer", False),
        ([{"role": "user", "content": None}, OPENAI[1]], "a turn without text", False),
        ([{"role": "user", "content": "\ud800"}, OPENAI[1]], "not valid Unicode (half a surrogate pair)", False),
        ([OPENAI[0], {"role": "tool", "content": "37"}], NO_ANSWER, False),
        ([OPENAI[0], {"role": "Critic", "content": "37"}], unknown_role(" 'critic'"), False),
        ([OPENAI[0], {"role": ["assistant"], "content": "37"}], NO_ROLE, False),
        ([OPENAI[0], {"content": "37"}], f"a turn without a role; {KNOWN}", False),
        ([OPENAI[0], {"role": "x" * 31, "content": "37"}], unknown_role(), False),
        ([OPENAI[0], {"role": "assistant", "content": {"dose": 3}}], "'content' of a turn is dict, not text", False),
        ([OPENAI[0], {"from": "gpt", "value": 37}], "'value' of a turn is int, not text", False),
        ([OPENAI[0], {**OPENAI[1], "weight": 0.5}], "'weight' of a turn is not 0 or 1", False),
        ([OPENAI[0], {"role": "assistant", "tool_calls": [7]}], "a call of a tool without a name", False),
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
        try:
            records = read(cls(path=str(path)).counting(Unread()))
        except UserError as error:
            assert "columns found" in str(error)
        else:
            places = {place_of(r.source_id)[1] if isinstance(r, Row) else r.location for r in records}
            assert {" ".join(place.split()[:2]) for place in places} == {
                f"row {n}" for n in range(1, len(values) + 1)
            }


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
