"""Exams in published layouts, with items that were written for these tests."""

from __future__ import annotations

import csv
import io
import json

import polars
import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import load_exam


def items_of(path, **settings):
    exam = load_exam(path, **settings)
    return {item.id: (item.question, dict(item.options), item.answer) for item in exam.items}


def reasons_of(path, **settings):
    return {entry.id: entry.reason for entry in load_exam(path, **settings).excluded}


def as_csv(*rows):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def test_medxpertqa_repeats_its_options(write):
    options = {letter: f"drug {n}" for n, letter in enumerate("ABCDEFGHIJ")}
    repeated = " ".join(f"({letter}) {text}" for letter, text in options.items())
    common = {
        "options": options,
        "medical_task": "Treatment",
        "body_system": "Skin",
        "question_type": "Reasoning",
    }
    path = write(
        "medxpertqa.jsonl",
        [
            common | {"id": "Text-1", "question": f"Which drug?\nAnswer Choices: {repeated}", "label": "C"},
            common
            | {"id": "Text-2", "question": "Which now?\nAnswer Choices: (A) drug 9 (B) drug 8", "label": "J"},
        ],
    )
    assert items_of(path) == {
        "Text-1": ("Which drug?", options, "C"),
        "Text-2": ("Which now?\nAnswer Choices: (A) drug 9 (B) drug 8", options, "J"),
    }
    exam = load_exam(path)
    assert exam.changes == {
        "options repeated at the end of the question cut": 1,
        "options repeated in the question differ from the options; not cut": 1,
    }
    assert exam.unread == {"medical_task": 2, "question_type": 2}


def test_medbullets_in_columns_and_as_a_table(write):
    columns = {
        "link": ["l1", "l2"], "question": ["Q1?", "Q2?"], "opa": ["w1", "w2"], "opb": ["x1", "x2"], "opc": ["y1", "y2"],
        "opd": ["z1", "z2"], "answer_idx": ["C", "A"], "answer": ["y1", "x2"], "explanation": ["e1", "e2"],
    }  # fmt: skip
    path = write(
        "op4.json", {name: {str(n): v for n, v in enumerate(values)} for name, values in columns.items()}
    )
    exam = load_exam(path)
    assert [(item.question, item.answer, len(item.options)) for item in exam.items] == [("Q1?", "C", 4)]
    assert [entry.reason for entry in exam.excluded] == ["the answer columns disagree"]
    assert exam.unread == {"link": 2, "explanation": 2}
    five = columns | {"ope": ["v1", ""]}
    table = write("op5.csv", as_csv(list(five), *zip(*five.values(), strict=True)))
    assert [len(item.options) for item in load_exam(table).items] == [5]


def test_afrimed_qa_without_the_output_of_a_model(write):
    headings = [
        "sample_id",
        "question",
        "rationale",
        "options_len",
        "answer",
        "A",
        "B",
        "C",
        "D",
        "E",
        "model_prompt",
        "outputs",
        "preds",
        "correct",
    ]
    path = write(
        "afrimed.csv",
        as_csv(
            headings,
            ["s1", "Q1?", "why", 3, "B", "x", "y", "z", "", "", "PROMPT", "OUTPUT", "A", "False"],
            ["s2", "Q2?", "why", 3, "A,C", "x", "y", "z", "", "", "PROMPT", "OUTPUT", "A", "False"],
        ),
    )
    assert items_of(path) == {"s1": ("Q1?", {"A": "x", "B": "y", "C": "z"}, "B")}
    assert reasons_of(path) == {"s2": "several answers are named"}
    assert load_exam(path).unread.keys() == {
        "rationale",
        "options_len",
        "model_prompt",
        "outputs",
        "preds",
        "correct",
    }
    options = json.dumps({"option1": "x", "option2": "y"})
    release = write(
        "release.csv",
        as_csv(
            ["sample_id", "question", "answer_options", "correct_answer"], ["s1", "Q1?", options, "option2"]
        ),
    )
    assert items_of(release) == {"s1": ("Q1?", {"A": "x", "B": "y"}, "B")}


def test_mediq_and_craft_md_have_the_case_in_sentences(write):
    record = {
        "id": 7, "question": "Which diagnosis?", "context": ["A man of 40 coughs", "He has fever."],
        "options": {"A": "x", "B": "y"}, "answer": "y", "answer_idx": "B", "facts": ["1. He coughs."],
        "patient": {"age": 40},
    }  # fmt: skip
    path = write("mediq.jsonl", [record, record | {"id": 8, "context": [], "question": "Which next?"}])
    assert items_of(path) == {
        "7": ("A man of 40 coughs\nHe has fever.\n\nWhich diagnosis?", {"A": "x", "B": "y"}, "B"),
        # Without a case, the facts are the case.
        "8": ("1. He coughs.\n\nWhich next?", {"A": "x", "B": "y"}, "B"),
    }
    assert load_exam(path).changes == {
        "'context' joined before the question": 1,
        "'facts' joined before the question": 1,
    }
    assert load_exam(path).unread == {"facts": 1, "patient": 2}


