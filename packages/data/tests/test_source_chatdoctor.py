"""ChatDoctor's synthetic consultations, and text of real patients, kept apart."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.sources import ChatDoctor, PatientDialogues
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.chatdoctor import INSTRUCTION
from medalpaca_data.sources.patient_dialogues import remove_courtesies

UPSTREAM = "If you are a doctor, please answer the medical questions based on the patient's description."
DISEASES = "idx,disease,Symptom,reason\n0,Gout,[],x\n1,Tennis elbow,[],x\n2,Gout of the elbow,[],x\n"
COVID = """\
id=1
https://www.icliniq.com/qa/covid-19/a-cough

Description
Is a cough a sign?

Dialogue
Patient:
I cough at night.
Is it a sign?
Doctor:
Hello. Thanks for your question on Healthcare Magic. It may be one.\u0020
Would you like to video or text chat with me?
Patient:
And a fever?
Doctor:
That too.


id=2
https://www.healthtap.com/member/fg?page=/search/covid

Description
Can I swim?

Dialogue
Patient:
Can I swim?
Doctor:
Yes.

id=2
https://www.healthtap.com/member/fg?page=/search/covid

Description
Can I dive?

Dialogue
Patient:
Can I dive?
"""


def talk(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"instruction": UPSTREAM, "input": asked, "output": said} for asked, said in pairs]


def read(source) -> list:
    return list(source.records(Path()))


def reasons(records: list) -> Counter:
    return Counter((record.reason, record.by_rule) for record in records if isinstance(record, Reject))


# Synthetic --------------------------------------------------------------------------------------------------------


def test_consultations_about_one_disease_share_a_group(write):
    path = write(
        "chatdoctor5k.json.gz",
        gzip.compress(
            json.dumps(
                talk(
                    ("Doctor, my toe burns.", "It sounds like gout."),
                    ("Doctor, I have Gout!", "Drink water. "),
                    ("Doctor, my arm hurts.", "This is gout of the elbow."),
                    ("Doctor, my arm hurts.", "This is gout, or a tennis elbow."),
                    ("Doctor, my arm hurts.", "Rest it."),
                )
            ).encode()
        ),
    )
    rows = read(ChatDoctor(path=str(path), diseases=str(write("format_dataset.csv", DISEASES))))
    assert [row.group for row in rows] == [
        "chatdoctor:gout",
        "chatdoctor:gout",
        "chatdoctor:gout of the elbow",
        None,
        None,
    ]
    assert (rows[1].instruction, rows[1].input, rows[1].output) == (
        INSTRUCTION,
        "Doctor, I have Gout!",
        "Drink water.",
    )
    assert (rows[0].source_id, rows[0].generator) == ("chatdoctor5k.json.gz row 1", "ChatGPT (2023)")
    assert all(row.group is None for row in read(ChatDoctor(path=str(path))))


def test_an_answer_that_runs_on_is_no_answer(write):
    rows = talk(("Doctor, help!", "Take a test.Patient: Which one?"), ("", "Rest."), ("Doctor?", " "))
    assert reasons(read(ChatDoctor(path=str(write("c.json", rows))))) == {
        ("the answer continues with the patient's next turn", False): 1,
        ("no question", False): 1,
        ("empty 'output'", False): 1,
    }


def test_what_real_patients_wrote_is_refused_as_synthetic(write):
    path = str(write("c.json", talk(("I fell.", "Thanks for using Chat Doctor. Rest."), ("Hi", "Rest."))))
    with pytest.raises(UserError, match="contains text of real patients; use kind: patient_dialogues"):
        read(ChatDoctor(path=path))
    assert len(read(PatientDialogues(path=path))) == 2
    assert PatientDialogues.about.patient_text
    assert not PatientDialogues.about.default
    assert not ChatDoctor.about.patient_text


@pytest.mark.parametrize("table", ["", "idx\n1\n", "idx,disease\n1,\n", 'idx,disease\n1,"x'])
def test_a_table_without_diseases_is_refused(write, table):
    path = str(write("c.json", talk(("Doctor?", "Rest."))))
    with pytest.raises(UserError, match=r"format_dataset\.csv"):
        read(ChatDoctor(path=path, diseases=str(write("format_dataset.csv", table))))


# Written by patients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Hi, Thanks for using Chat Doctor. Rest it.", "Rest it."),
        ("Hello. Thank you for asking Chat Doctor! Rest it.", "Rest it."),
        ("Hello and welcome to Ask A Doctor service.\nRest it. Regards, Dr. Ann Example, Surgeon", "Rest it."),
        ("Rest it. Hope I have answered your query. Let me know if I can assist you further.", "Rest it."),
        ("Rest it. Take care. Chat Doctor.", "Rest it."),
        ("Rest it.  Would you like to video or text chat with me?", "Rest it."),
        ("Rest it. Hope this helps.\nTake care\nRegards,\nDr Example", "Rest it."),
        ("Rest it.RegardsDr.Example", "Rest it."),
        # What may be more than a courtesy stays.
        ("Hello, rest it.", "Hello, rest it."),
        ("Hi. Rest it.", "Hi. Rest it."),
        ("Rest it. With regards to the fever, drink water.", "Rest it. With regards to the fever, drink water."),
        ("Rest it. Take care of the wound.", "Rest it. Take care of the wound."),
        ("Rest it. Hope is no plan.", "Rest it. Hope is no plan."),
        ("Welcome to Healthcaremagic.comI have read it. Rest.", "Welcome to Healthcaremagic.comI have read it. Rest."),
        ("Thanks.", "Thanks."),
        ("", ""),
    ],
)  # fmt: skip
def test_courtesies_at_the_ends_are_taken_off(said, left):
    assert remove_courtesies(said) == left


@settings(max_examples=300)
@given(st.lists(st.sampled_from([
    "Hi,", "Hello.", "Thanks for using Chat Doctor.", "Rest it.", "Regards,", "Dr. X", "Take care.", "\n", " "
])).map("".join) | st.text())  # fmt: skip
def test_what_is_left_is_a_stretch_of_the_answer(text):
    left = remove_courtesies(text)
    assert left in text
    assert left or not text.strip()
    assert remove_courtesies(left) in left


def test_dialogues_are_read_in_both_layouts(write):
    pair = ("I fell.", "Hi, Welcome to Chat Doctor forum. Rest it. Take care.")
    [row] = read(PatientDialogues(path=str(write("HealthCareMagic-100k.json", talk(pair)))))
    assert (row.instruction, row.input, row.output) == (INSTRUCTION, "I fell.", "Rest it.")
    for text in (COVID, COVID.replace("\n", "\r\n")):
        first, later, second, cut = read(PatientDialogues(path=str(write("covid.txt", text.encode()))))
        assert first.input == "Is a cough a sign?\n\nI cough at night.\nIs it a sign?"
        assert (first.output, first.url) == ("It may be one.", "https://www.icliniq.com/qa/covid-19/a-cough")
        assert (later.reason, later.by_rule) == ("later exchange of a consultation", True)
        assert (second.input, second.output, second.url) == ("Can I swim?", "Yes.", None)
        assert (cut.reason, cut.by_rule, cut.location) == (
            "the consultation does not begin with a patient and a doctor",
            False,
            "line 32",
        )


def test_a_text_that_is_no_consultation_is_refused(write):
    for text in ("", "Patient:\nhello\n"):
        with pytest.raises(UserError, match=r"notes\.txt: no line .id=NUMBER."):
            read(PatientDialogues(path=str(write("notes.txt", text))))


@settings(max_examples=80)
@given(st.data())
def test_any_bytes_end_in_rows_or_an_error_for_the_user(tmp_path_factory, damaged, data):
    name = data.draw(st.sampled_from(["c.json", "c.json.gz", "c.txt", "c.txt.gz"]))
    good = COVID.encode() if ".txt" in name else json.dumps(talk(("Doctor?", "Rest."))).encode()
    file = tmp_path_factory.mktemp("damaged") / name
    content = data.draw(damaged(good))
    file.write_bytes(gzip.compress(content) if data.draw(st.booleans()) else content)
    sources = [PatientDialogues(path=str(file))]
    if ".json" in name:
        sources.append(ChatDoctor(path=str(file), diseases=str(file)))
        sources.append(ChatDoctor(path=str(file)))
    for source in sources:
        try:
            read(source)
        except UserError as error:
            assert name in str(error)


# The real files ---------------------------------------------------------------------------------------------------


def test_the_real_synthetic_file(real):
    folder = real / "chatdoctor"
    source = ChatDoctor(
        path=str(folder / "chatdoctor5k.json.gz"), diseases=str(folder / "format_dataset.csv")
    )
    records = read(source)
    assert len(records) == 5452
    assert reasons(records) == {
        ("the answer continues with the patient's next turn", False): 161,
        ("an answer about the dialogue, not to the patient", True): 27,
    }
    groups = [record.group for record in records if isinstance(record, Row)]
    assert (len(groups) - groups.count(None), len(set(groups) - {None})) == (4361, 746)


def test_the_real_consultations(real):
    records = read(PatientDialogues(path=str(real / "covid_dialogue/COVID-Dialogue-Dataset-English.txt")))
    rows = [record for record in records if isinstance(record, Row)]
    assert len(rows) == 604
    assert reasons(records) == {("later exchange of a consultation", True): 12}
    assert sum(row.url is not None for row in rows) == 149
    assert not any(row.output.endswith("chat with me?") for row in rows)
