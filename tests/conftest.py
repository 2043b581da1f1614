"""Fixtures of the tests of several packages: console commands, and a small base model with a trained adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core import paths

ROOT = Path(__file__).resolve().parents[1]

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def real() -> Path:
    """Return the directory `data` of real data; skip the test if there is none (see `paths.shared`)."""
    shared = paths.shared()
    if shared is None:
        pytest.skip("no real data: set MEDALPACA_SHARED to the directory that holds data/")
    return shared / "data"


def run_command(
    name: str, *arguments: object, home: Path, **switches: str
) -> subprocess.CompletedProcess[str]:
    """Run the console script `name` offline with `MEDALPACA_HOME=home`, and return the completed process.

    `name` may also be the full path of a program. `switches` are more environment variables. The working directory is
    the parent of `home`. `MEDALPACA_EXAM` is not set. The exit code is not checked.
    """
    environment = {**os.environ, "COLUMNS": "120", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    environment.pop("MEDALPACA_EXAM", None)
    environment |= {"MEDALPACA_HOME": str(home), **switches}
    home.parent.mkdir(parents=True, exist_ok=True)
    # If `name` is an absolute path, the result is `name`.
    script = Path(sys.executable).parent / name
    return subprocess.run(
        [script, *map(str, arguments)], capture_output=True, text=True, env=environment, cwd=home.parent
    )


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Return a function that runs a console script, `command("data", "build", ...)`, in a fresh home."""

    def _command(name: str, *arguments: object, **switches: str) -> subprocess.CompletedProcess[str]:
        return run_command(name, *arguments, home=tmp_path / "home", **switches)

    return _command


@dataclass(frozen=True, slots=True)
class Pair:
    """Directories and files of the fixture `pair`.

    `base`: an untrained pocket model. `run`: a LoRA run of three steps on it. `other`: a model with other weights.
    `rows`: its training rows. `exam`: an exam of six items.
    """

    base: Path
    run: Path
    other: Path
    rows: Path
    exam: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return models, rows and an exam that are made once per session.

    The models are too small and too short trained to answer correctly; tests use them to check that commands fit.
    """
    from medalpaca_data.core.prompt import chat_template, render
    from medalpaca_train.model import make_pocket_model, make_pocket_tokenizer

    folder = tmp_path_factory.mktemp("pair")
    rows = [
        {"instruction": f"Which drug treats disease {n}?", "input": "", "output": f"drug {n}"}
        for n in range(24)
    ]
    questions = [
        {
            "id": f"q{n}",
            "step": 1 + n % 3,
            "question": f"Disease {n} is treated with which of these?",
            "options": {"A": f"drug {n}", "B": f"drug {n + 1}", "C": "rest and tea"},
            "answer": "A",
        }
        for n in range(6)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "exam.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    tokenizer = make_pocket_tokenizer(render(row["instruction"]) + row["output"] for row in rows)
    tokenizer.chat_template = chat_template(add_bos=True)
    for name, seed in (("base", 1), ("other", 2)):
        make_pocket_model(tokenizer, seed).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    keys = ("max_steps=3", "batch_tokens=256", "max_tokens=256", "validation=0", "precision=fp32")
    done = run_command(
        "train",
        "lora",
        f"model={folder / 'base'}",
        f"data={folder / 'rows.json'}",
        f"out={folder / 'run'}",
        *keys,
        home=folder / "home",
    )
    assert done.returncode == 0, done.stderr
    return Pair(
        folder / "base", folder / "run", folder / "other", folder / "rows.json", folder / "exam.jsonl"
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the outcome of the code blocks of the documentation.

    The outcomes are in the user properties of test reports, which also arrive from worker processes.
    """
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    properties = [held for report in reports for held in getattr(report, "user_properties", [])]
    if done := [block for name, blocks in properties if name == "blocks" for block in blocks]:
        from .page_session import summary

        terminalreporter.section("documentation")
        for line in summary(done):
            terminalreporter.write_line(line)


def samples(out: Path, task: str) -> list[dict[str, Any]]:
    """Return the logged samples of `task` from the only lm-eval run below `out`."""
    [file] = out.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
