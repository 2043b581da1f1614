"""The real USMLE sample exam, where available: counts, prompt lengths, contamination."""

from __future__ import annotations

import collections
import json
import re

import pytest

from medalpaca_data.exams.contamination import words
from medalpaca_data.exams.exam import load_exam, raw_exam
from medalpaca_data.exams.item import exam_prompt
from medalpaca_evalharness.task_data import build_dataset, prepare_task

# Context length of the first Llama, the shortest that the exam must fit.
CONTEXT = 2048


def by_step(entries) -> list[int]:
    counts = collections.Counter(entry.step for entry in entries)
    return [counts[step] for step in (1, 2, 3)]


def test_counts(usmle):
    exam = load_exam(usmle)
    assert by_step((*exam.items, *exam.excluded)) == [119, 120, 137]
    assert by_step(exam.items) == [92, 108, 124]
    assert by_step(load_exam(usmle, images="keep").items) == [116, 118, 137]


def test_the_second_copy_gives_the_same_keys(usmle):
    """All but one: in Step 3 #78 the copies disagree, and this one's carbamazepine is what MMLU says too."""
    copy = usmle.parent / "clinical_camel" / "step_exams.jsonl"
    theirs = [json.loads(line) for line in copy.read_text().splitlines()]
    steps = {"one": 1, "two": 2, "three": 3}
    ours = raw_exam(usmle).items
    sets = [frozenset(words(" ".join((item.question, *item.options.values())))) for item in ours]
    others = [frozenset(words(entry["text"])) for entry in theirs]
    shares = {
        (i, j): len(a & b) / len(a | b)
        for i, a in enumerate(sets)
        for j, b in enumerate(others)
        if steps.get(theirs[j]["category"], ours[i].step) == ours[i].step
    }
    best_of = {i: max((j for k, j in shares if k == i), key=lambda j: shares[i, j]) for i in range(len(ours))}
    best_for = {
        j: max((i for i, k in shares if k == j), key=lambda i: shares[i, j]) for j in range(len(theirs))
    }
    # Questions that follow one another share a case, so a pair must be each other's best.
    pairs = [(i, j) for i, j in best_of.items() if best_for[j] == i and shares[i, j] >= 0.8]
    assert len(pairs) > 300
    letters = {i: re.match(r"\(([A-Z])\)", theirs[j]["answer"])[1] for i, j in pairs}
    assert [ours[i].id for i, letter in letters.items() if ours[i].answer != letter] == ["step3-78"]
    odd = next(item for item in ours if item.id == "step3-78")
    assert odd.options[odd.answer].lower().startswith("carbamazepine")


@pytest.mark.parametrize(("images", "counts"), [("exclude", [92, 108, 124]), ("keep", [116, 118, 137])])
def test_the_tasks_cover_all_items(usmle, images, counts):
    tasks = [f"medalpaca_usmle_step{n}" for n in (1, 2, 3)]
    found = [build_dataset(medalpaca_task=task, exam=str(usmle), images=images)["test"] for task in tasks]
    assert [len(rows) for rows in found] == counts


def test_kept_images_change_the_hash(usmle):
    names = {
        prepare_task("medalpaca_usmle_step1", {"exam": str(usmle), "images": i}).exam.sha256
        for i in ("exclude", "keep")
    }
    assert len(names) == 2


def test_prompts_fit_the_context_with_a_real_tokenizer(usmle):
    from tokenizers import ByteLevelBPETokenizer

    directory = usmle.parents[1] / "weights" / "gpt2_tokenizer"
    if not directory.is_dir():
        pytest.skip("no GPT-2 tokenizer among the shared data")
    tokenizer = ByteLevelBPETokenizer(str(directory / "encoder.json"), str(directory / "vocab.bpe"))
    exams = {images: load_exam(usmle, images=images).items for images in ("exclude", "keep")}
    assert [len(items) for items in exams.values()] == [324, 371]
    for items in exams.values():
        texts = [(asked := exam_prompt(item, "letter")).prompt + asked.choices[-1] for item in items]
        assert max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts)) < CONTEXT


def test_full_and_clean_score_of_step_3_are_37_items_apart(usmle, evaluate, answering, save, tmp_path):
    """The published training component that holds MMLU's professional medicine, and with it part of Step 3."""
    from medalpaca_evalharness.cli import main
    from medalpaca_evalharness.report.verify import Locations, verify

    leaking = usmle.parents[1] / "medical_meadow_original" / "medical_meadow_mmmlu.json"
    if not leaking.is_file():
        pytest.skip("no published MMLU component among the shared data")
    told = {"exam": str(usmle), "images": "keep"}
    places = [
        str(save(evaluate(answering(choose), "medalpaca_usmle_step3", told), tmp_path / name))
        for name, choose in (("base", lambda doc: 0), ("tuned", lambda doc: doc["gold"]))
    ]
    out = tmp_path / "report.html"
    assert main(["report", *places, "--out", str(out), "--meadow", str(leaking)]) == 0
    report = json.loads(out.with_suffix(".json").read_text())
    found = report["contamination"]
    (compared,) = found["comparisons"]
    assert [compared[name]["n"] for name in ("full", "clean", "covered")] == [137, 100, 37]
    assert len(found["covered"]) == 37
    rights = found["sides"]["tuned"]
    assert rights["full"]["correct"] - rights["clean"]["correct"] == 37
    assert "37 of 137 items are covered</strong>" in out.read_text()
    # Nothing of Step 3 is left out; its pictures are what was not shown.
    assert (report["left_out"]["scored"], report["left_out"]["elsewhere"]) == (137, 239)
    assert len(report["left_out"]["without_picture"]) == 137 - 124
    # No text of the exam stands on the page: no run of eight of its words does.
    page = words(out.read_text().partition("<main>")[2].partition("</main>")[0])
    held = {tuple(page[i : i + 8]) for i in range(len(page) - 7)}
    for item in load_exam(usmle, images="keep").items:
        asked = words(item.question)
        assert not held & {tuple(asked[i : i + 8]) for i in range(len(asked) - 7)}
    assert verify(out, Locations()).problems == []
