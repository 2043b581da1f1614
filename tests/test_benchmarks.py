"""The benchmarks' table: it is made of the figures of one run, and README.md shows the committed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = ("data", "train", "evaluate", "demo")

RUN = {
    "date": "2026-01-02",
    "machine": "A Processor",
    "cores": 2,
    "wall_seconds": 1230.0,
    "cpu_seconds": 1110.0,
    "cores_busy_with_other_work": 0.26,
}
DATA = {
    "part": "data",
    "versions": {"Python": "3.11.7", "numpy": "2.4.0", "peer": "2.0"},
    "comparisons": [
        {"what": "copies, 20 rows: CPU seconds", "peer": "peer 2.0", "ratios": [8.5, 12.25, 11.0]},
        {"what": "copies, 5 rows: CPU seconds", "peer": "other 0.1", "ratios": [812.4]},
    ],
    "figures": {},
}
TRAIN = {
    "part": "train",
    "versions": {"Python": "3.11.7", "torch": "2.15.0"},
    "comparisons": [{"what": "train: tokens per second", "peer": "peer 5.0", "ratios": [1.5, 0.984]}],
    "figures": {},
}
TABLE = """\
A Processor, 2 cores, one thread; 2026-01-02; Python 3.11.7, torch 2.15.0, numpy 2.4.0; 20 minutes, 18 of CPU; other
work kept 0.3 cores busy meanwhile.

| part | what is done, and what is counted | peer | ours is | spread |
|---|---|---|---|---|
| data | copies, 20 rows: CPU seconds | peer 2.0 | **11.0 x** | 8.50 - 12.2, n = 3 |
| data | copies, 5 rows: CPU seconds | other 0.1 | **812 x** | 812 - 812, n = 1 |
| train | train: tokens per second | peer 5.0 | **1.24 x** | 0.98 - 1.50, n = 2 |
"""


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script of the benchmarks in a Python that has the standard library and nothing else."""
    command = [sys.executable, "-S", BENCHMARKS / f"{name}.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """The files of a run of two scripts."""
    for name, found in {"run": RUN, "data": DATA, "train": TRAIN}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    return tmp_path


def test_the_table_is_made_of_the_scripts_files(figures, tmp_path):
    out = tmp_path / "table.md"
    done = script("all", "--table-only", "--figures", figures, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out.read_text(encoding="utf-8") == TABLE


def test_a_table_without_files_is_refused():
    done = script("all", "--table-only")
    assert done.returncode == 2
    assert "--figures" in done.stderr


def test_a_script_that_fails_fails_the_run_and_nothing_is_written(tmp_path):
    """With a uv that makes every environment, writes one script's figures and fails at the others."""
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "if sys.argv[1] == 'sync':\n    sys.exit()\n"
        "if not sys.argv[3].endswith('data.py'):\n    sys.exit(3)\n"
        f"pathlib.Path(sys.argv[-1]).write_text({json.dumps(DATA)!r})\n"
    )
    uv.chmod(0o755)
    out = tmp_path / "table.md"
    command = [sys.executable, "-S", BENCHMARKS / "all.py", "--out", out]
    done = subprocess.run(command, env={"UV": str(uv)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed: train, evaluate, demo" in done.stderr
    assert "| data | copies, 20 rows" in done.stdout
    assert not out.exists()


def test_the_readme_shows_the_committed_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, first, rest = text.partition("<!-- benchmarks -->\n")
    block, last, _ = rest.partition("<!-- /benchmarks -->\n")
    assert first
    assert last
    assert block == (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8")
