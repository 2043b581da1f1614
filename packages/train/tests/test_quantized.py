"""A base in 4 or 8 bits: gradients equal those of the dequantised base, also after an evaluation."""

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
from medalpaca_train import estimate, loss, model
from medalpaca_train.hardware import Hardware
from medalpaca_train.loop import learning_rate
from medalpaca_train.loss import Objective, choose_objective
from medalpaca_train.model import (
    add_lora,
    from_pretrained,
    load_model,
    load_on_meta_device,
    trainable_parameters,
)
from medalpaca_train.recipe import Recipe, read_recipe
from medalpaca_train.tokenize import Sample

RunTraining = Callable[..., tuple[Path, str]]
CPU = Hardware(torch.device("cpu"), "fp32", "")
KINDS = ("nf4", "int8")


def recipe_of(base: Path, kind: str | None) -> Recipe:
    return Recipe(model=str(base), data="d", quantization=kind, lora={"r": 4})


def with_adapter(peft_model: Any) -> Any:
    """Set the same small adapter in every model: a new one is zero and gives its first matrix no gradient."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in trainable_parameters(peft_model).values():
            weight.normal_(std=0.02)
    return peft_model


def samples() -> list[Sample]:
    draw = np.random.default_rng(0)
    shapes = ((50, 20), (90, 60), (70, 0), (23, 20))
    return [Sample(str(n), draw.integers(3, 200, n).astype(np.int32), given) for n, given in shapes]


def gradients(peft_model: Any) -> torch.Tensor:
    peft_model.train()
    peft_model.zero_grad()
    for part in Objective(peft_model, CPU, packing=False, fused_loss=True).losses(samples()):
        part.backward()
    return torch.cat([weight.grad.flatten() for weight in trainable_parameters(peft_model).values()])


def evaluate(peft_model: Any) -> None:
    peft_model.eval()
    with torch.no_grad():
        peft_model(torch.arange(3, 40)[None], use_cache=False)


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_dequantised_base_before_and_after_evaluation(
    trained_base: Path, kind: str
) -> None:
    recipe = recipe_of(trained_base, kind)
    plain = from_pretrained(
        trained_base, torch.float32, CPU.device, model.quantization_kwargs(kind, torch.float32)
    )
    plain = with_adapter(add_lora(plain.dequantize(), recipe, trained_base))
    expected = gradients(plain)
    quantised = with_adapter(load_model(recipe, trained_base, None, CPU))
    assert distance(gradients(quantised), expected) < 1e-6
    evaluate(quantised)
    assert distance(gradients(quantised), expected) < 1e-6


@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit")
def test_without_the_guard_nf4_loses_its_gradients(
    trained_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows what the guard prevents, and when it is no longer needed."""
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16")
    monkeypatch.setattr(model, "keep_nf4_differentiable", lambda _: None)
    bare = with_adapter(load_model(recipe_of(trained_base, "nf4"), trained_base, None, CPU))
    before = gradients(bare)
    evaluate(bare)
    assert distance(gradients(bare), before) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_models_are_packed(trained_base: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quantised = with_adapter(load_model(recipe_of(trained_base, kind), trained_base, None, CPU))
    # A token with one large channel, as large models have them; only the first document holds it.
    quantised.get_input_embeddings().weight.data[7] = 50 * torch.eye(64)[5]
    some = [Sample(one.row_id, np.maximum(one.ids, 8), one.prompt_length) for one in samples()]
    some[0].ids[10] = 7
    choice = choose_objective(quantised, some, CPU)
    assert choice.reasons == []
    assert (choice.objective.packing, choice.objective.fused_loss) == (True, True)
    choice.objective.restore_attention()
    # Without rowwise_int8, such a channel looks like attention across documents.
    monkeypatch.setattr(loss, "rowwise_int8", lambda _: nullcontext())
    choice = choose_objective(quantised, some, CPU)
    assert choice.objective.packing == (kind == "nf4")


def test_int8_threshold_is_restored_after_the_check(trained_base: Path) -> None:
    quantised = load_model(recipe_of(trained_base, "int8"), trained_base, None, CPU)
    choose_objective(quantised, samples(), CPU)
    thresholds = {
        module.state.threshold for module in quantised.modules() if hasattr(module, "init_8bit_state")
    }
    assert thresholds == {6.0}


def test_validation_loss_is_near_that_of_bf16(adapters: dict[str | None, Path]) -> None:
    """Each run was also validated during training, which without the guard stops NF4 gradients."""
    after = {}
    for kind, run in adapters.items():
        loss = json.loads((run / "manifest.json").read_text())["validation_loss"]
        assert loss["after"] < 0.5 * loss["before"]
        after[kind] = loss["after"]
    assert after["nf4"] == pytest.approx(after[None], rel=0.02)
    assert after["int8"] == pytest.approx(after[None], rel=0.02)


@pytest.mark.parametrize("kind", ["nf4", pytest.param("int8", marks=pytest.mark.slow)])
def test_killed_run_resumes_bit_exactly(
    run_training: RunTraining, trained_base: Path, tmp_path: Path, kind: str, killed_at: Any
) -> None:
    changes: dict[str, Any] = {
        "model": str(trained_base),
        "quantization": kind,
        "precision": "bf16",
        "eval_every": 2,
        "max_steps": 8,
        "save_every": 3,
        "lora": {"r": 4, "alpha": 8, "dropout": 0.2},
    }
    reference, _ = run_training(**changes, out=str(tmp_path / "reference"))
    with killed_at(5):
        run_training(**changes)
    run, output = run_training(**changes)
    assert "resuming from step 3 of 8" in output
    assert weights_sha256(run) == weights_sha256(reference)
    with pytest.raises(UserError, match=rf"another recipe \(quantization: {kind} -> None\)"):
        run_training(**changes | {"quantization": None})


def test_card_and_manifest_record_the_quantisation(
    adapters: dict[str | None, Path], trained_base: Path
) -> None:
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
    assert f"--model medalpaca --model_args pretrained={trained_base},peft={run},load_in_4bit=True" in card
    # Without bitsandbytes the adapter loads on the base that is not quantised.
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trained_base), run)


