"""Test questions are found by content; the shipped list is what the tool makes, and refuses no training row wrongly."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import sys
import tarfile
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.exams import known_questions
from medalpaca_data.exams.item import Item, exam_input
from medalpaca_data.exams.known_questions import (
    KNOWN_QUESTIONS,
    MIN_SHARE,
    KnownQuestions,
    pack,
    question_pieces,
    unpack,
    words_of,
)
from medalpaca_data.exams.layouts import read_exam

ROOT = Path(__file__).parents[3]
LONG = (
    "A 34-year-old beekeeper comes to the clinic because her left hand has been numb for two weeks. She says that the "
    "numbness is worse at night and after carrying hives. Which nerve is most probably compressed at her wrist?"
)
SHORT = Item(
    id="s",
    question="Which vitamin is made by sunlit skin?",
    options={"A": "Vitamin A (retinol)", "B": "Vitamin B12", "C": "Vitamin D", "D": "Vitamin K, from greens"},
    answer="C",
)


@pytest.fixture(scope="module")
def own() -> KnownQuestions:
    """A list of two sets with one question each."""
    short = [word for text in (SHORT.question, *SHORT.options.values()) for word in words_of(text)]
    return unpack(pack([("long", [question_pieces(words_of(LONG))]), ("short", [question_pieces(short)])]))


@pytest.fixture(scope="module")
def shipped() -> KnownQuestions:
    return KnownQuestions.load()


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"Answer truthfully\nQ:{LONG}? \n{{'A': 'median', 'B': 'ulnar'}}",
        LONG.upper(),
        LONG.replace(" ", "  \n"),
        LONG.replace("-", "\u2011").replace("34", "\uff13\uff14"),  # other hyphens, wide digits
        LONG.replace("beekeeper", "gardener"),
        f"{'word ' * 1000}{LONG}",
    ],
)
def test_a_question_is_found_in_any_dress(own, text):
    assert own.find(["nothing", text, "nothing"]) == [(1, "long")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        LONG[: len(LONG) // 2],
        "Which nerve is most probably compressed at her wrist?",
        SHORT.question,
        " ".join(reversed(LONG.split())),
    ],
)
def test_half_a_question_is_none(own, text):
    assert own.find([text]) == []


def test_a_question_is_not_put_together_from_two_texts(own):
    words = LONG.split()
    assert own.find([" ".join(words[:15]), " ".join(words[15:])]) == []


@pytest.mark.parametrize("label", ["{}: ", "({}) ", "Option {}: ", "{}. "])
def test_a_short_question_is_found_with_its_options(own, label):
    options = (f"{label.format(letter)}{text}" for letter, text in SHORT.options.items())
    assert own.find([f"{SHORT.question}\nOptions:\n" + "\n".join(options)]) == [(0, "short")]


WORDS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "ee"]), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=12), st.lists(WORDS, min_size=1, max_size=4))
def test_found_is_what_a_plain_search_finds(texts, questions):
    """The reference: sets of every run's hash, one text after the other."""
    packed = list(dict.fromkeys(map(question_pieces, questions)))
    known = unpack(pack([(str(n), [question]) for n, question in enumerate(packed)]))
    expected = {}
    for index, words in enumerate(texts):
        runs = [words[i : i + size] for size in (4, 8) for i in range(len(words) - size + 1)]
        pieces = {piece for run in runs for piece in question_pieces(run)}
        held = {
            str(n) for n, q in enumerate(packed) if len(pieces.intersection(q)) >= ceil(MIN_SHARE * len(q))
        }
        expected |= {index: held} if held else {}
    found = known.find(map(" ".join, texts))
    assert [index for index, _ in found] == list(expected)
    assert all(name in expected[index] for index, name in found)


def test_many_texts_are_counted_through(own):
    filler = ["filler " * 100_000] * 3  # more than is hashed at once
    assert own.find([LONG, *filler, LONG, "", *filler, LONG]) == [(0, "long"), (4, "long"), (9, "long")]


def test_a_hash_is_the_same_on_every_machine():
    """Computed when the list was made: if it changes, the shipped list finds nothing and must be made again."""
    assert question_pieces(["one", "two", "three", "four", "five", "six", "seven", "eight"]) == (53921307441,)


@given(st.lists(st.text(), max_size=5))
def test_any_text_can_be_searched(own, texts):
    assert own.find(texts) == []


