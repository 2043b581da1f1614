"""Each kind of adapter: the same answers and scores as the two models alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.item import Item, exam_prompt
from medalpaca_demo.engine import Engine
from medalpaca_demo.inference import encode, find_option_tokens, score_options
from medalpaca_demo.job import SIDES, Request
from medalpaca_demo.models import check_pair, failed_engine, start_engine
from medalpaca_demo.sides import MixedBatch, SwitchedAdapter, TwoModels

ITEMS = [
    Item(
        id=str(n),
        question=f"Case {n}: fever, cough and a rash of the trunk{' again' * n}?",
        options={letter: f"remedy {letter} for day {n}" for letter in "ABCDE"[: 3 + n % 3]},
        answer="A",
    )
    for n in range(4)
]


@pytest.fixture(scope="module")
def made(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The base with a LoRA, with this LoRA merged into a full model, and with a DoRA."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base, adapter = pair
    where = tmp_path_factory.mktemp("sides")
    whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    whole.save_pretrained(where / "whole")
    for file in base.glob("tokenizer*"):
        shutil.copy(file, where / "whole")
    torch.manual_seed(5)
    config = LoraConfig(
        r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(where / "dora")
    return {"lora": pair, "whole": (base, where / "whole"), "dora": (base, where / "dora")}


@pytest.fixture(scope="module", params=["lora", "whole", "dora"])
def case(
    request: pytest.FixtureRequest, made: dict[str, tuple[Path, Path]]
) -> Iterator[tuple[str, Engine, SimpleNamespace]]:
    """An engine with the pair, and both models loaded separately."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, tuned = made[request.param]
    alone = SimpleNamespace(
        base=AutoModelForCausalLM.from_pretrained(base).eval(),
        tuned=(
            AutoModelForCausalLM.from_pretrained(tuned)
            if request.param == "whole"
            else PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tuned)
        ).eval(),
        tokenizer=AutoTokenizer.from_pretrained(base),
    )
    engine = start_engine(check_pair(base, tuned)).wait_until_loaded()
    yield request.param, engine, alone
    engine.close()


def test_each_kind_of_adapter_gets_its_pair_class(case: tuple[str, Engine, Any]) -> None:
    kinds = {"lora": MixedBatch, "whole": TwoModels, "dora": SwitchedAdapter}
    assert isinstance(case[1]._pair, kinds[case[0]])


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_answers_and_scores_equal_each_model_alone(case: tuple[str, Engine, Any], scoring: Any) -> None:
    _, engine, alone = case
    asked = [exam_prompt(item, scoring) for item in ITEMS]
    jobs = [
        engine.submit(Request(prompt=a.prompt, choices=a.choices, scoring=scoring, max_new_tokens=12))
        for a in asked
    ]
    for job, a in zip(jobs, asked, strict=True):
        found = list(job.watch(interval=0))[-1]
        assert found.state == "done", found.error
        # Scores without a prefill; test_inference.py compares them with HFLM.
        expected = score_options(engine._pair, alone.tokenizer, job.request, engine.max_length)
        ids = alone.tokenizer(a.prompt, return_tensors="pt")["input_ids"]
        for side in SIDES:
            assert found.scores[side].loglikelihoods == pytest.approx(expected[side].loglikelihoods, abs=1e-4)
            with torch.inference_mode():
                out = getattr(alone, side).generate(
                    input_ids=ids, do_sample=False, max_new_tokens=12, pad_token_id=1
                )
            text = alone.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            assert found.answers[side].text == text
        assert found.scores["base"].loglikelihoods != pytest.approx(
            found.scores["tuned"].loglikelihoods, abs=1e-3
        )


@pytest.mark.parametrize(("scoring", "passes"), [("letter", 1), ("text", 2)])
def test_options_need_no_further_pass_over_the_prompt(
    engine: Engine, scoring: Any, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass over the prompts of four users and both sides; for texts, one more over the options."""
    sizes: list[tuple[int, int]] = []
    model = engine._pair.model("base").base_model.model
    original = model.forward

    def count(*args: Any, **kwargs: Any) -> Any:
        sizes.append(tuple(kwargs["input_ids"].shape))
        return original(*args, **kwargs)

    monkeypatch.setattr(model, "forward", count)
    monkeypatch.setattr(engine, "_gather_seconds", 0.5)
    asked = [exam_prompt(item, scoring) for item in ITEMS]
    jobs = [
        engine.submit(Request(prompt=a.prompt, choices=a.choices, scoring=scoring, max_new_tokens=0))
        for a in asked
    ]
    for job in jobs:
        found = list(job.watch(interval=0))[-1]
        assert found.state == "done", found.error
        assert set(found.scores) == set(SIDES)
        assert not found.answers
    longest = max(len(encode(engine._tokenizer, a.prompt)) for a in asked)
    assert sizes[0] == (8, longest)
    assert len(sizes) == passes
    if scoring == "text":
        assert sizes[1][0] == 2 * sum(len(item.options) for item in ITEMS)
        texts = {choice for a in asked for choice in a.choices}
        encoded = [engine._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        assert sizes[1][1] == max(map(len, encoded)) - 1


def test_merged_tokens_are_scored_without_prefill(engine: Engine, plain: SimpleNamespace) -> None:
    request = Request(prompt="Which vitamin is lacking in", choices=(" scurvy?", "s"), scoring="text")
    prompt = encode(plain.tokenizer, request.prompt + " scur")
    assert find_option_tokens(plain.tokenizer, request, prompt, 500) is None
    ordinary = encode(plain.tokenizer, request.prompt)
    assert (
        find_option_tokens(plain.tokenizer, request, ordinary, len(ordinary) - 2) is None
    )  # lm-eval would truncate it


def test_a_question_without_options_gets_no_scores(engine: Engine) -> None:
    job = engine.submit(Request(prompt="Say something.", choices=(), scoring="letter", max_new_tokens=5))
    found = list(job.watch(interval=0))[-1]
    assert found.state == "done"
    assert not found.scores
    assert found.answers["tuned"].tokens


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError, RuntimeError])
def test_the_engine_continues_after_an_exception(
    engine: Engine, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(prompt="What?", choices=("A", "B"), scoring="letter", max_new_tokens=30)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_publish", lambda rows: (_ for _ in ()).throw(error))
        found = list(engine.submit(request).watch(interval=0))[-1]
    assert found.state == "failed"
    assert f"({error.__name__})" in found.error
    assert list(engine.submit(request).watch(interval=0))[-1].state == "done"


def test_a_load_error_is_the_answer_to_every_question(pair: tuple[Path, Path]) -> None:
    engine = failed_engine(UserError("run: adapter of another base"))
    with pytest.raises(UserError, match="another base"):
        engine.wait_until_loaded()
    assert engine.state.name == "failed"
    request = Request(prompt="What?", choices=("A",), scoring="letter")
    assert "another base" in list(engine.submit(request).watch(interval=0))[-1].error
    engine.close()


def test_a_full_model_with_another_vocabulary_is_refused(
    made: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    base, whole = made["whole"]
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(other)
    with pytest.raises(UserError, match="another vocabulary"):
        start_engine(check_pair(base, other)).wait_until_loaded()