def test_head_qa_numbers_its_answers(write):
    def question(number, right, texts, **more):
        answers = [{"aid": n, "atext": text} for n, text in enumerate(texts, 1)]
        return {"qid": number, "qtext": f"Q{number}?", "ra": right, "answers": answers, "image": ""} | more

    rows = [question("1", 2, "xyz", name="2013_B"), question("1", "3", "xyzw", name="2014_B", image="1.png")]
    path = write("head_qa.jsonl", rows)
    assert items_of(path) == {"2013_B-1": ("Q1?", {"A": "x", "B": "y", "C": "z"}, "B")}
    assert reasons_of(path) == {"2014_B-1": "needs an image"}
    assert items_of(path, images="keep")["2014_B-1"][2] == "C"
    whole = {
        "version": "1",
        "language": "es",
        "exams": {"2015_M": {"category": "medicine", "data": [rows[0] | {"name": "2015_M"}]}},
    }
    exam = load_exam(write("HEAD.json", whole))
    assert [(item.id, item.answer, item.subject) for item in exam.items] == [("2015_M-1", "B", "medicine")]


def test_mmlu_pro_has_letter_and_index(tmp_path):
    common = {"options": list("abcdefghij"), "category": "health", "src": "s"}
    rows = [
        common | {"question_id": 1, "question": "Q1?", "answer": "I", "answer_index": 8},
        common | {"question_id": 2, "question": "Q2?", "answer": "B", "answer_index": 2},
    ]
    path = tmp_path / "test.parquet"
    polars.DataFrame(rows).write_parquet(path)
    assert items_of(path) == {"1": ("Q1?", dict(zip("ABCDEFGHIJ", "abcdefghij", strict=True)), "I")}
    assert reasons_of(path) == {"2": "the answer columns disagree"}


def test_usmle_booklets_alone_and_together(write):
    def question(number, **more):
        options = {"A": "x", "B": "y"}
        return {
            "no": number,
            "question": f"Q{number}?",
            "options": options,
            "answer": "B",
            "has_media": False,
        } | more

    alone = write("step2_2024.json", [question(1), question(2, has_media=True)])
    assert items_of(alone) == {"step2-1": ("Q1?", {"A": "x", "B": "y"}, "B")}
    assert reasons_of(alone) == {"step2-2": "needs an image"}
    assert [item.step for item in load_exam(alone, images="keep").items] == [2, 2]
    write("booklet/step1.json", [question(1)])
    both = write("booklet/step3.json", [question(1, answer="A"), question(2, has_media="true")]).parent
    exam = load_exam(both)
    assert [(item.id, item.step, item.answer) for item in exam.items] == [
        ("step1-1", 1, "B"),
        ("step3-1", 3, "A"),
    ]
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [("step3-2", "needs an image")]
    # The media are declared, so no list of items with pictures is missing.
    assert exam.warnings == ()


def test_hle_has_up_to_22_options(write):
    options = {chr(65 + n): f"o{n}" for n in range(22)}
    record = {"idx": 5, "question": "Q?", "options": options, "answer": "o21", "answer_idx": "V"}
    path = write("hle.jsonl", [record, record | {"idx": 6, "question": "R?", "answer": "o0"}])
    assert items_of(path) == {"5": ("Q?", options, "V")}
    assert reasons_of(path) == {"6": "the answer columns disagree"}


@pytest.mark.parametrize(
    "options",
    [
        {"choices": ["x", "y"]},
        {"choices": [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}]},
        {"options": [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}]},
    ],
)
def test_bigbio_has_the_answer_in_a_list(write, options):
    path = write(
        "bigbio.jsonl",
        [
            {"id": "1", "question": "Q?", "type": "multiple_choice", "answer": ["y"], "context": ""}
            | options,
            {"id": "2", "question": "R?", "type": "multiple_choice", "answer": ["x", "y"], "context": ""}
            | options,
        ],
    )
    assert items_of(path) == {"1": ("Q?", {"A": "x", "B": "y"}, "B")}
    assert reasons_of(path) == {"2": "several answers are named"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deck.apkg", "anki"),
        ("book.pdf", "documents"),
        ("page.html", "documents"),
        ("x.7z", "stack_exchange"),
    ],
)
def test_another_type_of_file_is_refused_with_the_kind_that_reads_it(write, name, kind):
    with pytest.raises(UserError, match=f"kind: {kind}"):
        load_exam(write(name, "x"))


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"instruction": "i", "input": "", "output": "o"}, "alpaca"),
        ({"conversations": []}, "chat"),
        ({"messages": []}, "chat"),
    ],
)
def test_training_rows_are_refused_with_the_kind_that_reads_them(write, record, kind):
    with pytest.raises(UserError, match=f"kind: {kind}"):
        load_exam(write("rows.jsonl", [record]))
