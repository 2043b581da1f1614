import bz2
import csv
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.delimited import MAX_FIELD_LENGTH, WRONG_FIELD_COUNT, read_csv
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.row import Row
from medalpaca_data.formats.turtle import read_turtle
from medalpaca_data.sources import CORD19
from medalpaca_data.sources.base import Reject

COLUMNS = [
    *(
        "cord_uid",
        "sha",
        "source_x",
        "title",
        "doi",
        "pmcid",
        "pubmed_id",
        "license",
        "abstract",
        "publish_time",
    ),
    *(
        "authors",
        "journal",
        "mag_id",
        "who_covidence_id",
        "arxiv_id",
        "pdf_json_files",
        "pmc_json_files",
        "url",
        "s2_id",
    ),
]
ABSTRACT = 'We looked at masks in {n} wards,\nand found that they were worn more often than we had thought, "mostly".'
MARKED = (
    "<jats:p>H<sub>2</sub>O &amp;lt; air in the masks "
    "that were worn on all of the wards which we saw.</jats:p>"
)
TURTLE = """@prefix pm: <https://www.ncbi.nlm.nih.gov/pubmed#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .

<https://www.ncbi.nlm.nih.gov/pubmed/7> pm:id "7" ;
    pm:authors "Doe J",
        "Roe R" ;
    pm:infons [ ] ;
    pm:journal "J Masks" ; pm:year "2020" ;
    pm:passages [ pm:infons [ pm:section "Title" ; pm:type "title" ] ;
            pm:offset "0"^^xsd:int ;
            pm:text "Masks \\"on\\" wards \\u00e0 la carte." ],
        [ pm:annotations [ pm:id "1" ; pm:text "masks" ] ;
            pm:infons [ pm:type "abstract" ] ;
            pm:text "We looked at masks on many wards, and they were worn more often than we had thought." ] .
"""
PARSED = {
    "paper_id": "ab12",
    "metadata": {"title": "Masks on wards", "authors": [{"first": "J", "last": "Doe"}]},
    "abstract": [
        {"text": "We looked at masks on many wards, with care."},
        {"text": "They were worn. It was well."},
    ],
    "body_text": [],
}


def metadata(records, columns=COLUMNS):
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def paper(n, **changes):
    known = {"cord_uid": f"u{n}", "title": f"Masks {n}", "abstract": ABSTRACT.format(n=n), "license": "cc-by"}
    return {**known, **changes}


def read(tmp_path, name, **settings):
    records = list(CORD19(path=name, **settings).records(tmp_path))
    return [r for r in records if isinstance(r, Row)], [r for r in records if isinstance(r, Reject)]


def test_metadata_generated_in_the_true_layout(write, tmp_path):
    write(
        "metadata.csv",
        metadata(
            [
                paper(
                    1,
                    url="https://a.example/1; https://b.example",
                    authors="Doe, J; Roe, R",
                    journal="J Masks",
                ),
                paper(2, abstract="", title="Nothing below"),
                paper(3, abstract="Abstract not available."),
                paper(4, title=""),
                paper(5, license="els-covid", doi="10.1/x"),
                paper(
                    6,
                    abstract=MARKED,
                ),
                paper(7, abstract="Too short."),
            ]
        ),
    )
    rows, rejects = read(tmp_path, "metadata.csv")
    assert [r.output for r in rows] == ["Masks 1", "Masks 5", "Masks 6"]
    first, fifth, sixth = rows
    assert first.input == ABSTRACT.format(n=1).replace("\n", " ")
    assert (first.url, first.licence) == ("https://a.example/1", "CC BY")
    assert first.attribution == "Doe, J et al., J Masks"
    assert (first.source_id, first.group, first.split) == ("metadata.csv line 3 u1", "cord19:u1", "none")
    assert (fifth.url, fifth.licence) == ("https://doi.org/10.1/x", "els-covid (code of CORD-19)")
    assert sixth.input == "H2O < air in the masks that were worn on all of the wards which we saw."
    assert Counter((r.reason, r.by_rule) for r in rejects) == {
        ("no abstract", True): 2,
        ("no title", True): 1,
        ("abstract too short", True): 1,
    }


@pytest.mark.parametrize("between", ["<sup>", "&lt;jats:sub&gt;", "&#1;", "</b><i>"])
def test_a_paper_with_joined_digits_is_rejected(write, tmp_path, between):
    count = f"The count was 10{between}9/L. {ABSTRACT}"
    records = [paper(1), paper(2, abstract=count), paper(3, abstract=count.replace(between, "<p>"))]
    write("metadata.csv", metadata(records))
    write("paper/p.json", {**PARSED, "abstract": [{"text": count}]})
    rows, [reject] = read(tmp_path, "metadata.csv")
    assert [row.output for row in rows] == ["Masks 1", "Masks 3"]
    assert (reject.reason, reject.by_rule, reject.evidence) == (JOINED, False, {"digits": "10|9"})
    assert reject.record["abstract"] == count
    [parsed] = read(tmp_path, "paper")[1]
    assert (parsed.file, parsed.reason) == ("p.json", JOINED)


