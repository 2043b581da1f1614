"""The best step, a full disk, the loss picture, trackers, the memory estimate and the chat."""

from __future__ import annotations

import hashlib
import io
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import check_adapter_dir, weights_sha256
from medalpaca_train.trackers import read_metrics

RunTraining = Callable[..., tuple[Path, str]]


def test_best_step_is_kept_if_it_is_not_the_last(run_training: RunTraining, base: Path) -> None:
    """Validation loss of other groups rises once the training rows are memorised."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run, output = run_training(epochs=24, eval_every=2, learning_rate=2e-2)
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "validation"]
    best = json.loads((run / "manifest.json").read_text())["best"]
    lowest = min(lines[1:-1], key=lambda line: line["loss"])
    assert (best["step"], best["loss"]) == (lowest["step"], lowest["loss"])
    assert best["loss"] < lines[-1]["loss"]
    assert f"step {best['step']} had the lowest validation loss" in output
    assert best["sha256"] == weights_sha256(run / "best") != weights_sha256(run)
    check_adapter_dir(run / "best", base)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run / "best")


def test_no_best_step_if_the_last_is_best(run_training: RunTraining) -> None:
    run, _ = run_training(epochs=2, eval_every=2, learning_rate=1e-3)
    assert json.loads((run / "manifest.json").read_text())["best"] is None
    assert not (run / "best").exists()


def test_full_disk_is_reported_and_the_last_checkpoint_kept(
    run_training: RunTraining, tmp_path: Path, before_step: Any
) -> None:
    """A limit on file sizes makes a write fail half way, as a full disk does."""
    reference, _ = run_training(out=str(tmp_path / "reference"), method="full", max_steps=8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    message = r"step 8 cannot be written .*last complete one is step-000004; free disk space"
    try:
        with (
            before_step(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))),
            pytest.raises(UserError, match=message),
        ):
            run_training(method="full", max_steps=8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run = tmp_path / "run"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000004"]
    run, output = run_training(method="full", max_steps=8)
    assert "resuming from step 4" in output
    assert weights_sha256(run) == weights_sha256(reference)


def test_the_loss_curve_is_a_picture_of_the_losses(run_training: RunTraining) -> None:
    from PIL import Image

    from medalpaca_train.trackers import TRAIN, VALIDATION

    run, _ = run_training(eval_every=4)
    picture = Image.open(run / "loss.png").convert("RGB")
    assert picture.size == (960, 540)
    colours = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in picture.getcolors(1 << 16)}  # type: ignore[misc,union-attr]
    assert {TRAIN, VALIDATION} <= colours


def test_speed_and_memory_are_recorded(run_training: RunTraining) -> None:
    run, output = run_training(max_steps=3)
    steps = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"]
    assert all(
        0 < line["mfu"] < 1 and line["peak_bytes"] > 1e7 and line["tokens_per_s"] > 0 for line in steps
    )
    assert "estimate: about " in output
    assert "of memory" in output
    assert "MFU" in output
    assert "s left" in output


def test_missing_tracker_is_refused_before_any_work(run_training: RunTraining, tmp_path: Path) -> None:
    from importlib.util import find_spec

    absent = next((name for name in ("wandb", "mlflow", "tensorboard") if find_spec(name) is None), None)
    if absent is None:
        pytest.skip("all trackers are installed here")
    with pytest.raises(UserError, match=f"track={absent}: the package {absent} is not installed"):
        run_training(track=[absent])
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_numbers(run_training: RunTraining) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = run_training(max_steps=3, track=["tensorboard"])
    events = EventAccumulator(str(run / "track")).Reload()
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"]
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(
        [line["loss"] for line in lines]
    )


@pytest.mark.parametrize("method", ["full", "lora"])
def test_checkpointing_changes_no_weight(run_training: RunTraining, tmp_path: Path, method: str) -> None:
    one, _ = run_training(method=method, max_steps=4, out=str(tmp_path / "one"))
    two, output = run_training(method=method, max_steps=4, checkpointing="always", out=str(tmp_path / "two"))
    assert "recomputed" in output
    first, second = (read_metrics(run / "metrics.jsonl") for run in (one, two))
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], rel=1e-6)


def test_checkpointing_is_switched_on_if_memory_is_short(
    run_training: RunTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medalpaca_train import estimate

    monkeypatch.setattr(estimate, "free_memory", lambda device: 1_000)
    _, output = run_training(max_steps=1)
    assert "recomputed in the backward pass to save memory" in output


def test_estimate_matches_allocated_memory(base: Path, tokenizer: Any) -> None:
    """Compare with the memory of weights, gradients and moments, and with what the backward pass keeps."""
    from medalpaca_train.estimate import estimate_run
    from medalpaca_train.hardware import Hardware, count_flops
    from medalpaca_train.loss import CHUNK_TOKENS, choose_objective
    from medalpaca_train.model import load_model, load_on_meta_device
    from medalpaca_train.packing import make_packed_batch, make_plan
    from medalpaca_train.recipe import Recipe
    from medalpaca_train.tokenize import Sample

    recipe = Recipe(model=str(base), data="d", method="full", max_tokens=128, batch_tokens=1024)
    hardware = Hardware(torch.device("cpu"), "fp32", "")
    rows = [Sample(str(i), torch.randint(3, 200, (128,)).int().numpy(), 0) for i in range(8)]
    shape = load_on_meta_device(recipe, base, tokenizer)
    assert all(weight.device.type == "meta" for weight in shape.parameters())
    expected = estimate_run(shape, recipe, make_plan([128] * 8, recipe), rows, hardware, peak_flops=1e9)
    model = load_model(recipe, base, tokenizer, hardware)
    count = sum(weight.numel() for weight in model.parameters())
    assert (expected.weights, expected.training_state) == (4 * count, 12 * count)
    assert count_flops(shape) == count_flops(model)
    objective = choose_objective(model, rows, hardware).objective
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        objective.batch_loss(make_packed_batch(rows, hardware.device))
    logits = CHUNK_TOKENS["cpu"] * model.config.vocab_size * 8
    assert expected.activations - logits == pytest.approx(sum(size for size, _ in kept.values()), rel=0.5)


def test_flops_by_hand(base: Path) -> None:
    """Kaplan's count for a Llama of two layers with 32 x 32 and 32 x 64 matrices and an output layer of 32 rows."""
    from transformers import AutoModelForCausalLM

    from medalpaca_train.hardware import count_flops

    model = AutoModelForCausalLM.from_pretrained(base)
    work = count_flops(model)
    assert work.per_token == 6 * 2 * (4 * 32 * 32 + 3 * 32 * 64)
    assert work.per_supervised_token == 6 * 32 * model.config.vocab_size
    assert work.total([(10, 4)]) == 10 * work.per_token + 4 * work.per_supervised_token + 100 * 6 * 2 * 32
    for weight in model.parameters():
        weight.requires_grad_(False)
    assert count_flops(model).per_token == 4 * 2 * (4 * 32 * 32 + 3 * 32 * 64)


