import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_rows, read_split
from medalpaca_data.core.row import Row
from medalpaca_data.ledger import Account, UnbalancedError
from medalpaca_data.recipe import load_recipe
from medalpaca_data.sources import MedQA, PubMedCausal
from medalpaca_data.sources.base import Reject
from medalpaca_data.sources.pubmed_causal import detect_encoding


def built(tmp_path: Path, *sources: dict, **keys):
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(yaml.safe_dump({"name": "t", "sources": list(sources), **keys}))
    recipe, root = load_recipe(str(recipe_file))
    return build(recipe, root, tmp_path / "out")


def test_bad_rows_land_in_rejected_with_file_and_line(write, tmp_path, row):
    lines = [json.dumps(row(n)) for n in range(40)]
    lines[16] = '{"instruction": "Q17", '
    lines[20] = json.dumps({"instruction": "Q", "input": "i"})
    lines[30] = lines[2]
    write("raw.jsonl", "\n".join(lines))
    result = built(tmp_path, {"kind": "alpaca", "path": "raw.jsonl"}, max_reject_share=0.1, validation=0)
    rejects = [json.loads(line) for line in (tmp_path / "out/rejected/alpaca.jsonl").read_text().splitlines()]
    assert [(r["file"], r["place"], r["stage"], r["reason"]) for r in rejects] == [
        (
            "raw.jsonl",
            "line 17",
            "read",
            "not valid JSON (Expecting property name enclosed in double quotes)",
        ),
        ("raw.jsonl", "line 21", "read", "no key 'output'"),
        ("raw.jsonl", "line 31", "duplicates", "exact duplicate of an earlier row"),
    ]
    assert rejects[1]["record"] == {"instruction": "Q", "input": "i"}
    [source] = result.ledger["sources"]
    assert (source["read"], source["kept"], source["rejected"]) == (40, 37, 3)
    assert len(read_rows(tmp_path / "out")) == 37


def test_too_many_bad_rows_end_the_build_and_leave_nothing(write, tmp_path, row):
    write("raw.json", [row(1), {"instruction": "Q"}])
    with pytest.raises(UserError, match=r"1 of 2 records \(50.0%\).*raw.json row 2: no key 'output'"):
        built(tmp_path, {"kind": "alpaca", "path": "raw.json"})
    assert not (tmp_path / "out").exists()


def test_an_unchanged_build_is_reused_and_a_changed_one_not_overwritten(write, tmp_path, row):
    write("raw.json", [row(1)])
    source = {"kind": "alpaca", "path": "raw.json"}
    assert not built(tmp_path, source, validation=0).reused
    assert built(tmp_path, source, validation=0).reused
    write("raw.json", [row(2)])
    with pytest.raises(UserError, match="the directory is not empty"):
        built(tmp_path, source, validation=0)


def test_a_damaged_build_is_not_up_to_date(write, tmp_path, row):
    write("raw.json", [row(1)])
    source = {"kind": "alpaca", "path": "raw.json"}
    built(tmp_path, source, validation=0)
    (tmp_path / "out" / "train.parquet").unlink()
    with pytest.raises(UserError, match="the directory is not empty"):
        built(tmp_path, source, validation=0)


def test_a_row_that_cannot_be_written_is_rejected_and_kept(write, tmp_path, row):
    write("raw.json", json.dumps([row(n) for n in range(30)]).replace('Answer 3"', 'half \\ud800"'))
    built(tmp_path, {"kind": "alpaca", "path": "raw.json"}, max_reject_share=0.1, validation=0)
    [reject] = map(json.loads, (tmp_path / "out/rejected/alpaca.jsonl").read_text().splitlines())
    assert (reject["place"], reject["record"]["output"]) == ("row 4", "half \ud800")


def test_a_source_cannot_write_elsewhere(write, tmp_path, row):
    write("raw.json", [row(1)])
    with pytest.raises(UserError, match=r"key 'sources.0.name'"):
        built(tmp_path, {"kind": "alpaca", "name": "../../escaped", "path": "raw.json"})


def test_equal_inputs_give_equal_bytes(write, tmp_path, row):
    write("raw.json", [row(n) for n in range(50)])
    one = built(tmp_path, {"kind": "alpaca", "path": "raw.json"}, validation=0.2)
    files = one.ledger["files"]
    (tmp_path / "out").rename(tmp_path / "first")
    assert built(tmp_path, {"kind": "alpaca", "path": "raw.json"}, validation=0.2).ledger["files"] == files


def test_a_group_is_never_cut(write, tmp_path, row):
    questions = [row(n, input=f"What are the symptoms of disease {n // 5}?") for n in range(500)]
    write("raw.json", questions)
    source = {"kind": "alpaca", "path": "raw.json", "group": r"of (.+)\?"}
    built(tmp_path, source, validation=0.3)
    train, validation = (read_split(tmp_path / "out", split) for split in ("train", "validation"))
    assert {r.group for r in train}.isdisjoint(r.group for r in validation)
    assert 0.15 < len(validation) / 500 < 0.45


