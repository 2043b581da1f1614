"""A base in 4 or 8 bits: the gradients are those of the same weights made wide, also after an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import weights_sha256
from medalpaca_train import loop, loss, model
from medalpaca_train.hardware import Hardware
from medalpaca_train.loop import learning_rate
from medalpaca_train.loss import Objective, choose_objective
from medalpaca_train.model import from_pretrained, load_model, skeleton, trainable, with_lora
from medalpaca_train.recipe import Recipe, find_recipe
from medalpaca_train.tokenize import Sample

Go = Callable[..., tuple[Path, str]]
CPU = Hardware(torch.device("cpu"), "fp32", "")
KINDS = ("nf4", "int8")


def recipe_of(base: Path, kind: str | None) -> Recipe:
    return Recipe(model=str(base), data="d", quantization=kind, lora={"r": 4})


def with_an_update(peft_model: Any) -> Any:
    """The same small update in every model: fresh ones are zero, and have no gradient in their first half."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in trainable(peft_model).values():
            weight.normal_(std=0.02)
    return peft_model


def samples() -> list[Sample]:
    draw = np.random.default_rng(0)
    shapes = ((50, 20), (90, 60), (70, 0), (23, 20))
    return [Sample(str(n), draw.integers(3, 200, n).astype(np.int32), given) for n, given in shapes]


def gradients(peft_model: Any) -> torch.Tensor:
    peft_model.train()
    peft_model.zero_grad()
    for part in Objective(peft_model, CPU, packing=False, one_pass=True).losses(samples()):
        part.backward()
    return torch.cat([weight.grad.flatten() for weight in trainable(peft_model).values()])


def evaluate(peft_model: Any) -> None:
    peft_model.eval()
    with torch.no_grad():
        peft_model(torch.arange(3, 40)[None], use_cache=False)


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_dequantised_base_before_and_after_evaluation(
    wide: Path, kind: str
) -> None:
    recipe = recipe_of(wide, kind)
    plain = from_pretrained(wide, torch.float32, CPU.device, model.settings(kind, torch.float32))
    plain = with_an_update(with_lora(plain.dequantize(), recipe, wide))
    expected = gradients(plain)
    quantised = with_an_update(load_model(recipe, wide, None, CPU))
    assert distance(gradients(quantised), expected) < 1e-6
    evaluate(quantised)
    assert distance(gradients(quantised), expected) < 1e-6


