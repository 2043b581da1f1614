"""Checks of an answer against its source: numbers, units, drugs, option letters, words."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medalpaca_data.rephrase.checks import find_drug_names, find_fault, read_amounts
from medalpaca_data.rephrase.prompts import load_prompt
from medalpaca_data.sources.anki import CARD_INSTRUCTION

CARDS = load_prompt("flash_card", Path())
SECTIONS = load_prompt("wiki_section", Path())
GENERAL = load_prompt("general", Path())


def texts(instruction: str, input: str, output: str) -> dict[str, str]:
    return {"instruction": instruction, "input": input, "output": output}


SOURCE = texts(
    CARD_INSTRUCTION,
    "Dose of amoxicillin in a child with otitis media",
    "80-90 mg/kg per day in 2 doses for 10 days; not in allergy to penicillin",
)
BACK = SOURCE["output"]
DOSE = "What dose of amoxicillin is given to a child with otitis media?"


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (
            DOSE,
            "80 to 90 mg/kg/day in two doses for 10 days, but not in allergy to penicillin",
            None,
        ),
        (
            DOSE,
            "80-90 mg/kg per day in 2 doses for 7 days, not in allergy to penicillin",
            "a number that the source lacks",
        ),
        (
            DOSE,
            "80-90 g/kg per day in 2 doses for 10 days, not in allergy to penicillin",
            "a number with another unit",
        ),
        (
            DOSE,
            "80-90 mg/kg in 2 doses for 10 days, not in allergy to penicillin",
            "a number with another unit",
        ),
        (
            DOSE,
            "80-90 mg/kg per day, not in allergy to penicillin",
            "a number of the source is missing",
        ),
        (
            DOSE,
            "80-90 mg/kg per day in 2 doses for 10 days, not in allergy to penicillin; else azithromycin",
            "a drug that the source does not name",
        ),
        (
            DOSE,
            "80-90 mg/kg per day in 2 doses for 10 days, in allergy to penicillin",
            "a negation lost or added",
        ),
        (
            DOSE,
            "80-90 mg/kg per day in 2 doses for 10 days, not in allergy to penicillin. Always finish your course, "
            "drink plenty of water and return to the surgery whenever fever persists",
            "words that the source lacks",
        ),
        (
            "How is hypertension of the elderly treated best?",
            "80-90 mg/kg per day in 2 doses for 10 days, not in allergy to penicillin",
            "a question about something else",
        ),
        ("What does the card say of amoxicillin?", BACK, "it mentions its source text"),
        ("Amoxicillin in otitis media", BACK, "no question mark"),
        ("Why?", BACK, "a question too short or too long"),
        ("Dose of amoxicillin?", BACK * 9, "an answer too long"),
    ],
)
def test_faults_of_an_answer_to_a_flash_card(question, answer, reason):
    assert find_fault(SOURCE, {"question": question, "answer": answer}, CARDS) == reason


LACKS = "a number that the source lacks"
REVERSED = "a limit with the opposite direction"
AI_MODEL = "the answer speaks as an AI model"


@pytest.mark.parametrize(
    ("front", "back", "question", "answer", "reason"),
    [
        ("High potassium", "above 6.5 mmol/l", "Which potassium is high?", "below 6.5 mmol/l", REVERSED),
        ("Which nerve moves it?", "cranial nerve VII", "Which nerve moves it?", "cranial nerve VIII", LACKS),
        ("Which nerve moves it?", "cranial nerve VII", "Which nerve moves it?", "cranial nerve 7", None),
        ("Lack in pernicious anaemia", "vitamin B12", "What lacks in pernicious anaemia?", "vitamin B6", LACKS),
        ("It stops gout", "colchicine", "What stops gout?", "allopurinol", "a drug that the source does not name"),
        ("It filters", "kidney", "Does it, the kidney, filter?", "kidney", "a question that gives its answer away"),
        ("It filters blood", "kidney and spleen", "Is it blood?", "filters blood", "the source's answer is missing"),
        ("Name it", "As an AI model I cannot", "What is it?", "As an AI model I cannot", AI_MODEL),
    ],
)  # fmt: skip
def test_single_faults(front, back, question, answer, reason):
    texts_ = texts(CARD_INSTRUCTION, front, back)
    assert find_fault(texts_, {"question": question, "answer": answer}, CARDS) == reason


OPTIONS = "A: the liver\nB: the kidney\nC: the lung"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("B: the kidney", None),
        ("(B) the kidney", None),
        ("C: the kidney", "another option letter than that of the source"),
        ("the kidney", "another option letter than that of the source"),
    ],
)
def test_the_correct_option_letter_must_stay(answer, reason):
    before = texts("Which organ filters blood?", OPTIONS, "B: the kidney")
    assert (
        find_fault(before, {"question": "Blood is filtered by which organ?", "answer": answer}, GENERAL)
        == reason
    )


def test_the_options_must_stay():
    before = texts(f"Which organ filters blood?\n{OPTIONS}", "", "B: the kidney")
    changed = OPTIONS.replace("the lung", "the liver")
    for options, reason in ((OPTIONS, None), (changed, "options changed")):
        question = f"Blood is filtered by which organ?\n{options}"
        assert find_fault(before, {"question": question, "answer": "B: the kidney"}, GENERAL) == reason


def test_only_the_question_of_a_section_is_checked():
    section = "Gout is treated with colchicine 0.5 mg twice daily. " * 20
    before = texts("What is the treatment of Gout?", "", section)
    for question, reason in (
        ("How is gout treated?", None),
        ("How is gout treated with 3 mg of colchicine?", "a number that the source lacks"),
        ("How is gout treated with allopurinol?", "a drug that the source does not name"),
        ("Which diet helps against kidney stones?", "a question about something else"),
    ):
        assert find_fault(before, {"question": question}, SECTIONS) == reason
    assert SECTIONS.apply(before, {"question": "Q?"}) == texts("Q?", "", section)


NUMBERS = st.integers(2, 10**7)
FORMS = st.sampled_from(
    [
        str,
        "{:,}".format,
        "{}.50".format,
        "{} mg".format,
        "x{}".format,
        "<{}".format,
        "{}%".format,
        "({}-year-old)".format,
        "10^{}".format,
        lambda n: str(n).translate({ord(d): chr(0xFF10 + int(d)) for d in "0123456789"}),  # full width
        lambda n: str(n).translate({ord(d): chr(0x0660 + int(d)) for d in "0123456789"}),  # Arabic-Indic
        lambda n: "10" + str(n).translate({ord(d): "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(d)] for d in "0123456789"}),
    ]
)


PARTS = st.sampled_from(["question", "answer"])


@given(st.lists(NUMBERS, max_size=5), st.lists(FORMS, min_size=5, max_size=5), NUMBERS, FORMS, PARTS)
def test_no_answer_with_an_added_number_is_accepted(known, forms, new, form, where):
    # 10 is excluded as the base of the powers among the forms.
    assume(new not in known and new != 10)
    source = "The left one: " + " and ".join(how(n) for how, n in zip(forms, known, strict=False))
    before = texts(CARD_INSTRUCTION, "Which kidney?", source)
    answer = {"question": "Which kidney is it?", "answer": source}
    assert find_fault(before, answer, CARDS) is None
    answer[where] += f" {form(new)}?"
    assert find_fault(before, answer, CARDS) == "a number that the source lacks"


def test_real_answers_are_accepted_unless_a_number_or_unit_is_changed(real):
    read = json.loads(
        (real / "wikidoc_patient_info" / "medical_meadow_small.json").read_text(encoding="utf-8")
    )
    rows = [texts(row["input"], "", row["output"]) for row in read[::10] if row["output"].strip()]
    faults = [
        find_fault(row, {"question": row["instruction"], "answer": row["output"]}, GENERAL) for row in rows
    ]
    assert faults.count(None) >= len(rows) - 1
    changed = 0
    for row in rows:
        for pattern, new in (
            (r"\b([2-9])(?= ?(?:days|mg|years|percent|%))", r"\g<1>731"),
            (r"(?<=\d) years\b", " months"),
        ):
            output, count = re.subn(pattern, new, row["output"], count=1)
            changed += count
            refused = find_fault(row, {"question": row["instruction"], "answer": output}, GENERAL)
            assert not count or (refused and refused.startswith("a number"))
    assert changed > 30


@given(st.text(), st.text())
def test_a_source_gives_at_least_the_numbers_of_an_answer(one, other):
    answer, given_ = read_amounts(one), read_amounts(f"{one}\n{other}", source=True)
    assert answer.numbers <= given_.numbers | {"0"}


@pytest.mark.parametrize(
    ("text", "numbers", "measured"),
    [
        ("1,000 mcg", {"1000"}, {("1000", "ug")}),
        ("2.50-5 mg daily", {"2.5", "5"}, {("2.5", "mg/day"), ("5", "mg/day")}),
        ("5 mg/kg every 8 hours", {"5", "8"}, {("5", "mg/kg"), ("8", "hour")}),
        ("CD4 below 200 cells", {"4", "200"}, set()),
        ("½ tablet twice", {"1", "2"}, set()),
        ("37 °C is not 37 °F", {"37"}, {("37", "celsius"), ("37", "fahrenheit")}),
        ("5 mM and 5 mm", {"5"}, {("5", "mmol/l"), ("5", "mm")}),
        ("type II, factor VIII, given IV", {"2", "8"}, set()),
    ],
)
def test_amounts(text, numbers, measured):
    amounts = read_amounts(text)
    assert (amounts.numbers, amounts.measured) == (numbers, measured)


def test_drug_names():
    text = "In April the patient took Lisinopril, atorvastatin and cefazolin, then prednisone, not sugar."
    assert find_drug_names(text) == {"lisinopril", "atorvastatin", "cefazolin", "prednisone"}
