"""A run that was cut off continues as if nothing had happened: the same weights, bit by bit."""

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
from medalpaca_train import checkpoint, loop
from medalpaca_train.trackers import read_journal

Go = Callable[..., tuple[Path, str]]
COMMAND = str(Path(sys.executable).parent / "train")


class KilledError(BaseException):
    """Stands for a process that is gone: nothing catches it."""


def steps(run: Path) -> list[int]:
    return [line["step"] for line in read_journal(run / "metrics.jsonl") if line["kind"] == "train"]


def test_lora_with_dropout_resumes_bit_exactly(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = {"r": 4, "alpha": 8, "dropout": 0.2}
    whole, _ = go(out=str(tmp_path / "whole"), lora=lora, eval_every=3)
    step = loop.Trainer._step

    def dying(self: loop.Trainer, number: int, *others: Any) -> dict[str, Any]:
        if number == 10:
            raise KilledError
        return step(self, number, *others)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop.Trainer, "_step", dying)
        go(lora=lora, eval_every=3)
    run, said = go(lora=lora, eval_every=3)
    total = steps(whole)[-1]
    assert f"resuming from step 8 of {total}" in said
    assert weights_sha256(run) == weights_sha256(whole)
    one, two = (read_journal(path / "metrics.jsonl") for path in (whole, run))
    assert [(line["step"], line["loss"]) for line in one] == [(line["step"], line["loss"]) for line in two]


def test_killed_before_the_first_checkpoint_starts_its_journal_anew(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop.Trainer, "_step", dying)
        go(max_steps=2)
    run, _ = go(max_steps=2)
    lines = read_journal(run / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("validation", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 2),
    ]


def test_what_a_kill_leaves_is_removed_and_no_hindrance(go: Go, tmp_path: Path) -> None:
    """Whether it came in the very first write, while the model was saved, or right after the receipt."""

    def leave(run: Path) -> None:
        (run / ".saving.ab_1cd2e").mkdir(parents=True)
        (run / ".saving.ab_1cd2e" / "model.safetensors").write_text("all weights")
        for name in (".recipe.yaml.xq12_abc", ".manifest.json.abcdefgh", ".train.lock"):
            (run / name).write_text("half")

    def hidden(run: Path) -> list[str]:
        return [path.name for path in run.iterdir() if path.name.startswith(".")]

    leave(tmp_path / "run")
    run, _ = go(max_steps=2, resume=False)
    assert hidden(run) == []
    leave(run)
    (run / "checkpoints").mkdir()
    _, said = go(max_steps=2)
    assert "finished run" in said
    assert hidden(run) == []
    assert not (run / "checkpoints").exists()


def test_foreign_dot_files_are_neither_ignored_nor_removed(go: Go, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".gitignore").write_text("*")
    with pytest.raises(UserError, match="holds something that is not a run"):
        go()
    assert (tmp_path / "run" / ".gitignore").exists()


def test_sigterm_saves_and_the_same_command_continues(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = go(out=str(tmp_path / "whole"), method="full")
    step = loop.Trainer._step

    def terminated(self: loop.Trainer, number: int, *others: Any) -> dict[str, Any]:
        if number == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, *others)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", terminated)
        run, said = go(method="full")
    assert "saved at step 6" in said
    assert not (run / "manifest.json").exists()
    run, said = go(method="full", save_every=3)
    assert "resuming from step 6" in said
    assert weights_sha256(run) == weights_sha256(whole)


def test_checkpoints_are_pruned_and_complete(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "remove_all", lambda run: None)
    run, _ = go(max_steps=9, save_every=2, keep_checkpoints=3)
    found = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert found == ["step-000006", "step-000008", "step-000009"]
    files = {path.name for path in (run / "checkpoints" / "step-000009").iterdir()}
    assert files == {"weights.safetensors", "optimizer.safetensors", "trainer.json", "hashes.json"}


@pytest.mark.slow  # starts two processes, each of which imports everything
def test_sigkill_resumes_bit_exactly(go: Go, settings: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"method": "full", "epochs": 16, "save_every": 7}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    merged = settings | changes
    words = [f"{key}={value}" for key, value in merged.items() if key != "lora"]
    # Only these keys differ from the recipe's own; a file keeps the command short.
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
    assert weights_sha256(run) == weights_sha256(whole)
    assert steps(run) == steps(whole)
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.slow  # starts a process for each kill, each of which imports everything
def test_ten_kills_at_random_moments_leave_the_same_weights(
    go: Go, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever it was doing: importing, tokenising, a step, a checkpoint, validation, the last save."""
    changes: dict[str, Any] = {"epochs": 150, "save_every": 20, "eval_every": 90}
    whole, _ = go(out=str(tmp_path / "whole"), **changes)
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(yaml.safe_dump(settings | changes))
    draw, journal = random.Random(0), Path(settings["out"]) / "metrics.jsonl"
    last = steps(whole)[-1]
    for kill in range(10):
        process = subprocess.Popen([COMMAND, str(recipe)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # Two at any moment of the start; the others once the run is some way further than the last kill left it.
        wanted = 0 if kill < 2 else last * (kill - 1 + draw.random()) / 10
        deadline = time.monotonic() + 300
        while (
            not (journal.is_file() and len(steps(journal.parent)) >= wanted) and time.monotonic() < deadline
        ):
            if wanted == 0 and draw.random() < 0.002:
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
    assert weights_sha256(Path(settings["out"])) == weights_sha256(whole)
    assert steps(Path(settings["out"])) == steps(whole)
