"""Test the perturbations: which options move, which text replaces the key, what is excluded and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.core.prompt import render
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import LETTER_INSTRUCTION, LETTERS, Item, exam_prompt
from medalpaca_evalharness.stress.perturbations import (
    NAMES_LETTERS,
    NO_OPTIONS_SHOWN,
    cyclic_orders,
    perturb,
    stress_id,
)
from medalpaca_evalharness.stress.result import PERTURBATIONS

QUESTION = "A cough for three weeks. What helps?"


def item(*options: str, key: str = "A", question: str = QUESTION) -> Item:
    return Item(id="one", question=question, options=dict(zip(LETTERS, options, strict=False)), answer=key)


def reasons(*options: str, question: str = QUESTION) -> dict[str, str]:
    return {
        one.perturbation: one.reason for one in perturb(item(*options, question=question), "letter").excluded
    }


def test_all_variants_of_a_plain_item():
    found = perturb(item("Rest", "Ice", "Tea", key="B"), "letter")
    assert [variant.perturbation for variant in found.variants] == [
        "published", "order", "order", "none_of_the_above", "options_only", "question_only",
    ]  # fmt: skip
    assert [variant.order for variant in found.variants[:3]] == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    assert not found.excluded
    assert found.fixed == ()
    shown = [prompt.prompt for prompt in found.prompts]
    lines = [
        f"{QUESTION}\nA: Rest\nB: Ice\nC: Tea",
        f"{QUESTION}\nA: Ice\nB: Tea\nC: Rest",
        f"{QUESTION}\nA: Tea\nB: Rest\nC: Ice",
        f"{QUESTION}\nA: Rest\nB: None of the above\nC: Tea",
        "A: Rest\nB: Ice\nC: Tea",
        QUESTION,
    ]
    assert shown == [render(LETTER_INSTRUCTION, line) for line in lines]
    assert {prompt.choices for prompt in found.prompts} == {("A", "B", "C")}


def test_scored_by_text_options_have_no_order():
    found = perturb(item("Rest", "Ice", "Tea", key="B"), "text")
    assert [variant.perturbation for variant in found.variants] == [
        "published",
        "none_of_the_above",
        "options_only",
    ]
    assert [prompt.choices for prompt in found.prompts] == [
        ("Rest", "Ice", "Tea"), ("Rest", "None of the above", "Tea"), ("Rest", "Ice", "Tea"),
    ]  # fmt: skip
    assert [prompt.prompt for prompt in found.prompts] == [render(QUESTION), render(QUESTION), render("")]
    assert {one.reason for one in found.excluded} == {NO_OPTIONS_SHOWN}


@pytest.mark.parametrize(
    "option",
    [
        "All of the above", "none of the above.", "NONE OF THE ABOVE", "All the above", "Any of above", "Both",
        "None of these", "Both of the above.", "None of the options given is correct", "All of these options",
        "d)\tNone of the above", "Can be any of the above", "All choices are false", "Neither", "None.",
    ],
)  # fmt: skip
def test_options_about_the_others_keep_their_position(option):
    found = perturb(item("Rest", "Ice", "Tea", option), "letter")
    assert found.fixed == (3,)
    assert [variant.order for variant in found.variants[:3]] == [(0, 1, 2, 3), (1, 2, 0, 3), (2, 0, 1, 3)]
    assert {one.perturbation: one.reason for one in found.excluded} == {
        "none_of_the_above": "already has an option that refers to the others"
    }


@pytest.mark.parametrize(
    "option",
    [
        "Both lungs", "None of the patients", "Vitamin A", "Hepatitis A and B", "Above the knee",
        "All trans retinoic acid",
        "Fever above 39", "A", "Group B streptococci",
        "Neither of the statements is true", "The drug of choice is iron",
    ],
)  # fmt: skip
def test_other_options_move(option):
    assert perturb(item("Rest", "Ice", option), "letter").fixed == ()
    assert reasons("Rest", "Ice", option) == {}


@pytest.mark.parametrize(
    "option",
    ["A and B", "Both A and C", "both a and b", "A, B, and C", "a. and c. above", "B and C only", "Both (A) & (C)",
     "Both AB", "A,C,D,B", "Option 1 and 2", "Tea\n\nAnswer E: Salt"],
)  # fmt: skip
def test_options_that_name_others_by_letter_are_not_moved(option):
    assert reasons("Rest", "Ice", "Tea", option) == {
        "order": NAMES_LETTERS,
        "none_of_the_above": NAMES_LETTERS,
    }


def test_a_question_that_names_options():
    assert reasons("Rest", "Ice", "Tea", question="Why is option B wrong?").keys() == {
        "order",
        "none_of_the_above",
    }
    assert (
        reasons("Rest", "Ice", "Tea", question="What is the treatment of choice? A woman of 30 asks.") == {}
    )


def test_too_few_options():
    assert reasons("Yes", "No") == {"none_of_the_above": "fewer than three options"}
    assert reasons("Rest", "None of the above")["order"] == "fewer than two options can move"
    above = "an option refers to those above it, but others are below it"
    assert reasons("Rest", "Ice", "Both of the above", "Tea")["order"] == above
    # An option without "above" is true in every order.
    assert "order" not in reasons("Rest", "Ice", "None of these", "Tea")


@given(st.integers(2, 26), st.sets(st.integers(0, 25)))
def test_every_movable_option_is_once_at_every_free_position(options, fixed):
    fixed = {at for at in fixed if at < options}
    free = [at for at in range(options) if at not in fixed]
    every = [tuple(range(options)), *cyclic_orders(options, fixed)]
    assert len(every) == len(set(every)) == max(1, len(free))
    for order in every:
        assert sorted(order) == list(range(options))
        assert all(order[at] == at for at in fixed)
    for at in free:
        assert sorted(order[at] for order in every) == free or len(free) < 2


def test_stress_id_is_stable():
    # Changes with any change of what is shown; then older results can no longer be checked against an exam.
    assert stress_id("letter") == "stress-letter-7dce65f41245"
    assert stress_id("text") == "stress-text-d873aa42e909"


def test_the_real_sample(usmle):
    exam = load_exam(usmle)
    found = [perturb(one, "letter") for one in exam.items]
    left_out = {(entry.item, entry.perturbation) for one in found for entry in one.excluded}
    # The three items in which an option holds the text of others, as `exam inspect` finds them.
    swallowed = ["step2-91", "step2-104", "step2-118"]
    assert left_out == {(name, way) for name in swallowed for way in ("order", "none_of_the_above")}
    assert not any(one.fixed for one in found)
    assert sum(v.perturbation in ("published", "order") for one in found for v in one.variants) == sum(
        1 if one.item.id in swallowed else len(one.item.options) for one in found
    )
    assert all(one.prompts[0] == exam_prompt(one.item, "letter") for one in found)
    assert {v.perturbation for one in found for v in one.variants} == set(PERTURBATIONS)
