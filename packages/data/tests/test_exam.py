import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import exclude_unscorable, find_exam, load_exam
from medalpaca_data.exams.item import Item, RawExam


def question(n=1, **changes):
    return {
        "id": f"q{n}",
        "question": f"Which {n}?",
        "options": {"A": "x", "B": "y"},
        "answer": "B",
        **changes,
    }


def reference(write, *, images=None, **steps):
    for step, questions in steps.items():
        write(f"exam/{step}.json", questions)
        write(f"exam/{step}_solutions.json", {str(q["no"]): "A" for q in questions})
    if images:
        write("exam/question_with_images.json", images)
    return write("exam/README", "x").parent


def test_our_own_layout(write):
    path = write(
        "own.jsonl", [question(1, step=3, subject="Ethics"), question(2, options=["x", "y", "z"], answer="z")]
    )
    exam = load_exam(path)
    assert [(i.id, i.step, i.subject, i.answer, len(i.options)) for i in exam.items] == [
        ("q1", 3, "Ethics", "B", 2),
        ("q2", None, None, "C", 3),
    ]
    assert exam.items[1].chance == pytest.approx(1 / 3)


def test_the_reference_layout_and_its_image_list(write):
    options = {"A": "x", "B": "y"}
    questions = [{"no": n, "question": f"Q{n}?", "options": options} for n in (1, 2, 3)]
    path = reference(write, step1=questions, step2=questions[:1], images={"step1": [2], "step2": []})
    exam = load_exam(path)
    assert [item.id for item in exam.items] == ["step1-1", "step1-3", "step2-1"]
    assert [(e.id, e.reason) for e in exam.excluded] == [("step1-2", "needs an image")]
    assert len(load_exam(path, images="keep").items) == exam.read == 4
    assert not exam.warnings


def test_keys_belong_to_numbers_and_not_to_places(write):
    """Numbers may have gaps and need not rise."""
    options = {"A": "x", "B": "y"}
    write("exam/step1.json", [{"no": n, "question": f"Q{n}?", "options": options} for n in (7, 2, 5)])
    solutions = write("exam/step1_solutions.json", {"1": "A", "2": "B", "3": "A", "5": "A", "7": "B"})
    found = {item.id: item.answer for item in load_exam(solutions.parent).items}
    assert found == {"step1-7": "B", "step1-2": "B", "step1-5": "A"}


def test_without_an_image_list_an_unknown_exam_warns(write):
    path = reference(write, step1=[{"no": 1, "question": "Q?", "options": {"A": "x", "B": "y"}}])
    assert "cannot be identified" in load_exam(path).warnings[0]


def test_medqa_mmlu_and_medmcqa(write):
    medqa = {
        "question": "Q?",
        "options": {"A": "x", "B": "y"},
        "answer": "y",
        "answer_idx": "B",
        "meta_info": "step1",
    }
    assert (load_exam(write("medqa.jsonl", [medqa])).items[0].step) == 1
    mmlu = load_exam(write("anatomy_dev.csv", 'Q?,"a, b",c,d,e,D\n')).items[0]
    assert (mmlu.options["A"], mmlu.answer, mmlu.subject) == ("a, b", "D", "anatomy")
    record = {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "subject_name": "Ethics"}
    one_based = [{**record, "id": "1", "cop": 4}, {**record, "id": "2", "cop": 1}]
    assert [i.answer for i in load_exam(write("mcqa1.jsonl", one_based)).items] == ["D", "A"]
    zero_based = [{**record, "id": "1", "cop": 0}, {**record, "id": "2", "cop": 3}]
    assert [i.answer for i in load_exam(write("mcqa0.jsonl", zero_based)).items] == ["A", "D"]
    with pytest.raises(UserError, match="correct answer is ambiguous"):
        load_exam(write("mcqa.jsonl", [{**record, "cop": 2}]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"options": {}}, "no options"),
        ({"options": {"A": "", "B": ""}}, "empty options"),
        ({"options": {"A": "x"}, "answer": "A"}, "1 option(s), 2 to 26 can be scored"),
        ({"answer": "E"}, "key not among the options"),
        ({"question": " "}, "no question"),
        ({"options": {"A": "x", "C": "y"}, "answer": "A"}, "option letters AC do not run from A"),
    ],
)
def test_what_cannot_be_scored_is_excluded_by_name(write, changes, reason):
    exam = load_exam(write("e.jsonl", [question(1, **changes), question(2)]))
    assert [(e.id, e.reason) for e in exam.excluded] == [("q1", reason)]
    assert len(exam.items) == 1


def test_an_exam_with_no_scorable_item_is_refused(write):
    with pytest.raises(UserError, match="none of the 1 items can be scored \\(no options\\)"):
        load_exam(write("e.jsonl", [question(options={})]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"question": "Q?"}], "unknown exam layout with the keys question"),
        (
            [question(step="first")],
            r"e\.jsonl: none of the 1 items .*line 1: 'step' is 'first', not a whole number",
        ),
        ('{"question"', "line 1: not valid JSON"),
        ("", "no items"),
    ],
)
def test_a_broken_exam_is_refused_with_its_place(write, content, message):
    with pytest.raises(UserError, match=message):
        load_exam(write("e.jsonl", content))