def test_test_rows_are_refused(write, tmp_path, row):
    write("raw.json", [row(0, split="test"), row(1, split="Test "), row(9)])
    result = built(tmp_path, {"kind": "alpaca", "path": "raw.json"}, max_reject_share=1, validation=0)
    assert result.ledger["sources"][0]["stages"][0]["reasons"] == {"test row": 2}
    with pytest.raises(UserError, match=r"sources.0.split.: test rows are never used"):
        built(tmp_path, {"kind": "medqa", "path": "x.jsonl", "split": "test"})
    write("test.jsonl", [row(1)])
    with pytest.raises(UserError, match="the file name says test"):
        built(tmp_path, {"kind": "medqa", "path": "test.jsonl", "split": "train"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"validaton": 0.1}, "unknown key 'validaton'; did you mean 'validation'"),
        ({"sources": []}, "key 'sources'"),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path, keys, message):
    with pytest.raises(UserError, match=message):
        built(tmp_path, **{"validation": 0, **keys})


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'pocket'"):
        load_recipe("poket")


# Sources ----------------------------------------------------------------------------------------------------------


def test_medqa_rows_ask_as_the_exam_will(write, tmp_path):
    original = {"question": "Q?", "options": {"A": "one", "B": "two"}, "answer": "two", "answer_idx": "B"}
    instance = {"instances": {"input": "Question: Q?\nOption A: one\nOption B: two", "output": "two"}}
    unkeyed = {"instances": {"input": "Question: Q?\nOption A: one\nOption B: two", "output": "three"}}
    path = write("train.json", [original, instance, unkeyed])
    first, second, third = MedQA(path=path.name, split="train").records(tmp_path)
    assert isinstance(first, Row)
    assert (first.input, first.output) == ("Q?\nA: one\nB: two", "B: two")
    assert isinstance(second, Row)
    assert second.id == first.id
    assert isinstance(third, Reject)
    assert third.reason == "the answer is none of the options"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("causal-language-use", ["No relationship", "Direct causal", "Conditional causal", "Correlational"]),
        (
            "correlation-to-causation",
            ["No relationship", "Correlational", "Conditional causal", "Direct causal"],
        ),
    ],
)
def test_the_two_numberings_of_the_causal_corpus(write, tmp_path, encoding, expected):
    path = write("c.csv", "sentence,label\na,0\nb,1\nc,2\nd,3\ne,4\n")
    *rows, bad = PubMedCausal(path=path.name, encoding=encoding).records(tmp_path)
    assert [r.output for r in rows] == expected
    assert bad.reason == "label '4' is not one of 0, 1, 2, 3"


def test_an_unknown_numbering_is_demanded_not_guessed():
    with pytest.raises(UserError, match="set encoding: to one of"):
        detect_encoding(Path("c.csv"), [{"sentence": "a", "label": "1"}])


def test_the_real_sources(real, tmp_path):
    group = r"(?:of|for|have|causes|is|diagnosed|prevent|from)\s+(.+?)\s*(?:\(|\?)"
    result = built(
        tmp_path,
        {
            "kind": "alpaca",
            "name": "wikidoc",
            "path": str(real / "wikidoc_patient_info/medical_meadow_small.json"),
            "group": group,
        },
        {"kind": "pubmed_causal", "path": str(real / "pubmed_causal/pubmed_causal_language_use.csv")},
        {
            "kind": "medqa",
            "path": str(real / "medqa/train_subset_selfbiorag/med_qa_5options_train.json"),
            "split": "train",
        },
        near_duplicates=None,
    )
    counts = {s["name"]: (s["read"], s["kept"], s["rejected"]) for s in result.ledger["sources"]}
    assert counts == {
        "wikidoc": (5942, 5849, 93),  # 92 exact repeats, and one without an answer
        "pubmed_causal": (3061, 3055, 6),
        "medqa": (1000, 926, 74),  # 73 questions about a picture; one is also in the test set
    }
    rows = read_split(tmp_path / "out", "train") + read_split(tmp_path / "out", "validation")
    assert len(rows) == 5849 + 3055 + 926
    labels = Counter(r.output for r in rows if r.source == "pubmed_causal")
    assert labels == {
        "No relationship": 1353,
        "Direct causal": 494,
        "Conditional causal": 213,
        "Correlational": 995,
    }


def test_both_upstream_copies_of_the_causal_corpus_agree(real):
    copies = []
    for name in ("pubmed_causal_language_use.csv", "annotated_pubmed.csv"):
        source = PubMedCausal(path=name)
        rows = [r for r in source.records(real / "pubmed_causal") if isinstance(r, Row)]
        copies.append(Counter((r.input, r.output) for r in rows))
    assert copies[0] == copies[1]


# The ledger -------------------------------------------------------------------------------------------------------


def test_books_that_do_not_balance_fail():
    account = Account("s")
    stage = account.open("read")
    stage.read = 2
    stage.kept = 1
    with pytest.raises(UnbalancedError, match="read 2, kept 1, rejected 0"):
        account.balance()
    stage.reasons["bad"] += 1
    account.balance()
    account.open("next").read = 2
    with pytest.raises(UnbalancedError):
        account.balance()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.one_of(st.builds(dict, instruction=st.text(), output=st.text()), st.none(), st.text()), max_size=20
    )
)
def test_every_record_is_kept_or_rejected(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("b")
    (folder / "raw.json").write_text(json.dumps(records))
    try:
        result = built(folder, {"kind": "alpaca", "path": "raw.json"}, max_reject_share=1, validation=0)
    except UserError:
        return
    [source] = result.ledger["sources"]
    assert source["read"] == source["kept"] + source["rejected"] == len(records)
    assert source["kept"] == result.ledger["rows"]["train"] == len(read_rows(folder / "out"))
