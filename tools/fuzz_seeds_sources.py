"""Sound raw files of every row source and of every exam layout, for `fuzz_readers.py`. All texts are made up."""

# ruff: noqa: E501
from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import tempfile
import zipfile
from pathlib import Path
from typing import Any

Files = dict[str, bytes]


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def as_lines(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_csv(*rows: list[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def as_zip(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def as_7z(files: Files) -> bytes:
    import py7zr

    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return out.getvalue()


def as_xlsx(rows: list[list[Any]]) -> bytes:
    """Return a workbook with one sheet, with the texts in a table of strings."""
    texts = [str(cell) for row in rows for cell in row]
    cells = iter(range(len(texts)))
    sheet = "".join(
        f'<row r="{r}">'
        + "".join(f'<c r="{chr(65 + c)}{r}" t="s"><v>{next(cells)}</v></c>' for c in range(len(row)))
        + "</row>"
        for r, row in enumerate(rows, 1)
    )
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    return as_zip(
        {
            "xl/workbook.xml": f'<workbook {space} xmlns:r="{office}"><sheets><sheet name="A" sheetId="1" r:id="rId1"/>'
            "</sheets></workbook>".encode(),
            "xl/_rels/workbook.xml.rels": f'<Relationships {package}><Relationship Id="rId1" Type="{office}/worksheet" '
            'Target="worksheets/sheet1.xml"/></Relationships>'.encode(),
            "xl/sharedStrings.xml": f"<sst {space}>{''.join(f'<si><t>{t}</t></si>' for t in texts)}</sst>".encode(),
            "xl/styles.xml": f'<styleSheet {space}><cellXfs><xf numFmtId="0"/></cellXfs></styleSheet>'.encode(),
            "xl/worksheets/sheet1.xml": f"<worksheet {space}><sheetData>{sheet}</sheetData></worksheet>".encode(),
        }
    )  # fmt: skip


def as_apkg() -> bytes:
    """Return an Anki package in the first layout with two notes of one type."""
    model = {"name": "Plain", "type": 0, "flds": [{"name": "Front"}, {"name": "Back"}],
             "tmpls": [{"name": "One", "qfmt": "{{Front}}", "afmt": "{{FrontSide}}<hr id=answer>{{Back}}"}]}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "collection.anki2"
        base = sqlite3.connect(file)
        base.executescript(
            "CREATE TABLE col (id, models, decks); CREATE TABLE notes (id, guid, mid, flds);"
            "CREATE TABLE cards (id, nid, did, ord);"
        )
        base.execute(
            "INSERT INTO col VALUES (1, ?, ?)", (json.dumps({"7": model}), '{"1": {"name": "Heart"}}')
        )
        for n, text in enumerate(("What is fever?\x1fA sign.", "What is a pulse?\x1fA beat.")):
            base.execute("INSERT INTO notes VALUES (?, ?, 7, ?)", (n + 1, f"g{n}", text))
            base.execute("INSERT INTO cards VALUES (?, ?, 1, 0)", (n + 1, n + 1))
        base.commit()
        base.close()
        return as_zip({"collection.anki2": file.read_bytes(), "media": b"{}"})


CROWDANKI = {
    "__type__": "Deck", "name": "Heart", "children": [],
    "note_models": [{"crowdanki_uuid": "m", "name": "Plain", "type": 0,
                     "flds": [{"name": "Front", "ord": 0}, {"name": "Back", "ord": 1}],
                     "tmpls": [{"name": "1", "ord": 0, "qfmt": "{{Front}}", "afmt": "{{FrontSide}}<hr id=answer>{{Back}}"}]}],
    "notes": [{"__type__": "Note", "guid": "g", "note_model_uuid": "m", "fields": ["What is fever?", "A sign."]}],
}  # fmt: skip
ALPACA = [{"instruction": f"What is sign {n}?", "input": "", "output": f"Sign {n}."} for n in range(4)]
LONG = "It comes with the wind of spring and goes when the last of the snow is gone."
CHAT = [{"role": "user", "content": "What is fever?"}, {"role": "assistant", "content": "A sign."}]
MEDMCQA = {"id": "a1", "question": "Which bone is in the thigh?", "opa": "Femur", "opb": "Ulna", "opc": "Tibia",
           "opd": "Radius", "cop": 0, "subject_name": "Anatomy", "topic_name": "Leg", "choice_type": "single",
           "exp": "The femur."}  # fmt: skip
MEDQA = {"question": "Which bone is in the thigh?", "options": {"A": "Femur", "B": "Ulna", "C": "Tibia"},
         "answer": "Femur", "answer_idx": "A", "meta_info": "step1"}  # fmt: skip
PUBMEDQA = {"QUESTION": "Does tea raise the pulse?", "CONTEXTS": ["Tea was given.", "The pulse rose."],
            "LABELS": ["METHODS", "RESULTS"], "MESHES": ["Tea"], "final_decision": "yes", "LONG_ANSWER": "It did."}  # fmt: skip
MEDQUAD = b"""<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001" source="GARD" url="https://example.org/itch"><Focus>Seasonal Itch</Focus><QAPairs>
<QAPair pid="1"><Question qid="1-1" qtype="information">What is (are) Seasonal Itch ?</Question>
<Answer>An itch that comes in spring.</Answer></QAPair></QAPairs></Document>"""
MEDIQA = b"""<?xml version="1.0" encoding="UTF-8"?><MEDIQA2019-Task3-QA-TrainingSet1-LiveQAMed>
<Question QID="1"><QuestionText>my hand itches at night</QuestionText><AnswerList>
<Answer AID="1_Answer1" SystemRank="1" ReferenceRank="2" ReferenceScore="4"><AnswerURL>https://example.org/itch</AnswerURL>
<AnswerText>Itch: keep it &lt; dry.</AnswerText></Answer></AnswerList></Question>
</MEDIQA2019-Task3-QA-TrainingSet1-LiveQAMed>"""
SUMMARIES = {"7": {"question": "how long does it itch", "multi_abs_summ": "Some days.", "multi_ext_summ": "It lasts.",
             "answers": {"7_Answer1": {"answer_abs_summ": "Days.", "answer_ext_summ": "Itching lasts days.",
             "section": "Course: Itching lasts days.", "article": "About itching.", "url": "https://example.org/c",
             "rating": "4-Excellent"}}}}  # fmt: skip
PAPER = {"paper_id": "ab12", "metadata": {"title": "Masks on wards", "authors": [{"first": "J", "last": "Doe"}]},
         "abstract": [{"text": "We looked at masks on many wards, with care. They were worn more often than we had thought."}],
         "body_text": []}  # fmt: skip
ABSTRACT = "We looked at masks in many wards, and found that they were worn more often than we had thought."
METADATA = as_csv(
    ["cord_uid", "sha", "title", "doi", "pmcid", "pubmed_id", "license", "abstract", "publish_time", "authors", "journal", "url"],
    ["u1", "", "Masks", "", "", "", "cc-by", ABSTRACT, "2020", "Doe, J", "J Masks", "https://a.example"],
)  # fmt: skip
TURTLE = b"""@prefix pm: <https://www.ncbi.nlm.nih.gov/pubmed#> .
<https://www.ncbi.nlm.nih.gov/pubmed/7> pm:id "7" ; pm:authors "Doe J" ; pm:journal "J Masks" ; pm:year "2020" ;
    pm:passages [ pm:infons [ pm:section "Title" ; pm:type "title" ] ; pm:text "Masks on wards." ],
        [ pm:infons [ pm:type "abstract" ] ; pm:text "We looked at masks on many wards, and they were worn more." ] .
"""
POSTS = b"""<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="1" PostTypeId="1" CreationDate="2021-03-04T05:06:07.890" Score="2" Title="Is tea good?" Body="&lt;p&gt;I drink.&lt;/p&gt;" Tags="&lt;tea&gt;" OwnerUserId="7" ContentLicense="CC BY-SA 3.0" />
  <row Id="2" PostTypeId="2" CreationDate="2021-03-04T05:06:07.890" ParentId="1" Score="5" Body="&lt;p&gt;It is.&lt;/p&gt;" OwnerUserId="8" ContentLicense="CC BY-SA 4.0" />
</posts>
"""
USERS = b'<?xml version="1.0"?><users><row Id="7" DisplayName="Ann" /><row Id="8" DisplayName="Bo" /></users>'
QUESTIONS = b"question_id\tquestion_url\tquestion_title\tquestion_body\ttime_stamp\tusername\tvotes\tfavorites\ttags\n1\thttps://x.example/1\tIs tea good?\tI drink.\t2021\tAnn\t2\t0\ttea\n"
ANSWERS = b"question_id\tanswer_id\tanswer_url\tanswer\ttime_stamp\tusername\tvotes\n1\t2\thttps://x.example/2\tIt is.\t2021\tBo\t5\n"
WIKI = f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
<siteinfo><sitename>wikidoc</sitename></siteinfo>
<page><title>Spring itch</title><ns>0</ns><id>5</id><revision><id>77</id><text xml:space="preserve">'''Spring itch''' is an itch of the [[skin]] that comes back every year.
== Causes ==
* [[Pollen]] of many kinds of trees
{{{{a|b}}}} {{| x
| y
|}}
== Treatment ==
{LONG}</text></revision></page></mediawiki>""".encode()
SAVED = f"""<html><head><title>Spring itch (patient information) - wikidoc</title><script>var x = {{"wgRevisionId":99}};</script></head><body>
<h1 id="firstHeading">Spring itch (patient information)</h1><div id="mw-content-text"><div class="mw-parser-output">
<h2>What causes Spring itch?</h2><p>{LONG}</p><h2>Symptoms</h2><ul><li>Itch of the skin that is bad</li></ul></div></div></body></html>""".encode()
COVID = b"""id=1
https://www.icliniq.com/qa/covid-19/a-cough

Description
Is a cough a sign?

Dialogue
Patient:
I cough at night.
Doctor:
It may be one.
"""
UPSTREAM = "If you are a doctor, please answer the medical questions based on the patient's description."
CONSULT = [{"instruction": UPSTREAM, "input": "I have gout.", "output": "Rest and drink water."}]
CARDS = [
    {
        "instruction": "Answer this question truthfully",
        "input": "What carries oxygen?",
        "output": "Haemoglobin.",
    }
]
LINES = b'Which bone is in the thigh?,Femur,Ulna,Tibia,"Radius, left",A\n"A ""long"" question?",1,2,3,4,D\n'

# By kind: (settings, files) of each layout.
SOURCES: dict[str, list[tuple[dict[str, Any], Files]]] = {
    "alpaca": [
        ({"path": "rows.json"}, {"rows.json": as_json(ALPACA)}),
        ({"path": "rows.xlsx"}, {"rows.xlsx": as_xlsx([list(ALPACA[0]), *(list(r.values()) for r in ALPACA)])}),
        ({"path": "rows.zip"}, {"rows.zip": as_zip({"a.json": as_json(ALPACA), "b.jsonl": as_lines(*ALPACA)})}),
        ({"path": "rows.jsonl.gz"}, {"rows.jsonl.gz": gzip.compress(as_lines(*ALPACA), mtime=0)}),
        ({"path": "rows.csv", "encoding": "cp1252"}, {"rows.csv": as_csv(list(ALPACA[0]), ["What?", "", "caf\u00e9"])}),
    ],
    "anki": [
        ({"path": "deck.apkg"}, {"deck.apkg": as_apkg()}),
        ({"path": "deck.txt"}, {"deck.txt": b"#separator:tab\n#html:true\n#columns:Front\tBack\nWhat is fever?\tA sign.\n"}),
        ({"path": "deck.json"}, {"deck.json": as_json(CROWDANKI)}),
    ],
    "chat": [
        ({"path": "chat.jsonl"}, {"chat.jsonl": as_lines({"messages": CHAT}, {"messages": [*CHAT, *CHAT]})}),
        ({"path": "chat.json"}, {"chat.json": as_json([{"conversations": [{"from": "human", "value": "Is it?"},
                                                                             {"from": "gpt", "value": "It is."}]}])}),
    ],
    "chatdoctor": [
        ({"path": "chatdoctor5k.json", "diseases": "format_dataset.csv"}, {
            "chatdoctor5k.json": as_json(CONSULT),
            "format_dataset.csv": b"idx,disease,Symptom,reason\n0,Gout,[],x\n1,Tennis elbow,[],x\n"}),
    ],
    "cord19": [
        ({"path": "metadata.csv"}, {"metadata.csv": METADATA}),
        ({"path": "papers.zip"}, {"papers.zip": as_zip({"a.json": as_json(PAPER), "b.ttl": TURTLE})}),
    ],
    "mediqa": [
        ({"path": "train.xml"}, {"train.xml": MEDIQA}),
        ({"path": "section2answer_multi_abstractive_summ.json"},
         {"section2answer_multi_abstractive_summ.json": as_json(SUMMARIES)}),
    ],
    "medmcqa": [({"path": "train.json", "split": "train"}, {"train.json": as_lines(MEDMCQA, {**MEDMCQA, "cop": 3})})],
    "medqa": [({"path": "train.jsonl", "split": "train"}, {"train.jsonl": as_lines(MEDQA, MEDQA)})],
    "medquad": [
        ({"path": "directory"}, {"directory/2_GARD_QA/0000001.xml": MEDQUAD}),
        ({"path": "m.zip"}, {"m.zip": as_zip({"2_GARD_QA/1.xml": MEDQUAD})}),
    ],
    "mmlu": [({"path": "data", "subjects": ["anatomy"], "split": ["dev"]}, {"data/dev/anatomy_dev.csv": LINES})],
    "patient_dialogues": [
        ({"path": "covid.txt"}, {"covid.txt": COVID}),
        ({"path": "talk.json"}, {"talk.json": as_json(CONSULT)}),
    ],
    "pocket": [({}, {})],
    "published": [({"set": "medical_flashcards", "path": "cards.json"}, {"cards.json": as_json(CARDS)})],
    "pubmed_causal": [
        ({"path": "c.csv", "encoding": "causal-language-use"}, {"c.csv": as_csv(["sentence", "label"], ["Tea helps.", 1], ["It is.", 0])}),
    ],
    "pubmed_health_advice": [
        ({"paths": ["up"]}, {"up/annotations_discussion.csv": as_csv(
            ["label", "pmid", "sentence", "rel_loc"], [0, 11, "The score rose in one group only.", 0.1],
            [2, 12, "All patients must be asked twice.", 1.0])}),
    ],
    "pubmedqa": [
        ({"path": "ori_pqal.json"}, {"ori_pqal.json": as_json({"101": PUBMEDQA, "102": PUBMEDQA}),
                                     "test_ground_truth.json": as_json({"101": "yes"})}),
    ],
    "refused": [({}, {})],
    "stack_exchange": [
        ({"path": "."}, {"Posts.xml": POSTS, "Users.xml": USERS}),
        ({"path": "site.7z"}, {"site.7z": as_7z({"Posts.xml": POSTS, "Users.xml": USERS})}),
        ({"path": "."}, {"questions.tsv": QUESTIONS, "answers.tsv": ANSWERS}),
    ],
    "wikidoc": [
        ({"path": "site.xml"}, {"site.xml": WIKI}),
        ({"path": "pages"}, {"pages/Spring_itch.html": SAVED.replace(b" (patient information)", b"")}),
    ],
    "wikidoc_patient_info": [({"path": "pages"}, {"pages/a.html": SAVED})],
}  # fmt: skip

OPTIONS = {"A": "Femur", "B": "Ulna", "C": "Tibia", "D": "Radius"}
TEXTS = list(OPTIONS.values())
Q = "Which bone is in the thigh?"

# By name of the layout in `LAYOUTS`, and files that are read in another way.
EXAMS: dict[str, Files] = {
    "MedMCQA": {"e.json": as_lines(MEDMCQA, {**MEDMCQA, "id": "a2", "cop": 3})},
    "PubMedQA": {"e.json": as_json({"101": PUBMEDQA, "102": PUBMEDQA}), "test_ground_truth.json": as_json({"101": "yes"})},
    "HEAD-QA": {"e.json": as_json({"exams": {"E1": {"name": "E1", "category": "nursing", "data": [
        {"qid": "1", "qtext": Q, "answers": [{"aid": n + 1, "atext": t} for n, t in enumerate(TEXTS)], "ra": "1", "image": ""}]}}})},
    "MMLU": {"e.jsonl": as_lines({"question": Q, "choices": TEXTS, "answer": 0, "subject": "anatomy"})},
    "MMLU-Pro": {"e.jsonl": as_lines(
        {"question_id": 7, "question": Q, "options": TEXTS, "answer": "A", "answer_index": 0, "category": "health"})},
    "Medbullets": {"e.json": as_json([{"question": Q, "opa": "Femur", "opb": "Ulna", "opc": "Tibia", "opd": "Radius",
                                       "ope": "Rib", "answer_idx": "A", "answer": "Femur"}])},
    "CRAFT-MD or MEDIQ": {"e.jsonl": as_lines({"id": 3, "context": ["A man fell.", "His thigh hurts."], "question": Q,
                                               "options": OPTIONS, "answer_idx": "A", "answer": "Femur"})},
    "HLE": {"e.jsonl": as_lines({"idx": 4, "question": Q, "options": OPTIONS, "answer_idx": "A"})},
    "MedQA": {"e.jsonl": as_lines(MEDQA)},
    "MedXpertQA": {"e.jsonl": as_lines({"id": "T1", "question": Q, "options": OPTIONS, "label": "A", "body_system": "leg"})},
    "AfriMed-QA": {"e.csv": as_csv(["sample_id", "question", "A", "B", "C", "answer", "specialty"],
                                   ["s1", Q, "Femur", "Ulna", "Tibia", "A", "leg"])},
    "AfriMed-QA (release)": {"e.csv": as_csv(
        ["sample_id", "question", "answer_options", "correct_answer", "specialty"],
        ["s1", Q, json.dumps({"option1": "Femur", "option2": "Ulna"}), "option1", "leg"])},
    "BigBio": {"e.jsonl": as_lines({"id": "b1", "question": Q, "choices": TEXTS, "answer": ["Femur"], "type": "mc"})},
    "USMLE booklet": {"step1_a.json": as_json([{"no": 1, "question": Q, "options": OPTIONS, "answer": "A"}])},
    "MedAlpaca": {"e.jsonl": as_lines({"id": "m1", "step": 1, "question": Q, "options": OPTIONS, "answer": "A"},
                                      {"id": "m2", "step": 2, "question": Q + "?", "options": OPTIONS, "answer": "B"})},
    "workbook": {"e.xlsx": as_xlsx([["question", "A", "B", "answer"], [Q, "Femur", "Ulna", "A"]])},
    "lines without names": {"anatomy_dev.csv": LINES},
    "steps": {
        "exam/step1.json": as_json([{"no": 1, "question": Q, "options": OPTIONS, "has_media": False},
                                    {"no": 2, "question": Q + "?", "options": OPTIONS}]),
        "exam/step1_solutions.json": as_json({"1": "A", "2": "B"}),
        "exam/question_with_images.json": as_json({"step1": [2]}),
    },
}  # fmt: skip