def test_a_paper_that_stands_there_again_is_left_out_and_counted(write, tmp_path):
    records = [
        paper(1),
        paper(1, abstract=ABSTRACT.format(n=1) + " Later version."),
        paper(1),
        paper(2, cord_uid="other", title="Masks 1", abstract=ABSTRACT.format(n=1)),
    ]
    write("metadata.csv", metadata(records))
    rows, rejects = read(tmp_path, "metadata.csv", max_rows=None)
    assert len(rows) + len(rejects) == 4
    assert {r.reason for r in rejects} <= {"the same paper again", "the same title and abstract again"}
    assert len({r.group for r in rows}) == len(rows)
    assert len({(r.input, r.output) for r in rows}) == len(rows)


def test_the_draw_is_the_same_in_any_order_and_another_for_another_seed(write, tmp_path):
    records = [paper(n) for n in range(200)] + [paper(n, title="Masks, once more") for n in range(50)]
    write("a.csv", metadata(records))
    random.Random(3).shuffle(records)
    write("b.csv", metadata(records))
    (rows, rejects), (shuffled, _) = (read(tmp_path, name, max_rows=60) for name in ("a.csv", "b.csv"))
    assert len(rows) == 60
    assert {r.id for r in rows} == {r.id for r in shuffled}
    assert {r.by_rule for r in rejects} == {True}
    assert Counter(r.reason for r in rejects)["over max_rows"] >= 140
    other = CORD19(path="a.csv", max_rows=60).records(tmp_path, seed=1)
    assert {r.id for r in other if isinstance(r, Row)} != {r.id for r in rows}
    more, _ = read(tmp_path, "a.csv", max_rows=100)
    assert {r.id for r in rows} < {r.id for r in more}


