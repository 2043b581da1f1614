"""Stock `lm_eval`, as a process: found tasks, one-line errors, and a comparison from end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "MEDALPACA_EXAM"}
    return subprocess.run(
        [*map(str, command)], env=clean | environment, capture_output=True, text=True, timeout=300, cwd="/"
    )


def assert_one_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [
        line for line in done.stderr.splitlines() if line.startswith("error: ")
    ] == done.stderr.splitlines()[-1:]
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_trust_remote_code_is_refused(tiny):
    models = ("--model", "hf", "--model_args", f"pretrained={tiny}")
    done = run(BIN / "lm_eval", *models, "--tasks", "medalpaca_pocket", "--trust_remote_code")
    assert_one_line(done, "trust_remote_code= is not supported")
    assert "Initializing hf model" not in done.stderr


@pytest.mark.slow
def test_a_pickle_in_the_hubs_cache_is_one_line(tiny, tmp_path):
    repository = tmp_path / "hub" / "models--owner--model"
    snapshot = repository / "snapshots" / ("c" * 40)
    shutil.copytree(tiny, snapshot)
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    models = ("--model", "hf", "--model_args", "pretrained=owner/model")
    done = run(
        *(BIN / "lm_eval", *models, "--tasks", "medalpaca_pocket"),
        HF_HOME=str(tmp_path),
        MEDALPACA_SEALED="1",
    )
    assert_one_line(done, "pytorch_model.bin")
    assert "Initializing hf model" not in done.stderr


@pytest.mark.slow
def test_an_exam_that_does_not_fit_the_model_is_one_line(tiny, write_exam):
    done = run(
        *(
            BIN / "lm_eval",
            "--model",
            "hf",
            "--model_args",
            f"pretrained={tiny},max_length=100",
            "--device",
            "cpu",
        ),
        *("--tasks", "medalpaca_exam", "--metadata", json.dumps({"exam": str(write_exam())})),
    )
    assert_one_line(done, "do not fit the model's 100 tokens")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["tasks", "groups"])
def test_lm_eval_lists_the_tasks(what):
    done = run(BIN / "lm_eval", "ls", what)
    assert "medalpaca_usmle" in done.stdout
    assert ("medalpaca_pocket" in done.stdout) == (what == "tasks")


@pytest.mark.slow
def test_two_lm_eval_runs_and_a_comparison(tiny, adapter, write_exam, tmp_path):
    exam = write_exam()
    before = (exam / "step1.json").read_text()
    for name, models in (("base", f"pretrained={tiny}"), ("tuned", f"pretrained={tiny},peft={adapter}")):
        done = run(
            *(BIN / "lm_eval", "--model", "hf", "--model_args", models, "--device", "cpu", "--batch_size", 8),
            *("--tasks", "medalpaca_usmle", "--apply_chat_template"),
            *("--log_samples", "--output_path", tmp_path / name),
            MEDALPACA_EXAM=str(exam),
        )
        assert done.returncode == 0, done.stderr
        assert "Case" not in done.stderr + done.stdout
        assert "remedy" not in done.stderr + done.stdout
    done = run(BIN / "exam", "compare", tmp_path / "base", tmp_path / "tuned", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["n"] for row in report["steps"]] == [4, 3, 5]
    assert report["base"]["base_sha256"] == report["tuned"]["base_sha256"]
    assert report["base"]["adapter_sha256"] is None
    assert len(report["tuned"]["adapter_sha256"]) == 64
    for side in ("base", "tuned"):
        results = json.loads(Path(report[side]["file"]).read_text())
        stated = results["results"]["medalpaca_usmle"]["acc,none"]
        assert report["all"][f"{side}_accuracy"] == pytest.approx(stated)
    assert (exam / "step1.json").read_text() == before
