"""The whole loop on the pocket model, by the commands of the README. Slow: three seeds and a control."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from medalpaca_data.core.paths import Quickstart
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness.statistics import wilson

from .conftest import run_command, samples

pytestmark = pytest.mark.slow

CONFIDENCE = 0.99
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Walk:
    """One quickstart: where it happened, what it said, what it cost."""

    home: Path
    stdout: str
    seconds: float
    peak_bytes: int

    @property
    def places(self) -> Quickstart:
        root = self.home / "quickstart"
        results = root / "results"
        return Quickstart(root / "meadow", root / "base", root / "run", results / "base", results / "tuned")

    def compare(self) -> dict:
        done = run_command(
            "exam", "compare", self.places.results_base, self.places.results_tuned, "--json", home=self.home
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def proportional_memory(pid: int) -> int:
    """Bytes held by a process and all below it, shared pages counted once in all (Linux's Pss)."""
    total = 0
    for process in [pid, *children(pid)]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def children(pid: int) -> list[int]:
    try:
        below = [
            int(n)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for n in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return below + [n for child in below for n in children(child)]


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Callable[[int], Walk]:
    """`walk(seed)`: each seed's quickstart, walked once."""
    walks: dict[int, Walk] = {}

    def _walk(seed: int) -> Walk:
        if seed not in walks:
            home = tmp_path_factory.mktemp(f"seed{seed}") / "home"
            environment = {**os.environ, "MEDALPACA_HOME": str(home), "COLUMNS": "80"}
            start, peak = time.monotonic(), 0
            command = [Path(sys.executable).with_name("quickstart"), "--seed", str(seed)]
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            output: list[str] = []
            reader = threading.Thread(target=lambda: output.extend(process.stdout or []))
            reader.start()
            while process.poll() is None:
                peak = max(peak, proportional_memory(process.pid))
                time.sleep(0.5)
            reader.join()
            assert process.returncode == 0, "".join(output)
            walks[seed] = Walk(home, "".join(output), time.monotonic() - start, peak)
        return walks[seed]

    return _walk


def test_it_takes_minutes_and_little_memory(walk):
    first = walk(1)
    assert first.seconds < 300
    assert first.peak_bytes < 3e9
    assert "uv run demo" in first.stdout


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_base_guesses_and_the_tuned_model_knows(walk, seed):
    pooled = walk(seed).compare()["all"]
    n = pooled["n"]
    base, tuned = round(n * pooled["base_accuracy"]), round(n * pooled["tuned_accuracy"])
    assert n == 408
    interval = wilson(base, n, CONFIDENCE)
    assert interval.low <= 0.25 <= interval.high
    assert wilson(tuned, n, CONFIDENCE).low > 0.60
    assert pooled["p_mcnemar_exact"] < 0.001


def test_the_bases_of_all_seeds_together_are_at_chance(walk):
    pooled = [walk(seed).compare()["all"] for seed in (1, 2, 3)]
    assert 0.20 < sum(one["base_accuracy"] for one in pooled) / 3 < 0.30


def test_the_chart_of_the_readme_equals_a_new_quickstart(walk):
    """If this fails after a change of the training, copy the new `quickstart/result.svg` to `docs/quickstart.svg`."""
    first = walk(1)
    chart = (ROOT / "docs" / "quickstart.svg").read_text()
    pooled = first.compare()["all"]
    metadata = re.search(r"<metadata>(.*?)</metadata>", chart, re.DOTALL)
    assert metadata is not None
    total = json.loads(unescape(metadata[1]))["rows"][-1]
    counts = [total[name] for name in ("both_right", "fixed", "broken", "both_wrong")]
    assert (sum(counts), total["fixed"], total["broken"]) == (pooled["n"], pooled["fixed"], pooled["broken"])
    printed = re.sub(r"\s+", " ", first.stdout)
    assert f"fixed {total['fixed']} and broke {total['broken']} of 408 questions" in printed
    assert (first.home / "quickstart" / "result.svg").read_text() == chart


def test_both_sides_saw_the_same_prompts(walk):
    base, tuned = (
        {doc["doc"]["item_id"]: doc["arguments"] for doc in samples(out, "medalpaca_pocket")}
        for out in (walk(1).places.results_base, walk(1).places.results_tuned)
    )
    assert len(base) == 408
    assert base == tuned


def test_a_second_run_reuses_what_is_there(walk):
    first = walk(1)
    files = [file for file in first.places.meadow.parent.rglob("*") if file.is_file()]
    before = {file: file.stat().st_mtime_ns for file in files if file.name != "made.json"}
    start = time.monotonic()
    done = run_command("quickstart", "--seed", "1", home=first.home)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < first.seconds / 3
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "up to date" in done.stdout
    assert "nothing to do" in done.stdout


def test_shuffled_answers_teach_nothing(walk, tmp_path):
    """The control: the same training on cards whose answers are exchanged stays at chance."""
    first = walk(1)
    meadow, run, out = tmp_path / "meadow", tmp_path / "run", tmp_path / "results"
    assert (
        run_command("data", "build", "pocket-control", "seed=1", f"out={meadow}", home=first.home).returncode
        == 0
    )
    base = first.places.base
    done = run_command(
        "train", "pocket", f"model={base}", f"data={meadow}", f"out={run}", "seed=1", home=first.home
    )
    assert done.returncode == 0, done.stderr
    examine(first, f"pretrained={base},peft={run}", "medalpaca_pocket", out)
    right = sum(doc["acc_norm"] for doc in samples(out, "medalpaca_pocket"))
    interval = wilson(int(right), 408, CONFIDENCE)
    assert interval.low <= 0.25 <= interval.high, right


def test_the_real_step_exams_with_the_pocket_model(walk, real, tmp_path):
    """About chance is the right answer for a model that cannot read; that nothing is cut is what counts."""
    exam = real / "usmle_sample" / "medalpaca_format"
    done = examine(
        walk(1), f"pretrained={walk(1).places.base}", "medalpaca_usmle", tmp_path, MEDALPACA_EXAM=str(exam)
    )
    # The table's own row counts answers that were cut off; prompts would be told of by lm-eval's warning.
    said = [line for line in (done.stdout + done.stderr).lower().splitlines() if "truncat" in line]
    assert all(re.search(r"\|truncated *\|.*\|0\.0000\|", line) for line in said), said
    counts = {step: samples(tmp_path, f"medalpaca_usmle_step{step}") for step in (1, 2, 3)}
    assert {step: len(docs) for step, docs in counts.items()} == {1: 92, 2: 108, 3: 124}
    sha256 = load_exam(exam).sha256
    docs = [doc for docs in counts.values() for doc in docs]
    assert {doc["doc"]["exam_sha256"] for doc in docs} == {sha256}
    interval = wilson(int(sum(doc["acc"] for doc in docs)), len(docs), CONFIDENCE)
    chance = sum(1 / len(doc["arguments"]) for doc in docs) / len(docs)
    assert interval.low <= chance <= interval.high


def test_real_patient_information_lowers_the_loss_and_a_killed_run_continues(walk, real, tmp_path):
    rows = json.loads((real / "wikidoc_patient_info" / "medical_meadow_small.json").read_text())[:600]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    first = walk(1)
    words = [
        *(
            "train",
            "lora",
            f"model={first.places.base}",
            f"data={tmp_path / 'rows.json'}",
            f"out={tmp_path / 'run'}",
        ),
        *(
            "max_tokens=1024",
            "batch_tokens=2048",
            "accumulate=1",
            "max_steps=60",
            "save_every=10",
            "validation=0.1",
        ),
        *("learning_rate=1e-3", "precision=fp32", "patient_text=no"),
    ]
    command = [Path(sys.executable).with_name(words[0]), *words[1:]]
    killed = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL)
    while killed.poll() is None and not list((tmp_path / "run").glob("checkpoints/step-*2*")):
        time.sleep(0.1)
    killed.kill()
    assert killed.wait() == -9, "it ended before it could be killed"
    done = run_command(*words, home=first.home)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    loss = manifest["validation_loss"]
    assert loss["after"] < loss["before"] - 0.1


def examine(
    first: Walk, model_args: str, task: str, out: Path, **switches: str
) -> subprocess.CompletedProcess[str]:
    """lm_eval on the CPU, with logged samples in `out`."""
    words = [
        "--model",
        "hf",
        "--model_args",
        model_args,
        "--tasks",
        task,
        "--device",
        "cpu",
        "--batch_size",
        "16",
    ]
    done = run_command("lm_eval", *words, "--log_samples", "--output_path", out, home=first.home, **switches)
    assert done.returncode == 0, done.stderr
    return done
