"""Each architecture that trains is supported by all later commands; the others are refused before training.

The models have random weights and two layers, and are trained for two steps, in this process.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medalpaca_data.core.errors import UserError

from .tiny_models import save_tiny_model

pytestmark = pytest.mark.slow  # a minute in all

DENSE = ("llama", "gpt2", "biogpt", "opt", "gemma3_text", "gemma3", "falcon_h1")
MIXTURES = ("mixtral", "qwen3_moe", "deepseek_v3", "qwen3_next", "glm4_moe", "gpt_oss", "jamba")
REFUSED = ("mistral3", "qwen2_5_vl")
FIXED = {
    "gemma3": "vision_tower 19",
    "mixtral": "mlp.gate 2",
    "deepseek_v3": "mlp.gate 1",
    "qwen3_next": "mlp.shared_expert_gate 2",
    "gpt_oss": "mlp.router 2",
    "jamba": "feed_forward.router 1",
    "falcon_h1": "mamba.out_proj 2",
}
ADAPTED = {
    "deepseek_v3": ("experts.gate_up_proj 1", "mlp.gate_proj 1", "shared_experts.up_proj 1"),
    "gpt_oss": ("experts.down_proj 2", "experts.gate_up_proj 2"),
    "jamba": ("experts.down_proj 1", "feed_forward.up_proj 1"),
}

Train = Callable[..., tuple[Path, str]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from medalpaca_train.model import make_pocket_tokenizer

    return make_pocket_tokenizer(json.dumps(rows()).splitlines())


def rows() -> list[dict[str, str]]:
    return [
        {"instruction": "Answer.", "input": f"Disease {n}?", "output": f"It is treated with drug {n}."}
        for n in range(16)
    ]


@pytest.fixture
def train(tmp_path: Path, tokenizer: Any) -> Train:
    """Return a function that trains an architecture for two steps: (run, what was printed)."""

    def _train(name: str, size: int = 32, **changes: Any) -> tuple[Path, str]:
        from medalpaca_train.recipe import Recipe
        from medalpaca_train.run import train

        base, screen = tmp_path / "base", io.StringIO()
        if not base.exists():
            save_tiny_model(name, base, tokenizer, size)
        (tmp_path / "rows.json").write_text(json.dumps(rows()))
        settings = {
            "model": str(base),
            "data": str(tmp_path / "rows.json"),
            "out": str(tmp_path / "run"),
            "validation": 0.5,
            "max_tokens": 128,
            "batch_tokens": 512,
            "max_steps": 2,
            "epochs": 9,
            "learning_rate": 1e-2,
            "lora": {"r": 4, "alpha": 8},
        }
        return train(Recipe(**settings | changes), console=Console(file=screen, width=400)), screen.getvalue()

    return _train


def validation_loss(run: Path) -> tuple[float, float]:
    """Return the validation loss after training: as measured by the run, and that of the loaded run."""
    from medalpaca_train.datasets import read_datasets
    from medalpaca_train.finished_run import load_run
    from medalpaca_train.hardware import choose_hardware
    from medalpaca_train.merge import ProbeRows, compute_output
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.tokenize import encode

    manifest = json.loads((run / "manifest.json").read_text())
    model, tokenizer = load_run(run)
    held_out = read_datasets(Recipe(**manifest["recipe"])).validation
    samples = encode(held_out, tokenizer, max_tokens=128, loss="answer").samples
    loaded = compute_output(model, ProbeRows("held-out rows", samples), choose_hardware("fp32")).loss
    return manifest["validation_loss"]["after"], loaded


def ask(run: Path, out: Path, **model: str) -> dict[str, float]:
    """Return the accuracy by `exam ask`, for base and tuned, and check that lm_eval's own model gives the same."""
    from lm_eval import simple_evaluate

    from medalpaca_evalharness.lm_eval_run import make_task_manager
    from medalpaca_evalharness.model import both_sides

    base = run.with_name("base")
    scores = {}
    for side, folder in zip(
        ("base", "tuned"),
        both_sides.evaluate_both(str(base), str(run), ["medalpaca_pocket"], out, limit=3),
        strict=True,
    ):
        [file] = folder.rglob("results_*.json")
        scores[side] = json.loads(file.read_text())["results"]["medalpaca_pocket"]["acc,none"]
    arguments = {"pretrained": str(base), "peft": str(run)}
    plain = simple_evaluate(
        model="hf",
        model_args=arguments,
        tasks=["medalpaca_pocket"],
        task_manager=make_task_manager(arguments),
        limit=3,
        device="cpu",
    )
    assert plain["results"]["medalpaca_pocket"]["acc,none"] == scores["tuned"]
    return scores


