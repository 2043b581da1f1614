"""`pytest --real NAME` selects by the marker's argument, and `tools/acceptance.py` reports what became of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

TESTS = """
import pytest


def test_plain():
    pass


@pytest.mark.real("stone")
def test_stone(record_property):
    record_property("weight", "3 kg")


@pytest.mark.real("stone")
@pytest.mark.real("rain")
@pytest.mark.slow
def test_both():
    pass


@pytest.mark.real("rain")
def test_rain():
    assert False


@pytest.mark.real("snow")
def test_snow():
    pytest.skip("no snow here")


@pytest.fixture
def broken():
    raise OSError


@pytest.mark.real("hail")
def test_hail(broken):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository with this one's configuration and tool, and tests of its own."""
    folder = tmp_path / "project"
    for name in ("conftest.py", "pyproject.toml", "tools/acceptance.py", "tools/acceptance.sh"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("packages", "apps", "tests"):
        (folder / name).mkdir()
    (folder / "tests/test_weather.py").write_text(TESTS)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "weather")
    return folder


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Python leaves no compiled file behind, which would be a change of the tree.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment
    )


def selected(folder: Path, *words: str) -> set[str]:
    done = python(folder, "-m", "pytest", "--collect-only", "-q", "-n", "0", *words)
    return set(re.findall(r"::(\w+)", done.stdout))


def test_the_suite_leaves_real_tests_out(project):
    assert selected(project) == {"test_plain"}
    slow = re.search(r'pytest --durations=30 -m "(.+)"', (ROOT / ".ci/run").read_text())
    assert selected(project, "-m", slow[1]) == set()
    assert selected(project, "-m", "slow") == {"test_both"}


@pytest.mark.parametrize(
    ("name", "tests"), [("stone", {"test_stone", "test_both"}), ("rain", {"test_rain", "test_both"})]
)
def test_a_name_selects_exactly_its_tests(project, name, tests):
    assert selected(project, "--real", name) == tests


def test_a_passing_run_is_reported(project):
    done = python(project, "tools/acceptance.py", "stone")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (project / "docs/acceptance/stone.md").read_text()
    assert "**Passed**: 2 of 2 tests passed." in text
    assert f"| commit | {git(project, 'rev-parse', 'HEAD').strip()}, clean tree |" in text
    for key in ("date", "Python", "torch", "transformers", "peft", "lm-eval", "gradio", "machine"):
        assert re.search(rf"^\| {key} \| .+ \|$", text, re.MULTILINE), key
    assert re.findall(r"^\| `(.+)` \| (.+) \| \d+\.\d \|$", text, re.MULTILINE) == [
        ("tests/test_weather.py::test_stone", "passed"),
        ("tests/test_weather.py::test_both", "passed"),
    ]
    assert "| weight | 3 kg |" in text
    assert str(project) not in text
    assert os.uname().nodename not in text.split()


def test_what_does_not_pass_is_reported_as_well(project):
    (project / "tests/test_weather.py").write_text(TESTS + "\n")
    for name, outcomes in {
        "rain": ["passed", "failed"],
        "snow": ["skipped"],
        "hail": ["error in setup"],
    }.items():
        done = python(project, "tools/acceptance.py", name)
        assert done.returncode == 1, done.stdout + done.stderr
        text = (project / f"docs/acceptance/{name}.md").read_text()
        assert "**Not passed**" in text
        assert ", with changes |" in text
        assert re.findall(r"^\| `.+` \| (.+) \| \d+\.\d \|$", text, re.MULTILINE) == outcomes
    assert sorted(file.name for file in (project / "docs/acceptance").iterdir()) == [
        "hail.md",
        "rain.md",
        "snow.md",
    ]


def test_a_name_that_no_test_carries_is_refused_with_those_that_are(project):
    done = python(project, "tools/acceptance.py", "fog")
    assert done.returncode == 2
    assert 'no test is marked real("fog"); known names: hail, rain, snow, stone' in done.stderr
    assert not (project / "docs").exists()


@pytest.mark.parametrize("words", [[], ["stone", "rain"]])
def test_the_script_takes_one_name(project, words):
    done = subprocess.run(
        ["bash", "tools/acceptance.sh", *words], cwd=project, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: tools/acceptance.sh NAME")
