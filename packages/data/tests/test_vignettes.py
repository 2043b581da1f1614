"""The bundled vignettes: structure, balance, no cue from length, and that they are nobody else's questions."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from statistics import mean

import pytest

from medalpaca_data.core.paths import shared
from medalpaca_data.exams.contamination import coverage, words
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import VIGNETTES

FIELDS = {"id", "step", "subject", "question", "options", "answer", "explanation", "reference"}
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


@pytest.fixture(scope="module")
def records() -> list[dict]:
    text = files("medalpaca_data.exams").joinpath("vignettes.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_60_questions_20_of_each_step(records):
    exam = load_exam(VIGNETTES)
    assert (exam.name, exam.read, exam.excluded, exam.warnings) == (VIGNETTES, 60, (), ())
    assert Counter(item.step for item in exam.items) == {1: 20, 2: 20, 3: 20}
    assert [item.id for item in exam.items] == [f"vignette-{n:02d}" for n in range(1, 61)]


def test_every_record_says_what_it_should(records):
    for record in records:
        assert set(record) == FIELDS, record["id"]
        assert list(record["options"]) == list("ABCDE")
        assert record["answer"] in record["options"]
        assert record["question"].endswith("?")
        assert len(SENTENCE_END.findall(record["explanation"])) == 2, record["id"]
        assert len(record["reference"]) > 20
        assert all(text == text.strip() != "" for text in (record["subject"], *record["options"].values()))


def test_nothing_is_twice(records):
    assert len({record["question"] for record in records}) == 60
    for record in records:
        assert len({text.lower() for text in record["options"].values()}) == 5, record["id"]
    stems = [frozenset(words(record["question"])) for record in records]
    shares = [len(a & b) / len(a | b) for i, a in enumerate(stems) for b in stems[:i]]
    assert max(shares) < 0.5


def test_keys_are_balanced(records):
    assert Counter(record["answer"] for record in records) == dict.fromkeys("ABCDE", 12)
    for step in (1, 2, 3):
        counts = Counter(record["answer"] for record in records if record["step"] == step)
        assert counts == dict.fromkeys("ABCDE", 4)


def test_length_is_no_cue(records):
    keys = [len(record["options"][record["answer"]]) for record in records]
    others = [
        len(text)
        for record in records
        for letter, text in record["options"].items()
        if letter != record["answer"]
    ]
    assert 0.9 < mean(keys) / mean(others) < 1.1
    ranks = Counter()
    for record, key in zip(records, keys, strict=True):
        lengths = [len(text) for letter, text in record["options"].items() if letter != record["answer"]]
        ranks["longest"] += all(n < key for n in lengths)
        ranks["shortest"] += all(n > key for n in lengths)
    assert 9 <= ranks["longest"] <= 15  # one in five would be 12
    assert 9 <= ranks["shortest"] <= 15


def test_they_are_nobody_elses_questions():
    root = shared()
    if root is None:
        pytest.skip("no exams to compare with: set MEDALPACA_SHARED")
    ours = load_exam(VIGNETTES)
    for place in ("usmle_sample/medalpaca_format", "medqa/5opt/test.jsonl", "medqa/5opt/dev.jsonl"):
        theirs = load_exam(root / "data" / place, images="keep")
        for exam, texts in ((ours, theirs), (theirs, ours)):
            found = coverage(exam, (item.question for item in texts.items))
            assert max(item.coverage for item in found) < 0.5, place
