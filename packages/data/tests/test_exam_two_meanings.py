"""Exam files that allow two readings: lines without headings, numbers as answers, headings, cases, media, places."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item_checks import look_at, refers_to_picture

OTHER_WIDTH = "more or fewer fields than the other lines"
NUMBER_OR_TEXT = (
    "the answer is a number and also the text of an option; if it is a text, set answer_base: text in fields"
)
FIELDS = {"question": "Q", "options": ["A", "B", "C", "D"], "answer": "K"}


def read(exam):
    return [(item.question, dict(item.options), item.answer) for item in exam.items]


def reasons(exam):
    return [(entry.place or entry.id, entry.reason) for entry in exam.excluded]


# Lines without headings -----------------------------------------------------------------------------------------


def test_a_first_column_of_numbers_is_no_question(write):
    lines = ["0,Which bone is the longest one in humans?,Femur,Tibia,Ulna,Radius,A"]
    lines += ["1,Which bone is the one in the heel?,Talus,Calcaneus,Cuboid,Ulna,B", "x,Why?,p,q,r,s,C"]
    plain = load_exam(write("plain.csv", "\n".join(line.partition(",")[2] for line in lines[:2])))
    exam = load_exam(write("bones.csv", "\n".join(lines[:2])))
    assert exam.sha256 == plain.sha256
    assert read(exam)[0] == (
        "Which bone is the longest one in humans?",
        {"A": "Femur", "B": "Tibia", "C": "Ulna", "D": "Radius"},
        "A",
    )
    assert exam.warnings == ("bones.csv: the first column has numbers only; it was not read",)
    assert plain.warnings == ()
    many = [f"{n},Which of these is number {n}?,p,q,r,s,A" for n in range(20)]
    mixed = load_exam(write("many.csv", "\n".join([*many, lines[2]])))
    assert len(mixed.items) == 20
    assert reasons(mixed) == [("line 21", "no number in the first column, but the other lines have one")]


def test_a_comma_without_quotes_excludes_the_line(write):
    lines = [f"Which of these is number {n}?,w,x,y,z,{'ABCD'[n % 4]}" for n in range(19)]
    exam = load_exam(write("doses.csv", "\n".join([*lines, "Dose 1,000 mg of x equals?,1 g,2 g,3 g,4 g,A"])))
    assert len(exam.items) == 19
    assert reasons(exam) == [("line 20", OTHER_WIDTH)]


# Answers that are numbers ---------------------------------------------------------------------------------------


def test_a_number_that_is_an_option_is_never_guessed(write):
    sheet = "Q,A,B,C,D,K\nHow many chambers has the heart?,2,3,4,5,4\nHow many lobes?,6,7,8,9,2\n"
    path = write("heart.csv", sheet)
    exam = load_exam(path, fields=FIELDS | {"answer_base": 1})
    assert [item.answer for item in exam.items] == ["B"]
    assert reasons(exam) == [("line 2", NUMBER_OR_TEXT)]
    texts = load_exam(path, fields=FIELDS | {"answer_base": "text"})
    assert [item.answer for item in texts.items] == ["C"]
    assert reasons(texts) == [("line 3", "key not among the options")]
    with pytest.raises(UserError, match="answer_base: found 2; allowed: 0, 1, text"):
        load_exam(path, fields=FIELDS | {"answer_base": 2})


def test_a_zero_decides_that_answers_count_from_zero(write):
    sheet = "question,A,B,C,D,answer\nOne?,w,x,y,z,0\nTwo?,w,x,y,z,3\n"
    exam = load_exam(write("zero.csv", sheet))
    assert [item.answer for item in exam.items] == ["A", "D"]
    assert exam.changes == {"number of the answer counted from 0, because another answer is 0": 2}
    for more in ("Three?,w,x,y,z,4\n", ""):
        ambiguous = sheet.replace(",0\n", ",1\n") if not more else sheet + more
        with pytest.raises(UserError, match="may count from 0 or from 1; set answer_base in fields"):
            load_exam(write("other.csv", ambiguous))


def test_numbers_beside_other_answers_are_reported(write):
    sheet = "question,A,B,C,D,answer\nOne?,2,3,4,5,3\nTwo?,w,x,y,z,y\nThree?,10,20,30,40,30\n"
    exam = load_exam(write("mixed.csv", sheet))
    assert [item.answer for item in exam.items] == ["C", "C"]
    assert reasons(exam) == [("line 2", NUMBER_OR_TEXT)]
    assert exam.changes == {"answer is a number, but other answers are letters or texts": 1}


# Headings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headings", ["A,B,C,D ", "A,B,C,d", "a,B,c, d", "A, B ,C,D"])
def test_no_option_is_lost_by_its_heading(write, headings):
    (item,) = load_exam(write("e.csv", f"question,{headings},answer\nWhich?,w,x,y,z,D\n")).items
    assert (dict(item.options), item.answer) == ({"A": "w", "B": "x", "C": "y", "D": "z"}, "D")


@pytest.mark.parametrize(
    ("names", "is_refused"),
    [
        (["Opt B", "Opt A", "Opt C"], True),
        (["Antwort B", "Antwort A"], True),
        (["(A) text", "(C) text"], True),
        (["Option 2", "Option 1"], True),
        (["Opt A", "Opt B", "Opt C"], False),
        (["Option 9", "Option 10", "Option 11"], False),
        (["right", "wrong 1", "wrong 2"], False),
    ],
)
def test_option_columns_are_in_order(write, names, is_refused):
    path = write("e.csv", f"Q,{','.join(names)},K\nWhich?,{','.join('xyz'[: len(names)])},B\n")
    fields = {"question": "Q", "options": names, "answer": "K"}
    if is_refused:
        with pytest.raises(UserError, match="are not in the order of their letters or numbers"):
            load_exam(path, fields=fields)
    else:
        assert [item.options["B"] for item in load_exam(path, fields=fields).items] == ["y"]


# Cases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "question"),
    [
        ("K 5", "What next with K 5.6?"),
        ("Na 11", "Is Na 118 low?"),
        ("2 kg", "He has lost 12 kg. Why?"),
        (
            "A woman of 40 has a serum potassium level of 5",
            "A woman of 40 has a serum potassium level of 5.6. Why?",
        ),
    ],
)
def test_a_case_is_left_out_only_if_the_question_certainly_has_it(write, case, question):
    exam = load_exam(write("e.csv", f"case,question,A,B,answer\n{case},{question},x,y,A\n"))
    assert [item.question for item in exam.items] == [f"{case}\n\n{question}"]
    assert exam.changes == {"'case' joined before the question": 1}


def test_an_empty_case_below_a_filled_one_is_shown(write):
    rows = ["1,,Alone?,x,y,A", "2,A man coughs.,What is it?,x,y,A", "3,,What is the next step?,x,y,B"]
    exam = load_exam(write("e.csv", "\n".join(["id,case,question,A,B,answer", *rows])))
    assert look_at(exam.items)["missing_cases"] == ["3"]
    assert [item.question for item in exam.items][2] == "What is the next step?"


# Steps, media, places -------------------------------------------------------------------------------------------


def test_steps(write):
    record = {"question": "Which?", "options": ["x", "y"], "answer": "A"}
    steps = ["1.0", 2.0, " 3 ", "", None, "nan", 1.5, 2.9, True, "1.5"]
    exam = load_exam(
        write("e.jsonl", [record | {"id": str(n), "step": step} for n, step in enumerate(steps)])
    )
    assert [item.step for item in exam.items] == [1, 2, 3, None, None, None]
    assert [reason for _, reason in reasons(exam)] == [
        f"'step' is {value}, not a whole number such as 1" for value in ("1.5", "2.9", "True", "'1.5'")
    ]


@pytest.mark.parametrize("column", ["image", "picture", "img", "figure", "video", "audio", "attachment"])
def test_media_columns(write, column):
    record = {"question": "Which?", "options": ["x", "y"], "answer": "A"}
    none = ["[]", "{}", "-", "n", "No image", "\u2013", [None], {"bytes": None, "path": None}]
    none += ["{'bytes': None, 'path': None}", '{"bytes":null,"path":null}', "false", 0]
    media = ["a.png", ["a.png"], {"bytes": None, "path": "a.png"}, "['a.png']", "yes"]
    path = write("e.jsonl", [record | {"id": str(n), column: v} for n, v in enumerate([*none, *media])])
    exam = load_exam(path)
    assert len(exam.items) == 12
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        (str(n), "needs an image") for n in range(12, 17)
    ]


def test_an_excluded_item_without_an_id_has_its_place(write):
    exam = load_exam(write("e.csv", "question,A,B,answer\nWhich?,x,y,A\nWhy?,x,y,C\n"))
    (entry,) = exam.excluded
    assert entry.name == f"{entry.id} (line 3)"
    named = load_exam(write("f.csv", "id,question,A,B,answer\n1,Which?,x,y,A\n2,Why?,x,y,C\n"))
    assert [entry.name for entry in named.excluded] == ["2"]


# Messages and what to look at -----------------------------------------------------------------------------------


def test_the_message_of_an_unknown_layout(write):
    with pytest.raises(UserError) as refusal:
        load_exam(write("e.csv", "id,question,options,solution\n1,Which?,x,y\n"))
    message = str(refusal.value)
    known = message.partition("a known layout (")[2].partition(")")[0]
    assert len(known.split("; ")) == 5
    assert known.endswith("MedAlpaca: question, options or A B C ..., answer")
    assert "see docs/write-an-exam.md" in message
    assert len(message) < 650
    with pytest.raises(UserError) as refusal:
        load_exam(write("f.csv", "Which bone is the longest one?,Femur,Ulna\nWhy is that so?,x,y\n"))
    assert "the first line has no column names" in str(refusal.value)
    assert "Femur" not in str(refusal.value)
    assert "bone" not in str(refusal.value)
    with pytest.raises(UserError) as refusal:
        load_exam(write("g.csv", "Heart chambers,2,3,4,5,C\nHeart valves,2,3,4,5,C\n"))
    assert "the first line has no column names" in str(refusal.value)
    assert "Heart" not in str(refusal.value)


@pytest.mark.parametrize(
    ("cops", "message"),
    [
        ((0, 1, 4), "'cop' has both 0 and 4"),
        (("a", "b"), "'cop' has no number from 0 to 4 .found 'a'.; if it has letters"),
        ((1, 2), "found 1, 2; a 0 or a 4 decides it"),
    ],
)
def test_messages_of_medmcqa(write, cops, message):
    record = {"question": "Which?", "opa": "w", "opb": "x", "opc": "y", "opd": "z"}
    with pytest.raises(UserError, match=message):
        load_exam(write("e.jsonl", [record | {"id": str(n), "cop": cop} for n, cop in enumerate(cops)]))


@pytest.mark.parametrize(
    "text",
    [
        "What is the lesion (see image)?",
        "He has a mass in the attached CT scan. What is it?",
        "Based on the following radiograph, what is it?",
        "Refer to the exhibit. Which drug?",
        "The audiogram is provided. What is it?",
        "Which cell is in the slide?",
        "The cells are shown in fig. 1; which are they?",
        "Welche Struktur ist in der Abbildung markiert?",
    ],
)
def test_more_phrases_for_a_picture(text):
    assert refers_to_picture(text)


def test_placeholders(write):
    rows = ["TODO,x,y,A", "?,x,y,A", "Which?,Option A,Option B,A", "Why?,x,y,A"]
    exam = load_exam(write("e.csv", "\n".join(["question,A,B,answer", *rows])))
    ids = [item.id for item in exam.items]
    found = look_at(exam.items)
    assert found["placeholder_questions"] == ids[:2]
    assert found["placeholder_options"] == ids[2:3]
    letters = load_exam(write("l.csv", "question,A,B,C,answer\nWhich?,C,A,B,A\nWhy?,x,y,z,B\n"))
    assert look_at(letters.items)["letters_as_options"] == [letters.items[0].id]
    minus = load_exam(write("m.csv", "question,A,B,C,answer\nWhich?,5,\u22125,- 5,A\n"))
    assert look_at(minus.items)["doubled_distractors"] == [minus.items[0].id]


@pytest.mark.parametrize(
    ("answers", "letters"),
    [
        (["1", "4"], "AD"),
        (["4.0", "2.00"], "DB"),
        (["0.0", "3"], "AD"),
        (["01", "04"], "AD"),
        # Both counts fit, or none does.
        (["1", "3"], ""),
        (["0", "4"], ""),
        (["5", "1"], ""),
    ],
)
@pytest.mark.parametrize("as_number", [False, True])
def test_numbers_of_answers_are_understood_or_refused(write, answers, letters, as_number):
    values = [float(answer) for answer in answers] if as_number else answers
    items = [
        {"question": f"{question}?", "options": list("wxyz"), "answer": value}
        for question, value in zip(("One", "Two"), values, strict=True)
    ]
    exam = load_exam(write("n.jsonl", "\n".join(map(json.dumps, items))), allow_empty=True)
    assert "".join(item.answer for item in exam.items) == letters


def test_an_item_without_its_last_option_does_not_show_the_count(write):
    """The answers count from 0, no answer is 0, and the last option of the second item is lost."""
    sheet = "question,A,B,C,D,answer\nOne?,w,x,y,z,2\nTwo?,w,x,y,,3\n"
    assert load_exam(write("lost.csv", sheet), allow_empty=True).items == ()
