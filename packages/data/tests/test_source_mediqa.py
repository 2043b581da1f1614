import gzip
import io
import json
import zipfile
from collections import Counter
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.row import Row
from medalpaca_data.formats.tabular import read_sheet
from medalpaca_data.sources import MEDIQA
from medalpaca_data.sources.answer_rules import Repair
from medalpaca_data.sources.base import Context, Reject

XML = """<?xml version="1.0" encoding="UTF-8"?>
<MEDIQA2019-Task3-QA-{part}>
  <Question QID="1">
    <QuestionText>my hand itches at night, [NAME]</QuestionText>
    <AnswerList>
      <Answer AID="1_Answer1" SystemRank="1" ReferenceRank="2" ReferenceScore="3">
        <AnswerURL>https://example.org/itch</AnswerURL><AnswerText>Itch: keep it &lt; dry &amp; cool.</AnswerText>
      </Answer>
      <Answer AID="1_Answer2" SystemRank="2" ReferenceRank="3" ReferenceScore="2">
        <AnswerURL>https://example.org/foot</AnswerURL><AnswerText>Feet.</AnswerText>
      </Answer>
      <Answer AID="1_Answer3" SystemRank="3" ReferenceRank="1" ReferenceScore="4">
        <AnswerText>Ask for help if it lasts.</AnswerText>
      </Answer>
      <Answer AID="1_Answer4" SystemRank="4"><AnswerText>Unjudged.</AnswerText></Answer>
      <Answer AID="1_Answer5" ReferenceScore="4"/>
    </AnswerList>
  </Question>
</MEDIQA2019-Task3-QA-{part}>
"""
TRAIN = XML.format(part="TrainingSet1-LiveQAMed")
ANS = {
    "7": {
        "question": "how long does it itch",
        "multi_abs_summ": "Some days.",
        "multi_ext_summ": "It lasts some days.",
        "answers": {
            "7_Answer1": {
                "answer_abs_summ": "Days.",
                "answer_ext_summ": "Itching lasts days.",
                "section": "Course: Itching lasts days.",
                "article": "About itching. Itching lasts days.",
                "url": "https://example.org/course",
                "rating": "4-Excellent",
            },
            "7_Answer2": {
                "answer_abs_summ": "Less when cool.",
                "answer_ext_summ": "",
                "section": "Care: Keep it cool.",
                "article": "",
                "url": "https://example.org/care",
                "rating": "3-Incomplete",
            },
        },
    }
}


def workbook(rows, *, inline=False):
    """A minimal .xlsx as Excel writes one: a table of strings, and cells that point into it; or cells with texts."""
    strings = []
    lines = []
    for n, row in enumerate(rows, 1):
        cells = []
        for column, text in zip("ABCDE", row, strict=False):
            if inline:
                cells.append(f'<c r="{column}{n}" t="inlineStr"><is><t>{escape(text)}</t></is></c>')
            elif text.isdigit():
                cells.append(f'<c r="{column}{n}"><v>{text}</v></c>')
            elif text:
                cells.append(f'<c r="{column}{n}" t="s"><v>{len(strings)}</v></c>')
                half, keep = len(text) // 2, 'xml:space="preserve"'
                runs = f"<r><t {keep}>{escape(text[:half])}</t></r><r><t {keep}>{escape(text[half:])}</t></r>"
                strings.append(f"<si>{runs}<rPh><t>not said</t></rPh></si>")
        lines.append(f'<row r="{n}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{kinds}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{kinds}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{kinds}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {space} xmlns:r="{kinds}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": f"<worksheet {space}><sheetData>{''.join(lines)}</sheetData></worksheet>",
        "xl/sharedStrings.xml": f"<sst {space}>{''.join(strings)}</sst>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def reasons(records):
    return Counter(record.reason for record in records if isinstance(record, Reject))


# 2019, task 3 -----------------------------------------------------------------------------------------------------


def test_good_answers_become_rows_and_the_rest_is_accounted_for(write, tmp_path):
    write("TrainingSet1.xml", TRAIN)
    question, first, low, last, unjudged, empty = MEDIQA(path="TrainingSet1.xml").records(tmp_path)
    assert question == Context("questions")
    assert first.instruction == "Answer this consumer's health question."
    assert (first.input, first.output) == ("my hand itches at night, [NAME]", "Itch: keep it < dry & cool.")
    assert (first.url, first.split) == ("https://example.org/itch", "train")
    assert first.source_id == "TrainingSet1.xml line 3 answer 1"
    assert (low.reason, low.by_rule, low.record["AID"]) == ("reference score below 3", True, "1_Answer2")
    assert last.group == first.group
    assert last.url == "https://github.com/abachaa/MEDIQA2019"
    assert (unjudged.reason, empty.reason) == ("no reference score", "no answer")
    best = MEDIQA(path="TrainingSet1.xml", max_rank=1).records(tmp_path)
    assert [record.output for record in best if isinstance(record, Row)] == ["Ask for help if it lasts."]


def test_an_answer_whose_tags_part_two_digits_is_rejected(write, tmp_path):
    write(
        "TrainingSet1.xml",
        TRAIN.replace("keep it &lt;", "10<b>9</b>/L").replace("for help", "CO<sub>2</sub>"),
    )
    _, joined, _, kept, *_ = MEDIQA(path="TrainingSet1.xml").records(tmp_path)
    assert (joined.location, joined.reason, joined.evidence) == (
        "line 3 answer 1",
        JOINED,
        {"digits": "10|9"},
    )
    assert kept.output == "Ask CO2 if it lasts."


def test_a_raised_number_in_a_workbook_is_written_with_a_caret(write, tmp_path):
    good = workbook([("NLM Question", "Summary"), ("10", "a"), ("b", "c")], inline=True)
    file = io.BytesIO()
    raised = (
        b'<is><r><t>10</t></r><r><rPr><vertAlign val="superscript"/></rPr><t>9</t></r><r><t>/L</t></r></is>'
    )
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"<is><t>10</t></is>", raised))
    write("ValidationSet.xlsx", file.getvalue())
    raised, kept = MEDIQA(path="ValidationSet.xlsx").records(tmp_path)
    assert (raised.input, kept.output) == ("10^9/L", "c")


