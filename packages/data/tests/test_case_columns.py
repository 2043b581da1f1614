"""Columns beside question and answer: the case is joined to the question, and other columns are listed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from medalpaca_data.build import build, estimate_rephrasing
from medalpaca_data.core.case_columns import case_kind, heading, is_case_number
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import shared
from medalpaca_data.core.records import read_rows, read_split
from medalpaca_data.recipe import Recipe
from medalpaca_data.show import build_as_json, show_build
from medalpaca_data.sources import Alpaca, Chat, MedMCQA, MedQA, PubMedCausal
from medalpaca_data.sources.answer_rules import Repair

CASE = "A woman of 30 with a fever; paracetamol."
TALK = [["How much by day?", "10 mg."], ["And at noon?", "5 mg."]]


def read(source) -> list:
    return list(source.records(Path()))


def texts(row) -> tuple[str, str, str]:
    return row.instruction, row.input, row.output


def recipe(path: Path, kind: str = "alpaca", *, strict: bool = False, **source) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "mine",
            "validation": 0,
            "strict": strict,
            "sources": [{"kind": kind, "name": "own", "path": str(path), **source}],
        }
    )


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("system", "system system_prompt systemPrompt System-Message sys_prompt"),
        ("history", "history chat_history conversationHistory"),
        ("context", "context Contexts case vignette background passage knowledge scenario premise abstract"),
        (
            "context",
            "patient_history PatientHistory history_of_present_illness case_description clinical_vignette",
        ),
        ("context", "background_knowledge medical_context patient_info clinical_notes discharge_summary hpi"),
        (
            None,
            "id case_id patient patient_id topic category source note_id Complex_CoT reasoning answer_context_url",
        ),
        (None, "ecosystem contextual history_id medical_specialty patient_name information summary 病历"),
    ],
)
def test_names_of_columns_with_a_part_of_the_question(kind, names):
    assert [name for name in names.split() if case_kind(name) != kind] == []


def test_a_number_in_a_case_column_is_no_text():
    numbers = [7, 7.5, True, "7", "K-1023", "Case 7", "case_0017", "Patient: 12/4", "2024-03-01", "..."]
    numbers += ["Case no. 12", "id7", "#31", "-7.5", "1,204", "pt/00412"]
    assert [value for value in numbers if not is_case_number(value)] == []
    written = [
        "A man of 60.",
        "Fever",
        "Covid-19 in March",
        "pH 7.2 after 3 days",
        "120/80, 38.5",
        ["A"],
        "x" * 50 + "1 y",
        *(
            "COVID-19",
            "T2DM",
            "G2P1",
            "BP120/80",
            "120/80",
            "GCS-8",
            "HbA1c-9",
            "HR 120",
            "A1",
            "HLA-B27",
            "5 mg",
        ),
        *("65\u6b73\u7537\u6027", "\u0645\u0631\u064a\u0636 65", "No pain", "Case of T2DM"),
    ]
    assert [value for value in written if is_case_number(value)] == []


# Rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    ["context", "knowledge", "passage", "background", "case", "vignette", "patient_history", "Context"],
)
@pytest.mark.parametrize(
    "layout", [("question", "answer"), ("instruction", "output"), ("prompt", "completion")]
)
def test_the_case_is_joined_to_the_question(write, column, layout):
    ask, say = layout
    records = [{ask: "Is it right?", column: CASE, say: "Yes"}, {ask: "Is it right?", column: "", say: "No"}]
    first, second = read(Alpaca(path=str(write("rows.jsonl", records))))
    assert texts(first) == ("Is it right?", CASE, "Yes")
    assert texts(second) == ("Is it right?", "", "No")


def test_several_case_columns_come_before_the_input_with_headings(write):
    record = {
        "instruction": "What is next?",
        "input": "She asks for a letter.",
        "output": "Rest.",
        "background": CASE,
        "vignette": CASE,
        "case": "K-1023",
        "passages": ["No allergies.", "No travel."],
        "premise": "asks for a letter",
    }
    source = Alpaca(path=str(write("rows.json", [record])))
    [row] = read(source)
    assert row.input == (
        f"Background: {CASE}\n\nVignette: {CASE}\n\nPassages:\nNo allergies.\nNo travel.\n\n"
        "Premise: asks for a letter\n\nShe asks for a letter."
    )
    assert list(source.unread(record)) == ["case"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            {"past_history": "none", "family_history": "breast cancer"},
            "Past history: none\n\nFamily history: breast cancer",
        ),
        (
            {"pastHistory": "diabetes", "Family History": "diabetes"},
            "Past history: diabetes\n\nFamily history: diabetes",
        ),
        ({"past_history": "", "family_history": "diabetes"}, "Family history: diabetes"),
        ({"past_history": "None", "symptoms": "None"}, "Past history: None"),
        ({"symptoms": "pain"}, "pain"),
        ({"case": "COVID-19", "context": "G2P1"}, "Case: COVID-19\n\nContext: G2P1"),
    ],
)
def test_a_heading_keeps_the_meaning_of_a_short_finding(write, case, expected):
    path = write("rows.json", [{"question": "What is the risk?", **case, "answer": "Low."}])
    source = Alpaca(path=str(path))
    row = read(source)[-1]
    assert texts(row) == ("What is the risk?", expected, "Low.")


def test_headings_from_names_of_columns():
    names = ["past_history", "PatientHistory", "HPI", "clinical-notes", "Anamnese", "case 2", "__"]
    assert [heading(name) for name in names] == [
        "Past history", "Patient history", "HPI", "Clinical notes", "Anamnese", "Case 2", "__",
    ]  # fmt: skip


LONG = "A man of 60 has had chest pain for 3 hours and has Hb 8"


@pytest.mark.parametrize(
    ("column", "case", "question"),
    [
        ("context", "50 kg", "Which dose at 150 kg?"),
        ("symptoms", "pain", "Which painkiller is not allowed?"),
        ("patient_info", "male", "Is a female nurse needed?"),
        ("patient_info", "male", "Is a male nurse needed?"),
        ("clinical_details", "Hb 8", "Which unit if Hb 8.5?"),
        ("context", LONG, f"{LONG}.5, which unit?"),
        ("context", LONG, f"{LONG},5: which unit?"),
        ("context", LONG, f"{LONG} 000, which unit?"),
        ("context", LONG, f"{LONG}-9, which unit?"),
        ("context", LONG[2:], f"Wo{LONG[2:]}: which unit?"),
        ("context", LONG[9:], f"At -{LONG[9:]}: which unit?"),
        ("context", LONG[9:], f"At \u2212 {LONG[9:]}: which unit?"),
    ],
)
def test_a_case_is_joined_although_the_question_has_its_letters(write, column, case, question):
    path = write("rows.json", [{"question": question, column: case, "answer": "A"}])
    assert [texts(row) for row in read(Alpaca(path=str(path)))] == [(question, case, "A")]


def test_a_case_that_the_question_repeats_is_counted(write, tmp_path):
    records = [
        {"question": f"{LONG}. Which unit?", "context": f"{LONG}.", "answer": "One."},
        {"question": f"Case ({LONG}): which one?", "context": LONG.replace(" ", "\n"), "answer": "Two."},
        {"question": f"{LONG}, and then?", "context": "It is 5 pm.", "answer": "Three."},
    ]
    path = write("rows.json", records)
    built = build(recipe(path, strict=True), tmp_path, tmp_path / "out")
    assert [row.input for row in read_split(built.path, "train")] == ["", "", "It is 5 pm."]
    stage = built.ledger["sources"][0]["stages"][0]
    assert stage["changed"] == {"case column repeats the question": 2}
    assert built.ledger["sources"][0]["unread_columns"] == {}


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "<noinput>", "<No Input>", "N/A", "n/a", "null"])
def test_a_placeholder_is_an_empty_case_and_is_counted(write, text):
    records = [
        {"instruction": "Why?", "input": text, "output": "Wind."},
        {"instruction": "Why?", "context": text, "output": "Wind."},
        {"instruction": "Why?", "context": text, "response": "Wind."},
    ]
    found = read(Alpaca(path=str(write("rows.json", records))))
    assert [texts(row) for row in found[1::2]] == [("Why?", "", "Wind.")] * 3
    repair = Repair("placeholder such as nan in a case or input column read as empty")
    assert found[::2] == [repair] * 3


def test_a_number_that_is_not_a_number_is_an_empty_input(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"instruction": "Why?", "input": NaN, "context": NaN, "output": "Wind."}]')
    assert [texts(row) for row in read(Alpaca(path=str(path)))] == [("Why?", "", "Wind.")]


def test_an_organ_system_is_no_system_text(write, tmp_path):
    record = {"question": "Which drug?", "answer": "Aspirin."}
    organs = ["Cardiovascular", "Central nervous system", "Blood & Lymphoreticular System", "GI."]
    source = Alpaca(path=str(write("organs.json", [{**record, "System": organ} for organ in organs])))
    assert [texts(row) for row in read(source)] == [("Which drug?", "", "Aspirin.")] * 4
    assert list(source.unread({**record, "System": "Cardiovascular"})) == ["System"]
    prompts = ["Be short.", "You are a doctor", "Answer in German", "Du bist Arzt. Antworte kurz."]
    records = [{**record, "system": prompt} for prompt in prompts]
    records += [{**record, "system_prompt": "Cardiology"}, {**record, "system": "Terse", "history": []}]
    rows = read(Alpaca(path=str(write("prompts.json", records))))
    assert [row.instruction for row in rows] == [*prompts, "Cardiology", "Terse"]
    assert {row.input for row in rows} == {"Which drug?"}
    with pytest.raises(UserError, match=r"columns are not read: System \(4\)"):
        build(recipe(tmp_path / "organs.json", strict=True), tmp_path, tmp_path / "out")


def test_system_text_and_earlier_turns_are_in_the_prompt(write):
    plain = {"instruction": "And at night?", "input": "", "output": "Half.", "history": [], "system": None}
    earlier = "User: How much by day?\n\nAssistant: 10 mg.\n\nUser: And at noon?\n\nAssistant: 5 mg."
    turns = [{"role": "user", "content": "How much by day?"}, {"role": "assistant", "content": "10 mg."}]
    records = [
        plain,
        {**plain, "system": "Be short."},
        {**plain, "history": TALK},
        {**plain, "history": TALK, "system": "Be short.", "input": "For a child.", "context": CASE},
        {**plain, "history": turns},
        {**plain, "history": "Asthma since 2010."},
    ]
    rows = read(Alpaca(path=str(write("rows.json", records))))
    assert [texts(row)[:2] for row in rows] == [
        ("And at night?", ""),
        ("Be short.", "And at night?"),
        (earlier, "User: And at night?"),
        (f"Be short.\n\n{CASE}\n\n{earlier}", "User: And at night?\n\nFor a child."),
        ("User: How much by day?\n\nAssistant: 10 mg.", "User: And at night?"),
        ("And at night?", "Asthma since 2010."),
    ]
    assert {row.output for row in rows} == {"Half."}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"context": {"contexts": ["a"]}}, "'context' is dict, not text"),
        ({"context": ["a", 7]}, "'context' is list, not text"),
        ({"system": ["a", None]}, "'system' is list, not text"),
        ({"history": {"a": 1}}, "'history' is dict, not text or a list of question and answer"),
        ({"history": [["a"]]}, "'history' is list, not text or a list of question and answer"),
        ({"history": [["a", 7]]}, "a text of 'history' is int, not text"),
        ({"question": ["a"]}, "'question' is list, not text"),
        ({"answer": {"text": "a"}}, "'answer' is dict, not text"),
        ({"answer": 7}, "'answer' is int, not text"),
        ({"answer": None}, "no value in 'answer'"),
        ({"context": "A \ud800"}, "'context' is not valid Unicode (half a surrogate pair)"),
    ],
)
def test_a_structure_is_never_written_as_text(write, change, reason):
    path = write(
        "rows.json", [{"question": "Q?", "answer": "A"}, {"question": "Q?", "answer": "A", **change}]
    )
    assert read(Alpaca(path=str(path)))[1].reason == reason


def test_fields_name_the_case_and_ignore_leaves_a_column_out(write):
    german = {
        "Frage": "Was tun?",
        "Antwort": "Ruhe.",
        "Anamnese": CASE,
        "Rolle": "Kurz.",
        "context": "Notes.",
    }
    path = str(write("rows.json", [german]))
    fields = {"instruction": "Frage", "output": "Antwort"}
    [row] = read(Alpaca(path=path, fields={**fields, "context": "Anamnese", "system": "Rolle"}))
    assert texts(row) == ("Kurz.", f"Context: Notes.\n\nAnamnese: {CASE}\n\nWas tun?", "Ruhe.")
    source = Alpaca(path=path, fields=fields, ignore=["context", "Rolle"])
    [row] = read(source)
    assert texts(row) == ("Was tun?", "", "Ruhe.")
    assert list(source.unread(german)) == ["Anamnese"]


def test_rows_that_are_read_without_a_build_have_no_case_column(write):
    path = write("rows.json", [{"instruction": "Q?", "input": "", "output": "A", "history": TALK}])
    with pytest.raises(UserError, match=r"rows\.json row 1: 'history' can have a part of the question"):
        read_rows(path)


TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Wind."}]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": TURNS},
        {"messages": TURNS, "context": CASE},
        {"conversations": json.dumps(TURNS)},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
    ],
)
def test_a_conversation_that_is_read_without_a_build_names_kind_chat(write, record):
    message = r"talk\.json row 1: a conversation is not read here; make rows of it with `data build` and .* kind: chat"
    with pytest.raises(UserError, match=message):
        read_rows(write("talk.json", [record]))


# Layouts ----------------------------------------------------------------------------------------------------------


def test_an_unknown_layout_is_refused_before_a_source_is_read(write, tmp_path, row):
    good, bad = write("good.json", [row(1)]), write("bad.csv", "Question,Answer,Topic\nWhy?,Wind.,Air\n")
    message = (
        r"bad\.csv: unknown layout; columns found: Question, Answer, Topic; known: instruction \+ output, .*"
        r"question \+ answer; name the columns, for instance fields: \{instruction: Question, output: Answer\}"
    )
    sources = [{"kind": "alpaca", "name": path.stem, "path": str(path)} for path in (good, bad)]
    with pytest.raises(UserError, match=message):
        build(Recipe(name="mine", max_reject_share=1, sources=sources), tmp_path, tmp_path / "out")
    assert not list((tmp_path / "home").rglob("read-*"))
    with pytest.raises(UserError, match=r"fields: \{instruction: COLUMN, output: COLUMN\}"):
        read(Alpaca(path=str(write("other.json", [{"ask": "Why?", "say": "Wind."}]))))
    with pytest.raises(
        UserError,
        match="no column 'Answr'; the file has: Question, Answer, Topic; correct the column names in the key 'fields'",
    ):
        read(Alpaca(path=str(bad), fields={"instruction": "Question", "output": "Answr"}))
    apart = str(write("apart.jsonl", [{"a": "Why?"}, {"b": "Wind."}]))
    with pytest.raises(UserError, match="none of the first records has all columns that fields: names"):
        read(Alpaca(path=apart, fields={"instruction": "a", "output": "b"}))
    with pytest.raises(UserError, match=r"use kind: chat \(columns found: messages\)"):
        read(Alpaca(path=str(write("talk.json", [{"messages": [{"role": "user", "content": "Why?"}]}]))))
    with pytest.raises(UserError, match=r"columns found: c0, .*, c29 and 10 more;"):
        read(Alpaca(path=str(write("wide.json", [{f"c{n}": "x" for n in range(40)}]))))


def test_a_file_in_which_later_records_fit_is_not_refused(write):
    records = [{"about": "this file"}, *({"question": f"Q{n}?", "answer": "A"} for n in range(3))]
    assert len(read(Alpaca(path=str(write("rows.jsonl", records))))) == 4
    assert read(Alpaca(path=str(write("empty.json", [7, {}]))))[1].reason.startswith("the columns are in no")


# Unread columns ---------------------------------------------------------------------------------------------------


def test_unread_columns_are_on_the_screen_and_in_the_ledger(write, tmp_path):
    records = [
        {"question": f"Why {n}?", "answer": f"Wind {n}.", "id": n, "url": "u", "topic": "air", "note": None}
        for n in range(3)
    ]
    records += [
        {"question": "Who?", "answer": "We.", "topic": " ", "note": "[bold]", "tags": ["a"], "more": {}}
    ]
    path = write("rows.jsonl", records)
    built = build(recipe(path), tmp_path, tmp_path / "out")
    expected = {"topic": 3, "note": 1, "tags": 1}
    for ledger in (built.ledger, json.loads((tmp_path / "out" / "ledger.json").read_text())):
        assert ledger["format"] == 5
        assert ledger["sources"][0]["unread_columns"] == expected
    assert build_as_json(built)["sources"][0]["unread_columns"] == expected
    screen = io.StringIO()
    show_build(built, Console(file=screen, width=60))
    assert "columns not read of own: topic (3), note (1), tags (1)" in screen.getvalue()
    again = build(recipe(path, ignore=["topic", "note"]), tmp_path, tmp_path / "less")
    assert again.ledger["sources"][0]["unread_columns"] == {"tags": 1}


def test_counts_are_the_same_for_several_shards(write, tmp_path, monkeypatch):
    monkeypatch.setattr("medalpaca_data.stages.read.ROWS", 4)
    records = [{"question": f"Why {n}?", "answer": f"Wind {n}.", "topic": "air"} for n in range(10)]
    path = write("rows.jsonl", records)
    built = build(recipe(path), tmp_path, tmp_path / "out")
    assert built.ledger["sources"][0]["unread_columns"] == {"topic": 10}
    assert len(list((tmp_path / "home").rglob("own-*.rows.parquet"))) > 2


@pytest.mark.parametrize("whole", [True, False])
def test_strict_refuses_an_unread_column_before_a_source_is_read(write, tmp_path, whole):
    # The column is empty at the start of the file.
    rows = [f"Why {n}?,Wind {n}.," for n in range(150)] + ["Who?,We.,air", "Where?,Here.,sea"]
    path = write("rows.csv", "\n".join(["question,answer,topic", *rows]) + "\n")

    def settings(**more) -> Recipe:
        values = recipe(path, strict=whole, **more).model_dump()
        values["sources"][0]["strict"] = not whole
        return Recipe.model_validate(values)

    message = r"source 'own': strict, but columns are not read: topic \(2\); .* ignore: \[topic\]"
    with pytest.raises(UserError, match=message):
        build(settings(), tmp_path, tmp_path / "out")
    assert not list((tmp_path / "home").rglob("read-*"))
    assert not (tmp_path / "out").exists()
    built = build(settings(ignore=["topic"]), tmp_path, tmp_path / "out")
    assert built.ledger["rows"]["train"] == 152


def test_strict_refuses_before_rephrasing_is_estimated(write, tmp_path):
    path = write("rows.jsonl", [{"question": "Why?", "answer": "Wind.", "topic": "air"}])
    values = recipe(path, strict=True).model_dump()
    values["rephrase"] = {
        "prompts": {"own": "flash_card"},
        "endpoints": ["http://127.0.0.1:9/v1"],
        "model": "m",
    }
    with pytest.raises(UserError, match=r"columns are not read: topic \(1\)"):
        estimate_rephrasing(Recipe.model_validate(values), tmp_path)


@pytest.mark.parametrize(
    ("source", "record", "unread"),
    [
        (
            {"kind": "medmcqa", "split": "train", "cop_from": 0},
            {
                "question": "Which?",
                "opa": "a",
                "opb": "b",
                "opc": "c",
                "opd": "d",
                "cop": 0,
                "exp": "Because.",
            },
            {"exp": 1},
        ),
        (
            {"kind": "medqa", "split": "train"},
            {
                "question": "Which?",
                "options": {"A": "a", "B": "b"},
                "answer": "a",
                "answer_idx": "A",
                "meta": "x",
            },
            {"meta": 1},
        ),
        (
            {"kind": "pubmed_causal", "encoding": "causal-language-use"},
            {"sentence": "A causes B in many people.", "label": "1", "pmid": "7"},
            {"pmid": 1},
        ),
        (
            {"kind": "chat"},
            {
                "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Wind."}],
                "score": 7,
            },
            {"score": 1},
        ),
    ],
)
def test_sources_of_known_corpora_count_unread_columns(write, tmp_path, source, record, unread):
    path = write("rows.json", [record])
    values = {"name": "mine", "validation": 0, "sources": [{**source, "name": "own", "path": str(path)}]}
    built = build(Recipe.model_validate(values), tmp_path, tmp_path / "out")
    assert built.ledger["sources"][0]["unread_columns"] == unread


@pytest.mark.parametrize(
    ("source", "record", "reason"),
    [
        (
            MedMCQA(path="rows.json", split="train", cop_from=0),
            {"question": "Which?", "opa": ["a"], "opb": "b", "opc": "c", "opd": "d", "cop": 0},
            "'opa' is list, not text",
        ),
        (
            MedQA(path="rows.json", split="train"),
            {"question": "Which?", "options": {"A": {"text": "a"}, "B": "b"}, "answer_idx": "A"},
            "an option or 'answer_idx' is a structure, not text",
        ),
        (
            PubMedCausal(path="rows.json", encoding="causal-language-use"),
            {"sentence": ["A causes B."], "label": "1"},
            "'sentence' or 'label' is a structure, not text",
        ),
    ],
)
def test_sources_of_known_corpora_reject_structures(write, source, record, reason):
    root = write("rows.json", [record]).parent
    [reject] = source.records(root)
    assert reject.reason == reason


# Files that other people wrote -----------------------------------------------------------------------------------


@pytest.fixture
def cases() -> Path:
    found = shared()
    if found is None or not (found / "cases" / "data").is_dir():
        pytest.skip("no shared cases: set MEDALPACA_SHARED to the directory that holds cases/")
    return found / "cases" / "data"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "question_context_answer.jsonl",
            [
                (
                    "Is it indicated?",
                    "A woman of 30 with pre-eclampsia at 36 weeks; magnesium sulfate.",
                    "Yes",
                ),
                ("Is it indicated?", "A man of 60 with a cold; antibiotics.", "No"),
            ],
        ),
        (
            "history_system.json",
            [
                (
                    "You are a pharmacist.\n\nUser: What is the dose by day?\n\nAssistant: 10 mg.",
                    "User: And at night?",
                    "Half the dose.",
                )
            ],
        ),
        (
            "sharegpt_system.json",
            [
                ("Answer in one word.", "Organ that makes insulin?", "Pancreas."),
                (
                    "Answer in one word.\n\nUser: Organ that makes insulin?\n\nAssistant: Pancreas.",
                    "User: And bile?",
                    "Liver.",
                ),
            ],
        ),
        (
            "messages_weight.jsonl",
            [("User: Dose of X?\n\nAssistant: 100 mg (wrong)", "User: Check again.", "10 mg.")],
        ),
        ("wrapped_train.json", [("Q", "", "A")]),
    ],
)
def test_cases_with_known_rows(cases, tmp_path, file, expected):
    kind = "chat" if file.startswith(("sharegpt", "messages")) else "alpaca"
    built = build(recipe(cases / file, kind), tmp_path, tmp_path / "out")
    assert [texts(row) for row in read_split(built.path, "train")] == expected
    assert built.ledger["sources"][0]["unread_columns"] == {}


@pytest.mark.parametrize(
    ("file", "fields", "unread"),
    [
        ("question_response.jsonl", {"instruction": "Question", "output": "Response"}, {"Complex_CoT": 1}),
        ("columns_renamed.csv", {"instruction": "Question", "output": "Answer"}, {"Topic": 1}),
    ],
)
def test_cases_with_other_headings_need_fields(cases, tmp_path, file, fields, unread):
    with pytest.raises(UserError, match=r"columns found: Question, .* fields: \{"):
        build(recipe(cases / file), tmp_path, tmp_path / "out")
    built = build(recipe(cases / file, fields=fields), tmp_path, tmp_path / "out")
    [row] = read_split(built.path, "train")
    assert (row.instruction, row.output) == ("Which vitamin is lacking in scurvy?", "Vitamin C.")
    assert built.ledger["sources"][0]["unread_columns"] == unread


def test_parquet_columns_of_lists_and_objects(tmp_path):
    path = tmp_path / "rows.parquet"
    pl.DataFrame(
        {
            "question": ["Q?"],
            "context": [["One.", "Two."]],
            "answer": ["A"],
            "meta": [{"year": 7}],
            "history": [TALK],
        }
    ).write_parquet(path)
    source = Alpaca(path=str(path))
    [row] = read(source)
    assert row.instruction.startswith("One.\nTwo.\n\nUser: How much by day?")
    talk = tmp_path / "talk.parquet"
    turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]
    pl.DataFrame({"conversations": [turns], "system": ["Be short."]}).write_parquet(talk)
    assert [texts(row) for row in read(Chat(path=str(talk)))] == [("Be short.", "Q?", "A")]


@pytest.mark.parametrize("name", ["index", "level_0", "__index_level_0__", "Unnamed: 0", "Unnamed: 0.1", ""])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_an_index_of_pandas_is_listed_as_one(tmp_path, name, suffix):
    """The table of a DataFrame after a filter: the numbers of the rows have gaps and are not in order."""
    frame = pl.DataFrame(
        {name: [4, 12, 7], "instruction": ["A?", "B?", "C?"], "output": ["5 mg", "liver", "7"]},
    )
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "parquet":
        frame.write_parquet(path)
    else:
        columns = {column: dict(zip("012", frame[column].to_list(), strict=True)) for column in frame.columns}
        path.write_text(json.dumps(columns))
    built = build(recipe(path), tmp_path, tmp_path / "out")
    rows = read_split(built.path, "train")
    assert [(row.instruction, row.output) for row in rows] == [("A?", "5 mg"), ("B?", "liver"), ("C?", "7")]
    [source] = built.ledger["sources"]
    assert source["unread_columns"] == {name: 3}
    assert source["unread_reasons"] == {name: "row numbers of pandas"}


def test_rows_by_number_after_a_filter(tmp_path):
    path = tmp_path / "rows.json"
    rows = {"4": ("A?", "5 mg"), "12": ("B?", "liver"), "7": ("C?", "7")}
    records = {key: {"instruction": question, "output": answer} for key, (question, answer) in rows.items()}
    path.write_text(json.dumps(records))
    built = build(recipe(path), tmp_path, tmp_path / "out")
    assert [(row.instruction, row.output) for row in read_split(built.path, "train")] == list(rows.values())


def test_a_column_index_with_texts_has_no_reason(write, tmp_path):
    rows = [
        {"index": "C-reactive protein", "case": "K-1023", "instruction": "Q1?", "output": "A"},
        {"index": "2", "case": "7", "instruction": "Q2?", "output": "A"},
    ]
    built = build(recipe(write("rows.json", rows)), tmp_path, tmp_path / "out")
    [source] = built.ledger["sources"]
    assert source["unread_columns"] == {"index": 2, "case": 2}
    assert source["unread_reasons"] == {"case": "number or identifier of a case, no text"}


def test_texts_of_patients_as_headings_are_not_in_the_ledger():
    from medalpaca_data.ledger import _unread_columns

    unread = {
        "Patient_ID": 3,
        "admissionDate": 3,
        "Okonkwo": 3,
        "1957-03-12": 3,
        "note of Mrs Lind": 1,
        "index": 3,
    }
    read = [{"unread": unread, "unread_reasons": {"index": "row numbers of pandas"}}]
    assert _unread_columns(read, None)["unread_columns"] == unread
    public = _unread_columns(read, b"key" * 11)
    assert list(public["unread_columns"].values()) == [3, 3, 3, 3, 1, 3]
    assert public["unread_reasons"] == {"index": "row numbers of pandas"}
    plain = [name for name in public["unread_columns"] if name in unread]
    assert plain == ["Patient_ID", "admissionDate", "index"]
