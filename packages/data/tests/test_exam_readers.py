"""Exams in the layouts of PubMedQA, of the hub's tables, of spreadsheets; and records that cannot be read."""

from __future__ import annotations

import json
import zipfile

import polars
import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import shared
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import exam_prompt, exam_prompt_id

ABSTRACTS = {
    "101": {"QUESTION": "Does rest help?", "CONTEXTS": ["We asked.", "We saw."], "final_decision": "no"},
    "102": {"QUESTION": "Does sleep help?", "CONTEXTS": ["We slept."], "final_decision": "yes"},
    "103": {"QUESTION": "Does tea help?", "CONTEXTS": ["We drank."], "final_decision": "maybe"},
}


def test_pubmedqa(tmp_path):
    file = tmp_path / "ori_pqal.json"
    file.write_text(json.dumps(ABSTRACTS))
    exam = load_exam(file)
    assert [item.id for item in exam.items] == ["pubmed-101", "pubmed-102", "pubmed-103"]
    first = exam.items[0]
    assert first.question == "We asked.\n\nWe saw.\n\nDoes rest help?"
    assert dict(first.options) == {"A": "yes", "B": "no", "C": "maybe"}
    assert [item.answer for item in exam.items] == ["B", "A", "C"]
    # Beside the list of the test questions, only these are read; and the exam is another one.
    (tmp_path / "test_ground_truth.json").write_text(json.dumps({"102": "yes"}))
    test = load_exam(file)
    assert [item.id for item in test.items] == ["pubmed-102"]
    assert test.source_sha256 != exam.source_sha256


def test_pubmedqa_as_the_hub_has_it(tmp_path):
    rows = [
        {
            "pubid": int(number),
            "question": record["QUESTION"],
            "context": {"contexts": record["CONTEXTS"], "labels": [], "meshes": []},
            "final_decision": record["final_decision"],
        }
        for number, record in ABSTRACTS.items()
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "train.parquet")
    (tmp_path / "ori_pqal.json").write_text(json.dumps(ABSTRACTS))
    assert load_exam(tmp_path / "train.parquet").sha256 == load_exam(tmp_path / "ori_pqal.json").sha256


def test_mmlu_as_the_hub_has_it_is_the_same_exam(tmp_path):
    rows = [
        {"question": f"Which {n}?", "subject": "anatomy", "choices": ["w", "x", "y", "z"], "answer": n}
        for n in range(4)
    ]
    polars.DataFrame(rows).write_parquet(tmp_path / "test.parquet")
    lines = [",".join((row["question"], *row["choices"], "ABCD"[row["answer"]])) for row in rows]
    (tmp_path / "anatomy_test.csv").write_text("\n".join(lines))
    hub, local = load_exam(tmp_path / "test.parquet"), load_exam(tmp_path / "anatomy_test.csv")
    assert hub.sha256 == local.sha256
    assert {item.subject for item in (*hub.items, *local.items)} == {"anatomy"}


