"""The published parts of Medical Meadow: repaired, or refused, and told by what is in the file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.exams.item import LETTER_INSTRUCTION
from medalpaca_data.sources import Published
from medalpaca_data.sources.base import Reject

QUESTION = "Answer this question truthfully"
MEDQA = "Please answer with one of the option in the bracket"
ADVICE = "Question: is this a 2) strong advice, 1) weak advice 0) no advice?"
CAUSAL = (
    "Question: Is this describing a (1) directly correlative relationship, (2) conditionally causative relationship, "
    "(3) causative relationship, or (0) no relationship."
)


def part(instruction: str, *pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"instruction": instruction, "input": asked, "output": said} for asked, said in pairs]


@pytest.fixture
def read(write):
    def _read(name: str, rows: list[dict[str, str]], **settings: str) -> list:
        path = write("published.json", rows)
        return list(Published(set=name, path=str(path), **settings).records(Path()))

    return _read


def reasons(records: list) -> Counter:
    return Counter((record.reason, record.by_rule) for record in records if isinstance(record, Reject))


def test_a_constant_instruction_gives_way_to_the_question(read):
    [card] = read("medical_flashcards", part(QUESTION, ("What carries oxygen?", "Haemoglobin.")))
    assert (card.instruction, card.input, card.output) == ("What carries oxygen?", "", "Haemoglobin.")
    assert (card.source_id, card.split) == ("published.json row 1", "none")
    assert card.generator.startswith("gpt-3.5-turbo")
    assert card.licence == "cc (no version stated)"
    [row] = read("medical_flashcards", part(QUESTION, ("Q?", "A")), licence="mine")
    assert row.licence == "mine"


def test_patient_questions_lose_what_the_page_left_in_them(read):
    rows = read(
        "wikidoc_patient_information",
        part(
            QUESTION,
            ("Who is at highest risk for Athlete%27s foot ?", "Runners."),
            (
                "What to expect if I have Athlete%27s foot patient information (Outlook/Prognosis)?",
                "It heals.",
            ),
            ("How do I upload a picture?", "Press the button."),
            ("What causes (disease name)?", "The causes are listed here."),
        ),
    )
    assert [row.instruction for row in rows[:2]] == [
        "Who is at highest risk for Athlete's foot?",
        "What to expect if I have Athlete's foot (Outlook/Prognosis)?",
    ]
    assert rows[0].group == rows[1].group == "published:athlete's foot"
    assert all(record.by_rule for record in rows[2:])
    assert rows[0].generator is None


def test_medqa_is_asked_as_the_exam_asks(read):
    options = {"A": "A splint, with care", "B": "It's rest", "C": 'A "cast"'}
    rows = read(
        "medqa",
        part(
            MEDQA,
            (f"Q:A boy fell. What helps him?? \n{options}", "B: It's rest"),
            (f"Q:A boy fell. The bone is:? \n{options},", 'C: A "cast"'),
            (f"Q:Which? \n{options}", "B: A splint, with care"),
            ("Q:Which? \n{'A': __import__('os')}", "A: x"),
            ("Q:Which?", "A: x"),
            ("Q:Which? \n{" + "[" * 5000, "A: x"),
            ("Q:Which? \n{'A': 1}", "A: 1"),
        ),
    )
    assert rows[0].instruction == LETTER_INSTRUCTION
    assert rows[0].input == 'A boy fell. What helps him?\nA: A splint, with care\nB: It\'s rest\nC: A "cast"'
    assert (rows[0].output, rows[0].split) == ("B: It's rest", "train")
    assert rows[1].input.startswith("A boy fell. The bone is:\nA: ")
    assert reasons(rows) == {
        ("the text of the answer differs from the option with its letter", False): 1,
        ("the options are not a printed dictionary", False): 3,
        ("no options in braces", False): 1,
    }


def test_health_advice_keeps_what_is_a_sentence_and_not_contradicted(read):
    rows = read(
        "health_advice",
        part(
            ADVICE,
            ("Adults should walk every day. ", "This is a strong advice"),
            ("no discussion section", "This is no advice"),
            ("Conclusions. ", "This is no advice"),
            ("Tea may be worth a try.", "This is a weak advice"),
            ("Tea may be worth a try. ", "This is no advice"),
            ("Rest was not studied here.", "advice"),
        ),
    )
    [row] = [row for row in rows if isinstance(row, Row)]
    assert (row.input, row.output) == ("Adults should walk every day.", "Strong advice")
    assert row.instruction.startswith("Does this sentence from a medical paper give")
    assert reasons(rows) == {
        ("a placeholder instead of a sentence", False): 1,
        ("fewer than 4 words", True): 1,
        ("contradictory label", False): 2,
        (
            "'output' is not one of 'This is no advice', 'This is a weak advice', 'This is a strong advice'",
            False,
        ): 1,
    }
    assert [r.location for r in rows if isinstance(r, Reject) and r.reason == "contradictory label"] == [
        "row 4",
        "row 5",
    ]


def test_titles_and_summaries(read):
    asked = "Please summerize the given abstract to a title"
    [row] = read("cord19", part(asked, ("We looked at masks.", "Masks")))
    assert (row.instruction, row.input) == (
        "Write the title of a scientific paper with this abstract.",
        "We looked at masks.",
    )
    rows = read("mediqa", part("what helps a cough?", ("Honey. ", "Honey."), ("Tea.", "Tea")))
    assert [(row.instruction, row.input) for row in rows] == [
        ("what helps a cough?", "Honey."),
        ("what helps a cough?", "Tea."),
    ]
    assert len({row.group for row in rows}) == 1


def test_the_set_is_checked_against_the_rows(read):
    cards = part(QUESTION, ("What carries oxygen?", "Haemoglobin."), ("", "Nothing."))
    assert reasons(read("cord19", cards)) == {("the instruction is not that of set cord19", False): 2}
    assert reasons(read("mediqa", cards)) == {("the instruction is not that of set mediqa", False): 2}
    assert reasons(read("medical_flashcards", cards)) == {("no input", False): 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mmmlu", "the published mmmlu is the test split of MMLU"),
        ("medical_meadow_pubmed_causal", "use kind: pubmed_causal"),
        ("stack_exchange", "use kind: stack_exchange"),
        ("usmle_self_assessment", "is the exam"),
        ("flashcards", "medical_flashcards"),
    ],
)
def test_a_part_that_is_not_built_is_refused_with_the_reason(name, said):
    with pytest.raises(ValueError, match=said):
        Published(set=name, path="x.json")


def test_wrong_labels_are_refused_whatever_the_file_is_called(read):
    rows = part(CAUSAL, ("Rain makes wet.", "This is a causative relationship"))
    with pytest.raises(
        UserError, match=r"published\.json: the published pubmed_causal has only wrong labels"
    ):
        read("medical_flashcards", rows)


@settings(max_examples=60)
@given(st.data())
def test_any_bytes_end_in_rows_or_an_error_for_the_user(tmp_path_factory, damaged, data):
    rows = part(MEDQA, ("Q:Which?? \n{'A': 'a', 'B': 'b'}", "B: b")) + part(
        ADVICE, ("Walk every day now.", "This is")
    )
    file = tmp_path_factory.mktemp("damaged") / "published.json"
    file.write_bytes(data.draw(damaged(json.dumps(rows).encode())))
    name = data.draw(
        st.sampled_from(["medqa", "health_advice", "mediqa", "wikidoc", "wikidoc_patient_information"])
    )
    try:
        list(Published(set=name, path=str(file)).records(Path()))
    except UserError as error:
        assert "published.json" in str(error)


# The real files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["medical_flashcards", "cord19", "health_advice"])
def test_the_real_mmmlu_and_causal_files_are_refused(real, name):
    folder = real / "medical_meadow_original"
    with pytest.raises(UserError, match="100 of the first 100 rows are questions of MMLU test"):
        list(Published(set=name, path=str(folder / "medical_meadow_mmmlu.json")).records(Path()))
    with pytest.raises(UserError, match="kind: pubmed_causal"):
        list(Published(set=name, path=str(folder / "medical_meadow_pubmed_causal.json")).records(Path()))


def test_the_real_health_advice(real):
    path = real / "medical_meadow_original/medical_meadow_health_advice.json"
    records = list(Published(set="health_advice", path=str(path)).records(Path()))
    assert len(records) == 8676
    assert reasons(records) == {
        ("fewer than 4 words", True): 15,
        ("contradictory label", False): 4,
        ("a placeholder instead of a sentence", False): 2,
    }
    labels = Counter(row.output for row in records if isinstance(row, Row))
    assert labels == {"No advice": 6458, "Weak advice": 1336, "Strong advice": 861}


def test_the_real_patient_information(real):
    path = real / "wikidoc_patient_info/medical_meadow_small.json"
    records = list(Published(set="wikidoc_patient_information", path=str(path)).records(Path()))
    rows = [record for record in records if isinstance(record, Row)]
    assert len(records) == 5942
    # The wiki's help pages stand in the file's rows 4812 to 4910; each reject was read.
    assert 5840 <= len(rows) <= 5860
    assert all(record.by_rule for record in records if isinstance(record, Reject))
    assert not any("%27" in row.instruction or " ?" in row.instruction for row in rows)
    assert not any("wiki" in row.instruction.lower() for row in rows)


def test_the_real_medqa_samples(real, read):
    samples = real / "medical_meadow_original/format_samples_de_en/deu-medical_meadow_medqa.json"
    records = json.loads(samples.read_text())
    rows = part(MEDQA, *((record["input_org"], record["output_org"]) for record in records))
    asked = read("medqa", rows)
    assert len(asked) == 6
    assert all(isinstance(row, Row) and row.output[1:3] == ": " and "\nE: " in row.input for row in asked)
    assert not any("??" in row.input or "{" in row.input for row in asked)
