"""Exams in the layouts of PubMedQA, of the hub's tables, of spreadsheets; and records that cannot be read."""

from __future__ import annotations

import json

import polars
import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import shared
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import exam_prompt, exam_prompt_id

ABSTRACTS = {
    "101": {"QUESTION": "Does rest help?", "CONTEXTS": ["We asked.", "We saw."], "final_decision": "no"},
    "102": {"QUESTION": "Does sleep help?", "CONTEXTS": ["We slept."], "final_decision": "yes"},
    "103": {"QUESTION": "Does tea help?", "CONTEXTS": ["We drank."], "final_decision": "maybe"},
}


def test_pubmedqa(tmp_path):
    file = tmp_path / "ori_pqal.json"
    file.write_text(json.dumps(ABSTRACTS))
    exam = load_exam(file)
    assert [item.id for item in exam.items] == ["pubmed-101", "pubmed-102", "pubmed-103"]
    first = exam.items[0]
    assert first.question == "We asked.\n\nWe saw.\n\nDoes rest help?"
    assert dict(first.options) == {"A": "yes", "B": "no", "C": "maybe"}
    assert [item.answer for item in exam.items] == ["B", "A", "C"]
    # Beside the list of the test questions, only these are read; and the exam is another one.
    (tmp_path / "test_ground_truth.json").write_text(json.dumps({"102": "yes"}))
    test = load_exam(file)
    assert [item.id for item in test.items] == ["pubmed-102"]
    assert test.source_sha256 != exam.source_sha256


def test_pubmedqa_as_the_hub_has_it(tmp_path):
    rows = [
        {
            "pubid": int(number),
            "question": record["QUESTION"],
            "context": {"contexts": record["CONTEXTS"], "labels": [], "meshes": []},
            "final_decision": record["final_decision"],
        }
        for number, record in ABSTRACTS.items()
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "train.parquet")
    (tmp_path / "ori_pqal.json").write_text(json.dumps(ABSTRACTS))
    assert load_exam(tmp_path / "train.parquet").sha256 == load_exam(tmp_path / "ori_pqal.json").sha256


def test_mmlu_as_the_hub_has_it_is_the_same_exam(tmp_path):
    rows = [
        {"question": f"Which {n}?", "subject": "anatomy", "choices": ["w", "x", "y", "z"], "answer": n}
        for n in range(4)
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "test.parquet")
    lines = [",".join((row["question"], *row["choices"], "ABCD"[row["answer"]])) for row in rows]
    (tmp_path / "anatomy_test.csv").write_text("\n".join(lines))
    hub, local = load_exam(tmp_path / "test.parquet"), load_exam(tmp_path / "anatomy_test.csv")
    assert hub.sha256 == local.sha256
    assert {item.subject for item in (*hub.items, *local.items)} == {"anatomy"}


def test_a_table_with_headings(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text('id,step,question,A,B,C,D,answer\nq1,2,"One, or two?",x,y,z,,C\nq2,,Two?,x,y,,,y\n')
    exam = load_exam(file)
    assert [(item.id, item.step, dict(item.options), item.answer) for item in exam.items] == [
        ("q1", 2, {"A": "x", "B": "y", "C": "z"}, "C"),
        ("q2", None, {"A": "x", "B": "y"}, "B"),
    ]


def test_records_that_cannot_be_read_are_excluded(tmp_path):
    file = tmp_path / "mixed.jsonl"
    good = {"question": "Which?", "options": ["x", "y"], "answer": "B"}
    file.write_text("\n".join([json.dumps(good), "{", "[1]", json.dumps(good | {"question": 3})]))
    exam = load_exam(file)
    assert (exam.read, len(exam.items)) == (4, 1)
    assert [entry.id for entry in exam.excluded] == ["line 2", "line 3", "line 4"]
    reasons = [entry.reason for entry in exam.excluded]
    assert reasons[0].startswith("not valid JSON")
    assert reasons[1:] == ["not an object with keys", "'question' is int, not text"]


def test_the_ways_to_ask_have_names_of_their_own():
    names = {exam_prompt_id(way) for way in ("letter", "text", "reasoning", "protocol_2023")}
    assert len(names) == 4
    # These two stand in published results.
    assert exam_prompt_id("letter") == "letter-27bda3808980"
    assert exam_prompt_id("text").startswith("text-")


def test_an_unknown_way_to_ask():
    with pytest.raises(UserError, match="allowed: letter, text, reasoning, protocol_2023"):
        exam_prompt(load_exam("medalpaca_vignettes").items[0], "aloud")  # type: ignore[arg-type]


def test_the_real_pubmedqa():
    root = shared()
    if root is None:
        pytest.skip("no real PubMedQA: set MEDALPACA_SHARED")
    exam = load_exam(root / "data" / "pubmedqa" / "ori_pqal.json")
    assert (exam.read, len(exam.items)) == (500, 500)
    truth = json.loads((root / "data" / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {item.id.removeprefix("pubmed-"): item.options[item.answer] for item in exam.items} == truth


def test_an_unknown_layout_is_refused_with_its_columns_and_the_known_layouts(tmp_path):
    file = tmp_path / "headings.csv"
    file.write_text("Frage,Option 1,Option 2,Richtig\nWhich?,one,two,1\n")
    with pytest.raises(UserError) as refusal:
        load_exam(file)
    message = str(refusal.value)
    assert "unknown exam layout" in message
    for part in (
        "headings.csv",
        "Frage, Option 1, Option 2, Richtig",
        "question, opa to opd, cop",
        "question, options or A B C ..., answer",
    ):
        assert part in message


def test_a_first_record_without_keys_of_a_layout_does_not_hide_the_layout(tmp_path):
    file = tmp_path / "exam.jsonl"
    file.write_text(
        '{"note": "x"}\n{"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 0}\n'
        '{"question": "R?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 3}\n'
    )
    exam = load_exam(file)
    assert [item.answer for item in exam.items] == ["A", "D"]
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        ("line 1", "no key 'question'; found: note")
    ]