def test_a_line_that_is_no_record_is_rejected_and_the_next_is_read(write, tmp_path):
    good = metadata([paper(1)])
    write("metadata.csv", good + "u2,too,few\n" + metadata([paper(3)]).partition("\n")[2])
    rows, [reject] = read(tmp_path, "metadata.csv")
    assert [r.output for r in rows] == ["Masks 1", "Masks 3"]
    assert (reject.reason, reject.by_rule, reject.location) == (WRONG_FIELD_COUNT, False, "line 4")
    assert reject.record == "u2,too,few"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'cord_uid,title,abstract\nu1,"never closed\n', r"m.csv line 2: not valid CSV"),
        (b"cord_uid,title,abstract\nu1,\xff,x\n", r"m.csv line 2: not UTF-8"),
        (
            b"cord_uid,title,abstract\nu1,t," + b"a" * (MAX_FIELD_LENGTH + 1),
            r"m.csv line 2: not valid CSV \(field larger",
        ),
        (b"", "the first line must name the columns"),
        (b"title,title\n", "two columns"),
        (b"a,b\n1,2\n", "has the columns a, b; expected those of metadata.csv"),
        (b"a," * (5 << 20), "longer than 8 MB"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(write, tmp_path, content, message):
    write("m.csv", content)
    with pytest.raises(UserError, match=message):
        read(tmp_path, "m.csv")


def test_the_field_limit_of_the_process_is_left_alone(tmp_path):
    before = csv.field_size_limit()
    text = "cord_uid,title,abstract\n" + "u,t," + "a" * (csv.field_size_limit() + 1) + "\n"
    reader = read_csv(io.BytesIO(text.encode()), "m.csv")
    next(reader)
    assert csv.field_size_limit() == before


def test_parsed_papers_in_a_directory_an_archive_and_alone(write, tmp_path):
    texts = {
        "one.json": json.dumps(PARSED),
        "two.json": json.dumps({**PARSED, "paper_id": "cd34", "abstract": []}),
        "three.json": json.dumps([1]),
        "four.json": "{",
        "five.json": json.dumps({**PARSED, "paper_id": "\ud800"}),
        "six.json": json.dumps({**PARSED, "paper_id": "x", "abstract": "text"}),
    }
    for name, text in texts.items():
        write(f"parses/pdf_json/{name}", text)
    with tarfile.open(tmp_path / "parses.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "parses", "document_parses")
    with zipfile.ZipFile(tmp_path / "parses.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(f"pdf json/{name}", text)
    for name in ("parses", "parses.tar.gz", "parses.zip"):
        [row], rejects = read(tmp_path, name)
        assert row.output == "Masks on wards"
        assert row.input == "We looked at masks on many wards, with care.\n\nThey were worn. It was well."
        assert (row.attribution, row.group) == ("Doe et al.", "cord19:ab12")
        assert Counter((r.reason, r.by_rule) for r in rejects) == {
            ("no abstract", True): 1,
            ("not a parsed paper of CORD-19 (no paper_id and metadata)", False): 2,
            ("not valid JSON", False): 1,
            ("the abstract is not a list of parts", False): 1,
        }
        assert [r.record for r in rejects if r.reason == "not valid JSON"] == ["{"]
    assert row.source_id.startswith("parses.zip pdf_json/one.json ")
    [row], _ = read(tmp_path, "parses/pdf_json/one.json")
    assert row.source_id == "one.json paper ab12"


def test_turtle(write, tmp_path):
    write("t/7.ttl", TURTLE)
    write("t/8.ttl", TURTLE.replace("abstract", "other"))
    write("t/9.ttl", TURTLE.replace('"7" ;', "7 ;"))
    [row], rejects = read(tmp_path, "t")
    assert row.output == 'Masks "on" wards \u00e0 la carte.'
    assert (row.url, row.attribution) == (
        "https://www.ncbi.nlm.nih.gov/pubmed/7",
        "Doe J et al., J Masks, 2020",
    )
    assert [(r.reason, r.by_rule) for r in rejects] == [
        ("no abstract", True),
        ("not valid Turtle, or a part of it that is not supported", False),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '<a> <b> "\\ud800" .',
        '<a> <b> "\\x" .',
        "<a> <b> (1) .",
        "<a> <b> 'x' .",
        '<a> <b> "c"',
        "[" * 9,
        "<a> <b> " + "[ <c> " * 99,
    ],
)
def test_turtle_beyond_the_regular_part_is_not_understood(text):
    with pytest.raises(ValueError, match=r"not valid Turtle|not a character|nested"):
        read_turtle(text)


def test_turtle_of_many_kinds():
    text = '# note\n<a> a <t> ; <b> """long "x"\ny"""@en, "s"^^<int> , [ <c> <d> ] .\n<a> <b> "more" .'
    assert read_turtle(text) == {"a": {"a": ["t"], "b": ['long "x"\ny', "s", {"c": ["d"]}, "more"]}}


@pytest.mark.parametrize("name", ["x.txt", "empty", "empty.zip"])
def test_what_holds_no_paper_is_refused(write, tmp_path, name):
    write("x.txt", "")
    (tmp_path / "empty").mkdir()
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    with pytest.raises(UserError, match=r"no paper|expected"):
        read(tmp_path, name)


def test_a_directory_that_holds_an_archive_or_a_table_says_to_name_it(write, tmp_path):
    write("a/data.zip", b"")
    write("b/metadata.csv.gz", b"")
    for name in ("a/data.zip", "b/metadata.csv.gz"):
        with pytest.raises(UserError, match=rf"no paper .*; set path: to a file, such as .*{name}$"):
            read(tmp_path, name.partition("/")[0])


def test_a_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b" " * (40 << 20))
    _, [reject] = read(tmp_path, "bomb.zip")
    assert reject.reason == "a paper of more than 32 MB"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_bytes_raise_anything_but_a_user_error(tmp_path, damaged, data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.ttl", TURTLE)
        archive.writestr("b.json", json.dumps(PARSED))
    table = metadata([paper(1), paper(2)]).encode()
    goods = {
        "a.csv": table,
        "a.csv.gz": gzip.compress(table),
        "a.json": json.dumps(PARSED).encode(),
        "a.ttl": TURTLE.encode(),
        "a.zip": packed.getvalue(),
        "a.tar.gz": bz2.compress(table),
    }
    name = data.draw(st.sampled_from(sorted(goods)))
    (tmp_path / name).write_bytes(data.draw(damaged(goods[name])))
    try:
        rows, rejects = read(tmp_path, name)
    except UserError:
        return
    assert all(r.output and r.input for r in rows)
    assert all(len(r.reason) < 80 for r in rejects)


def test_pubtator_gives_its_known_count(real):
    [file] = (real / "cord19" / "pubtator").glob("*.zip")
    rows, rejects = read(file.parent, file.name)
    # 2,030 records; 150 have no abstract, one says that it has none, one is a correction of one line
    assert len(rows) + len(rejects) == 2030
    assert (len(rows), len({r.output for r in rows})) == (1878, 1877)
    assert Counter(r.reason for r in rejects) == {"no abstract": 151, "abstract too short": 1}


def test_the_whos_database_gives_its_known_count(real):
    [file] = (real / "cord19" / "who_db").glob("*.csv.gz")
    rows, rejects = read(file.parent, file.name)
    again = Counter(r.reason for r in rejects)
    assert len(rows) + len(rejects) == 2048
    assert (len(rows), again["the same paper again"], again["the same title and abstract again"]) == (
        1327,
        59,
        14,
    )
    assert len(rows) + 59 + 14 == 1400


def test_parsed_papers_four_of_fourteen_without_abstract(real):
    found = [read(real / "cord19", name) for name in ("pdf_json_sample10", "pdf_json_fhircat")]
    assert [(len(rows), [r.reason for r in rejects]) for rows, rejects in found] == [
        (8, ["no abstract"] * 2),
        (2, ["no abstract"] * 2),
    ]
