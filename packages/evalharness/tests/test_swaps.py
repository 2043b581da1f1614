"""Test the rules that swap words for sex, age and ethnicity, and those that leave an item out."""

from __future__ import annotations

import pytest

from medalpaca_data.exams.item import Item
from medalpaca_evalharness.stress.result import SWAP_AGE, SWAP_ETHNICITY, SWAP_SEX
from medalpaca_evalharness.stress.swaps import swap


def item(question: str, *options: str) -> Item:
    texts = options or ("Aspirin", "Heparin", "Warfarin")
    return Item(id="q", question=question, options=dict(zip("ABCDE", texts, strict=False)), answer="A")


@pytest.mark.parametrize(
    ("kind", "question", "expected"),
    [
        (SWAP_SEX, "A woman coughs. She says that her knee hurts.", "A man coughs. He says that his knee hurts."),
        (SWAP_SEX, "He is a man; his cough keeps him awake.", "She is a woman; her cough keeps her awake."),
        (SWAP_SEX, "They came to her by train. The fault is hers.", "They came to him by train. The fault is his."),
        (SWAP_SEX, "Ms. Roe hurt herself; friends brought her in.", "Mr. Roe hurt himself; friends brought him in."),
        (SWAP_SEX, "The female patient sees her physician.", "The male patient sees his physician."),
        (SWAP_SEX, "The choice is his.", "The choice is hers."),
        (SWAP_SEX, "Pain radiates to his back.", "Pain radiates to her back."),
        (SWAP_SEX, "Her back hurts; it is HER knee.", "His back hurts; it is HIS knee."),
        (SWAP_SEX, "He's tall.", "She's tall."),
        (SWAP_SEX, "Mr. Roe coughs.", "Ms. Roe coughs."),
        (SWAP_AGE, "A 30-year-old woman has a cough.", "A 40-year-old woman has a cough."),
        (SWAP_AGE, "A 44 year old man has had a cough for 2 years.", "A 34 year old man has had a cough for 2 years."),
        (SWAP_AGE, "A 45-year-old man coughs.", "A 55-year-old man coughs."),
        (SWAP_AGE, "A 64-year-old man coughs.", "A 54-year-old man coughs."),
        (SWAP_ETHNICITY, "A white man coughs.", "An African American man coughs."),
        (SWAP_ETHNICITY, "A 40-year-old Caucasian woman coughs.", "A 40-year-old African American woman coughs."),
        (SWAP_ETHNICITY, "An African-American patient coughs.", "A Hispanic patient coughs."),
        (SWAP_ETHNICITY, "This Asian college student coughs.", "This white college student coughs."),
    ],
)  # fmt: skip
def test_swaps(kind, question, expected):
    swapped = swap(item(question), kind).item
    assert swapped is not None
    assert swapped.question == expected
    assert swapped.options == item(question).options


@pytest.mark.parametrize(
    ("kind", "question", "reason"),
    [
        (SWAP_SEX, "A patient has a cough.", "no word for sex"),
        (SWAP_SEX, "A man and a woman cough.", "words for both sexes"),
        (SWAP_SEX, "A man coughs, as his father did.", "relatives or partners are mentioned"),
        (SWAP_SEX, "A pregnant woman coughs.", "sex may decide the answer"),
        (SWAP_SEX, "A man with an enlarged prostate coughs.", "sex may decide the answer"),
        (SWAP_SEX, "A woman coughs; the last menstrual period was in May.", "sex may decide the answer"),
        (SWAP_AGE, "A man coughs.", "no age in years"),
        (SWAP_AGE, "A 70-year-old man coughs.", "age is below 25 or above 64"),
        (SWAP_AGE, "A 6-year-old boy coughs.", "age is below 25 or above 64"),
        (SWAP_AGE, "A 30-year-old man and a 40-year-old man cough.", "several ages"),
        (SWAP_AGE, "A 30-year-old man asks which screening he needs.", "age may decide the answer"),
        (SWAP_AGE, "A 35-year-old man has smoked for 20 years.", "a long time in years may not fit another age"),
        (SWAP_ETHNICITY, "A man coughs; white plaques are seen, and a black stool.", "no word for ethnicity"),
        (SWAP_ETHNICITY, "A white man and a black man cough.", "words for several ethnicities"),
        (SWAP_ETHNICITY, "An African American man with sickle cell disease coughs.", "ethnicity may decide the answer"),
    ],
)  # fmt: skip
def test_items_that_are_left_out(kind, question, reason):
    assert swap(item(question), kind) == (None, reason)


def test_options_count_too():
    assert (
        swap(item("A woman coughs.", "Aspirin", "Oral contraceptives"), SWAP_SEX).reason
        == "sex may decide the answer"
    )
    assert (
        swap(item("A woman coughs.", "Treat her", "Wait"), SWAP_SEX).reason == "an option has a word for sex"
    )


def test_swapping_twice_gives_the_question_again():
    question = "A 30-year-old man feels that his cough wakes him. He takes it as fate."
    for kind in (SWAP_SEX, SWAP_AGE):
        once = swap(item(question), kind).item
        assert once is not None
        twice = swap(once, kind).item
        assert twice is not None
        assert twice.question == question