def test_quantised_weights_are_counted_by_number_not_by_packed_bytes(
    run_training: RunTraining, trained_base: Path
) -> None:
    _, output = run_training(model=str(trained_base), quantization="nf4", max_steps=1, validation=0)
    recipe = Recipe(model=str(trained_base), data="d", lora={"r": 4})
    count = sum(weight.numel() for weight in load_on_meta_device(recipe, trained_base, None).parameters())
    assert f"of {count:,} weights" in output
    assert "slower path" not in output


@pytest.mark.parametrize("kind", KINDS)
def test_estimate_of_a_quantised_base(trained_base: Path, kind: str) -> None:
    """Compare with the bytes of the loaded model's weights and scales."""
    recipe = recipe_of(trained_base, kind)
    shape = load_on_meta_device(recipe, trained_base, None)
    loaded = load_model(recipe, trained_base, None, CPU)
    real = sum(
        weight.numel() * weight.element_size() for weight in loaded.parameters() if not weight.requires_grad
    )
    for module in loaded.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            real += sum(t.numel() * t.element_size() for t in (state.absmax, state.state2.absmax))
    assert estimate.base_bytes(shape, recipe, 4) == pytest.approx(real, rel=0.01)
    assert estimate.base_bytes(shape, recipe, 4) < 0.8 * estimate.base_bytes(
        shape, recipe_of(trained_base, None), 4
    )
    assert estimate.dequantized_bytes(shape, recipe, 4) == 64 * 128 * 4


def test_only_a_frozen_base_is_quantised() -> None:
    with pytest.raises(UserError, match=r"quantization=nf4 needs method=lora"):
        read_recipe("full", ["model=m", "data=d", "quantization=nf4"])


def test_base_stored_in_4_bits_is_refused(
    run_training: RunTraining, trained_base: Path, tmp_path: Path
) -> None:
    stored = tmp_path / "stored"
    kwargs = model.quantization_kwargs("nf4", torch.float32)
    model.from_pretrained(trained_base, torch.float32, CPU.device, kwargs).save_pretrained(stored)
    model.load_tokenizer(trained_base).save_pretrained(stored)
    with pytest.raises(UserError, match="stored in 4 or 8 bits; give the base before quantisation"):
        run_training(model=str(stored))


def test_warm_up_in_steps(run_training: RunTraining) -> None:
    recipe = Recipe(model="m", data="d", warmup_steps=4, warmup=0.5, schedule="constant", learning_rate=1.0)
    assert [learning_rate(step, 100, recipe) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    _, output = run_training(max_steps=3, warmup_steps=100)
    assert "warmup_steps=100, but the run has 3 steps" in output