@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit")
def test_without_the_guard_nf4_loses_its_gradients(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard is there for, so that one sees when it may go."""
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16")
    monkeypatch.setattr(model, "keep_differentiable", lambda _: None)
    bare = with_an_update(load_model(recipe_of(wide, "nf4"), wide, None, CPU))
    before = gradients(bare)
    evaluate(bare)
    assert distance(gradients(bare), before) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_models_are_packed(wide: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quantised = with_an_update(load_model(recipe_of(wide, kind), wide, None, CPU))
    # A token with one large channel, as large models have them; only the first document holds it.
    quantised.get_input_embeddings().weight.data[7] = 50 * torch.eye(64)[5]
    some = [Sample(one.row_id, np.maximum(one.ids, 8), one.given) for one in samples()]
    some[0].ids[10] = 7
    verdict = choose_objective(quantised, some, CPU)
    assert verdict.reasons == []
    assert (verdict.objective.packing, verdict.objective.one_pass) == (True, True)
    verdict.objective.release()
    # What int8 does to such a channel would be taken for documents that see each other.
    monkeypatch.setattr(loss, "rowwise", lambda _: nullcontext())
    verdict = choose_objective(quantised, some, CPU)
    assert verdict.objective.packing == (kind == "nf4")


def test_large_channels_are_back_after_the_check(wide: Path) -> None:
    quantised = load_model(recipe_of(wide, "int8"), wide, None, CPU)
    choose_objective(quantised, samples(), CPU)
    found = {module.state.threshold for module in quantised.modules() if hasattr(module, "init_8bit_state")}
    assert found == {6.0}


def test_held_out_loss_is_near_that_of_bf16(adapters: dict[str | None, Path]) -> None:
    """Each was also validated on the way, which is what would have cost the NF4 run its gradients."""
    after = {}
    for kind, run in adapters.items():
        loss = json.loads((run / "manifest.json").read_text())["validation_loss"]
        assert loss["after"] < 0.5 * loss["before"]
        after[kind] = loss["after"]
    assert after["nf4"] == pytest.approx(after[None], rel=0.02)
    assert after["int8"] == pytest.approx(after[None], rel=0.02)


class KilledError(BaseException):
    """Stands for a process that is gone: nothing catches it."""


@pytest.mark.parametrize("kind", ["nf4", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_killed_run_continues_bit_exactly(
    go: Go, wide: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "model": str(wide),
        "quantization": kind,
        "precision": "bf16",
        "eval_every": 2,
        "max_steps": 8,
        "save_every": 3,
        "lora": {"r": 4, "alpha": 8, "dropout": 0.2},
    }
    whole, _ = go(**changes, out=str(tmp_path / "whole"))
    step = loop.Trainer._step

    def dying(self: loop.Trainer, number: int, *others: Any) -> dict[str, Any]:
        if number == 5:
            raise KilledError
        return step(self, number, *others)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop.Trainer, "_step", dying)
        go(**changes)
    run, said = go(**changes)
    assert "resuming from step 3 of 8" in said
    assert weights_sha256(run) == weights_sha256(whole)
    with pytest.raises(UserError, match=rf"another recipe \(quantization: {kind} -> None\)"):
        go(**changes | {"quantization": None})


def test_the_run_says_how_its_base_was_held(adapters: dict[str | None, Path], wide: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = adapters["nf4"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["base"]["quantization"] == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }
    assert manifest["versions"]["bitsandbytes"][0].isdigit()
    card = (run / "README.md").read_text()
    assert "base held | load_in_4bit=True, bnb_4bit_quant_type=nf4" in card
    assert f"--model medalpaca --model_args pretrained={wide},peft={run},load_in_4bit=True" in card
    # Whoever has no bitsandbytes loads it on the base as it is.
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(wide), run)


def test_the_weights_are_counted_not_the_bytes_they_are_packed_in(go: Go, wide: Path) -> None:
    _, said = go(model=str(wide), quantization="nf4", max_steps=1, validation=0)
    recipe = Recipe(model=str(wide), data="d", lora={"r": 4})
    count = sum(weight.numel() for weight in skeleton(recipe, wide, None).parameters())
    assert f"of {count:,} weights" in said
    assert "slower path" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_knows_the_bits(wide: Path, kind: str) -> None:
    """Against the bytes that the loaded model's weights and scales really take."""
    recipe = recipe_of(wide, kind)
    shape = skeleton(recipe, wide, None)
    loaded = load_model(recipe, wide, None, CPU)
    real = sum(
        weight.numel() * weight.element_size() for weight in loaded.parameters() if not weight.requires_grad
    )
    for module in loaded.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            real += sum(t.numel() * t.element_size() for t in (state.absmax, state.state2.absmax))
    assert model.base_bytes(shape, recipe, 4) == pytest.approx(real, rel=0.01)
    assert model.base_bytes(shape, recipe, 4) < 0.8 * model.base_bytes(shape, recipe_of(wide, None), 4)
    assert model.widened_bytes(shape, recipe, 4) == 64 * 128 * 4


def test_only_a_frozen_base_is_quantised() -> None:
    with pytest.raises(UserError, match=r"quantization=nf4 needs method=lora"):
        find_recipe("full", ["model=m", "data=d", "quantization=nf4"])


def test_a_base_that_is_quantised_already_is_refused(go: Go, wide: Path, tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    words = model.settings("nf4", torch.float32)
    model.from_pretrained(wide, torch.float32, CPU.device, words).save_pretrained(stored)
    model.load_tokenizer(wide).save_pretrained(stored)
    with pytest.raises(UserError, match="stored in 4 or 8 bits; give the base as it was before"):
        go(model=str(stored))


def test_warm_up_in_steps(go: Go) -> None:
    recipe = Recipe(model="m", data="d", warmup_steps=4, warmup=0.5, schedule="constant", learning_rate=1.0)
    assert [learning_rate(step, 100, recipe) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    _, said = go(max_steps=3, warmup_steps=100)
    assert "warm-up: 100 steps, the run has 3; its rate never reaches the peak" in said
