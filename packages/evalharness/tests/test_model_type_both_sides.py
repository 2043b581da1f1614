"""`exam ask`: base and tuned in one pass, and two results that two runs of lm_eval would have given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness import cli
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.model.both_sides import TwoSidedLM, evaluate_both
from medalpaca_evalharness.model.model_type import MedAlpacaLM
from medalpaca_evalharness.results import read_run

GIVEN = [
    Instance("loglikelihood", {}, (f"Which, {n}?\n", text), 0)
    for n in range(3)
    for text in ("rest", "ice", "A")
]


def results(directory: Path) -> dict[str, Any]:
    (file,) = directory.rglob("results_*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_exam_ask_writes_two_ordinary_results(tiny, adapter, evaluate, write_exam, tmp_path, capsys):
    exam = write_exam()
    command = ["ask", str(tiny), str(adapter), "--tasks", "medalpaca_usmle", "--exam", str(exam)]
    assert cli.main([*command, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    places = [tmp_path / "out" / side for side in ("base", "tuned")]
    assert capsys.readouterr().out.split()[-2:] == [str(place) for place in places]
    runs = [read_run(place) for place in places]
    assert [run.adapter is None for run in runs] == [True, False]
    assert runs[0].base_sha256 == runs[1].base_sha256 is not None
    compared = compare(*runs)
    assert len(compared.base.answers) == 12
    assert not compared.notes
    base = {"pretrained": str(tiny)}
    for models, place in zip((base, base | {"peft": str(adapter)}), places, strict=True):
        alone = evaluate(
            "medalpaca", "medalpaca_usmle", {"exam": str(exam)} | models, model_args=models, device="cpu"
        )
        written = results(place)
        for task, scores in alone["results"].items():
            assert written["results"][task]["acc,none"] == scores["acc,none"]
        assert written["config"]["model"] == alone["config"]["model"]
        assert written["config"]["model_args"] == alone["config"]["model_args"]
        assert written["config"]["model_num_parameters"] == alone["config"]["model_num_parameters"]
        for task, samples in alone["samples"].items():
            (file,) = place.rglob(f"samples_{task}_*.jsonl")
            logged = [json.loads(line) for line in file.read_text().splitlines()]
            assert [one["doc"] for one in logged] == [one["doc"] for one in samples]
            for one, other in zip(logged, samples, strict=True):
                answers = [float(likelihood) for likelihood, _ in one["filtered_resps"]]
                assert answers == pytest.approx(
                    [likelihood for likelihood, _ in other["filtered_resps"]], abs=1e-4
                )


def test_each_side_equals_a_separate_model(tiny, adapter):
    both = TwoSidedLM(str(tiny), str(adapter), device="cpu")
    alone = {
        True: MedAlpacaLM(pretrained=str(tiny), peft=str(adapter), device="cpu").loglikelihood(GIVEN),
        False: MedAlpacaLM(pretrained=str(tiny), device="cpu").loglikelihood(GIVEN),
    }
    assert alone[True] != alone[False]
    for both.adapted in (False, True, False, True):
        found = both.loglikelihood(GIVEN)
        assert [one[0] for one in found] == pytest.approx([one[0] for one in alone[both.adapted]], abs=1e-4)


def test_the_base_is_computed_once(tiny, adapter):
    both = TwoSidedLM(str(tiny), str(adapter), device="cpu")
    both.loglikelihood(GIVEN)
    both.adapted = False
    passes: list[int] = []
    hook = both.model.register_forward_pre_hook(lambda *_: passes.append(1))
    both.loglikelihood(GIVEN)
    assert not passes
    both.loglikelihood([Instance("loglikelihood", {}, ("Another?\n", "A"), 0)])
    assert passes
    hook.remove()


def test_each_side_generates_like_a_separate_model(tiny, adapter):
    asked = [Instance("generate_until", {}, ("Which?\n", {"until": ["\n"], "max_gen_toks": 12}), 0)]
    rolling = [Instance("loglikelihood_rolling", {}, ("A text to be read as a whole.",), 0)]
    both = TwoSidedLM(str(tiny), str(adapter), device="cpu")
    for both.adapted, models in ((True, {"peft": str(adapter)}), (False, {})):
        alone = MedAlpacaLM(pretrained=str(tiny), **models, device="cpu")
        assert both.generate_until(asked) == alone.generate_until(asked)
        assert both.loglikelihood_rolling(rolling) == pytest.approx(
            alone.loglikelihood_rolling(rolling), abs=1e-3
        )


def test_a_tokenizer_with_more_tokens_than_the_base(tiny, adapter, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens(["<another>"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="259 tokens, the base model 258"):
        TwoSidedLM(str(tiny), str(adapter), tokenizer=str(tmp_path), device="cpu")


def test_bad_input_is_reported_before_loading(tiny, adapter, tmp_path):
    ask = {"base": str(tiny), "adapter": str(adapter), "out": tmp_path}
    with pytest.raises(
        UserError, match=r"medalpaca_poket: not a MedAlpaca task.*did you mean medalpaca_pocket"
    ):
        evaluate_both(**ask, tasks=["medalpaca_poket"])
    with pytest.raises(UserError, match="/no/such/exam"):
        evaluate_both(**ask, tasks=["medalpaca_exam"], metadata={"exam": "/no/such/exam"})
    with pytest.raises(UserError, match="peft=: not allowed; BASE and ADAPTER name the models"):
        evaluate_both(**ask, tasks=["medalpaca_pocket"], model_args={"peft": "x"})
    (tmp_path / "base" / "model").mkdir(parents=True)
    (tmp_path / "base" / "model" / "results_old.json").write_text("{}")
    with pytest.raises(UserError, match="already holds results"):
        evaluate_both(**ask, tasks=["medalpaca_pocket"])