def show(base: Path, tuned: Path) -> None:
    """Load both sides as the demo does, and compute one pass of each."""
    import torch

    from medalpaca_demo import models

    loaded = models._load_local({"base": base, "tuned": tuned})
    assert loaded.pair is not None
    both = [("base", "tuned")] if loaded.pair.shares_batch else [("base",), ("tuned",)]
    for sides in both:
        with torch.inference_mode(), loaded.pair.activate(sides) as (model, extra):
            logits = model(input_ids=torch.ones((len(sides), 3), dtype=torch.long), **extra).logits
            assert logits.isfinite().all()


@pytest.mark.parametrize("name", [*DENSE, *MIXTURES])
def test_all_commands_after_training_an_adapter(
    train: Train, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medalpaca_train import chat
    from medalpaca_train.finished_run import load_run
    from medalpaca_train.merge import merge_run

    quiet = Console(file=io.StringIO())
    run, printed = train(name)
    assert FIXED.get(name, "") in printed.partition("not adapted: ")[2]
    for label in ADAPTED.get(name, ()):
        assert label in printed.partition("adapted: ")[2].partition("not adapted")[0]
    measured, loaded = validation_loss(run)
    assert loaded == pytest.approx(measured, abs=1e-4)
    merged = merge_run(run, None, quiet)
    show(run.with_name("base"), merged)
    monkeypatch.setattr(chat, "MAX_NEW_TOKENS", 3)
    chat.generate_answer(*load_run(run), "What?", quiet)
    ask(run, tmp_path / "results")
    show(run.with_name("base"), run)


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrapper_without_a_causal_language_model_is_refused(
    train: Train, name: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=f"model type '{name}' is not a causal language model in transformers"
    ):
        train(name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["gemma3", "mixtral", "gpt_oss"])
def test_full_training_keeps_towers_and_routers(train: Train, name: str) -> None:
    from safetensors.torch import load_file

    run, _ = train(name, method="full", learning_rate=1e-3)
    before, after = (load_file(folder / "model.safetensors") for folder in (run.with_name("base"), run))
    fixed = {key for key in before if before[key].equal(after[key])}
    parts = ("vision_tower", "multi_modal_projector", "block_sparse_moe.gate", "mlp.router")
    assert fixed == {key for key in before if any(part in key for part in parts)}
    measured, loaded = validation_loss(run)
    assert loaded == pytest.approx(measured, abs=1e-4)
    show(run.with_name("base"), run)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_moe"])
def test_an_adapter_on_a_quantised_base(train: Train, name: str) -> None:
    from medalpaca_train.merge import merge_run

    run, _ = train(name, size=64, quantization="nf4", precision="fp32")
    measured, loaded = validation_loss(run)
    assert loaded == pytest.approx(measured, abs=1e-4)
    merge_run(run, None, Console(file=io.StringIO()))


@pytest.mark.parametrize("name", ["gemma3", "mixtral", "falcon_h1"])
def test_a_resumed_run_is_equal(
    train: Train, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from medalpaca_train import loop

    whole, _ = train(name, out=str(tmp_path / "whole"), save_every=1)
    step = loop.Trainer._step

    def stop(self: loop.Trainer, number: int, *others: Any) -> dict[str, Any]:
        if number == 1:
            raise RuntimeError("killed")
        return step(self, number, *others)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            train(name, save_every=1)
    run, printed = train(name, save_every=1)
    assert "resuming from step 1 of 2" in printed
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (whole, run))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)


def test_experts_without_a_token_are_adapted(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen experts, rows of a few tokens: each expert has its own part of the adapter."""
    from safetensors.torch import load_file

    from . import tiny_models

    monkeypatch.setattr(tiny_models, "EXPERTS", 16)
    run, _ = train("mixtral")
    weights = load_file(run / "adapter_model.safetensors")
    experts = [key for key in weights if ".experts." in key and "lora_A" in key]
    assert [tuple(weights[key].shape) for key in experts] == [(16 * 4, 32), (16 * 4, 64)] * 2
