import gzip
from collections import Counter
from html import escape
from pathlib import Path

import py7zr
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medalpaca_data.core import streams
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.row import Row
from medalpaca_data.sources.base import Context, Reject
from medalpaca_data.sources.stack_exchange import StackExchange

QUESTION_HEADING = (
    "question_id\tquestion_url\tquestion_title\tquestion_body\ttime_stamp\tusername\tvotes\tfavorites\ttags\n"
)
ANSWER_HEADING = "question_id\tanswer_id\tanswer_url\tanswer\ttime_stamp\tusername\tvotes\n"


def post(number: int, kind: int, **values: str | int) -> str:
    values = {"Id": number, "PostTypeId": kind, "CreationDate": "2021-03-04T05:06:07.890", **values}
    quoted = {key: escape(str(value)).replace("\n", "&#xA;") for key, value in values.items()}
    return "  <row " + " ".join(f'{key}="{value}"' for key, value in quoted.items()) + " />\n"


def dump(*posts: str, tag: str = "posts") -> bytes:
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<{tag}>\n{"".join(posts)}</{tag}>\n'
    return b"\xef\xbb\xbf" + text.encode()


QUESTION = post(
    1,
    1,
    Score=2,
    Title="Is  tea good for HbA1c?",
    Body="<p>I drink <em>a lot</em>.</p><pre><code>tea = 5\n  cups</code></pre>",
    Tags="<tea><blood>",
    OwnerUserId=7,
    ContentLicense="CC BY-SA 3.0",
)
ANSWER = post(
    2,
    2,
    ParentId=1,
    Score=5,
    Body='<p>HbA<sub>1c</sub> &lt; 6: <a href="https://x.example">see there</a></p>',
    OwnerUserId=8,
    ContentLicense="CC BY-SA 4.0",
)


@pytest.fixture
def site(tmp_path):
    """`site(posts...)` writes them as Posts.xml; its path is the directory."""

    def _site(*posts: str, **settings) -> list[Row | Reject | Context]:
        (tmp_path / "Posts.xml").write_bytes(dump(*posts))
        return list(StackExchange(path=".", **settings).records(tmp_path))

    return _site


def rows(records) -> list[Row]:
    return [record for record in records if isinstance(record, Row)]


def reasons(records) -> list[tuple[str, bool]]:
    return [(record.reason, record.by_rule) for record in records if isinstance(record, Reject)]


def test_a_question_and_its_answer_make_a_row(site):
    context, row = site(QUESTION, ANSWER)
    assert context == Context("questions")
    assert isinstance(row, Row)
    assert row.instruction == "Is tea good for HbA1c?"
    assert row.input == "I drink a lot.\n\ntea = 5\n  cups"
    assert row.output == "HbA1c < 6: see there"
    assert (row.source, row.source_id, row.group) == (
        "stack_exchange",
        "Posts.xml row Id=2",
        "stack_exchange:1",
    )
    assert row.url == "https://health.stackexchange.com/a/2"
    assert row.licence == "CC BY-SA 3.0 and CC BY-SA 4.0"
    assert row.attribution == (
        "answer by user 8, question by user 7, on Health Stack Exchange, https://health.stackexchange.com/a/2"
    )


def test_authors_are_named_where_the_users_are_there(site, tmp_path):
    users = '<row Id="7" DisplayName="An  Asker" />', '<row Id="8" DisplayName="Zoë &lt;3" />'
    (tmp_path / "Users.xml").write_bytes(dump(*users, tag="users"))
    [row] = rows(site(QUESTION, ANSWER))
    assert row.attribution.startswith("answer by Zoë <3 (user 8), question by An Asker (user 7), on")
    assert [file.name for file in StackExchange(path="Posts.xml").files(tmp_path)] == [
        "Posts.xml",
        "Users.xml",
    ]


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        ({"OwnerDisplayName": "user99 "}, "user99"),
        ({"OwnerUserId": 4, "OwnerDisplayName": "gone"}, "gone (user 4)"),
        ({}, "an unnamed user"),
    ],
)
def test_an_author_who_left(site, owner, named):
    [row] = rows(site(QUESTION, post(2, 2, ParentId=1, Score=9, Body="yes", **owner)))
    assert row.attribution.startswith(f"answer by {named}, question by")


