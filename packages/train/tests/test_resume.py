"""An interrupted run resumes with the same weights as an uninterrupted one, bit by bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import weights_sha256
from medalpaca_train import checkpoint
from medalpaca_train.trackers import read_metrics

RunTraining = Callable[..., tuple[Path, str]]
COMMAND = str(Path(sys.executable).parent / "train")


def steps(run: Path) -> list[int]:
    return [line["step"] for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "train"]


def test_lora_with_dropout_resumes_bit_exactly(
    run_training: RunTraining, tmp_path: Path, killed_at: Any
) -> None:
    lora = {"r": 4, "alpha": 8, "dropout": 0.2}
    reference, _ = run_training(out=str(tmp_path / "reference"), lora=lora, eval_every=3)
    with killed_at(10):
        run_training(lora=lora, eval_every=3)
    run, output = run_training(lora=lora, eval_every=3)
    total = steps(reference)[-1]
    assert f"resuming from step 8 of {total}" in output
    assert weights_sha256(run) == weights_sha256(reference)
    one, two = (read_metrics(path / "metrics.jsonl") for path in (reference, run))
    assert [(line["step"], line["loss"]) for line in one] == [(line["step"], line["loss"]) for line in two]


def test_killed_before_the_first_checkpoint_starts_new_metrics(
    run_training: RunTraining, killed_at: Any
) -> None:
    with killed_at(0):
        run_training(max_steps=2)
    run, _ = run_training(max_steps=2)
    lines = read_metrics(run / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("validation", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 2),
    ]


def test_leftovers_of_a_killed_process_are_removed(run_training: RunTraining, tmp_path: Path) -> None:
    """Killed in the first write, while the model was saved, or right after the manifest."""

    def leave(run: Path) -> None:
        (run / ".saving.ab_1cd2e").mkdir(parents=True)
        (run / ".saving.ab_1cd2e" / "model.safetensors").write_text("all weights")
        for name in (".recipe.yaml.xq12_abc", ".manifest.json.abcdefgh", ".train.lock"):
            (run / name).write_text("half")

    def hidden(run: Path) -> list[str]:
        return [path.name for path in run.iterdir() if path.name.startswith(".")]

    leave(tmp_path / "run")
    run, _ = run_training(max_steps=2, resume=False)
    assert hidden(run) == []
    leave(run)
    (run / "checkpoints").mkdir()
    _, output = run_training(max_steps=2)
    assert "finished run" in output
    assert hidden(run) == []
    assert not (run / "checkpoints").exists()


def test_foreign_dot_files_are_neither_ignored_nor_removed(run_training: RunTraining, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".gitignore").write_text("*")
    with pytest.raises(UserError, match="is not empty and not a run directory"):
        run_training()
    assert (tmp_path / "run" / ".gitignore").exists()


def test_sigterm_saves_and_the_same_command_continues(
    run_training: RunTraining, tmp_path: Path, before_step: Any
) -> None:
    reference, _ = run_training(out=str(tmp_path / "reference"), method="full")
    with before_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        run, output = run_training(method="full")
    assert "saved at step 6" in output
    assert not (run / "manifest.json").exists()
    run, output = run_training(method="full", save_every=3)
    assert "resuming from step 6" in output
    assert weights_sha256(run) == weights_sha256(reference)


def test_checkpoints_are_pruned_and_complete(
    run_training: RunTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "remove_all", lambda run: None)
    run, _ = run_training(max_steps=9, save_every=2, keep_checkpoints=3)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-000006", "step-000008", "step-000009"]
    files = {path.name for path in (run / "checkpoints" / "step-000009").iterdir()}
    assert files == {"weights.safetensors", "optimizer.safetensors", "trainer.json", "hashes.json"}


@pytest.mark.slow  # starts two processes, each of which imports everything
def test_sigkill_resumes_bit_exactly(
    run_training: RunTraining, settings: dict[str, Any], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"method": "full", "epochs": 16, "save_every": 7}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    merged = settings | changes
    words = [f"{key}={value}" for key, value in merged.items() if key != "lora"]
    # A file with the nested keys keeps the command short.
    recipe = tmp_path / "killed.yaml"
    recipe.write_text("lora: {r: 4, alpha: 8}\n")
    process = subprocess.Popen([COMMAND, str(recipe), *words], stdout=subprocess.PIPE, text=True)
    run, deadline = Path(settings["out"]), time.monotonic() + 120
    while len(steps(run)) < 20 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    killed_at = len(steps(run))
    done = subprocess.run([COMMAND, str(recipe), *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.partition("resuming from step ")[2].split()[0]
    assert 14 <= int(last) <= killed_at
    assert int(last) % 7 == 0
    assert weights_sha256(run) == weights_sha256(reference)
    assert steps(run) == steps(reference)
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.slow  # starts a process for each kill, each of which imports everything
def test_ten_kills_at_random_times_give_the_same_weights(
    run_training: RunTraining, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Killed while importing, tokenising, in a step, a checkpoint, validation or the last save."""
    changes: dict[str, Any] = {"epochs": 150, "save_every": 20, "eval_every": 90}
    reference, _ = run_training(out=str(tmp_path / "reference"), **changes)
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(yaml.safe_dump(settings | changes))
    draw, metrics = random.Random(0), Path(settings["out"]) / "metrics.jsonl"
    last = steps(reference)[-1]
    for kill in range(10):
        process = subprocess.Popen([COMMAND, str(recipe)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # Two kills during the start; the others at increasing shares of the run.
        target = 0 if kill < 2 else last * (kill - 1 + draw.random()) / 10
        deadline = time.monotonic() + 300
        while (
            not (metrics.is_file() and len(steps(metrics.parent)) >= target) and time.monotonic() < deadline
        ):
            if target == 0 and draw.random() < 0.002:
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run([COMMAND, str(recipe)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    assert weights_sha256(Path(settings["out"])) == weights_sha256(reference)
    assert steps(Path(settings["out"])) == steps(reference)