def test_the_same_item_again_is_counted_once(write):
    exam = load_exam(write("anatomy_test.csv", "Q?,a,b,c,d,A\nQ?,a,b,c,d,A\nR?,a,b,c,d,B\n"))
    assert (exam.read, len(exam.items)) == (3, 2)
    assert [entry.reason for entry in exam.excluded] == ["same item again"]


def test_an_item_with_a_picture_needs_it(write):
    path = write("e.jsonl", [question(1, image="x.png"), question(2)])
    assert [(e.id, e.reason) for e in load_exam(path).excluded] == [("q1", "needs an image")]
    assert len(load_exam(path, images="keep").items) == 2


def test_an_image_list_that_names_no_item_is_refused(write):
    step = [{"no": 1, "question": "Q?", "options": {"A": "x", "B": "y"}}]
    with pytest.raises(UserError, match="1 items are not in the exam, such as 1-4"):
        load_exam(reference(write, step1=step, images={"1": [4]}))


@pytest.mark.parametrize(
    "record",
    [
        {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": "b"},
        {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 40},
        {"question": "Q?", "options": {"A": "x", "B": "y"}, "answer_idx": "A", "meta_info": ["step1"]},
        {"question": "half \ud800", "options": {"A": "x", "B": "y"}, "answer": "A"},
        {"question": "Q?", "options": {"A": "x", "B": "half \ud800"}, "answer": "A"},
        {"question": 3, "options": {"A": "x", "B": "y"}, "answer": "A"},
    ],
)
def test_fields_of_the_wrong_kind_are_refused(write, record):
    with pytest.raises(UserError, match=r"e\.jsonl"):
        load_exam(write("e.jsonl", [record]))


def test_a_number_as_subject_is_a_name(write):
    exam = load_exam(write("e.jsonl", [question(1, subject=3), question(2, subject="Ethics")]))
    assert [item.subject for item in exam.items] == ["3", "Ethics"]


def test_the_layout_does_not_change_the_name(write):
    options = {"A": "x", "B": "y"}
    medqa = load_exam(write("medqa.jsonl", [{"question": "Q?", "options": options, "answer_idx": "B"}]))
    own = load_exam(write("own.jsonl", [{"question": "Q?", "options": options, "answer": "B"}]))
    mmlu = load_exam(write("anatomy_val.csv", "Q?,x,y,B\n"))
    assert medqa.sha256 == own.sha256 == mmlu.sha256


def test_the_order_in_which_an_exam_is_found(monkeypatch):
    assert find_exam(None) is None
    monkeypatch.setenv("MEDALPACA_EXAM", "from_env")
    assert (find_exam(None), find_exam("named")) == ("from_env", "named")


items = st.builds(
    Item,
    id=st.uuids().map(str),
    question=st.text(),
    options=st.dictionaries(st.sampled_from(string.ascii_uppercase), st.text(max_size=3), max_size=26),
    answer=st.sampled_from([*string.ascii_uppercase, ""]),
)


@given(st.lists(items, max_size=8, unique_by=lambda item: item.id))
def test_every_item_is_either_scored_or_excluded(drawn):
    try:
        exam = exclude_unscorable(RawExam("x", tuple(drawn), ""))
    except UserError:
        return
    assert len(exam.items) + len(exam.excluded) == exam.read == len(drawn)
    assert all(item.answer in item.options for item in exam.items)


def test_the_hash_names_the_items_not_the_file(write):
    one = load_exam(write("one.jsonl", [question(1), question(2)]))
    same = load_exam(write("two.json", [question(1, comment="no matter"), question(2)]))
    other = load_exam(write("three.jsonl", [question(1), question(2, answer="A")]))
    assert one.sha256 == same.sha256 != other.sha256


# Real files: counts from their own note --------------------------------------------------------------------------


def test_the_real_step_files(real):
    path = real / "usmle_sample" / "medalpaca_format"
    whole = load_exam(path, images="keep")
    assert whole.read == 119 + 120 + 137
    assert Counter(item.step for item in whole.items) == {1: 116, 2: 118, 3: 137}
    assert {entry.id: entry.reason for entry in whole.excluded} == {
        "step1-62": "empty options",
        "step1-80": "empty options",
        "step1-85": "empty options",
        "step2-115": "key not among the options",
        "step2-119": "no options",
    }
    assert {len(item.options) for item in whole.items} == {3, 4, 5, 6, 7, 8, 9}


def test_the_reference_image_list_is_applied_to_the_known_exam(real):
    exam = load_exam(real / "usmle_sample" / "medalpaca_format")
    assert Counter(item.step for item in exam.items) == {1: 92, 2: 108, 3: 124}
    assert not exam.warnings


def test_real_medqa(real):
    exam = load_exam(real / "medqa" / "5opt" / "test.jsonl")
    assert (exam.read, len(exam.items)) == (1273, 1273)
    assert sum(item.step == 1 for item in exam.items) == 679
