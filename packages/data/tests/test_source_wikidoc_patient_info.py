import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.row import Row
from medalpaca_data.sources import WikiDocPatientInfo
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.wikidoc import clean_question, find_subject

ASKED = "Say what is true"
ROWS = [
    ("What are the symptoms of Doe%27s itch?", "It itches & burns."),
    ("When to seek urgent medical care when I have Doe%27s itch ?", "When it is P <2."),
    ("How long do spots last?", "A week."),
    ("Who is at highest risk for Roe itch patient information?", "Everybody is."),
    ("What causes (disease name)?", "Wind and dust."),
    ("What causes Roe itch?", "Here you can list the causes."),
    ("How do I insert an image?", "Click here."),
]


def read(root, name, **settings):
    records = list(WikiDocPatientInfo(path=name, **settings).records(root))
    return [r for r in records if isinstance(r, Row)], [r for r in records if isinstance(r, Reject)]


def test_published_rows(write, tmp_path):
    records = [{"instruction": ASKED, "input": asked, "output": answer} for asked, answer in ROWS]
    write("rows.json", [*records, {"instruction": ASKED, "input": "What?"}, {**records[0], "split": "test"}])
    rows, rejects = read(tmp_path, "rows.json")
    assert [(r.instruction, r.output, r.group) for r in rows] == [
        ("What are the symptoms of Doe's itch?", "It itches & burns.", "wikidoc_patient_info:doe's itch"),
        (
            "When to seek urgent medical care when I have Doe's itch?",
            "When it is P <2.",
            "wikidoc_patient_info:doe's itch",
        ),
        ("How long do spots last?", "A week.", "wikidoc_patient_info:doe's itch"),
        ("Who is at highest risk for Roe itch?", "Everybody is.", "wikidoc_patient_info:roe itch"),
    ]
    assert {(r.input, r.licence, r.split) for r in rows} == {("", "CC BY-SA 3.0", "none")}
    assert rows[2].source_id == "rows.json row 3"
    assert [(r.reason, r.by_rule) for r in rejects] == [
        ("the form of a patient page, not filled in", True),
        ("the form of a patient page, not filled in", True),
        ("about the wiki, not about medicine", True),
        ("no key 'output'", False),
        ("test row", True),
    ]


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        ("What are the symptoms of an Itch?", "itch"),
        ("What Causes Itches?", "itche"),
        ("What causes Meningitis?", "meningitis"),
        ("What to expect if I have Itch (Outlook/Prognosis)?", "itch"),
        ("What are the Symptoms of (Itch)?", "itch"),
        ("Where to find centers that perform itch surgery (open)?", "itch surgery"),
        ("How to know you have a Spring itch (Diagnosis)?", "spring itch"),
        ("How do I know if my baby has Itch and what are the symptoms of Itch?", "itch"),
        ("How is the itch test done?", "itch test"),
        ("Who needs an itch test?", "itch test"),
        ("Should I take any pills?", None),
        ("What to expect before the procedure?", None),
        ("What are the risks?", None),
    ],
)
def test_what_a_question_is_about(asked, about):
    assert find_subject(asked) == about


def test_questions_are_tidied():
    assert clean_question("Who has  Graves%27 itch \n ?") == "Who has Graves' itch?"


def test_patient_pages_of_a_generated_export(write, tmp_path):
    def page(title, text):
        return f"<page><title>{title}</title><ns>0</ns><revision><text>{text}</text></revision></page>"

    text = (
        "==What causes Itch?==\nWind and dust.\n==When to seek urgent medical care?==\nWhen it burns at night.\n"
        "==Diagnosis==\nBy looking at it.\n==Sources==\nA book of itches.\n"
    )
    pages = page("Itch (patient information)", text) + page(
        "Itch", "==Causes==\nA long text of no interest here."
    )
    write("site.xml", f"<mediawiki>{pages}</mediawiki>")
    rows, rejects = read(tmp_path, "site.xml")
    assert [(r.instruction, r.output, r.group) for r in rows] == [
        ("What causes Itch?", "Wind and dust.", "wikidoc_patient_info:itch"),
        (
            "When to seek urgent medical care? (about Itch)",
            "When it burns at night.",
            "wikidoc_patient_info:itch",
        ),
        ("How is Itch diagnosed?", "By looking at it.", "wikidoc_patient_info:itch"),
    ]
    assert [r.reason for r in rejects] == ["a heading that makes no question", "a page of the textbook"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_raise_only_user_errors(tmp_path: Path, damaged, data):
    good = json.dumps([{"instruction": ASKED, "input": asked, "output": answer} for asked, answer in ROWS])
    (tmp_path / "rows.json").write_bytes(data.draw(damaged(good.encode())))
    try:
        rows, _ = read(tmp_path, "rows.json")
    except UserError:
        return
    assert all(r.output and r.instruction for r in rows)


def test_the_file_of_2023_reads_5942(real):
    rows, rejects = read(real / "wikidoc_patient_info", "medical_meadow_small.json")
    assert len(rows) + len(rejects) == 5942
    assert Counter((r.reason, r.by_rule) for r in rejects) == {
        ("about the wiki, not about medicine", True): 76,
        ("the form of a patient page, not filled in", True): 16,
        ("a question that does not name its subject", True): 92,
        ("an answer that is only a video or a link", True): 39,
        ("an answer that points to another part of its page", True): 37,
    }
    named = sum(find_subject(r.instruction) is not None for r in rows)
    assert named / len(rows) > 0.97
    assert all(r.group for r in rows)
    assert 1300 < len({r.group for r in rows}) < 1450
    assert not any("%27" in r.instruction or " ?" in r.instruction for r in rows)
