"""Forms of options and answers in exam files: what is understood, and what is excluded instead of guessed."""

from __future__ import annotations

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.answers import AnswerForms, answer_forms, find_answer, read_options

OPTIONS = read_options({"A": "Iron", "B": "Vitamin C", "C": "Zinc"}, "")
UNKNOWN_FORMS = AnswerForms()


def answer(value, options=OPTIONS, forms=UNKNOWN_FORMS, base=None):
    return find_answer([(value, base)], options, forms)


@pytest.mark.parametrize(
    "value",
    [
        "B", "b", "(B)", "(b)", "B.", "B)", " B ", "[B]", "b:", "**B**", '"B"', "Option B", "option (b)", "Choice B.",
        "Answer: B", "answer is B", "B) Vitamin C", "(B) Vitamin C", "B. vitamin C", "B: Vitamin C.", "B - Vitamin C",
        "The answer is B", "correct: B", "The correct option is (b).", "B (Vitamin C)",
        "Vitamin C", "vitamin  c", "Vitamin C.", ["Vitamin C"], ["B"], "\uff22", "\uff08\uff22\uff09", "\u24b7",
        "\u249d", "B\u200b", "\ufeffB", "B\u00a0",
    ],
)  # fmt: skip
def test_forms_that_name_one_option(value):
    assert answer(value) == ("B", None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("A, C", "several answers are named"),
        ("A and C", "several answers are named"),
        ("(A)/(C)", "several answers are named"),
        ("a;b", "several answers are named"),
        ("1,3", "several answers are named"),
        ("AB", "several answers are named"),
        ("B (Iron)", "letter and text of the answer disagree"),
        (["A", "C"], "several answers are named"),
        ("B) Iron", "letter and text of the answer disagree"),
        ("2", "the answer is a number that may count from 0 or from 1; set answer_base in fields"),
        (2, "the answer is a number that may count from 0 or from 1; set answer_base in fields"),
        # Of three options, only a count from 1 reaches 3. That is no evidence that it is meant.
        (3, "the answer is a number that may count from 0 or from 1; set answer_base in fields"),
        ("Copper", "key not among the options"),
        # Cyrillic Ve looks like the Latin B, and is the third letter of its alphabet.
        ("\u0412", "key not among the options"),
        ("", "no answer"),
        (None, "no answer"),
        (float("nan"), "no answer"),
        ([], "no answer"),
        ({"text": "Iron"}, "the answer is dict, not a letter or a text"),
    ],
)
def test_forms_that_name_no_single_option(value, reason):
    assert answer(value) == ("", reason)


def test_a_letter_beyond_the_options_stays_a_letter():
    assert answer("e") == ("E", "key not among the options")


@pytest.mark.parametrize(("base", "letter"), [(0, "C"), (1, "B")])
def test_a_number_counts_from_the_base(base, letter):
    assert answer("2", base=base) == answer(2, base=base) == answer(2.0, base=base) == (letter, None)


def test_a_number_can_be_the_text_of_an_option():
    lobes = read_options(["2", "3", "4"], "")
    both = "the answer is a number and also the text of an option; if it is a text, set answer_base: text in fields"
    assert answer("3", lobes) == answer("3", lobes, AnswerForms(mixed=True)) == ("", both)
    assert answer("3", lobes, AnswerForms(base=1)) == answer("4", lobes, AnswerForms(base=1)) == ("", both)
    assert answer("1", lobes, AnswerForms(base=1)) == ("A", None)
    assert answer("3", lobes, AnswerForms(base="text")) == ("B", None)
    assert answer("1", lobes, AnswerForms(base="text")) == ("", "key not among the options")
    # Both meanings are the same option.
    assert answer("3", read_options(["1", "2", "3"], ""), AnswerForms(base=1)) == ("C", None)
    # The layout defines the column as an index.
    assert answer("2", lobes, base=0) == ("C", None)
    # Neither count reaches 12.
    assert answer("12", read_options(["10", "12"], "")) == ("B", None)


