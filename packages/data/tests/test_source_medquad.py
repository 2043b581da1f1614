import io
import tarfile
import zipfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.row import Row
from medalpaca_data.sources import MedQuAD
from medalpaca_data.sources.base import Reject

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001" source="GARD" url="https://example.org/itch">
<Focus>Seasonal  Itch</Focus>
<QAPairs>
  <QAPair pid="1"><Question qid="1-1" qtype="information">What is (are) Seasonal Itch ?</Question>
    <Answer>An itch that
               comes in spring. Mind
               these:   - pollen    -  wool
    </Answer></QAPair>
  <QAPair pid="2"><Question qid="1-2" qtype="treatment">What helps  Seasonal Itch? ?</Question>
    <Answer> </Answer></QAPair>
  <QAPair pid="3"><Question qid="1-3" qtype="causes"/><Answer>Pollen.</Answer></QAPair>
  <QAPair pid="4"><Question qid="1-4" qtype="information">Do you have information about Itch</Question>
    <Answer>Some &amp; more.</Answer></QAPair>
</QAPairs>
</Document>
"""
OLDER = """<doc docid="7" corpus="NINDS" url="https://example.org/nod"><doctitle-focus>Nodding</doctitle-focus><qaPairs>
<pair pid="1"><question qtype="outlook">what comes of nodding ?</question><answer>Sleep.</answer></pair></qaPairs></doc>
"""
BOMB = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Document><Focus>&b;</Focus></Document>'
FILES = {
    "2_GARD_QA/0000001.xml": DOCUMENT,
    "6_NINDS_QA/0000007.xml": OLDER,
    "6_NINDS_QA/0000008.xml": '<Document id="8" source="NINDS"><Focus>None</Focus></Document>',
    "6_NINDS_QA/0000009.xml": DOCUMENT[:300],
    "6_NINDS_QA/0000010.xml": BOMB,
    "6_NINDS_QA/0000011.xml": "<html/>",
    "9_CDC_QA/1.xml": (
        "<DiseaseFile><QAPair><Question>What is (are) ?</Question><Answer>Much.</Answer></QAPair></DiseaseFile>"
    ),
    "readme.txt": "no document",
}


@pytest.fixture(params=["directory", "MedQuAD.tar.gz", "MedQuAD.zip"])
def corpus(request, write, tmp_path):
    for name, text in FILES.items():
        write(f"directory/{name}", text)
    if request.param.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / request.param, "w") as archive:
            for name, text in FILES.items():
                archive.writestr(name, text)
    elif request.param.endswith(".gz"):
        with tarfile.open(tmp_path / request.param, "w:gz") as archive:
            for name in sorted(FILES):
                archive.add(tmp_path / "directory" / name, name)
    return request.param


def read(root, name, **settings):
    records = list(MedQuAD(path=name, **settings).records(root))
    return [r for r in records if isinstance(r, Row)], [r for r in records if isinstance(r, Reject)]


def test_pairs_of_both_layouts_packed_and_unpacked(corpus, tmp_path):
    rows, rejects = read(tmp_path, corpus)
    assert [(r.instruction, r.output) for r in rows] == [
        ("What is meant by Seasonal Itch?", "An itch that\ncomes in spring. Mind\nthese:\n- pollen\n- wool"),
        ("What should I know about Itch?", "Some & more."),
        ("What comes of nodding?", "Sleep."),
    ]
    first, _, last = rows
    assert (first.url, first.licence, first.split) == ("https://example.org/itch", "CC BY 4.0", "none")
    assert first.attribution.startswith("Genetic and Rare Diseases Information Center, MedQuAD")
    assert (first.group, last.group) == ("medquad:seasonal itch", "medquad:nodding")
    assert "2_GARD_QA/0000001.xml" in first.source_id
    assert first.source_id.endswith("pair 1 information")
    assert Counter((r.reason, r.by_rule) for r in rejects) == {
        ("no answer upstream", True): 1,
        ("no question", False): 1,
        ("a document without questions", True): 1,
        ("a question without its topic", True): 1,
        ("not readable as XML", False): 2,
        ("not a document of MedQuAD", False): 1,
    }


def test_a_pair_whose_tags_part_two_digits_is_rejected(write, tmp_path):
    write(
        "d/a.xml",
        DOCUMENT.replace("Some &amp; more.", "10<b>9</b>/L").replace("pollen", "CO<sub>2</sub>"),
    )
    rows, rejects = read(tmp_path, "d")
    assert [row.output for row in rows] == ["An itch that\ncomes in spring. Mind\nthese:\n- CO2\n- wool"]
    [reject] = [reject for reject in rejects if reject.reason == JOINED]
    assert (reject.file, reject.location, reject.evidence) == ("a.xml", "pair 4", {"digits": "10|9"})


def test_types_of_questions_can_be_chosen(corpus, tmp_path):
    rows, rejects = read(tmp_path, corpus, qtypes=["outlook"])
    assert [r.instruction for r in rows] == ["What comes of nodding?"]
    assert Counter(r.reason for r in rejects)["a type of question that is not in qtypes"] == 2


@pytest.mark.parametrize("name", ["empty", "empty.zip", "one.xml", "missing"])
def test_what_is_no_corpus_is_refused(write, tmp_path, name):
    (tmp_path / "empty").mkdir()
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    write("one.xml", DOCUMENT)
    with pytest.raises(UserError, match=r"no document|is one document|no such"):
        read(tmp_path, name)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_bytes_raise_anything_but_a_user_error(tmp_path, damaged, data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("d/a.xml", DOCUMENT)
    goods = {"d/a.xml": DOCUMENT.encode(), "d/b.xml": OLDER.encode(), "a.zip": packed.getvalue()}
    name = data.draw(st.sampled_from(sorted(goods)))
    (tmp_path / "d").mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data.draw(damaged(goods[name])))
    try:
        rows, rejects = read(tmp_path, "d" if name.startswith("d/") else name)
    except UserError:
        return
    assert all(r.output and r.instruction for r in rows)
    assert all(len(r.reason) < 80 for r in rejects)


@pytest.mark.slow
def test_the_nine_answered_subsets_give_their_known_counts(real):
    [file] = (real / "medquad").glob("*.tar.gz")
    rows, rejects = read(file.parent, file.name)
    # Four documents of NINDS in the older layout hold 16 pairs that a reader of QAPair alone does not see.
    older = [
        r for r in rows if any(f"6_NINDS_QA/0000{n}.xml" in r.source_id for n in ("007", "018", "182", "244"))
    ]
    assert (len(rows), len(older), len(rows) - len(older)) == (15059, 16, 15043)
    assert Counter(r.reason for r in rejects) == {
        "no answer upstream": 5,
        "a document without questions": 6,
        "a question without its topic": 4,
        "an answer that is a list of links or addresses": 1100,
        "a definition asked again, and the answer is about something else": 123,
        "a question made from the title of a brochure": 112,
        "an answer that is only a question": 17,
        "an answer that begins with the contents of its page": 8,
    }
    # All but the documents without questions are pairs; 5 have no answer, and 16,407 of the newer layout have one.
    assert len(rows) - len(older) + sum(Counter(r.reason for r in rejects).values()) - 6 - 5 == 16407
    assert all(r.group and r.url and r.instruction.partition(" (about ")[0].endswith("?") for r in rows)
    assert not any("(are)" in r.instruction or "  " in r.output for r in rows)