def test_trained_model_answers_and_stops(
    run_training: RunTraining,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    from medalpaca_data.core.audit_log import verify
    from medalpaca_data.core.prompt import render
    from medalpaca_train import chat
    from medalpaca_train.cli import main
    from medalpaca_train.finished_run import load_run

    run, _ = run_training(method="full", epochs=40, validation=0, learning_rate=1e-2)
    monkeypatch.setattr("sys.stdin", io.StringIO("Answer.\n\n"))
    log = tmp_path / "log"
    assert main(["chat", str(run), "--audit", str(log)]) == 0
    output = capsys.readouterr().out
    assert "Not for clinical use" in output
    assert verify(log).head.sha256 in "".join(output.split())
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["what"] for entry in kept] == ["started", "asked", "answered", "ended"]
    assert kept[1]["prompt_sha256"] == hashlib.sha256(render("Answer.").encode()).hexdigest()
    assert "Answer." not in log.read_text()
    model, tokenizer = load_run(run)
    texts = [
        chat.generate_answer(model, tokenizer, f"Answer.\n\n{question}", Console(file=io.StringIO()))
        for question in ("What is aspirin used for?", "digoxin?")
    ]
    assert texts == ["It treats pain.", "It treats heart failure."]


def test_chat_needs_a_finished_run(tmp_path: Path) -> None:
    from medalpaca_train.cli import main

    with pytest.raises(UserError, match="required: RUN"):
        main(["chat"])
    with pytest.raises(UserError, match="no such run directory"):
        main(["chat", str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="not a finished run"):
        main(["chat", str(tmp_path)])
    with pytest.raises(UserError, match="unrecognized arguments: --audit"):
        main(["pocket", "--audit", str(tmp_path / "log")])
