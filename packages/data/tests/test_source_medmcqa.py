import gzip
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import FileNote
from medalpaca_data.core.row import Row
from medalpaca_data.sources import MedMCQA, MedQA
from medalpaca_data.sources.base import Reject, split_from_name


def question(cop, **changes):
    return {
        "question": f"Which is number {cop}?",
        "opa": "one",
        "opb": "two",
        "opc": "three",
        "opd": "four",
        "cop": cop,
        "exp": "Because.",
        "choice_type": "single",
        "subject_name": "Counting",
        **changes,
    }


def answers(source, root):
    return [record.output for record in source.records(root) if isinstance(record, Row)]


def test_the_numbering_is_told_by_its_ends_or_demanded(write, tmp_path):
    write("one.json", [question(1), question(4)])
    write("zero.json", [question(0), question(3)])
    assert answers(MedMCQA(path="one.json", split="train"), tmp_path) == ["A: one", "D: four"]
    assert answers(MedMCQA(path="zero.json", split="train"), tmp_path) == ["A: one", "D: four"]
    for copy in ([question(1), question(3)], [question(0), question(4)]):
        write("unclear.json", copy)
        with pytest.raises(UserError, match="set cop_from: to 0 or 1"):
            answers(MedMCQA(path="unclear.json", split="train"), tmp_path)
    assert answers(MedMCQA(path="unclear.json", split="train", cop_from=0), tmp_path) == ["A: one"]
    assert answers(MedMCQA(path="unclear.json", split="train", cop_from=1), tmp_path) == ["D: four"]


def test_rows_ask_as_the_exam_will_and_multi_is_left_out(write, tmp_path):
    path = tmp_path / "train.jsonl.gz"
    lines = [
        question(4),
        question(1, choice_type="multi"),
        question(9),
        question(None),
        question(2, opb=None),
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    row, *rejects = MedMCQA(path=path.name, split="train").records(tmp_path)
    assert row.input == "Which is number 4?\nA: one\nB: two\nC: three\nD: four"
    assert (row.source_id, row.split, row.output) == ("train.jsonl.gz line 1", "train", "D: four")
    assert [(r.location, r.reason, r.by_rule) for r in rejects] == [
        ("line 2", "choice type multi", True),
        ("line 3", "'cop' is not the number of an option", False),
        ("line 4", "no 'cop', the number of the correct option", False),
        ("line 5", "empty options", False),
    ]


def test_the_layout_of_instances(write, tmp_path):
    text = "QUESTION: Which is green?\nOption A:Grass\nOption B:Snow\n"
    write(
        "train.jsonl",
        [
            {"instances": {"input": text, "output": "Answer: (A)"}},
            {"instances": {"input": text, "output": "Grass"}},
        ],
    )
    row, reject = MedMCQA(path="train.jsonl", split="train").records(tmp_path)
    assert (row.input, row.output) == ("Which is green?\nA: Grass\nB: Snow", "A: Grass")
    assert reject.reason == "no letter in parentheses as the answer"


def test_a_set_without_answers_and_a_test_set_are_refused(write, tmp_path):
    write("some.json", [question(-1), question(-1)])
    with pytest.raises(UserError, match="no answers"):
        answers(MedMCQA(path="some.json", split="train"), tmp_path)
    write("test.json", [question(4)])
    with pytest.raises(UserError, match="the file name says test"):
        answers(MedMCQA(path="test.json", split="dev"), tmp_path)
    write("dev.json", [question(4)])
    with pytest.raises(UserError, match="the name says dev, and the recipe has split: train"):
        answers(MedMCQA(path="dev.json", split="train"), tmp_path)


def test_the_real_sets(real):
    dev = list(MedMCQA(path="medmcqa/dev.json.gz", split="dev").records(real))
    assert (len(dev), sum(isinstance(record, Row) for record in dev)) == (4183, 2557)
    assert Counter(r.reason for r in dev if isinstance(r, Reject)) == {
        "choice type multi": 1367,
        "the letters 'rt' are missing, as in 'hea' for 'heart'": 241,
        "a question about a picture": 18,
    }
    name = "medmcqa/medmc_qa_train_subset_selfbiorag.json"
    assert len(answers(MedMCQA(path=name, split="train"), real)) == 885


@settings(deadline=None)
@given(st.data())
def test_no_file_breaks_the_reader(damaged, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d")
    name = data.draw(st.sampled_from(["a.json", "a.jsonl", "a.json.gz"]))
    good = json.dumps([question(1), question(4)]).encode()
    (folder / name).write_bytes(data.draw(damaged(gzip.compress(good) if name.endswith("gz") else good)))
    try:
        records = list(MedMCQA(path=name, split="train").records(folder))
    except UserError:
        return
    assert all(isinstance(record, Row | Reject | FileNote) for record in records)


# MedQA, which is read the same way --------------------------------------------------------------------------------


def test_medqa_with_four_options_and_phrases_gzipped(write, tmp_path):
    record = {
        "question": "Which is green?",
        "answer": "Grass",
        "options": {"A": "Snow", "B": "Grass", "C": "Coal", "D": "Milk"},
        "meta_info": "step1",
        "answer_idx": "B",
        "metamap_phrases": ["green"],
    }
    path = tmp_path / "phrases_no_exclude_train.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(record).encode() + b"\n"))
    [row] = MedQA(path=path.name, split="train").records(tmp_path)
    assert (row.input, row.output) == ("Which is green?\nA: Snow\nB: Grass\nC: Coal\nD: Milk", "B: Grass")
    assert row.group.startswith("medqa:item-")
    write("odd.json", [{"question": "Q?", "options": {"X": "a", "long": "b"}, "answer_idx": "X"}])
    [reject] = MedQA(path="odd.json", split="train").records(tmp_path)
    assert reject.reason == "option letters do not run from A"


def test_the_real_medqa_files(real):
    assert len(answers(MedQA(path="medqa/5opt/dev.jsonl", split="dev"), real)) == 1178
    for name in ("5opt/test.jsonl", "4opt/phrases_no_exclude_test.jsonl.gz"):
        with pytest.raises(UserError, match="the file name says test"):
            answers(MedQA(path=f"medqa/{name}", split="dev"), real)
    with pytest.raises(UserError, match="the name says dev"):
        answers(MedQA(path="medqa/5opt/dev.jsonl", split="train"), real)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test.jsonl", "test"),
        ("MEDIQA2019-Task3-QA-TestSet-wLabels.xml.gz", "test"),
        ("phrases_no_exclude_test.jsonl", "test"),
        ("anatomy_val.csv", "dev"),
        ("VAlidationSet_ShortQuestions.txt", "dev"),
        ("MEDIQA2019-Task3-QA-TrainingSet1-LiveQAMed.xml", "train"),
        ("contest.json", None),
        ("testosterone.json", None),
        ("evaluation.json", None),
        ("latest.json", None),
        ("train_test.json", "test"),
    ],
)
def test_what_a_name_says_of_the_split(name, split):
    assert split_from_name(name) == split
