import gzip
import json
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.json_stream import read_json_object
from medalpaca_data.core.row import Row
from medalpaca_data.sources import PubMedQA
from medalpaca_data.sources.base import Reject


def record(**changes):
    return {
        "QUESTION": "Does tea raise the pulse?",
        "CONTEXTS": ["Tea was given to ten people.", "The pulse rose in nine."],
        "LABELS": ["METHODS", "RESULTS"],
        "MESHES": ["Tea"],
        "final_decision": "yes",
        "LONG_ANSWER": "It did in most.",
        **changes,
    }


def labelled(write, **records):
    write("test_ground_truth.json", {"101": "yes"})
    write("ori_pqal.json", {"101": record(), "102": record(), **records})
    return PubMedQA(path="ori_pqal.json")


def test_the_row_holds_abstract_decision_and_reason_and_test_rows_are_left_out(write, tmp_path):
    test, row = labelled(write).records(tmp_path)
    assert (test.reason, test.by_rule, test.location) == ("test row", True, "pmid=101")
    assert row.input == (
        "Question: Does tea raise the pulse?\n\nMethods: Tea was given to ten people.\nResults: The pulse rose in nine."
    )
    assert row.output == "Yes. It did in most."
    assert (row.source_id, row.group) == ("ori_pqal.json pmid=102", "pubmedqa:102")
    assert row.url == "https://pubmed.ncbi.nlm.nih.gov/102/"


def test_without_its_list_of_test_ids_the_labelled_part_is_refused(write, tmp_path):
    write("ori_pqal.json", {"102": record()})
    with pytest.raises(
        UserError, match=r"half of the labelled subset is a test set, and .*test_ground_truth.json"
    ):
        list(PubMedQA(path="ori_pqal.json").records(tmp_path))
    with pytest.raises(UserError, match=r"ids.json: no such file for test_ids .source 'pubmedqa'"):
        list(PubMedQA(path="ori_pqal.json", test_ids="ids.json").records(tmp_path))
    for nothing in ({}, [], 7):
        write("ids.json", nothing)
        with pytest.raises(UserError, match="JSON object or list of PubMed ids"):
            list(PubMedQA(path="ori_pqal.json", test_ids="ids.json").records(tmp_path))
    write("ids.json", [102])
    [reject] = PubMedQA(path="ori_pqal.json", test_ids="ids.json").records(tmp_path)
    assert reject.reason == "test row"
    write("other.json", {"102": record(reasoning_required_pred="yes")})
    with pytest.raises(UserError, match="is the labelled subset"):
        list(PubMedQA(path="other.json", subset="pqau").records(tmp_path))
    write("test_set.json", {"102": record()})
    with pytest.raises(UserError, match="the file name says test"):
        list(PubMedQA(path="test_set.json", subset="pqaa").records(tmp_path))


def test_the_unlabelled_and_the_rule_labelled_parts(write, tmp_path):
    unlabelled = record()
    del unlabelled["final_decision"]
    write("ori_pqau.json", {"5": unlabelled})
    [row] = PubMedQA(path="ori_pqau.json", subset="pqau").records(tmp_path)
    assert row.output == "It did in most."
    (tmp_path / "ori_pqaa.json.gz").write_bytes(
        gzip.compress(json.dumps({"6": record(final_decision="no")}).encode())
    )
    [row] = PubMedQA(path="ori_pqaa.json.gz", subset="pqaa").records(tmp_path)
    assert row.output == "No. It did in most."


def test_broken_records_are_rejected_and_counted(write, tmp_path):
    source = labelled(
        write,
        **{
            "103": record(final_decision="perhaps"),
            "104": record(LONG_ANSWER=" "),
            "105": record(CONTEXTS="text"),
            "106": record(QUESTION="half \ud800"),
            "107": [],
            "108": record(CONTEXTS=["", None]),
            "109": record(LABELS=["ONE"]),
            "x": record(),
        },
    )
    *_, last = records = list(source.records(tmp_path))[2:]
    assert [getattr(r, "reason", "") for r in records] == [
        "the decision is not one of yes, no, maybe",
        "no long answer",
        "no contexts",
        "not valid Unicode (half a surrogate pair)",
        "not an object",
        "no contexts",
        "",
        "no PubMed id",
    ]
    assert last.location == "record 10"


def test_the_real_set_is_half_test(real):
    records = list(PubMedQA(path="pubmedqa/ori_pqal.json").records(real))
    rows = [r for r in records if isinstance(r, Row)]
    assert len(records) == 1000
    assert Counter(r.reason for r in records if isinstance(r, Reject)) == {"test row": 500}
    test = json.loads((real / "pubmedqa" / "test_ground_truth.json").read_text())
    assert not {row.group.removeprefix("pubmedqa:") for row in rows} & set(test)
    assert Counter(row.output.split(".")[0] for row in rows) == {"Yes": 276, "No": 169, "Maybe": 55}


@settings(deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(damaged, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    (folder / "a.json").write_bytes(data.draw(damaged(json.dumps({"1": record(), "2": record()}).encode())))
    try:
        records = list(PubMedQA(path="a.json", subset="pqaa").records(folder))
    except UserError:
        return
    assert all(isinstance(entry, Row | Reject) for entry in records)


# Large objects ----------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), values), st.sampled_from([None, 2]), st.integers(1, 40))
@example({"a": 0.5, "b": 12}, None, 1)
def test_member_by_member_gives_what_the_whole_gives(tmp_path_factory, whole, indent, chunk):
    path = tmp_path_factory.mktemp("o") / "o.json"
    path.write_text(json.dumps(whole, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medalpaca_data.core.json_stream.CHUNK_SIZE", chunk)
        assert dict(read_json_object(path)) == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not valid JSON .expected an object that contains"),
        ("[1]", "expected an object that contains"),
        ('{"a": 1,\n "b"', "line 2: .*expected ':'"),
        ('{"a": 1,\n "b": {"c', "line 2: .*the file is truncated"),
        ('{"a": 1', "the file is truncated"),
        ('{"a": 1} x', "unexpected text after the end"),
        ('{"a": ' + "[" * 200_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "a number with too many digits"),
        ("{1: 2}", "a name in double quotes"),
        ('{"a" 2}', "expected ':'"),
        ('{"a": 1 "b": 2}', "expected ',' or '}'"),
    ],
)
def test_what_is_wrong_with_an_object_is_said_with_its_line(write, text, message):
    with pytest.raises(UserError, match=message):
        list(read_json_object(write("o.json", text)))


def test_a_name_that_stands_twice_is_not_lost_and_bad_bytes_name_their_line(write):
    assert list(read_json_object(write("o.json", '{"a": 1, "a": 2}'))) == [("a", 1), ("a", 2)]
    with pytest.raises(UserError, match="line 2: not UTF-8"):
        list(read_json_object(write("o.json", b'{"a": 1,\n"\xff": 2}')))


def test_a_record_without_an_end_is_refused_before_it_fills_the_memory(write, monkeypatch):
    monkeypatch.setattr("medalpaca_data.core.json_stream.CHUNK_SIZE", 10)
    monkeypatch.setattr("medalpaca_data.core.json_stream.MAX_RECORD_LENGTH", 100)
    with pytest.raises(UserError, match="a record of more than"):
        list(read_json_object(write("o.json", '{"a": "' + "x" * 10_000 + '"}')))