def test_a_letter_can_be_the_text_of_another_option():
    groups = read_options(["O", "A", "B", "AB"], "")
    assert answer("A", groups) == ("", "the answer fits several options")
    assert answer("A", groups, AnswerForms(letters=True)) == ("A", None)
    assert answer("O", groups) == ("A", None)


def test_texts_that_differ_only_in_case_are_not_confused():
    ions = read_options(["Na", "NA", "None"], "")
    assert answer("Na", ions) == ("A", None)
    assert answer("NA", ions) == ("B", None)
    assert answer("na", ions) == ("", "the answer fits several options")
    powers = read_options(["10\u00b2 cells", "none"], "")
    assert answer("102 cells", powers) == ("", "key not among the options")
    assert answer("A) 10\u00b2 cells", powers) == ("A", None)


def test_the_forms_of_a_file():
    assert answer_forms(["A", "(b)", "C.", ""]) == AnswerForms(letters=True)
    assert answer_forms(["A", "Iron"]) == AnswerForms(letters=False, mixed=False)
    assert answer_forms(["1", "2", 3]) == AnswerForms(letters=False, mixed=False)
    assert answer_forms(["A", 3]) == AnswerForms(letters=True, mixed=True)
    assert answer_forms(["Iron", "2"]) == AnswerForms(letters=False, mixed=True)


def test_all_answer_columns_must_agree():
    def both(letter, text):
        return find_answer([(letter, None), (text, None)], OPTIONS, AnswerForms(letters=True))

    assert both("B", "Vitamin C") == both("B", "b") == both("", "Vitamin C") == both("B", None) == ("B", None)
    assert both("B", "Iron") == both("B", "Copper") == ("", "the answer columns disagree")
    # The text decides from which number an index counts.
    assert both(2, "Vitamin C") == both(1, "Vitamin C") == ("B", None)
    assert both(0, "Vitamin C") == ("", "the answer columns disagree")


@pytest.mark.parametrize(
    "value",
    [
        {"A": "Na", "B": "K"},
        {"a": "Na", "b": "K"},
        {"(A)": "Na", "(B)": "K"},
        ["Na", "K"],
        ("Na", "K", None),
        {"A": "Na", "B": "K", "C": None},
        [{"key": "A", "value": "Na"}, {"key": "B", "value": "K"}],
        [{"letter": "A", "content": "Na"}, {"letter": "B", "content": "K"}],
        [{"text": "Na"}, {"text": "K"}],
        {"text": ["Na", "K"], "label": ["A", "B"]},
        '{"A": "Na", "B": "K"}',
        '["Na", "K"]',
    ],
)
def test_forms_of_options(value):
    assert read_options(value, "").texts == {"A": "Na", "B": "K"}


def test_labels_that_are_no_letters_are_known_as_answers():
    release = read_options({"option1": "Na", "option2": "K"}, "")
    assert release.texts == {"A": "Na", "B": "K"}
    assert answer("option2", release) == ("B", None)
    assert answer("option1,option2", release) == ("", "several answers are named")
    numbered = read_options([{"aid": 2, "atext": "Na"}, {"aid": 1, "atext": "K"}], "")
    assert answer(1, numbered) == answer("1", numbered) == ("B", None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Na or K", "'options' is text"),
        ("['Na', 'K']", "not JSON"),
        (3, "'options' is int"),
        ({"A": {"text": "Na"}}, "option A is dict, not text"),
        (["Na", ["K"]], "option B is list, not text"),
        ([{"key": "A", "value": "Na", "image": "x.png"}], "an option has image, key, value"),
        ([{"name": "A", "value": "Na"}], "an option has name, value"),
        ({"A": "Na", "a": "K"}, "two options have the same label"),
        ({"A": "Na", "note": "K"}, "the option label 'note' is not a letter"),
        ([str(n) for n in range(27)], "27 options; allowed: at most 26"),
    ],
)
def test_options_that_are_refused(value, message):
    with pytest.raises(UserError, match=message):
        read_options(value, "row 1")