def test_a_table_with_headings(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text('id,step,question,A,B,C,D,answer\nq1,2,"One, or two?",x,y,z,,C\nq2,,Two?,x,y,,,y\n')
    exam = load_exam(file)
    assert [(item.id, item.step, dict(item.options), item.answer) for item in exam.items] == [
        ("q1", 2, {"A": "x", "B": "y", "C": "z"}, "C"),
        ("q2", None, {"A": "x", "B": "y"}, "B"),
    ]


def test_records_that_cannot_be_read_are_excluded(tmp_path):
    file = tmp_path / "mixed.jsonl"
    good = {"question": "Which?", "options": ["x", "y"], "answer": "B"}
    file.write_text("\n".join([json.dumps(good), "{", "[1]", json.dumps(good | {"question": 3})]))
    exam = load_exam(file)
    assert (exam.read, len(exam.items)) == (4, 1)
    assert [entry.id for entry in exam.excluded] == ["line 2", "line 3", "line 4"]
    reasons = [entry.reason for entry in exam.excluded]
    assert reasons[0].startswith("not valid JSON")
    assert reasons[1:] == ["not an object with keys", "'question' is int, not text"]


def test_the_ways_to_ask_have_names_of_their_own():
    names = {exam_prompt_id(way) for way in ("letter", "text", "reasoning", "protocol_2023")}
    assert len(names) == 4
    # These two stand in published results.
    assert exam_prompt_id("letter") == "letter-27bda3808980"
    assert exam_prompt_id("text").startswith("text-")


def test_an_unknown_way_to_ask():
    with pytest.raises(UserError, match="allowed: letter, text, reasoning, protocol_2023"):
        exam_prompt(load_exam("medalpaca_vignettes").items[0], "aloud")  # type: ignore[arg-type]


def test_the_real_pubmedqa():
    root = shared()
    if root is None:
        pytest.skip("no real PubMedQA: set MEDALPACA_SHARED")
    exam = load_exam(root / "data" / "pubmedqa" / "ori_pqal.json")
    assert (exam.read, len(exam.items)) == (500, 500)
    truth = json.loads((root / "data" / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {item.id.removeprefix("pubmed-"): item.options[item.answer] for item in exam.items} == truth


def test_an_unknown_layout_is_refused_with_its_columns_and_the_known_layouts(tmp_path):
    file = tmp_path / "headings.csv"
    file.write_text("Frage,Option 1,Option 2,Richtig\nWhich?,one,two,1\n")
    with pytest.raises(UserError) as refusal:
        load_exam(file)
    message = str(refusal.value)
    assert "unknown exam layout" in message
    for part in (
        "headings.csv",
        "Frage, Option 1, Option 2, Richtig",
        "question, opa to opd, cop",
        "question, options or A B C ..., answer",
    ):
        assert part in message


def test_a_first_record_without_keys_of_a_layout_does_not_hide_the_layout(tmp_path):
    file = tmp_path / "exam.jsonl"
    file.write_text(
        '{"note": "x"}\n{"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 0}\n'
        '{"question": "R?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 3}\n'
    )
    exam = load_exam(file)
    assert [item.answer for item in exam.items] == ["A", "D"]
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        ("line 1", "no key 'question'; found: note")
    ]


# Columns ---------------------------------------------------------------------------------------------------------

HEADINGS = (
    "ID,Question text,Option A,Option B,Option C,Correct\n"
    "1,Which ion enters the cell first?,Na,K,Cl,A\n"
    "2,Which ion leaves it?,Na,K,Cl,Option B\n"
)
FIELDS = {"question": "Question text", "options": ["Option A", "Option B", "Option C"], "answer": "Correct"}


def test_fields_name_the_columns(write):
    path = write("headings.csv", HEADINGS)
    for fields in (
        FIELDS,
        json.dumps(FIELDS),
        "{question: Question text, options: [Option A, Option B, Option C], answer: Correct}",
    ):
        exam = load_exam(path, fields=fields)
        assert [(item.question, dict(item.options), item.answer) for item in exam.items] == [
            ("Which ion enters the cell first?", {"A": "Na", "B": "K", "C": "Cl"}, "A"),
            ("Which ion leaves it?", {"A": "Na", "B": "K", "C": "Cl"}, "B"),
        ]
        assert exam.unread == {"ID": 2}
    named = load_exam(path, fields=FIELDS | {"id": "ID"})
    assert [item.id for item in named.items] == ["1", "2"]
    assert named.unread == {}


def test_fields_for_every_meaning(write):
    path = write(
        "sheet.csv",
        "Nr,Fall,Frage,Antworten,Loesung,Stufe,Fach,Bild\n"
        '7,Ein Mann hustet.,Was tun?,"[""x"", ""y"", ""z""]",1,2,Innere,\n'
        '8,,Und jetzt?,"[""x"", ""y"", ""z""]",2,3,Innere,b.png\n',
    )
    fields = {
        "id": "Nr", "context": "Fall", "question": "Frage", "options": "Antworten", "answer": "Loesung",
        "step": "Stufe", "subject": "Fach", "image": "Bild", "answer_base": 0,
    }  # fmt: skip
    exam = load_exam(path, fields=fields)
    (item,) = exam.items
    assert (item.id, item.question, item.answer) == ("7", "Ein Mann hustet.\n\nWas tun?", "B")
    assert (item.step, item.subject) == (2, "Innere")
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [("8", "needs an image")]
    with pytest.raises(UserError, match="may count from 0 or from 1; set answer_base"):
        load_exam(path, fields={name: value for name, value in fields.items() if name != "answer_base"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": "Q"}, "fields: options: this key is needed; allowed: question"),
        (FIELDS | {"kee": "x"}, "fields: kee: .*allowed: question, options, answer"),
        (FIELDS | {"answer": "Correkt"}, "no column 'Correkt'; the file has: ID, Question text, Option A"),
        (FIELDS | {"options": ["Option A"]}, "1 columns; allowed: one column, or 2 to 26"),
        (
            FIELDS | {"options": ["Option B", "Option A"]},
            "Option B, Option A are not in the order of their letters",
        ),
        ("question: [", "not valid YAML or JSON; example"),
        ("Question text", "expected names of columns; example"),
    ],
)
def test_wrong_fields(write, fields, message):
    with pytest.raises(UserError, match=message):
        load_exam(write("headings.csv", HEADINGS), fields=fields)


def test_fields_are_for_files_only(write):
    with pytest.raises(UserError, match="fields are for an exam file"):
        load_exam(write("exam/step1.json", []).parent, fields=FIELDS)
    with pytest.raises(UserError, match="fields are for an exam file"):
        load_exam("medalpaca_vignettes", fields=FIELDS)


@pytest.mark.parametrize(
    "column", ["context", "vignette", "case", "Case", "clinicalVignette", "Patient history"]
)
def test_a_case_column_is_joined_before_the_question(write, column):
    record = {"id": "q", "question": "Which drug?", "options": ["x", "y"], "answer": "A", "source": "book"}
    cases = ["A man of 54 coughs.", ["A girl of 4.", "She has a rash."], "", None]
    path = write("e.jsonl", [record | {"id": str(n), column: case} for n, case in enumerate(cases)])
    exam = load_exam(path)
    assert [item.question for item in exam.items] == [
        "A man of 54 coughs.\n\nWhich drug?",
        "A girl of 4.\nShe has a rash.\n\nWhich drug?",
        "Which drug?",
        "Which drug?",
    ]
    assert sum(exam.changes.values()) == 2
    assert exam.unread == {"source": 4}


def test_a_case_is_joined_once_and_numbers_are_no_case(write):
    case = "A man of 54 has coughed blood for three weeks."
    record = {"question": f"{case} Which drug?", "options": ["x", "y"], "answer": "A"}
    path = write(
        "e.jsonl",
        [record | {"id": "1", "context": case.replace("man", "man ")}, record | {"id": "2", "case": 12}],
    )
    exam = load_exam(path)
    assert [item.question for item in exam.items] == [f"{case} Which drug?"] * 2
    assert exam.changes == {"'context' not joined, because the question contains it": 1}
    assert exam.unread == {"case": 1}


def test_a_case_of_an_exam_is_joined_unless_the_question_repeats_it_as_a_whole(write):
    long = "A man of 60 has had chest pain for 3 hours and has Hb 8"
    records = [
        ("Which painkiller is not allowed?", {"case": "pain"}),
        ("Is a female nurse needed?", {"patient_info": "male"}),
        (f"{long}.5, which unit?", {"context": long}),
        (f"Think: {long}, which unit?", {"context": long}),
        ("Hb 8.5 is low. Which drug?", {"context": "Hb 8."}),
        ("Which risk?", {"past_history": "none", "family_history": "cancer"}),
        ("Which one?", {"context": "nan"}),
    ]
    path = write(
        "e.jsonl",
        [
            {"id": str(n), "question": question, **case, "options": ["x", "y"], "answer": "A"}
            for n, (question, case) in enumerate(records)
        ],
    )
    exam = load_exam(path)
    assert [item.question for item in exam.items] == [
        "pain\n\nWhich painkiller is not allowed?",
        "male\n\nIs a female nurse needed?",
        f"{long}\n\n{long}.5, which unit?",
        f"Think: {long}, which unit?",
        "Hb 8.\n\nHb 8.5 is low. Which drug?",
        "Past history: none\n\nFamily history: cancer\n\nWhich risk?",
        "Which one?",
    ]
    assert exam.changes["'context' not joined, because the question contains it"] == 1
    assert exam.changes["'context' with a placeholder such as nan read as empty"] == 1


def test_a_case_that_is_a_structure_is_not_dropped(write):
    record = {"question": "Which drug?", "options": ["x", "y"], "answer": "A"}
    path = write("e.jsonl", [record | {"context": {"age": "forty"}}, record])
    exam = load_exam(path)
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [
        ("line 1", "'context' is dict; allowed: text or a list of texts")
    ]


def test_headings_are_found_without_regard_to_case(write):
    path = write("e.csv", "Question,a,b,c,ANSWER , Subject\nWhich?,x,y,z,c,Ethics\n")
    (item,) = load_exam(path).items
    assert (dict(item.options), item.answer, item.subject) == ({"A": "x", "B": "y", "C": "z"}, "C", "Ethics")


@pytest.mark.parametrize(
    "text",
    [
        "Q,O1,O2,O3,A\nWhich ion enters first?,Na,K,Cl,B\nWhich ion leaves it?,Na,K,Cl,A\n",
        "Frage,Antwort,A,B,C\nWelche?,B,x,y,z\n",
        "Text,Key,B,C\nWhich is it?,A,x,C\n",
        "What?,x,y,A\nWhich one of these?,z,w,u\n",
    ],
)
def test_a_table_is_no_mmlu_file_unless_that_is_certain(write, text):
    with pytest.raises(UserError, match="unknown exam layout"):
        load_exam(write("table.csv", text))


def test_one_bad_line_does_not_hide_an_mmlu_file(write):
    lines = [f"Which of these is number {n}?,w,x,y,z,{'ABCD'[n % 4]}" for n in range(20)]
    exam = load_exam(write("anatomy_test.csv", "\n".join([*lines, "broken", "Which?,w,x,y,z,Q"])))
    assert (exam.read, len(exam.items)) == (22, 20)
    assert [entry.reason for entry in exam.excluded] == [
        "more or fewer fields than the other lines",
        "key not among the options",
    ]


def test_different_items_with_one_id_get_different_ids(write):
    record = {"id": "q", "question": "Which?", "options": ["x", "y"], "answer": "A"}
    path = write("e.jsonl", [record, record | {"question": "Why?"}, record, record | {"answer": "B"}])
    exam = load_exam(path)
    assert [(item.id, item.question, item.answer) for item in exam.items] == [
        ("q", "Which?", "A"),
        ("q-2", "Why?", "A"),
        ("q-3", "Which?", "B"),
    ]
    assert [(entry.id, entry.reason) for entry in exam.excluded] == [("q", "same item again")]
    assert exam.changes == {"id is that of a different item; a number was added": 2}


@pytest.mark.parametrize(
    "media",
    [
        {"image": "x.png"},
        {"has_media": True},
        {"has_media": "True"},
        {"images": ["a.jpg"]},
        {"image": {"path": "x"}},
    ],
)
def test_declared_media(write, media):
    record = {"id": "1", "question": "Which?", "options": ["x", "y"], "answer": "A"}
    without = {"has_media": False, "image": "", "images": []}
    path = write(
        "e.jsonl", [record | media, record | without | {"id": "2"}, record | {"id": "3", "has_media": "no"}]
    )
    assert [(entry.id, entry.reason) for entry in load_exam(path).excluded] == [("1", "needs an image")]
    assert len(load_exam(path, images="keep").items) == 3


def test_a_workbook(tmp_path):
    rows = [
        ("ID", "Question", "A", "B", "C", "Answer", "Vignette"),
        ("1", "How many lobes?", "2", "3", "4", "B", "A man of 40."),
        ("2", "Why?", "x", "y", "", "option a", ""),
    ]
    cells = (
        "".join(
            f'<c r="{column}{n}" t="inlineStr"><is><t>{text}</t></is></c>'
            for column, text in zip("ABCDEFG", row, strict=True)
            if text
        )
        for n, row in enumerate(rows, 1)
    )
    sheet = "".join(f'<row r="{n}">{row}</row>' for n, row in enumerate(cells, 1))
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(tmp_path / "exam.xlsx", "w") as file:
        file.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{namespace}"><sheetData>{sheet}</sheetData></worksheet>',
        )
    exam = load_exam(tmp_path / "exam.xlsx")
    assert [(item.id, item.question, dict(item.options), item.answer) for item in exam.items] == [
        ("1", "A man of 40.\n\nHow many lobes?", {"A": "2", "B": "3", "C": "4"}, "B"),
        ("2", "Why?", {"A": "x", "B": "y"}, "A"),
    ]


def test_the_cases_of_the_issue():
    root = shared()
    if root is None or not (root / "cases" / "data" / "exams").is_dir():
        pytest.skip("no small cases: set MEDALPACA_SHARED")
    cases = root / "cases" / "data" / "exams"
    exams = {
        path.name: path for path in cases.iterdir() if path.name not in ("headings.csv", "key_twice.csv")
    }
    scorable = {name: len(load_exam(path).items) for name, path in exams.items()}
    assert scorable == {
        "context.jsonl": 2, "doubled_distractor.csv": 1, "label_ten.jsonl": 1, "one_without_options.csv": 3,
        "option_objects.jsonl": 1, "pandas.json": 2, "picture_phrases.csv": 6, "two_keys.csv": 3, "vignette.csv": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"ID, Question text, Option A, Option B, Option C, Correct.*fields"):
        load_exam(cases / "headings.csv")
    assert [item.answer for item in load_exam(cases / "headings.csv", fields=FIELDS).items] == ["A", "B"]
    with pytest.raises(UserError, match="the correct option's text occurs twice"):
        load_exam(cases / "key_twice.csv")
