"""Models with known answers get the scores that arithmetic predicts, in every task, through lm-eval."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from math import sqrt
from typing import Any

import lm_eval.models  # noqa: F401 - lm-eval registers its own models only while there are no others
import pytest
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from statsmodels.stats.proportion import proportion_confint

from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import Item
from medalpaca_evalharness.answer_extraction import OUTCOMES
from medalpaca_evalharness.task_data import GROUPS, TASKS

SEED = 2023


def chosen(how: str, item_id: str, key: int, options: int) -> int:
    """The index that a model answers, or -1 where it answers nothing."""
    match how:
        case "oracle":
            return key
        case "anti-oracle":
            return (key + 1) % options
        case "always B":
            return 1
        case "uniform":
            return random.Random(f"{SEED} {item_id}").randrange(options)
    return -1


@register_model("medalpaca_test_known")
class Known(LM):
    """Model that knows the correct options and answers by the rule `how`."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    @classmethod
    def create_from_arg_obj(cls, arg_dict: Any, additional_config: Any = None) -> Known:
        return cls(arg_dict["how"])

    def _chosen(self, doc: dict[str, Any]) -> int:
        return chosen(self.how, doc["item_id"], doc["gold"], len(doc["letters"]))

    def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
        # So far apart that no length of an option, by which the text tasks divide, makes up for it.
        return [(-1e-3, True) if r.idx == self._chosen(r.doc) else (-1e9, False) for r in requests]

    def loglikelihood_rolling(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until(self, requests: Any) -> list[str]:
        written = []
        for request in requests:
            doc = request.doc
            letter = doc["letters"][self._chosen(doc)]
            form = (
                "{}: so it is"
                if doc["scoring"] == "protocol_2023"
                else "<think>A? B?</think>Well.\nAnswer: {}"
            )
            written.append(form.format(letter))
        return written


HOWS = ("oracle", "anti-oracle", "always B", "uniform")


@pytest.fixture
def examine(evaluate) -> Callable[..., dict[str, Any]]:
    def call(how: str, task: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
        found = evaluate("medalpaca_test_known", task, metadata, model_args={"how": how}, bootstrap_iters=1)
        return found

    return call


def expected(how: str, items: list[Item]) -> int:
    rights = 0
    for item in items:
        letters = list(item.options)
        rights += letters[chosen(how, item.id, letters.index(item.answer), len(letters))] == item.answer
    return rights


def check(found: dict[str, Any], task: str, items: list[Item], how: str) -> None:
    """All figures of one task against counts made from the exam itself."""
    result, n, right = found["results"][task], len(items), expected(how, items)
    accuracies = ["acc_norm", "acc"] if TASKS[task].scoring == "text" else ["acc"]
    filters = {"reasoning": ["flexible", "strict"], "protocol_2023": ["first_accepted", "last_kept"]}
    for name in filters.get(TASKS[task].scoring, ["none"]):
        for metric in accuracies:
            assert result[f"{metric},{name}"] == pytest.approx(right / n, abs=1e-12)
            share = right / n
            assert result[f"{metric}_stderr,{name}"] == pytest.approx(sqrt(share * (1 - share) / (n - 1)))
        assert result[f"chance,{name}"] == pytest.approx(sum(1 / len(item.options) for item in items) / n)
        low, high = proportion_confint(right, n, method="wilson")
        assert result[f"wilson_low,{name}"] == pytest.approx(low, abs=1e-12)
        assert result[f"wilson_high,{name}"] == pytest.approx(high, abs=1e-12)
        assert round(result[f"correct,{name}"] * n) == right
        assert round(result[f"wrong,{name}"] * n) == n - right
        assert sum(round(result[f"{outcome},{name}"] * n) for outcome in OUTCOMES) == n
        rows = [row for row in found["samples"][task] if row["filter"] == name]
        assert [row["doc"]["item_id"] for row in rows] == [item.id for item in items]
        assert all(sum(row[outcome] for outcome in OUTCOMES) == 1 for row in rows)
        assert all(row["doc"][key] for row in rows for key in ("item_id", "exam_sha256", "prompt_id"))


def check_group(found: dict[str, Any], group: str, parts: dict[str, list[Item]], how: str) -> None:
    """A group's figures are those of all its items together."""
    for task, items in parts.items():
        check(found, task, items, how)
    every = [item for items in parts.values() for item in items]
    result = found["results"][group]
    for key in [key for key in result if key.startswith(("acc,", "acc_norm,"))]:
        assert result[key] == pytest.approx(expected(how, every) / len(every), abs=1e-12)
    for key in [key for key in result if key.startswith("chance,")]:
        assert result[key] == pytest.approx(sum(item.chance for item in every) / len(every))
    assert result["sample_len"] == len(every)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", ["", "_text", "_gen", "_2023"])
def test_a_small_exam(write_exam, examine, how, way):
    exam = write_exam()
    items = load_exam(exam).items
    group = f"medalpaca_usmle{way}"
    parts = {task: [item for item in items if item.step == TASKS[task].step] for task in GROUPS[group]}
    check_group(examine(how, group, {"exam": str(exam)}), group, parts, how)
    if way != "_2023":
        whole = f"medalpaca_exam{way}"
        check(examine(how, whole, {"exam": str(exam)}), whole, list(items), how)


@pytest.mark.parametrize("task", ["medalpaca_pocket", "medalpaca_vignettes"])
def test_the_bundled_exams(examine, task):
    for how in HOWS:
        check(examine(how, task), task, list(load_exam(task).items), how)


def test_two_to_26_options(tmp_path, examine):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    file = tmp_path / "wide.jsonl"
    rows = [
        {
            "id": f"w{k}",
            "question": f"Of {k}?",
            "options": [f"tea {x}" for x in letters[:k]],
            "answer": letters[k - 1],
        }
        for k in range(2, 27)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    for task in ("medalpaca_exam", "medalpaca_exam_text", "medalpaca_exam_gen"):
        for how in ("oracle", "uniform"):
            check(examine(how, task, {"exam": str(file)}), task, list(load_exam(file).items), how)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", ["", "_text", "_gen", "_2023"])
def test_the_usmle_sample(real_data, examine, how, way):
    exam = real_data / "usmle_sample" / "medalpaca_format"
    items = load_exam(exam).items
    group = f"medalpaca_usmle{way}"
    parts = {task: [item for item in items if item.step == TASKS[task].step] for task in GROUPS[group]}
    assert [len(part) for part in parts.values()] == [92, 108, 124]
    check_group(examine(how, group, {"exam": str(exam)}), group, parts, how)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
def test_the_usmle_sample_as_a_user_exam(real_data, examine, how):
    exam = real_data / "usmle_sample" / "medalpaca_format"
    for task in ("medalpaca_exam", "medalpaca_exam_text", "medalpaca_exam_gen"):
        check(examine(how, task, {"exam": str(exam)}), task, list(load_exam(exam).items), how)


def test_medqa_and_its_slices(real_data, examine):
    file = real_data / "medqa" / "5opt" / "test.jsonl"
    items = load_exam(file).items
    parts = {
        task: [item for item in items if item.subject == TASKS[task].part]
        for task in GROUPS["medalpaca_medqa"]
    }
    assert [len(part) for part in parts.values()] == [679, 594]
    check_group(
        examine("uniform", "medalpaca_medqa", {"exams": {"medqa": str(file)}}),
        "medalpaca_medqa",
        parts,
        "uniform",
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
def test_the_other_medical_exams(real_data, examine, tmp_path, how):
    medmcqa = tmp_path / "medmcqa.json"
    medmcqa.write_bytes(gzip.decompress((real_data / "medmcqa" / "dev.json.gz").read_bytes()))
    exams = {
        "medqa": str(real_data / "medqa" / "5opt" / "test.jsonl"),
        "medmcqa": str(medmcqa),
        "pubmedqa": str(real_data / "pubmedqa" / "ori_pqal.json"),
        "mmlu": str(real_data / "mmlu"),
    }
    places = {"medqa": exams["medqa"], "medmcqa": medmcqa, "pubmedqa": exams["pubmedqa"]}
    parts = {}
    for task in GROUPS["medalpaca_medical"]:
        place = places.get(str(TASKS[task].key), real_data / "mmlu" / "test" / str(TASKS[task].file))
        exam, part = load_exam(place), TASKS[task].part
        parts[task] = [item for item in exam.items if part in (None, item.subject)]
    counts = {task: len(items) for task, items in parts.items()}
    assert (
        counts | {"medalpaca_medmcqa": 4179, "medalpaca_pubmedqa": 500, "medalpaca_medqa_step1": 679}
        == counts
    )
    assert counts | {"medalpaca_mmlu_anatomy": 135, "medalpaca_mmlu_professional_medicine": 282} == counts
    group = "medalpaca_medical"
    check_group(examine(how, group, {"exams": exams}), group, parts, how)
