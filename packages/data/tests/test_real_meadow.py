"""A build over every training file of the real data: what is read, kept and left out, with the known answers."""

import json
from collections import Counter

import pytest

from medalpaca_data.build import build
from medalpaca_data.check import check
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_split
from medalpaca_data.recipe import Recipe

# name -> (records read, rows after reading). Where these differ from data/README.md, its counts are of lines or of
# unique texts: health.SE has 3,741 answers on lines of their own and 10 that a user name breaks, 4,762 questions on
# 4,765 lines. MedQuAD has 16,407 answered pairs in its usual layout and 16 in an older one; four lack their subject.
READ = {
    "causal": (3_061, 3_061),
    "advice": (10_848, 10_822),
    "patient": (5_942, 5_682),
    "health_se": (3_751, 117),
    "pubmedqa": (1_000, 500),
    "medquad": (16_434, 15_059),
    "pubtator": (2_030, 1_878),
    "chatdoctor": (5_452, 5_264),
    "medqa": (1_000, 927),
    "medmcqa": (1_000, 885),
    "mmlu": (265, 265),
}


def recipe(real) -> Recipe:
    sources = [
        {"kind": "pubmed_causal", "name": "causal", "path": "pubmed_causal/pubmed_causal_language_use.csv"},
        {"kind": "pubmed_health_advice", "name": "advice", "paths": ["pubmed_health_advice"]},
        {
            "kind": "wikidoc_patient_info",
            "name": "patient",
            "path": "wikidoc_patient_info/medical_meadow_small.json",
        },
        {"kind": "stack_exchange", "name": "health_se", "path": "stackexchange/health_medspider"},
        {"kind": "pubmedqa", "path": "pubmedqa/ori_pqal.json"},
        {"kind": "medquad", "path": "medquad/MedQuAD_577bd37_subsets1-9.tar.gz"},
        {
            "kind": "cord19",
            "name": "pubtator",
            "path": "cord19/pubtator/PubTator_Abstracts_noncomm_use_subset_2020-04-09.zip",
        },
        {"kind": "chatdoctor", "path": "chatdoctor/chatdoctor5k.json.gz"},
        {
            "kind": "medqa",
            "path": "medqa/train_subset_selfbiorag/med_qa_5options_train.json",
            "split": "train",
        },
        {"kind": "medmcqa", "path": "medmcqa/medmc_qa_train_subset_selfbiorag.json", "split": "train"},
        {"kind": "mmlu", "path": "mmlu"},
    ]
    exam = str(real / "usmle_sample/medalpaca_format")
    return Recipe.model_validate({"name": "real", "language": "en", "sources": sources, "exams": [exam]})


@pytest.mark.slow
def test_every_training_file_of_the_real_data(real, tmp_path):
    built = build(recipe(real), real, tmp_path / "out")
    sources = {source["name"]: source for source in built.ledger["sources"]}
    assert {n: (s["read"], s["stages"][0]["kept"]) for n, s in sources.items()} == READ
    for source in sources.values():
        assert source["read"] == source["kept"] + source["rejected"]
        file = tmp_path / f"out/rejected/{source['name']}.jsonl"
        told = Counter(json.loads(line)["stage"] for line in file.open()) if file.exists() else Counter()
        assert told == {s["stage"]: s["rejected"] for s in source["stages"] if s["rejected"]}
    assert sources["health_se"]["context"] == {"questions": 4_762}
    # Two tasks over one sentence are two rows, not one row twice.
    assert sources["causal"]["kept"] > 3_040
    assert sources["advice"]["kept"] > 10_700
    rows = [row for split in ("train", "validation") for row in read_split(tmp_path / "out", split)]
    assert len(rows) == sum(built.ledger["rows"].values()) == sum(s["kept"] for s in sources.values())
    assert all(row.licence for row in rows)
    # Nothing of the exam is left: its questions, among those of other test sets, went by their hashes.
    found = check(tmp_path / "out", str(real / "usmle_sample/medalpaca_format"))
    assert [found.count(0.2, step) for step in (1, 2, 3)] == [0, 0, 0]


def test_the_leaked_questions_are_dropped_and_listed(real, tmp_path):
    """37 Step 3 questions stand in the published MMMLU; here they go by coverage, with the hashes switched off."""
    values = {
        "name": "leak",
        "sources": [{"kind": "alpaca", "path": "medical_meadow_original/medical_meadow_mmmlu.json"}],
        "refuse_tests": False,
        "exams": [str(real / "usmle_sample/medalpaca_format")],
    }
    build(Recipe.model_validate(values), real, tmp_path / "out")
    hits = [json.loads(line) for line in (tmp_path / "out/exam_hits.jsonl").open()]
    dropped = {hit["item"]: hit for hit in hits if hit["dropped"]}
    assert len(dropped) == 37
    assert sum(hit["coverage"] >= 0.8 for hit in dropped.values()) == 34
    assert all(hit["dropped"] == (hit["coverage"] >= 0.5) for hit in hits)
    kept = {row.id for split in ("train", "validation") for row in read_split(tmp_path / "out", split)}
    assert not kept & {hit["row"] for hit in hits if hit["dropped"]}


def test_patient_information_known_answers(real, tmp_path):
    sources = [{"kind": "alpaca", "path": "wikidoc_patient_info/medical_meadow_small.json"}]
    values = {"name": "patient", "sources": sources, "near_duplicates": None, "clean": False}
    built = build(Recipe.model_validate(values), real, tmp_path / "out")
    [source] = built.ledger["sources"]
    duplicates = next(stage for stage in source["stages"] if stage["stage"] == "duplicates")
    assert duplicates["rejected"] == 92
    assert built.ledger["contradictions"]["questions"] == 47


def test_rows_of_the_mmlu_test_are_refused_as_plain_json(real, tmp_path):
    values = {
        "name": "leak",
        "sources": [{"kind": "alpaca", "path": "medical_meadow_original/medical_meadow_mmmlu.json"}],
        "near_duplicates": None,
    }
    with pytest.raises(UserError, match=r"no row was kept \(contains a test question of .*: 3,[0-9]{3}"):
        build(Recipe.model_validate(values), real, tmp_path / "out")
