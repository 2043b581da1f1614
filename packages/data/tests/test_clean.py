import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.stages.clean import clean_text, fault


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Take it with food.<br/>Not at night.", "Take it with food.\nNot at night."),
        ("<p>First.</p><p>Second.</p>", "First.\nSecond."),
        ("HbA<sub>1c</sub> of 7&nbsp;%", "HbA1c of 7 %"),
        ("patients&rsquo; gait", "patients\u2019 gait"),
        ("see [[Angina pectoris|angina]] and [[asthma]]", "see angina and asthma"),
        ("[[File:heart.jpg|thumb|200px]]The heart", "The heart"),
        ("{{Navbox|x=1}}'''Gout''' is ''old''", "Gout is old"),
        ('a claim<ref name="x">Smith, 2001</ref>.', "a claim."),
        ("one\u200b two\u00a0three\ufeff", "one two three"),
        ("line one  \r\n\r\n\r\n\r\nline two ", "line one\n\nline two"),
        ("Cafe\u0301", "Caf\u00e9"),
    ],
)
def test_residue_goes(before, after):
    text, done = clean_text(before)
    assert text == after
    assert done


@pytest.mark.parametrize(
    "text",
    [
        "p<0.05 and CD4 < 200, BMI>30",
        "a 5''-flanking region and the test''s validity",
        "the 5'-cap and 3'-tail",
        "AT&T and R&D; Q&A",
        "\u03b1-synuclein, \u00b5g, 10\u207b\u2076",
        "def f(x):\n    return x",
        "[NAME] was seen by [PHYSICIAN]",
        "glucose <40 mg/dL or >400",
    ],
)
def test_what_is_text_stays(text):
    assert clean_text(text) == (text, [])


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "no answer"),
        ("NaN", "no answer"),
        ("### Response: yes", "prompt template in the text"),
        ("<|im_start|>assistant", "prompt template in the text"),
        ("As an AI language model, I cannot say.", "a model speaks of itself"),
        ("It is usually treated with diuretics, salt restriction and", "answer breaks off"),
        ("Beta blockers slow the heart and lower blood pressure,", "answer breaks off"),
        ("B", None),
        ("None of the above", None),
        ("Vitamin A and D and the", None),  # short: perhaps a term
        (
            "The model for end-stage liver disease is used as a score of how ill an AI-assisted patient is.",
            None,
        ),
    ],
)
def test_what_is_no_answer_is_dropped(output, reason):
    assert fault("Question?", "", output) == reason


@given(st.text())
def test_cleaning_never_fails(text):
    cleaned, done = clean_text(text)
    assert cleaned == cleaned.strip()
    assert done or cleaned == text


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="<&[{'#\r\t\x7f", min_codepoint=32)))
def test_plain_text_is_only_trimmed(text):
    assert clean_text(text)[0] == text.strip()
