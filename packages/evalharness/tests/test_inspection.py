"""`exam inspect`: what looks wrong in an exam before anybody is asked."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.core.paths import shared
from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.inspect import inspect_exam


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
    told = [
        "The chest radiograph shows a mass. What is it?",
        "He was shown how to inhale. What else?",
        "What image has she of it?",
    ]
    report = inspect_exam(exam_of(*({"question": text} for text in (*shown, *told))))
    assert report["suspected_images"] == [f"i{n}" for n in range(len(shown))]


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


def test_the_command(write_exam, capsys):
    exam = str(write_exam())
    assert main(["inspect", exam, "--overlap", exam]) == 0
    text = capsys.readouterr().out
    assert "overlap   12 of 12 with exam" in text
    assert "the longest option in" in text
    assert main(["inspect", exam, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["read"] == report["scorable"] + sum(map(len, report["excluded"].values()))
    assert len(report["sha256"]) == 64


def test_the_real_exam():
    root = shared()
    if root is None:
        pytest.skip("no real USMLE sample exam: set MEDALPACA_SHARED")
    report = inspect_exam(load_exam(root / "data" / "usmle_sample" / "medalpaca_format"))
    # Known by hand: four whose options hold other texts, and one with an "option" of 444 words.
    assert report["swallowed"] == ["step2-91", "step2-104", "step2-118", "step3-11", "step3-24"]
    assert report["suspected_images"] == []  # with the list applied
    kept = inspect_exam(load_exam(root / "data" / "usmle_sample" / "medalpaca_format", images="keep"))
    assert len(kept["suspected_images"]) >= 30
    assert (report["read"], report["scorable"]) == (376, 324)
