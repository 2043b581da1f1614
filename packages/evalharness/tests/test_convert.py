"""`exam import`: the same exam in one file, under the same hash, and a list of what is not in it."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import shared
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness.cli import main


def rejects(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_reference_layout(write_exam, tmp_path, capsys):
    exam = write_exam()
    questions = json.loads((exam / "step2.json").read_text())
    questions[0]["options"] = {}
    del questions[1]["question"]
    (exam / "step2.json").write_text(json.dumps(questions))
    (exam / "question_with_images.json").write_text('{"step1": [2], "step2": [3]}')
    out = tmp_path / "out.jsonl"
    assert main(["import", str(exam), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    # The broken record makes the exam itself unreadable for a run, which is why it is compared by what was written.
    assert len(load_exam(out).items) == 12 - 4
    assert load_exam(out).sha256 in said
    listed = rejects(tmp_path / "out.rejects.jsonl")
    assert {(entry["id"].removeprefix(str(exam)), entry["reason"]) for entry in listed} == {
        ("step2-1", "no options"),
        ("step1-2", "needs an image"),
        ("step2-3", "needs an image"),
        ("/step2.json item 2", "no 'question'"),
    }  # fmt: skip
    assert "Case" not in said
    assert "remedy" not in said


def test_the_same_exam_has_the_same_hash(write_exam, tmp_path):
    exam = write_exam()
    for name in ("one", "two"):  # a directory first, then what was made of it
        out = tmp_path / f"{name}.jsonl"
        assert main(["import", str(exam), "--out", str(out)]) == 0
        assert load_exam(out).sha256 == load_exam(exam).sha256
        assert rejects(out.with_name(f"{name}.rejects.jsonl")) == []
        exam = out


def test_kept_images_stay_images(write_exam, tmp_path):
    exam = write_exam()
    (exam / "question_with_images.json").write_text('{"step1": [2]}')
    out = tmp_path / "out.jsonl"
    assert main(["import", str(exam), "--out", str(out), "--images", "keep"]) == 0
    for images in ("exclude", "keep"):
        assert load_exam(out, images=images).sha256 == load_exam(exam, images=images).sha256


def test_other_layouts(tmp_path):
    texts = {
        "medqa.jsonl": '{"question": "Q1?", "options": {"A": "x", "B": "y"}, "answer_idx": "B", "meta_info": "step1"}',
        "anatomy_test.csv": "Q1?,w,x,y,z,C",
        "medmcqa.json": '{"id": "m", "question": "Q1?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": 4}',
        "table.csv": "question,A,B,answer\nQ1?,x,y,B",
        "own.jsonl": '{"question": "Q1?", "options": ["x", "y"], "answer": "y", "subject": "tea"}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        out = tmp_path / f"{name}.out.jsonl"
        assert main(["import", str(tmp_path / name), "--out", str(out)]) == 0
        assert load_exam(out).sha256 == load_exam(tmp_path / name).sha256, name
        subjects = [item.subject for item in load_exam(tmp_path / name).items]
        assert [item.subject for item in load_exam(out).items] == subjects


def test_as_json(write_exam, tmp_path, capsys):
    assert main(["import", str(write_exam()), "--out", str(tmp_path / "o.jsonl"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["items"], report["rejects"]) == (12, [])
    assert len(report["sha256"]) == len(report["source_sha256"]) == 64


def test_nothing_is_overwritten(write_exam, tmp_path):
    exam, out = str(write_exam()), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"name a .jsonl file"):
        main(["import", exam, "--out", str(tmp_path / "out.json")])
    (tmp_path / "out.rejects.jsonl").write_text("")
    with pytest.raises(UserError, match=r"out.rejects.jsonl: is there already"):
        main(["import", exam, "--out", str(out)])
    assert not out.exists()


def test_the_real_exam(tmp_path):
    root = shared()
    if root is None:
        pytest.skip("no real USMLE sample exam: set MEDALPACA_SHARED")
    exam = root / "data" / "usmle_sample" / "medalpaca_format"
    assert main(["import", str(exam), "--out", str(tmp_path / "usmle.jsonl")]) == 0
    assert load_exam(tmp_path / "usmle.jsonl").sha256 == load_exam(exam).sha256
    assert len(rejects(tmp_path / "usmle.rejects.jsonl")) == 376 - 324