@pytest.mark.parametrize(
    ("site_name", "host", "title"),
    [
        ("biology", "biology.stackexchange.com", "Biology Stack Exchange"),
        ("datascience.meta", "datascience.meta.stackexchange.com", "Datascience.meta Stack Exchange"),
        ("stackoverflow.com", "stackoverflow.com", "stackoverflow.com"),
    ],
)
def test_the_site_is_in_the_link(site, site_name, host, title):
    [row] = rows(site(QUESTION, ANSWER, site=site_name))
    assert (row.url, title in row.attribution) == (f"https://{host}/a/2", True)


@pytest.mark.parametrize(
    ("date", "licence"),
    [
        ("2011-04-07T23:59:59.997", "CC BY-SA 2.5"),
        ("2011-04-08T00:00:00.000", "CC BY-SA 3.0"),
        ("2018-05-01T23:59:59.997", "CC BY-SA 3.0"),
        ("2018-05-02T00:00:00.000", "CC BY-SA 4.0"),
        ("", "CC BY-SA"),
    ],
)
def test_an_old_dump_does_not_say_its_licence(site, date, licence):
    question = post(1, 1, Title="Q?", CreationDate=date)
    [row] = rows(site(question, post(2, 2, ParentId=1, Score=5, Body="A", CreationDate=date)))
    assert row.licence == licence


def test_what_is_left_out(site):
    records = site(
        QUESTION,
        post(2, 2, ParentId=1, Score=4, Body="low"),
        post(3, 2, ParentId=1, Score=-3, Body="lower"),
        post(4, 2, ParentId=77, Score=9, Body="orphan"),
        post(5, 2, ParentId=1, Score=9, Body="<p> &nbsp;</p>"),
        post(6, 2, ParentId=1, Body="no score"),
        post(7, 2, ParentId=1, Score="many", Body="no number"),
        post(8, 5, Body="tag wiki"),
        post(9, 4, Body="excerpt"),
        "<row />",
        post(10, 2, ParentId=1, Score=5, Body="kept"),
        post(10, 2, ParentId=1, Score=5, Body="kept"),
    )
    assert [row.output for row in rows(records)] == ["kept"]
    assert reasons(records) == [
        ("a score below 5", True),
        ("a score below 5", True),
        ("its question is not in the file", False),
        ("an empty answer", False),
        ("an answer without a score", False),
        ("an answer without a score", False),
        ("not the expected columns", False),
        ("the same answer again, under another question", True),
    ]
    assert Counter(record.kind for record in records if isinstance(record, Context)) == {
        "questions": 1,
        "tag wikis and other posts": 2,
    }


@pytest.mark.parametrize("tags", ["<tea><blood-pressure>", "|tea|blood-pressure|"])
@pytest.mark.parametrize(("wanted", "kept"), [(("tea", "x"), 1), (("blood",), 0), ((), 1)])
def test_both_styles_of_tags(site, tags, wanted, kept):
    question = post(1, 1, Title="Q?", Tags=tags)
    records = site(question, ANSWER, tags=wanted)
    assert len(rows(records)) == kept
    assert reasons(records) == [("its question has none of the tags in the recipe", True)] * (1 - kept)


def test_a_question_may_stand_after_its_answer_and_lack_a_body_or_a_title(site):
    records = site(ANSWER, post(1, 1, Title="Only a title?"))
    assert [(row.instruction, row.input) for row in rows(records)] == [("Only a title?", "")]
    records = site(ANSWER, post(1, 1, Body="<p>Only a body?</p>"))
    assert [(row.instruction, row.input) for row in rows(records)] == [("Only a body?", "")]
    assert reasons(site(ANSWER, post(1, 1))) == [("its question is empty", False)]


# Packed, and as tables --------------------------------------------------------------------------------------------


def pack(path: Path, **members: bytes) -> Path:
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(data, name.replace("_", "."))
    return path


def test_an_answer_whose_markup_parts_two_digits_is_rejected(site):
    joined = post(3, 2, ParentId=1, Score=5, Body="<p>Platelets 150 x 10<b>9</b>/L</p>")
    records = site(QUESTION, ANSWER, joined)
    assert len(rows(records)) == 1
    [reject] = [record for record in records if isinstance(record, Reject)]
    assert (reject.file, reject.location, reject.reason) == ("Posts.xml", "row Id=3", JOINED)
    assert reject.evidence == {"digits": "10|9"}
    assert "10<b>9" in reject.record["Body"]


def test_the_archive_of_a_site_is_read_with_its_users(tmp_path):
    users = dump('<row Id="8" DisplayName="Zoë" />', tag="users")
    members = {"Badges_xml": dump(), "Posts_xml": dump(QUESTION, ANSWER), "Users_xml": users}
    path = pack(tmp_path / "health.7z", **members)
    _, row = StackExchange(path=path.name).records(tmp_path)
    assert isinstance(row, Row)
    assert row.source_id == "health.7z row Id=2"
    assert row.attribution.startswith("answer by Zoë (user 8), question by user 7")
    pack(tmp_path / "x.7z", Users_xml=users)
    with pytest.raises(UserError, match=r"x.7z: no Posts.xml in this archive"):
        list(StackExchange(path="x.7z").records(tmp_path))


