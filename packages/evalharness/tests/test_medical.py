"""The medical exams that are not USMLE: named by --metadata, sliced, or fetched from the hub."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness import task_data
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.contamination_split import measure_contamination
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.run_summary import summarize_run
from medalpaca_evalharness.task_data import (
    EXAM_KEYS,
    GROUPS,
    TASKS,
    build_documents,
    find_tasks,
    prepare_task,
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)


@pytest.fixture
def exams(tmp_path) -> dict[str, str]:
    """One small exam for every name, each in its own layout."""
    options = {"A": "rest", "B": "tea", "C": "sleep", "D": "walks", "E": "none"}
    medqa = [
        {"question": f"Case {n}?", "options": options, "answer_idx": "ABCDE"[n], "meta_info": part}
        for n, part in enumerate(["step1", "step2&3", "step1", "step2&3", "step2&3"])
    ]
    (tmp_path / "medqa.jsonl").write_text("\n".join(map(json.dumps, medqa)))
    medmcqa = [
        {"id": f"m{n}", "question": f"Fact {n}?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": n}
        for n in range(4)
    ]
    (tmp_path / "medmcqa.json").write_text("\n".join(map(json.dumps, medmcqa)))
    pubmedqa = {"7": {"QUESTION": "Does it help?", "CONTEXTS": ["We looked."], "final_decision": "maybe"}}
    (tmp_path / "pubmedqa.json").write_text(json.dumps(pubmedqa))
    (tmp_path / "mmlu" / "test").mkdir(parents=True)
    for task in GROUPS["medalpaca_mmlu"]:
        (tmp_path / "mmlu" / "test" / str(TASKS[task].file)).write_text(f"Which {task}?,w,x,y,z,C\n")
    files = {"medqa": "medqa.jsonl", "medmcqa": "medmcqa.json", "pubmedqa": "pubmedqa.json", "mmlu": "mmlu"}
    assert tuple(files) == EXAM_KEYS
    return {name: str(tmp_path / file) for name, file in files.items()}


def test_the_whole_group(exams, evaluate, answering):
    found = evaluate(answering(lambda doc: doc["gold"]), "medalpaca_medical", {"exams": exams})
    assert found["results"]["medalpaca_medical"]["acc,none"] == 1.0
    assert found["results"]["medalpaca_medical"]["sample_len"] == 5 + 4 + 1 + 6
    assert {name: found["n-samples"][name]["effective"] for name in GROUPS["medalpaca_medqa"]} == {
        "medalpaca_medqa_step1": 2,
        "medalpaca_medqa_step2_3": 3,
    }


def test_the_slices_of_medqa(exams):
    for name, part in (("medalpaca_medqa_step1", "step1"), ("medalpaca_medqa_step2_3", "step2&3")):
        rows = build_documents(name, prepare_task(name, {"exams": exams}))
        assert {row["subject"] for row in rows} == {part}
    with pytest.raises(UserError, match=r"has no item of part step1; it has 4 of no part"):
        prepare_task("medalpaca_medqa_step1", {"exams": {"medqa": exams["medmcqa"]}})


def test_parts_have_names_and_the_exam_path_is_recorded(exams, evaluate, answering, save, tmp_path):
    saved = [
        save(evaluate(answering(choose), "medalpaca_medqa", {"exams": exams}), tmp_path / name)
        for name, choose in (("base", lambda doc: 0), ("tuned", lambda doc: doc["gold"]))
    ]
    base, tuned = map(read_run, saved)
    assert [part.label for part in summarize_run(base)] == ["Step 1", "Step 2&3", "All"]
    found = compare(base, tuned)
    assert [(row.label, row.fixed) for row in found.steps] == [("Step 1", 1), ("Step 2&3", 3)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Case 1?", "input": "", "output": "B"}))
    covered = measure_contamination(found, rows)
    assert (covered.exam, len(covered.covered)) == (exams["medqa"], 1)


def test_pubmedqa_prompts_contain_the_abstract(exams):
    row = build_documents("medalpaca_pubmedqa", prepare_task("medalpaca_pubmedqa", {"exams": exams}))[0]
    assert "We looked.\n\nDoes it help?\nA: yes\nB: no\nC: maybe" in row["prompt"]
    assert row["letters"][row["gold"]] == "C"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"exams": "x"}, "metadata 'exams' is 'x'; expected an object that maps names to paths"),
        ({"exams": {"medqs": "x"}}, "has 'medqs'; allowed: medqa, medmcqa, pubmedqa, mmlu"),
        ({"exams": {"medqa": 3}}, "metadata 'medqa' is 3; expected a string"),
        ({"exams": {"medqa": "/no/where"}}, "/no/where: no such exam"),
        ({"exam": "/no/where"}, """HF_HUB_OFFLINE is set; pass --metadata '{"exams": {"medqa": "PATH"}}'"""),
    ],
)
def test_invalid_metadata_is_one_line(metadata, message):
    with pytest.raises(UserError) as caught:
        prepare_task("medalpaca_medqa_step1", metadata)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_subject(exams, tmp_path):
    file = tmp_path / "mmlu" / "test" / "anatomy_test.csv"
    file.unlink()
    with pytest.raises(UserError, match=r"mmlu/anatomy_test.csv: no such exam"):
        prepare_task("medalpaca_mmlu_anatomy", {"exams": exams})


def test_no_hub_request_for_medical_exams_in_sealed_mode(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(task_data, "hub_disabled_reason", lambda: "MEDALPACA_SEALED=1")
    monkeypatch.setattr(task_data, "fetch_hub_exam", lambda repository: pytest.fail("the hub was asked"))
    for name in GROUPS["medalpaca_medical"]:
        with pytest.raises(UserError, match="the hub is disabled because MEDALPACA_SEALED=1"):
            prepare_task(name, {})


def test_usmle_and_medical_tasks_have_separate_exams(exams):
    with pytest.raises(UserError, match="no exam given"):
        prepare_task("medalpaca_usmle_step1", {"exams": exams})


def test_groups_are_expanded():
    assert find_tasks(["medalpaca_medical", "hellaswag", {"task": "x"}, "medalpaca_medqa_step1"]) == list(
        GROUPS["medalpaca_medical"]
    )
    assert find_tasks(None) == []
