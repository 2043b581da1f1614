"""A record that cannot be read is kept as it stands, with a reason that no file's name can spoil."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalpaca_data.build import build
from medalpaca_data.core.errors import MAX_RECORD_TEXT, UserError
from medalpaca_data.core.row import Row
from medalpaca_data.recipe import Recipe, load_recipe
from medalpaca_data.sources import (
    Alpaca,
    MedMCQA,
    MedQA,
    PubMedCausal,
    PubMedHealthAdvice,
    WikiDocPatientInfo,
)
from medalpaca_data.sources.base import FileSource, Reject

CROOKED = "more or fewer fields than headings (a comma without quotes?)"
BROKEN = "not valid JSON (Expecting ',' delimiter)"
ADVICE = "sentence,label,pmid"


@pytest.mark.parametrize(
    ("cls", "name", "text", "reject"),
    [
        (Alpaca, "r.jsonl", '{"a": 1 "b"}', Reject("r.jsonl", "line 1", BROKEN, '{"a": 1 "b"}')),
        (Alpaca, "r.csv", "instruction,output\na,b,c", Reject("r.csv", "line 2", CROOKED, "a,b,c")),
        (Alpaca, "r.tsv", "instruction\toutput\na", Reject("r.tsv", "line 2", CROOKED, "a")),
        (WikiDocPatientInfo, "r.jsonl", '{"a": 1 "b"}', Reject("r.jsonl", "line 1", BROKEN, '{"a": 1 "b"}')),
        (MedQA, "r.jsonl", '{"a": 1 "b"}', Reject("r.jsonl", "line 1", BROKEN, '{"a": 1 "b"}')),
        (PubMedCausal, "r.csv", "sentence,label\na,b,1", Reject("r.csv", "line 2", CROOKED, "a,b,1")),
        (PubMedHealthAdvice, "r.csv", f"{ADVICE}\na,b,1,7", Reject("r.csv", "line 2", CROOKED, "a,b,1,7")),
    ],
)
def test_every_source_keeps_it(write, cls, name, text, reject):
    settings = {MedQA: {"split": "train"}, PubMedCausal: {"encoding": "causal-language-use"}}.get(cls, {})
    path = str(write(f"a: b: c/{name}", text + "\n"))
    where = {"paths": [path]} if cls is PubMedHealthAdvice else {"path": path}
    assert list(cls(**where, **settings).records(Path())) == [reject]


def test_a_build_writes_it_into_rejected(write, tmp_path, row):
    long = '"' + "x" * MAX_RECORD_TEXT
    lines = [*(json.dumps(row(n)) for n in range(60)), '{"a": 1 "b"}', long]
    write("a: b/raw.jsonl", "\n".join(lines))
    recipe = Recipe(name="mine", validation=0, sources=[{"kind": "alpaca", "path": "a: b/raw.jsonl"}])
    build(recipe, tmp_path, tmp_path / "out")
    first, second = map(json.loads, (tmp_path / "out/rejected/alpaca.jsonl").read_text().splitlines())
    assert (first["place"], first["reason"], first["record"]) == ("line 61", BROKEN, '{"a": 1 "b"}')
    assert second["reason"] == "not valid JSON (Unterminated string starting at)"
    assert (
        second["record"]
        == f"{long[:MAX_RECORD_TEXT]} [cut here; the record has {MAX_RECORD_TEXT + 1:,} characters]"
    )


@pytest.mark.parametrize("cls", [MedQA, MedMCQA])
def test_a_list_of_exam_questions_is_read_record_by_record(write, cls):
    records = [
        {"question": "Which?", "options": {"A": "1", "B": "2"}, "answer_idx": "B"},
        {"question": "Which?", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 1},
    ]
    record = records[cls is MedMCQA]
    path = write("rows.json", json.dumps([record] * 3)[:-1] + ", cut")
    settings = {"cop_from": 0} if cls is MedMCQA else {}
    found = cls(path=str(path), split="train", **settings).records(Path())
    assert isinstance(next(found), Row)  # though the list has no end
    with pytest.raises(UserError, match=r"rows\.json line 1: not valid JSON"):
        list(found)


def test_exam_questions_and_labels_are_plain_files_too():
    assert all(issubclass(cls, FileSource) for cls in (MedQA, MedMCQA, PubMedCausal))
    with pytest.raises(ValueError, match="either path:, or all of hub:"):
        MedQA(split="train")


def test_a_wrong_set_is_told_under_the_key_that_the_recipe_has(write):
    text = "name: t\nsources:\n  - {kind: published, path: x.json, set: foo}\n"
    with pytest.raises(UserError, match=r"key 'sources\.0\.set': Input should be"):
        load_recipe(str(write("recipe.yaml", text)))