def test_gzip_is_read_and_a_gzip_bomb_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BASE_SIZE", 1 << 16)  # a smaller bomb will do
    (tmp_path / "Posts.xml.gz").write_bytes(gzip.compress(dump(QUESTION, ANSWER)))
    assert len(rows(StackExchange(path=".").records(tmp_path))) == 1
    (tmp_path / "Posts.xml.gz").write_bytes(gzip.compress(dump(post(1, 5, Body="x" * (4 << 20)))))
    with pytest.raises(UserError, match="unpacks to more than 200 times"):
        list(StackExchange(path=".").records(tmp_path))


def test_an_entity_bomb_is_refused(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><posts><row Id="1" Body="&b;" /></posts>'
    (tmp_path / "Posts.xml").write_text(bomb)
    with pytest.raises(UserError, match=r"Posts\.xml line 1: declares a document type"):
        list(StackExchange(path="Posts.xml").records(tmp_path))


def test_a_dump_that_is_cut_off_names_its_line(tmp_path):
    (tmp_path / "Posts.xml").write_bytes(dump(QUESTION, ANSWER)[:-60])
    with pytest.raises(UserError, match=r"Posts\.xml line 4: not well-formed XML"):
        list(StackExchange(path="Posts.xml").records(tmp_path))


def test_the_two_tables_are_not_read_line_by_line(tmp_path):
    url = "https://health.stackexchange.com"
    questions = (
        f"1\t{url}/questions/1/q\tA question?\tIts body <30 g/day.-\t2018-01-01 01:02:03Z\tAsker\t3\t0\ttea, blood\n"
        f"2\t{url}/questions/2/q\tAnother?\t-\t2018-06-01 01:02:03Z\t\r\n   two revs\r\n\t3\t0\tx\n"
    )
    answers = (
        f"1\t10\t{url}/a/10\tFirst line\n5\tsecond line\n\nlast\t2018-01-01 01:02:03Z\tA\t5\n"
        f"1\t11\t{url}/a/11\tlow\t2018-01-01 01:02:03Z\tA\t4\n"
        f"2\t12\t{url}/a/12\tAn <answer>\r\nin lines\t2018-06-01 01:02:03Z\t\t21\n"
        f"1\t12\t{url}/a/12\tAn <answer>\t2018-06-01 01:02:03Z\t\t21\n"
    )
    (tmp_path / "questions.tsv").write_bytes((QUESTION_HEADING + questions).encode())
    (tmp_path / "answers.tsv.gz").write_bytes(gzip.compress((ANSWER_HEADING + answers).encode()))
    records = list(StackExchange(path=".").records(tmp_path))
    assert [type(record).__name__ for record in records[:2]] == ["Context", "Context"]
    # The first answer holds a tab: which of its columns is which cannot be told.
    assert reasons(records) == [
        ("not the expected columns", False),
        ("a score below 5", True),
        ("the same answer again, under another question", True),
    ]
    [row] = rows(records)
    assert (row.instruction, row.input, row.output) == ("Another?", "", "An <answer>\r\nin lines")
    assert (row.source_id, row.url) == ("answers.tsv.gz line 7", f"{url}/a/12")
    assert row.licence == "CC BY-SA 4.0"
    assert (
        row.attribution
        == f"answer by an unnamed user, question by two revs, on Health Stack Exchange, {url}/a/12"
    )
    # Named by one of the tables instead of by their directory.
    assert len(rows(StackExchange(path="questions.tsv").records(tmp_path))) == 1


def test_a_directory_with_neither_or_with_other_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"neither Posts.xml nor questions.tsv and answers.tsv"):
        StackExchange(path=".").files(tmp_path)
    (tmp_path / "questions.tsv").write_text("id\ttitle\n1\tQ\n")
    (tmp_path / "answers.tsv").write_text(ANSWER_HEADING)
    with pytest.raises(UserError, match=r"questions\.tsv line 1: expected the tab-separated heading"):
        list(StackExchange(path=".").records(tmp_path))


# The real files ---------------------------------------------------------------------------------------------------