def test_the_split_is_what_name_and_setting_agree_on(write, tmp_path):
    write("answers.xml", XML.format(part="Set"))
    with pytest.raises(UserError, match="contains neither train nor dev; set split:"):
        list(MEDIQA(path="answers.xml").records(tmp_path))
    rows = [r for r in MEDIQA(path="answers.xml", split="dev").records(tmp_path) if isinstance(r, Row)]
    assert {row.split for row in rows} == {"dev"}
    write("ValidationSet.xml", XML.format(part="ValidationSet"))
    with pytest.raises(UserError, match="the name says dev, and the recipe has split: train"):
        list(MEDIQA(path="ValidationSet.xml", split="train").records(tmp_path))


@pytest.mark.parametrize(("name", "part"), [("TestSet-wLabels.xml", "Set"), ("renamed.xml", "TestSet")])
def test_a_test_set_is_refused_by_its_name_and_by_what_stands_in_it(write, tmp_path, name, part):
    write(name, XML.format(part=part))
    with pytest.raises(UserError, match="test"):
        list(MEDIQA(path=name, split="train").records(tmp_path))


def test_xml_that_is_something_else_or_bombs_is_refused(write, tmp_path):
    for text, message in (
        ("<train/>", "no <Question> in the file"),
        (TRAIN[:900], r"train.xml line \d+: not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
    ):
        write("train.xml", text)
        with pytest.raises(UserError, match=message):
            list(MEDIQA(path="train.xml").records(tmp_path))


@pytest.mark.parametrize(
    ("name", "answers", "rows"),
    [("TrainingSet1-LiveQAMed", 839, 229), ("TrainingSet2-Alexa", 862, 405), ("ValidationSet", 234, 94)],
)
def test_the_real_answers(real, name, answers, rows):
    path = f"mediqa2019/MEDIQA2019-Task3-QA-{name}.xml.gz"
    records = list(MEDIQA(path=path).records(real))
    assert sum(not isinstance(record, Context | Repair) for record in records) == answers
    assert sum(isinstance(record, Context) for record in records) == {"ValidationSet": 25}.get(name, 104)
    assert sum(isinstance(record, Row) for record in records) == rows
    assert reasons(records) == {"reference score below 3": answers - rows}


def test_the_real_test_sets_are_refused(real):
    for name in (
        "mediqa2019/MEDIQA2019-Task3-QA-TestSet-wLabels.xml.gz",
        "mediqa2021/Task1/MEDIQA2021-Task1-TestSet-ReferenceSummaries.xlsx",
        "mediqa2021/Task2/Test/MEDIQA2021_Task2_MAS_TestSet_Answers.xlsx",
    ):
        with pytest.raises(UserError, match="the file name says test"):
            list(MEDIQA(path=name).records(real))


# 2021 -------------------------------------------------------------------------------------------------------------


def test_a_question_and_its_short_form(write, tmp_path):
    rows = [
        ("q_id", "NLM Question", "Summary", "Question Focus"),
        ("3", "hello, it itches & itches", "Why?", "itch"),
    ]
    write("ValidationSet.xlsx", workbook([*rows, ("4", "no short form", "", "")]))
    row, reject = MEDIQA(path="ValidationSet.xlsx").records(tmp_path)
    assert (row.input, row.output, row.split) == ("hello, it itches & itches", "Why?", "dev")
    assert (row.licence, row.source_id) == ("CC BY 4.0", "ValidationSet.xlsx row 2")
    assert (reject.location, reject.reason) == ("row 3", "no answer")


def task2(write, **settings):
    write(
        "Val_Answers.xlsx",
        workbook(
            [("QuestionID", "AnswerID", "Answer"), ("3", "3_1", "Keep dry."), ("3", "3_2", "Keep cool.")]
        ),
    )
    write("Val_Questions.txt", "3||What helps?\n8||Nobody answered?\n")
    write("Val_MultiAbstrativeSummaries.txt", "3||Dry and cool.\r\n8||Nothing.\n")
    write("Val_MultiExtractiveSummaries.txt", "3||Keep dry. Keep cool.\n")
    names = ("Val_MultiAbstrativeSummaries.txt", "Val_MultiExtractiveSummaries.txt")
    return MEDIQA(
        **{"path": "Val_Answers.xlsx", "questions": "Val_Questions.txt", "summaries": names, **settings}
    )


def test_several_answers_and_their_summaries(write, tmp_path):
    records = list(task2(write).records(tmp_path))
    assert Counter(r.kind for r in records if isinstance(r, Context)) == {"questions": 2, "answers": 2}
    first, second = (record for record in records if isinstance(record, Row))
    assert first.input == "Question: What helps?\n\nPassage 1: Keep dry.\n\nPassage 2: Keep cool."
    assert (first.output, first.split) == ("Dry and cool.", "dev")
    assert "in your own words" in first.instruction
    assert "as they stand" in second.instruction
    assert reasons(records) == {"no answers with this question number": 1}


def test_what_belongs_to_task_two_is_demanded(write, tmp_path):
    for settings_, message in (
        ({"questions": None}, "the key summaries needs questions"),
        ({"summaries": ()}, "the key questions needs summaries"),
        ({"summaries": ("Val_Questions.txt",)}, "must contain either 'extractive' or 'abstractive'"),
        ({"path": "Val_Questions.txt"}, "only for the .xlsx workbook of MEDIQA 2021"),
    ):
        with pytest.raises(UserError, match=message):
            list(task2(write, **settings_).records(tmp_path))
    write("Val_Questions.txt", "a line without a number")
    with pytest.raises(UserError, match=r"Val_Questions.txt line 1: expected 'NUMBER"):
        list(MEDIQA(**task2_names()).records(tmp_path))
    with pytest.raises(UserError, match="no column 'nlmquestion'"):
        list(MEDIQA(path="Val_Answers.xlsx").records(tmp_path))


def task2_names():
    return {
        "path": "Val_Answers.xlsx",
        "questions": "Val_Questions.txt",
        "summaries": ("Val_MultiExtractiveSummaries.txt",),
    }


def test_the_real_validation_sets(real):
    name = "mediqa2021/Task1/MEDIQA2021-Task1-QuestionSummarization-ValidationSet.xlsx"
    assert [record.split for record in MEDIQA(path=name).records(real)] == ["dev"] * 50
    stem = "mediqa2021/Task2/Validation/MEDIQA2021_Task2_"
    source = MEDIQA(
        path=f"{stem}ValidationSet_Answers.xlsx",
        questions=f"{stem}VAlidationSet_ShortQuestions.txt",
        summaries=[f"{stem}ValidationSet_Multi{way}Summaries.txt" for way in ("Abstrative", "Extractive")],
    )
    records = list(source.records(real))
    assert Counter(r.kind for r in records if isinstance(r, Context)) == {"questions": 50, "answers": 192}
    assert [record.split for record in records if isinstance(record, Row)] == ["dev"] * 100
    assert not reasons(records)


# MEDIQA-AnS -------------------------------------------------------------------------------------------------------


def test_an_answer_gives_four_rows_and_a_question_two_more(write, tmp_path):
    write("primary.json", ANS)
    records = list(MEDIQA(path="primary.json").records(tmp_path))
    rows = [record for record in records if isinstance(record, Row)]
    assert len(records) == 2 * 4 + 2
    assert [(row.output, row.source_id.partition(" ")[2]) for row in rows] == [
        ("Days.", "question 7 answer 1 section abstractive"),
        ("Itching lasts days.", "question 7 answer 1 section extractive"),
        ("Days.", "question 7 answer 1 article abstractive"),
        ("Itching lasts days.", "question 7 answer 1 article extractive"),
        ("Less when cool.", "question 7 answer 2 section abstractive"),
        ("Some days.", "question 7 all abstractive"),
        ("It lasts some days.", "question 7 all extractive"),
    ]
    assert reasons(records) == {"no article": 2, "no answer": 1}
    assert rows[0].input == "Question: how long does it itch\n\nPassage: Course: Itching lasts days."
    assert rows[-1].input.endswith("Passage 1: Course: Itching lasts days.\n\nPassage 2: Care: Keep it cool.")
    assert {row.split for row in rows} == {"none"}
    assert len({row.group for row in rows}) == 1
    assert (rows[0].url, rows[-1].url) == (
        "https://example.org/course",
        "https://doi.org/10.17605/OSF.IO/FYG46",
    )


def test_what_cannot_be_written_is_rejected(write, tmp_path):
    answer = {**ANS["7"]["answers"]["7_Answer1"], "url": "https://example.org/\ud800"}
    write(
        "primary.json",
        {"7": {**ANS["7"], "answers": {"7_Answer1": answer}}, "8": {"answers": {"x": 3}}, "\ud800": 1},
    )
    records = list(MEDIQA(path="primary.json").records(tmp_path))
    assert sum(isinstance(record, Row) for record in records) == 2
    assert reasons(records) == {
        "not valid Unicode (half a surrogate pair)": 4,
        "no section": 2 + 2,
        "no article": 2,
        "no answers; the primary dataset file was expected": 1,
    }


def test_a_question_is_one_group_in_all_collections(write, tmp_path):
    write("primary.json", {"1": {**ANS["7"], "question": "My hand itches at night,  [NAME]"}})
    write("train.xml", TRAIN)
    groups = {
        record.group
        for path in ("primary.json", "train.xml")
        for record in MEDIQA(path=path, name=path).records(tmp_path)
        if isinstance(record, Row)
    }
    assert len(groups) == 1


def test_the_cut_files_of_the_collection_are_told_from_its_primary_one(write, tmp_path):
    write("cut.json", {"7_Answer1": {"question": "q", "articles": "a", "summary": "s", "question_id": "7"}})
    [reject] = MEDIQA(path="cut.json").records(tmp_path)
    assert reject.reason == "no answers; the primary dataset file was expected"


# Damage -----------------------------------------------------------------------------------------------------------


def test_a_workbook_is_read_as_polars_reads_it(write):
    rows = [("one", "two", "three"), ("1", "a & b", "x < y"), ("", "gap", "")]
    for inline in (False, True):
        path = write("w.xlsx", workbook(rows, inline=inline))
        found = [tuple(cells.get(column, "") for column in "ABC") for _, cells in read_sheet(path)]
        assert found == rows
    polars = pytest.importorskip("polars")
    pytest.importorskip("fastexcel")
    frame = polars.read_excel(write("w.xlsx", workbook(rows)), has_header=False).fill_null("")
    assert frame.rows() == rows


def test_a_cell_far_out_costs_nothing_and_a_bomb_is_refused(write, monkeypatch):
    good = workbook([("a", "b")])
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            far = b'<row r="1048576"><c r="XFD1048576"><v>9</v></c></row></sheetData>'
            new.writestr(name, old.read(name).replace(b"</sheetData>", far))
    path = write("far.xlsx", file.getvalue())
    assert list(read_sheet(path)) == [("row 1", {"A": "a", "B": "b"}), ("row 1048576", {"XFD": "9"})]
    monkeypatch.setattr("medalpaca_data.core.streams.BASE_SIZE", 1000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", "<sst>" + " " * 1_000_000 + "</sst>")
    with pytest.raises(UserError, match="unpacks to more than"):
        list(read_sheet(write("bomb.xlsx", file.getvalue())))


def test_what_is_no_workbook_is_said(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), "a member without a name")
    for content, message in (
        (b"no zip", "not a readable archive"),
        (file.getvalue(), "not an Excel workbook"),
    ):
        with pytest.raises(UserError, match=message):
            list(read_sheet(write("w.xlsx", content)))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(damaged, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    files = {
        "train.xml": TRAIN.encode(),
        "train.xml.gz": gzip.compress(TRAIN.encode()),
        "val.xlsx": workbook([("NLM Question", "Summary"), ("a", "b")]),
        "ans.json": json.dumps(ANS).encode(),
    }
    name = data.draw(st.sampled_from(sorted(files)))
    (folder / name).write_bytes(data.draw(damaged(files[name])))
    try:
        records = list(MEDIQA(path=name).records(folder))
    except UserError:
        return
    assert all(isinstance(record, Row | Reject | Context) for record in records)
