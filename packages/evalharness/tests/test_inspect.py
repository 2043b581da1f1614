"""`exam inspect` and `exam import`: statistics of an exam, and conversion with an unchanged SHA-256."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.inspect import inspect_exam, inspection_as_text


@pytest.fixture
def exam_of(tmp_path):
    def write(*items: dict, name: str = "exam") -> Exam:
        file = tmp_path / f"{name}.jsonl"
        whole = [
            {"question": f"Q{n}?", "options": ["x", "yy", "z"], "answer": "A"} | item
            for n, item in enumerate(items)
        ]
        file.write_text("\n".join(json.dumps(item | {"id": f"i{n}"}) for n, item in enumerate(whole)))
        return load_exam(file)

    return write


def test_swallowed_options(exam_of):
    swallowed = ["x\n\nAnswer E: yes", "x\nC: yes", "x Option D) no", "x\n(Questions follow)", "word " * 100]
    fine = ["Vitamin C: none", "E. coli", "one\ntwo", "Hepatitis A. and B", "A question of time"]
    report = inspect_exam(exam_of(*({"options": ["w", text]} for text in (*swallowed, *fine))))
    assert report["swallowed"] == [f"i{n}" for n in range(len(swallowed))]


def test_suspected_images(exam_of):
    shown = [
        "A photograph of the lesion is shown.",
        "Which point in the graph is shown?",
        "The tracing shown is his. What now?",
        "Which of the labelled structures in the diagram is it?",
        "The ECG is shown.",
    ]
    without = [
        "The chest radiograph shows a mass. What is it?",
        "He was shown how to inhale. What else?",
        "What image has she of it?",
    ]
    report = inspect_exam(exam_of(*({"question": text} for text in (*shown, *without))))
    assert report["suspected_images"] == [f"i{n}" for n in range(len(shown))]


def test_look_at_unread_columns_and_changes(tmp_path, capsys):
    rows = [
        {"id": "a", "question": "Which?", "options": ["x", "y", "y"], "answer": "A", "note": "n"},
        {"id": "b", "question": "Which?", "options": ["x", "y"], "answer": "B", "context": "A man coughs."},
        {"id": "c", "question": "Why?", "options": ["x", "y"], "answer": "(a)"},
        {"id": "d", "question": "Why?", "options": ["z", "N/A"], "answer": "A"},
        {"id": "e", "question": "Why now?", "options": {}, "answer": "B"},
    ]
    exam = tmp_path / "exam.jsonl"
    exam.write_text("\n".join([*map(json.dumps, rows), "{"]))
    assert main(["inspect", str(exam), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["look_at"] == {
        "contradictions": [],
        "repeated_questions": [["c", "d"]],
        "doubled_distractors": ["a"],
        "placeholder_options": ["d"],
        "self_lettered_options": [],
        "swallowed": [],
        "letters_as_options": [],
        "missing_cases": [],
        "placeholder_questions": [],
        "suspected_images": [],
    }
    assert report["unread"] == {"note": 1}
    assert report["changes"] == {"'context' joined before the question": 1}
    assert [ids for reason, ids in report["excluded"].items() if reason.startswith("not valid JSON")] == [
        ["line 6"]
    ]
    assert report["excluded"]["no options"] == ["e"]
    assert (report["read"], report["scorable"]) == (6, 4)
    assert main(["inspect", str(exam)]) == 0
    text = capsys.readouterr().out
    for line in (
        "look at   1 (two wrong options have the same text): a\n",
        "look at   1 (an option is empty, nan or N/A): d\n",
        "look at   2 (the same question again): c = d\n",
        "changed   1 ('context' joined before the question)\n",
        "unread    note 1\n",
    ):
        assert line in text
    out = tmp_path / "out.jsonl"
    assert main(["import", str(exam), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [result[name] for name in ("look_at", "unread", "changes")] == [
        report[name] for name in ("look_at", "unread", "changes")
    ]
    # The imported file has the joined question, and nothing is left to join.
    assert load_exam(out).sha256 == report["sha256"]
    assert load_exam(out).changes == {}


def test_an_exam_without_scorable_items_is_inspected_and_refused(tmp_path, capsys):
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps({"id": "k", "question": "Q?", "options": ["x", "y", "x"], "answer": "A"}))
    with pytest.raises(UserError, match="exam: none of the 1 items can be scored"):
        main(["inspect", str(exam)])
    assert "excluded  1 (the correct option's text occurs twice): k" in capsys.readouterr().out
    with pytest.raises(UserError, match="none of the 1 items"):
        main(["inspect", str(exam), "--json"])
    assert json.loads(capsys.readouterr().out)["excluded"] == {
        "the correct option's text occurs twice": ["k"]
    }


def test_long_lists_are_cut_on_screen_only(exam_of):
    report = inspect_exam(exam_of(*({"options": ["x", "y", "y"]} for _ in range(25))))
    assert len(report["look_at"]["doubled_distractors"]) == 25
    (line,) = (line for line in inspection_as_text(report).splitlines() if line.startswith("look at"))
    assert line.startswith("look at   25 (")
    assert line.endswith("i19, ... 5 more, see --json")


def test_fields_name_the_columns(tmp_path, capsys):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("ID,Question text,Option A,Option B,Correct\n1,Which?,Na,K,b\n")
    with pytest.raises(UserError, match="unknown exam layout with the keys ID, Question text"):
        main(["inspect", str(sheet)])
    fields = "{id: ID, question: Question text, options: [Option A, Option B], answer: Correct}"
    assert main(["inspect", str(sheet), "--fields", fields, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == {"B": 1}
    out = tmp_path / "out.jsonl"
    assert main(["import", str(sheet), "--fields", fields, "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == {
        "id": "1", "question": "Which?", "options": {"A": "Na", "B": "K"}, "answer": "B",
    }  # fmt: skip


def test_balance_and_lengths(exam_of):
    report = inspect_exam(
        exam_of({"answer": "B"}, {"answer": "B"}, {"answer": "A"}, {"answer": "C", "options": list("wxyz")})
    )
    assert report["key"] == {"A": 1, "B": 2, "C": 1}
    assert report["key_is_longest"] == 0.5
    assert report["options"] == {3: 3, 4: 1}
    assert report["chance"] == pytest.approx((3 / 3 + 1 / 4) / 4)


def test_overlap(exam_of):
    stem = "A man of forty who keeps bees is stung twice in the garden and faints before he can call for help"
    one, two = (
        exam_of({"question": f"{stem}. What now?"}, {}),
        exam_of({}, {}, {"question": f"{stem}. Why?"}, name="other"),
    )
    overlap = inspect_exam(one, two)["overlap"]
    assert overlap["exam"] == "other"
    assert [(entry["item"], entry["in"]) for entry in overlap["items"]] == [("i0", "i2"), ("i1", "i1")]
    assert inspect_exam(one)["overlap"] is None


def test_inspect_command(write_exam, capsys):
    exam = str(write_exam())
    assert main(["inspect", exam, "--overlap", exam]) == 0
    text = capsys.readouterr().out
    assert "overlap   12 of 12 with exam" in text
    assert "the longest option in" in text
    assert main(["inspect", exam, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["read"] == report["scorable"] + sum(map(len, report["excluded"].values()))
    assert len(report["sha256"]) == 64


def test_inspect_the_real_exam(usmle):
    report = inspect_exam(load_exam(usmle))
    # Known by hand: four whose options hold other texts, and one with an "option" of 444 words.
    assert report["swallowed"] == ["step2-91", "step2-104", "step2-118", "step3-11", "step3-24"]
    assert report["suspected_images"] == []  # with the list applied
    kept = inspect_exam(load_exam(usmle, images="keep"))
    assert len(kept["suspected_images"]) >= 30
    assert (report["read"], report["scorable"]) == (376, 324)


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
    text = capsys.readouterr().out
    assert len(load_exam(out).items) == 12 - 4
    assert load_exam(out).sha256 == load_exam(exam).sha256
    assert load_exam(out).sha256 in text
    listed = rejects(tmp_path / "out.rejects.jsonl")
    assert {(entry["id"], entry["reason"]) for entry in listed} == {
        ("step2-1", "no options"),
        ("step1-2", "needs an image"),
        ("step2-3", "needs an image"),
        ("step2.json item 2", "no key 'question'; found: no, options"),
    }  # fmt: skip
    assert "Case" not in text
    assert "remedy" not in text


def test_import_keeps_the_hash(write_exam, tmp_path):
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


def test_import_as_json(write_exam, tmp_path, capsys):
    assert main(["import", str(write_exam()), "--out", str(tmp_path / "o.jsonl"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["items"], report["rejects"]) == (12, [])
    assert len(report["sha256"]) == len(report["source_sha256"]) == 64


def test_nothing_is_overwritten(write_exam, tmp_path):
    exam, out = str(write_exam()), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"must end in .jsonl"):
        main(["import", exam, "--out", str(tmp_path / "out.json")])
    (tmp_path / "out.rejects.jsonl").write_text("")
    with pytest.raises(UserError, match=r"out.rejects.jsonl: file exists"):
        main(["import", exam, "--out", str(out)])
    assert not out.exists()


def test_import_of_the_real_exam(usmle, tmp_path):
    assert main(["import", str(usmle), "--out", str(tmp_path / "usmle.jsonl")]) == 0
    assert load_exam(tmp_path / "usmle.jsonl").sha256 == load_exam(usmle).sha256
    assert len(rejects(tmp_path / "usmle.rejects.jsonl")) == 376 - 324


def test_control_characters_of_items_are_not_printed(exam_of, tmp_path, capsys):
    attack = "\x1b]0;owned\x07\x9b31m"
    exam_of({"subject": f"Cardio{attack}", "options": ["x", f"C: no{attack}"]}, name=attack)
    file = tmp_path / f"{attack}.jsonl"
    lines = file.read_text().replace('"i0"', json.dumps(f"i0{attack}"))
    file.write_text(lines)
    for words in ([], ["--json"]):
        assert main(["inspect", str(file), *words]) == 0
        printed = capsys.readouterr().out
        assert not set(printed) & {"\x1b", "\x07", "\x9b"}
        assert "owned" in printed
    assert main(["inspect", str(file)]) == 0
    assert "Cardio\\x1b]0;owned\\x07\\x9b31m 1" in capsys.readouterr().out


def test_an_excluded_item_without_an_id_is_named_by_its_place(tmp_path, capsys):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("case,question,A,B,answer\nA man coughs.,Which?,x,y,A\n,What next?,x,y,B\n,Why?,x,y,C\n")
    assert main(["inspect", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert "look at   1 (no case, but the row above has one): item-" in text
    assert "excluded  1 (key not among the options): item-" in text
    assert " (line 4)\n" in text
    assert main(["import", str(sheet), "--out", str(tmp_path / "out.jsonl")]) == 0
    (reject,) = map(json.loads, (tmp_path / "out.rejects.jsonl").read_text().splitlines())
    assert reject["id"].endswith(" (line 4)")
