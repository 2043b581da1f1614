"""Items that no model can answer, and items that a person should look at."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.exams.exam import exclude_unscorable, load_exam
from medalpaca_data.exams.item import Item, RawExam
from medalpaca_data.exams.item_checks import look_at, refers_to_picture


def item(n, *options, question="", answer="A"):
    letters = "ABCDEFGH"[: len(options)]
    return Item(
        id=f"i{n}",
        question=question or f"Which {n}?",
        options=dict(zip(letters, options, strict=True)),
        answer=answer,
    )


def found(*items):
    return {name: ids for name, ids in look_at(items).items() if ids}


def test_the_text_of_the_correct_option_occurs_twice():
    twice = [item(1, "Vitamin C", "Iron", "Vitamin C"), item(2, "x", "Vitamin  C", "vitamin C.", answer="C")]
    fine = [
        item(3, "Iron", "Zinc", "Zinc"),
        item(4, "Na", "NA", "na"),
        item(5, "10\u00b2", "102", "-10", "10"),
    ]
    exam = exclude_unscorable(RawExam("x", (*twice, *fine), ""))
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        ("i1", "the correct option's text occurs twice"),
        ("i2", "the correct option's text occurs twice"),
    ]
    assert [entry.id for entry in exam.items] == ["i3", "i4", "i5"]


def test_options_with_letters_in_another_order_have_no_certain_answer():
    swapped = [item(1, "C. cc", "A. aa", "B. bb", answer="C"), item(2, "(B) b", "(A) a")]
    fine = [
        item(3, "A. aa", "B. bb", "C. cc"),
        item(4, "B. cereus", "A. niger", "fungus"),
        item(5, "A. aa", "C. cc"),
    ]
    exam = exclude_unscorable(RawExam("x", (*swapped, *fine), ""))
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        ("i1", "the options' texts begin with letters in another order"),
        ("i2", "the options' texts begin with letters in another order"),
    ]
    assert [entry.id for entry in exam.items] == ["i3", "i4", "i5"]


def test_doubled_distractors():
    assert found(item(1, "Iron", "Zinc", "Zinc"), item(2, "Iron", "CO", "Co")) == {
        "doubled_distractors": ["i1"]
    }


def test_the_same_question():
    items = [
        item(1, "x", "y", question="Which  one?"),
        item(2, "x", "y", question="which one?", answer="B"),
        item(3, "x", "y", question="Why?"),
        item(4, "z", "w", question="Why?"),
        item(5, "x", "y", question="When is pH > 7?"),
        item(6, "x", "y", question="When is pH < 7?", answer="B"),
        # No answer of one is an option of the other.
        item(7, "p", "q", question="Who?"),
        item(8, "r", "q", question="Who?"),
    ]
    assert found(*items) == {
        "contradictions": [["i1", "i2"]],
        "repeated_questions": [["i3", "i4"], ["i7", "i8"]],
    }


@pytest.mark.parametrize("text", ["nan", "N/A", " N/A "])
def test_placeholders(text):
    assert found(item(1, "x", text)) == {"placeholder_options": ["i1"]}


@pytest.mark.parametrize("text", ["Na", "NA", "None", "none", "n/a", "NaN", "-", "0"])
def test_answers_that_are_no_placeholders(text):
    assert found(item(1, "x", text)) == {}


def test_options_with_their_own_letters():
    assert found(item(1, "A. x", "B. y"), item(2, "(a) x", "b) y", "z")) == {
        "self_lettered_options": ["i1", "i2"]
    }
    assert found(item(3, "A. fumigatus", "E. coli"), item(4, "Vitamin A", "B cells")) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Examination shows the findings in the photograph. Which diagnosis?",
        "Hysterosalpingography is shown. Which finding?",
        "A Kaplan-Meier plot of the trial is shown. Which conclusion?",
        "Results of the stool smear are shown.\nWhich organism?",
        "MRI of the brain is shown. Which lesion?",
        "A chest x-ray is obtained and shown. What now?",
        "Which of the labeled areas is it?",
        "The rash shown. Which cause?",
        "A biopsy is done, as in Figure 2. Which disease?",
        "Based on the graph, which drug?",
        "There is no abnormality except the findings shown in the photograph. Which cause?",
        "![x](scan.png) What is it?",
    ],
)
def test_phrases_that_speak_of_a_picture(text):
    assert refers_to_picture(text)


@pytest.mark.parametrize(
    "text",
    [
        "No abnormality is shown by the examination. What next?",
        "No fracture is shown. What next?",
        "The study has shown a benefit. What next?",
        "Laboratory studies are shown:\nSodium 140. What next?",
        "Other results are shown in the Table. What next?",
        "The chest radiograph shows a mass. What is it?",
        "Past smears have shown no abnormalities. What next?",
        "It was shown that rest helps. Why?",
        "He has a poor image of himself. What next?",
        "A figure of 30 mg is given. Why?",
    ],
)
def test_phrases_that_speak_of_no_picture(text):
    assert not refers_to_picture(text)


def test_pictures_of_the_real_step_files(real):
    """Of 47 items in the reference's list of pictures, 44 have such a phrase; no other item of 324 has one."""
    path = real / "usmle_sample" / "medalpaca_format"
    text_only = {item.id for item in load_exam(path).items}
    suspected = set(look_at(load_exam(path, images="keep").items)["suspected_images"])
    assert len(suspected - text_only) == 44
    assert suspected & text_only == set()


def test_an_empty_case_below_a_filled_one_is_listed_in_other_layouts(tmp_path):
    medmcqa = [
        {
            "question": f"Next step {n}?",
            "opa": "w",
            "opb": "x",
            "opc": "y",
            "opd": "z",
            "cop": cop,
            "case": case,
        }
        for n, (cop, case) in enumerate([(0, ""), ("1.0", "A man of 40."), (2, "")])
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, medmcqa)))
    exam = load_exam(tmp_path / "m.jsonl")
    assert [(item.answer, item.lacks_case) for item in exam.items] == [
        ("A", False),
        ("B", False),
        ("C", True),
    ]
    assert look_at(exam.items)["missing_cases"] == [exam.items[2].id]
    steps = [
        {"no": n, "question": f"Next {n}?", "options": {"A": "w", "B": "x"}, "answer": "A", "vignette": case}
        for n, case in enumerate(["A man of 40.", "", "A child."], 1)
    ]
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "step1.json").write_text(json.dumps(steps))
    assert look_at(load_exam(tmp_path / "s").items)["missing_cases"] == ["step1-2"]
