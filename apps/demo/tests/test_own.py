"""Own question: pasted items, identifiers of a person, and the option that an answer mentions."""

from __future__ import annotations

import pytest

from medalpaca_demo.side_by_side import mentioned_option
from medalpaca_demo.tabs.own import find_identifiers, parse_pasted


@pytest.mark.parametrize("style", ["{}. {}", "{}) {}", "({}) {}", "{}: {}", "  {} : {}"])
@pytest.mark.parametrize("key", ["", "Answer: B", "correct answer is (B)", "Key B"])
def test_a_pasted_item_is_recognised(style: str, key: str) -> None:
    options = "\n".join(style.format(letter, f"drug {letter}") for letter in "ABCD")
    item = parse_pasted(f"A man of 40.\n\nWhich drug?\n{options}\n{key}").item
    assert item is not None
    assert item.question == "A man of 40.\n\nWhich drug?"
    assert dict(item.options) == {letter: f"drug {letter}" for letter in "ABCD"}
    assert item.answer == ("B" if key else "")


def test_an_option_may_continue_in_the_next_line() -> None:
    item = parse_pasted("Which?\nA. one\nand more\nB. two").item
    assert item is not None
    assert dict(item.options) == {"A": "one and more", "B": "two"}


@pytest.mark.parametrize(
    "text", ["What is scurvy?", "Which?\nA. only one", "A. one\nB. two", "Which?\nB. two\nC. three", ""]
)
def test_other_texts_are_free_text(text: str) -> None:
    pasted = parse_pasted(text)
    assert pasted.item is None
    assert pasted.question == text


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("Mr. Smith has fever", "names"),
        ("Frau Müller klagt über Husten", "names"),
        ("Patient name: J S", "names"),
        ("DOB 3/4/56", "dates (except the year)"),
        ("geb. am 03.04.1956", "dates (except the year)"),
        ("admitted 12.03.2024", "dates (except the year)"),
        ("seen on 3 March 2024", "dates (except the year)"),
        ("MRN 00451234", "medical record numbers"),
        ("SSN 078-05-1120", "social security numbers"),
        ("write to a.b@example.org", "e-mail addresses"),
        ("call +49 6221 560 123", "telephone numbers"),
        ("lives at 12 Baker Street", "places smaller than a state"),
    ],
)
def test_identifiers_are_found(text: str, sign: str) -> None:
    assert sign in find_identifiers(text)


@pytest.mark.parametrize(
    "text",
    [
        "A 45-year-old woman comes to the physician because of 3 days of fever and a rash of the trunk.",
        "Blood pressure is 120/80 mm Hg, pulse 72/min; sodium 135 mEq/L, leukocytes 12,400/mm3.",
        "Serum glucose is 110 mg/dL. The patient has taken 500 mg of amoxicillin since 5 days.",
        "The patient died. Which of the following names the cause? Case 2 of 4.",
        "A 3.5-cm mass; T4 0.8; HbA1c 7.2 %; weeks 12 to 16; CD4 count 200-350.",
    ],
)
def test_exam_questions_have_no_identifiers(text: str) -> None:
    assert find_identifiers(text) == []


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C) because it is.", "C"),
        ("B: Vitamin C", "B"),
        ("The answer is D.", "D"),
        ("I think the correct option would be (A).", "A"),
        ("Answer: b", "B"),
        ("A patient comes with fever.", None),
        ("The answer is B, and the answer is C.", None),
        ("Vitamin C is lacking.", None),
        ("The answer is Z.", None),
        ("", None),
    ],
)
def test_mentioned_letter(text: str, letter: str | None) -> None:
    assert mentioned_option(text, dict.fromkeys("ABCD", "drug"), "letter") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("acetylcysteine", "C"),
        ("Vitamin K.", "B"),
        ("It is vitamin  K antagonist", "D"),
        ("atropine or acetylcysteine", None),
        ("atropines", None),
        ("C", None),
        ("", None),
    ],
)
def test_mentioned_option_text(text: str, letter: str | None) -> None:
    options = {"A": "atropine", "B": "vitamin K", "C": "acetylcysteine", "D": "vitamin K antagonist"}
    assert mentioned_option(text, options, "text") == letter
