"""The README's commands for several processes, run with torchrun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from medalpaca_train.trackers import read_metrics

pytestmark = pytest.mark.slow  # each process imports everything

RunTraining = Callable[..., tuple[Path, str]]
SCRIPTS = Path(sys.executable).parent
README = (Path(__file__).parents[1] / "README.md").read_text()
TIMEOUT = 420


def steps(run: Path) -> list[tuple[int, float]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]


def assert_same(run: Path, reference: Path) -> None:
    assert steps(run) == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in steps(reference)]


@pytest.fixture
def recipe(settings: dict[str, Any], tmp_path: Path) -> Path:
    """A recipe of 48 steps with three micro-batches each."""
    file = tmp_path / "mine.yaml"
    changes = {"batch_tokens": 128, "accumulate": 3, "epochs": 12, "method": "full", "save_every": 3}
    file.write_text(yaml.safe_dump(settings | changes))
    return file


@pytest.fixture
def reference(run_training: RunTraining, recipe: Path, tmp_path: Path) -> Path:
    """The same recipe, trained by one process."""
    run, _ = run_training(**{**yaml.safe_load(recipe.read_text()), "out": str(tmp_path / "reference")})
    return run


def command(*words: str, marked: str) -> list[str]:
    """Return the README's command line that contains `marked`, with `words` instead of its recipe."""
    (line,) = (
        line.strip()
        for line in README.replace("\\\n", " ").splitlines()
        if marked in line and "-m medalpaca_train" in line
    )
    given = line.split(" #")[0].split()
    start = given.index("medalpaca_train") + 1
    return [str(SCRIPTS / "torchrun"), *given[given.index("torchrun") + 1 : start], *words]


def start(words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while len(steps(run)) < step and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def workers(process: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children()]


@pytest.mark.parametrize("shard", ["none", "full"])
def test_killed_and_continued_by_the_same_command(
    recipe: Path, settings: dict[str, Any], reference: Path, shard: str
) -> None:
    words = command(str(recipe), f"shard={shard}", marked="--nproc-per-node 2")
    process, run = start(words), Path(settings["out"])
    wait_for(run, 5, process)
    os.kill(workers(process)[-1], signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "another process of this run has ended; the same command continues" in err
    process = start(words)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert re.search(r"resuming from step (\d+) of 48\n", out)
    assert_same(run, reference)


def test_sigterm_to_torchrun_saves_once(recipe: Path, settings: dict[str, Any], reference: Path) -> None:
    words = command(str(recipe), "save_every=1000", marked="--nproc-per-node 2")
    process, run = start(words), Path(settings["out"])
    wait_for(run, 5, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TIMEOUT)
    assert out.count("the same command continues") == 1, err
    saved = int(re.search(r"saved at step (\d+) of 48", out)[1])  # type: ignore[index]
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-{saved:06d}"]
    process = start(words)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert f"resuming from step {saved} of 48\n" in out
    assert_same(run, reference)


def test_max_restarts(recipe: Path, settings: dict[str, Any], reference: Path) -> None:
    """torchrun restarts killed processes with --max-restarts."""
    words = command(str(recipe), marked="--max-restarts")
    words = [re.sub(r"^--nproc-per-node=.*", "--nproc-per-node=2", word) for word in words]
    process, run = start(words), Path(settings["out"])
    wait_for(run, 5, process)
    os.kill(workers(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert "resuming from step" in out
    assert_same(run, reference)


def test_two_nodes(recipe: Path, settings: dict[str, Any], reference: Path) -> None:
    """Two torchrun commands on one machine stand for two nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = command(str(recipe), "shard=full", marked="--nnodes 2")
    words = [word.replace("node1:29500", f"127.0.0.1:{port}") for word in words]
    words[words.index("--nproc-per-node") + 1] = "1"
    nodes = [start(words) for _ in range(2)]
    output = [node.communicate(timeout=TIMEOUT) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], output
    assert sum("2 processes, 1 on this node" in out for out, _ in output) == 1
    assert_same(Path(settings["out"]), reference)


def test_slurm_variables(recipe: Path, settings: dict[str, Any], reference: Path) -> None:
    """The README's Slurm script sets the ranks from Slurm's variables; a shell takes the place of srun."""
    script = README.split("```bash\n#!/bin/bash\n")[1].split("```")[0]
    inner = re.search(r"srun .*?bash -c '(.*?)'", script, re.DOTALL)
    assert inner is not None
    line = inner[1].replace("train full-fsdp model=$MODEL data=$DATA out=$OUT", f"{SCRIPTS}/train {recipe}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tasks = []
    for rank in range(2):
        slurm = {"SLURM_PROCID": rank, "SLURM_NTASKS": 2, "SLURM_LOCALID": rank, "SLURM_NTASKS_PER_NODE": 2}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{key: str(value) for key, value in (slurm | address).items()}}
        words = ["bash", "-c", line]
        tasks.append(
            subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
        )
    output = [task.communicate(timeout=TIMEOUT) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], output
    assert [err for _, err in output] == ["", ""]
    assert output[1][0] == ""
    assert_same(Path(settings["out"]), reference)
