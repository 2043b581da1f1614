"""The split that a row declares: test is never trained on, dev is held out, and what is not known is no row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medalpaca_data.build import build
from medalpaca_data.core.records import read_split
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import Recipe
from medalpaca_data.sources import (
    Alpaca,
    Chat,
    ChatDoctor,
    MedMCQA,
    MedQA,
    PatientDialogues,
    Published,
    WikiDocPatientInfo,
)
from medalpaca_data.sources.base import ExcludedError, Reject, parse_row_split

UNKNOWN = "unknown split in the row; known are train, dev and test"
TRAIN = ["train", "Training", "train_set"]
DEV = ["dev", "val", "valid", "Validation", "validation_split", "eval", "evaluation", "holdout", "hold-out"]
TEST = ["test", "TEST", " testing ", "test_set", "test-set", "testSet", "testset", "test_hard", "mmlu test"]


@pytest.mark.parametrize(
    ("said", "split"),
    [
        *((name, "train") for name in TRAIN),
        *((name, "dev") for name in DEV),
        *((name, "own") for name in (None, "", "  ", "none", "None")),
    ],
)
def test_what_a_row_says_of_its_split(said, split):
    assert parse_row_split(said, "own") == split


def test_a_test_row_is_left_out_and_a_name_that_is_not_known_is_not_guessed_at():
    for said in TEST:
        with pytest.raises(ExcludedError, match="test row"):
            parse_row_split(said, "train")
    for said in ("latest", "tset", "fold_3", "3", 3, "trainer", "set"):
        with pytest.raises(ValueError, match=re.escape(UNKNOWN)):
            parse_row_split(said, "train")


QUESTION = {
    "instruction": "Answer this question truthfully",
    "input": "What causes itch?",
    "output": "Wind does.",
}
TALK = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Wind."}]}
EXAM = {"question": "Which?", "options": {"A": "one", "B": "two"}, "answer_idx": "A"}
INDIAN = {"question": "Which?", "opa": "one", "opb": "two", "opc": "three", "opd": "four", "cop": 0}


@pytest.mark.parametrize(
    ("cls", "settings", "record", "own"),
    [
        (Alpaca, {}, QUESTION, "none"),
        (Alpaca, {"fields": {"input": "input", "output": "output"}}, QUESTION, "none"),
        (Alpaca, {"split": "dev"}, QUESTION, "dev"),
        (Chat, {"split": "train"}, TALK, "train"),
        (ChatDoctor, {}, QUESTION, "none"),
        (PatientDialogues, {}, QUESTION, "none"),
        (WikiDocPatientInfo, {}, QUESTION, "none"),
        (Published, {"set": "wikidoc_patient_information"}, QUESTION, "none"),
        (MedQA, {"split": "train"}, EXAM, "train"),
        (MedMCQA, {"split": "train", "cop_from": 0}, INDIAN, "train"),
    ],
)
def test_every_source_heeds_the_split_of_a_row(write, cls, settings, record, own):
    said = [None, "train", "validation", "test_set", "fold_3"]
    path = write("rows.json", [record if name is None else {**record, "split": name} for name in said])
    *rows, left, unknown = cls(path=str(path), **settings).records(Path())
    assert [row.split for row in rows] == [own, "train", "dev"]
    assert left == Reject("rows.json", "row 4", "test row", {**record, "split": "test_set"}, by_rule=True)
    assert unknown == Reject("rows.json", "row 5", UNKNOWN, {**record, "split": "fold_3"})


def test_what_is_declared_for_validation_is_held_out_and_test_is_nowhere(write, tmp_path, row):
    words = [*DEV, *TEST]
    write("raw.json", [row(n, split=name) for n, name in enumerate(words)] + [row(99), row(98)])
    recipe = Recipe(name="mine", validation=0, sources=[{"kind": "alpaca", "path": "raw.json"}])
    build(recipe, tmp_path, tmp_path / "out")
    held = {found.output for found in read_split(tmp_path / "out", "validation")}
    train = {found.output for found in read_split(tmp_path / "out", "train")}
    assert held == {f"Answer {n}" for n in range(len(DEV))}
    assert train == {"Answer 98", "Answer 99"}


def test_file_and_place_stand_before_the_id_that_a_row_brings(write, row):
    path = write("own.jsonl", [row(1), row(2, source_id="visit-99"), row(3, source_id=7)])
    rows = [found for found in Alpaca(path=str(path)).records(Path()) if isinstance(found, Row)]
    assert [found.source_id for found in rows] == [
        "own.jsonl line 1",
        "own.jsonl line 2 = visit-99",
        "own.jsonl line 3 = 7",
    ]