def test_the_real_health_site(real):
    folder = real / "stackexchange" / "health_medspider"
    every = list(StackExchange(path=".", min_score=-1000).records(folder))
    # Some answers are under a second question too; of 21 the crawl kept no text.
    assert Counter(type(record).__name__ for record in every) == {
        "Context": 4762,
        "Row": 1046,
        "Repair": 128,
        "Reject": 2705,
    }
    voted = list(StackExchange(path=".").records(folder))
    assert Counter(reasons(voted)) == {
        ("a score below 5", True): 2993,
        ("words missing, removed by the crawler", True): 594,
        ("a list missing, removed by the crawler", True): 39,
        ("the same answer again, under another question", True): 3,
        ("an empty answer", False): 5,
    }
    assert len(rows(voted)) == 117  # 758 answers have 5 votes or more
    assert not any(row.input.endswith("-") for row in rows(voted) if row.input.count("-") == 1)
    assert {row.licence for row in rows(every)} == {"CC BY-SA 3.0"}


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("coffee_main_2015", {"questions": 225, "tag wikis and other posts": 40, "Row": 325, "Reject": 2}),
        (
            "datascience_meta_pipe_tags",
            {"questions": 257, "tag wikis and other posts": 26, "Row": 340, "Reject": 1},
        ),
    ],
)
def test_the_real_dumps(real, folder, counts):
    source = StackExchange(path="Posts.xml", min_score=-1000)
    records = list(source.records(real / "stackexchange" / "format_samples" / folder))
    assert Counter(r.kind if isinstance(r, Context) else type(r).__name__ for r in records) == counts


# Files that are not what they should be ---------------------------------------------------------------------------


def consume(folder: Path, path: str = ".") -> None:
    try:
        records = list(StackExchange(path=path, min_score=-1000).records(folder))
    except UserError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        return
    assert all(isinstance(record, Row | Reject | Context) for record in records)


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: cut and cut % len(changed)])


MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)
CUTS = st.one_of(st.none(), st.integers(1, 1 << 16))
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = ["Posts.xml", "Posts.xml.gz", "Posts.xml.7z"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound file of each packing, and the two tables."""
    folder = tmp_path_factory.mktemp("sound")
    data = dump(QUESTION, ANSWER, post(3, 5))
    pack(folder / "x.7z", Posts_xml=data)
    tables = (
        QUESTION_HEADING + "1\thttps://h/1\tQ?\tB-\t2018-01-01\tA\t3\t0\tt\n",
        ANSWER_HEADING
        + "1\t2\thttps://h/2\tA\n\nb\t2018-01-01\tA\t5\n1\t3\thttps://h/3\tA\t2018-01-01\tA\t5\n",
    )
    return [data, gzip.compress(data), (folder / "x.7z").read_bytes()], [text.encode() for text in tables]


@QUICK
@given(st.sampled_from(NAMES), st.binary(max_size=200))
@example("Posts.xml.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40))
@example("Posts.xml", b"\xff\xfe<\x00")
@example("Posts.xml", b'<?xml version="1.0" encoding="x-none"?><posts/>')
def test_any_bytes_are_read_or_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    consume(tmp_path, name)


@QUICK
@given(st.integers(0, 2), MUTATIONS, CUTS)
def test_a_damaged_dump_is_read_or_refused(tmp_path, sound, which, changes, cut):
    (tmp_path / NAMES[which]).write_bytes(mutated(sound[0][which], changes, cut))
    consume(tmp_path, NAMES[which])


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["Id", "PostTypeId", "ParentId", "Score", "CreationDate"]), st.text(max_size=9)
    )
)
@example({"CreationDate": "zzz", "Score": "9" * 5000})
def test_any_attributes_give_a_record(tmp_path, values):
    clean = {key: "".join(c for c in text if c.isprintable()) for key, text in values.items()}
    answer = post(2, 2, **{"ParentId": 1, "Score": 5, "Body": "A", **clean})
    (tmp_path / "Posts.xml").write_bytes(dump(QUESTION, answer))
    records = list(StackExchange(path="Posts.xml").records(tmp_path))
    assert len(records) == 2


@QUICK
@given(st.integers(0, 1), MUTATIONS, CUTS, st.binary(max_size=40))
def test_damaged_tables_are_read_or_refused(tmp_path, sound, which, changes, cut, tail):
    tables = list(sound[1])
    heading = len(tables[which].split(b"\n")[0]) + 1
    tables[which] = tables[which][:heading] + mutated(tables[which][heading:] + tail, changes, cut)
    for name, data in zip(("questions.tsv", "answers.tsv"), tables, strict=True):
        (tmp_path / name).write_bytes(data)
    consume(tmp_path)
