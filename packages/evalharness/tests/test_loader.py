"""From an exam to the documents that lm-eval asks."""

from __future__ import annotations

import json
import logging

import pytest

from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.prompts import exam_prompt, exam_prompt_id
from medalpaca_evalharness.task_data import build_dataset, build_documents, prepare_task
from medalpaca_evalharness.task_list import GROUPS, TASKS

STEP2, WHOLE, POCKET = "medalpaca_usmle_step2", "medalpaca_exam", "medalpaca_pocket"


@pytest.fixture(autouse=True)
def warnings_are_caught(caplog):
    # lm-eval's own set-up of its loggers, if another test made it, keeps records from the root.
    logging.getLogger("lm_eval").propagate = True
    caplog.set_level(logging.WARNING)


def test_every_item_is_asked_as_the_data_package_asks_it(write_exam):
    directory = write_exam()
    rows = build_documents(
        "medalpaca_usmle_step2", prepare_task("medalpaca_usmle_step2", {"exam": str(directory)})
    )
    items = [item for item in load_exam(directory).items if item.step == 2]
    assert [row["prompt"] for row in rows] == [exam_prompt(item, "letter").prompt for item in items]
    assert [row["choices"] for row in rows] == [list(item.options) for item in items]
    assert [row["letters"][row["gold"]] for row in rows] == [item.answer for item in items]


def test_options_of_any_number_survive_the_dataset(write_exam):
    rows = list(build_dataset(medalpaca_task=WHOLE, exam=str(write_exam()))["test"])
    assert sorted({len(row["choices"]) for row in rows}) == [4, 5, 6]
    assert all(None not in row["choices"] for row in rows)


def test_every_document_carries_its_receipt(write_exam, tiny, adapter):
    directory = write_exam()
    given = {
        "exam": str(directory),
        "pretrained": str(tiny),
        "peft": str(adapter),
        "dtype": "float32",
        "version": 1.0,
    }
    rows = list(build_dataset(medalpaca_task=STEP2, **given)["test"])
    assert len(rows) == 3
    for row in rows:
        assert row["exam_sha256"] == load_exam(directory).sha256
        assert row["prompt_id"] == exam_prompt_id("letter")
        assert (row["base"], row["adapter"]) == (str(tiny), str(adapter))
        assert len(row["base_sha256"]) == len(row["adapter_sha256"]) == 64
        assert row["item_id"].startswith("step2-")
        assert row["step"] == 2


def test_the_pocket_exam_is_asked_by_text():
    rows = list(build_dataset(medalpaca_task=POCKET)["test"])
    assert rows[0]["prompt_id"] == exam_prompt_id("text")
    assert all(len(set(row["choices"])) == len(row["choices"]) for row in rows)
    assert not any(letter in row["choices"] for row in rows for letter in "ABCD")


def test_exclusions_are_counted_by_reason_and_named_by_id_only(write_exam, caplog):
    directory = write_exam()
    questions = json.loads((directory / "step2.json").read_text())
    questions[1]["options"] = {"A": "", "B": ""}
    (directory / "step2.json").write_text(json.dumps(questions))
    (directory / "question_with_images.json").write_text('{"step2": [3], "step1": [1]}')
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(directory))["test"]) == 1
    said = [record.getMessage() for record in caplog.records if record.name == "lm_eval.medalpaca"]
    assert said == [
        "medalpaca_usmle_step2: 1 of 3 items not scored (empty options): step2-2",
        "medalpaca_usmle_step2: 1 of 3 items not scored (needs an image): step2-3",
    ]
    caplog.clear()
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(directory), images="keep")["test"]) == 2
    assert "Case" not in caplog.text
    assert "remedy" not in caplog.text


def test_the_warning_about_an_unknown_image_list_is_passed_on(write_exam, caplog):
    build_dataset(medalpaca_task=WHOLE, exam=str(write_exam()))
    assert "need a picture" in caplog.text


def test_items_without_a_step_are_not_forgotten(tmp_path, caplog):
    file = tmp_path / "mixed.jsonl"
    base = {"options": ["x", "y"], "answer": "B"}
    rows = [base | {"question": "One?", "step": 2}, base | {"question": "Two?"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert len(build_dataset(medalpaca_task=STEP2, exam=str(file))["test"]) == 1
    assert "1 items of mixed name no step" in caplog.text


def test_every_task_has_its_definition():
    from pathlib import Path

    import medalpaca_evalharness.tasks as tasks

    named = {file.stem for file in Path(tasks.__path__[0]).glob("*.yaml")}
    assert named == set(TASKS) | set(GROUPS)