# The shipped list -------------------------------------------------------------------------------------------------


def test_the_tool_makes_the_shipped_list(real, tmp_path):
    out = tmp_path / KNOWN_QUESTIONS
    tool = ROOT / "tools" / "hash_test_questions.py"
    said = subprocess.run(
        [sys.executable, tool, real, out], check=True, capture_output=True, text=True
    ).stdout
    assert out.read_bytes() == Path(known_questions.__file__).with_name(KNOWN_QUESTIONS).read_bytes()
    assert "MMLU test: 7194 questions" in said  # 3,407 rows of 13 subjects, and 3,787 as published
    assert said.count("0 too short to tell") == 6
    assert out.stat().st_size < 400_000


def test_every_published_mmmlu_row_is_a_test_question(shipped, real):
    rows = json.loads((real / "medical_meadow_original/medical_meadow_mmmlu.json").read_text())
    found = shipped.find(f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in rows)
    assert len(found) == len(rows) == 3787
    # The known overlap of the USMLE sample with MMLU's professional_medicine: 37 in this copy.
    assert [name for _, name in found].count("USMLE sample") == 37


@pytest.mark.parametrize(
    "dress",
    [
        exam_input,
        lambda item: f"Q: {item.question}\n" + "\n".join(f"({k}) {v}" for k, v in item.options.items()),
        lambda item: f"{item.question}? \n{dict(item.options)}",
        lambda item: f"{item.question} Options: " + "; ".join(item.options.values()),
    ],
)
def test_every_mmlu_test_row_is_found(shipped, real, dress):
    items = [item for file in sorted((real / "mmlu/test").glob("*.csv")) for item in read_exam(file).items]
    texts = (f"Choose.\n{dress(item)}\n{item.answer}" for item in items)
    assert len(shipped.find(texts)) == len(items) == 3407


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("usmle_sample/medalpaca_format", 376),
        ("medqa/5opt/test.jsonl", 1273),
        ("medqa/5opt/dev.jsonl", 1272),
    ],
)
def test_every_item_of_the_exams_is_found(shipped, real, path, count):
    items = read_exam(real / path).items
    assert len(shipped.find(map(exam_input, items))) == len(items) == count


def test_pubmedqa_is_found_on_its_test_side_only(shipped, real):
    records = json.loads((real / "pubmedqa/ori_pqal.json").read_text())
    test = json.loads((real / "pubmedqa/test_ground_truth.json").read_text())
    texts = ["\n".join((r["QUESTION"], *r["CONTEXTS"], r["LONG_ANSWER"])) for r in records.values()]
    assert [list(records)[index] in test for index, _ in shipped.find(texts)] == [True] * 500


def test_no_training_row_is_refused_wrongly(shipped, real):
    def rows(name: str) -> list[str]:
        data = (real / name).read_bytes()
        records = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
        return [f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in records]

    clean = rows("wikidoc_patient_info/medical_meadow_small.json")
    clean += rows("medical_meadow_original/medical_meadow_health_advice.json")
    clean += rows("chatdoctor/chatdoctor5k.json.gz")
    with (real / "pubmed_causal/pubmed_causal_language_use.csv").open(newline="") as file:
        clean += [row["sentence"] for row in csv.DictReader(file)]
    for name in ("questions", "answers"):
        clean += (
            gzip.decompress((real / f"stackexchange/health_medspider/{name}.tsv.gz").read_bytes())
            .decode()
            .split("\n")
        )
    with tarfile.open(real / "medquad/MedQuAD_577bd37_subsets1-9.tar.gz") as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                clean += re.split("</QAPair>", file.read().decode())
    assert len(clean) > 50_000
    assert shipped.find(clean) == []


def test_near_twins_between_splits_are_found(shipped, real):
    """Read one by one: every hit here is the same vignette or the same question in another split."""
    lines = (real / "medqa/train_subset_selfbiorag/med_qa_5options_train.json").read_text().splitlines()
    assert [name for _, name in shipped.find(lines)] == ["MedQA test"]
    for split, count, usmle in (("dev", 5, 0), ("val", 26, 6)):
        items = [i for file in sorted((real / f"mmlu/{split}").glob("*.csv")) for i in read_exam(file).items]
        names = [name for _, name in shipped.find(map(exam_input, items))]
        assert (len(names), names.count("USMLE sample")) == (count, usmle)
