"""The wheels, where no workspace is: all is in them, the commands answer, stock `lm_eval` finds our tasks. Slow."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import ROOT, run_command, samples
from .test_structure import MEMBERS

pytestmark = pytest.mark.slow


def uv(*words: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(["uv", *map(str, words)], cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Every member's source distribution, and its wheel made from that."""
    folder = tmp_path_factory.mktemp("built")
    uv("build", "--quiet", "--offline", "--all-packages", "--out-dir", folder)
    return folder


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that knows this repository by wheels only."""

    folder: Path

    def run(self, name: str, *arguments: object, home: Path) -> str:
        done = run_command(str(self.folder / "bin" / name), *arguments, home=home)
        assert done.returncode == 0, done.stderr
        return done.stdout


def install(folder: Path, *wheels: Path, members: tuple[str, ...] = ("--all-packages",)) -> Installed:
    """A clean environment with what `members` declare, as resolved, and then the wheels: nothing is downloaded.

    That the wheels declare all they need is what `pip check` says in the end.
    """
    where = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)}
    where.pop("VIRTUAL_ENV", None)
    uv("sync", "--quiet", "--frozen", "--offline", "--no-dev", "--no-install-workspace", *members, env=where)
    uv("pip", "install", "--quiet", "--offline", "--no-deps", "--python", folder, *wheels)
    uv("pip", "check", "--quiet", "--python", folder)
    return Installed(folder)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Installed:
    return install(tmp_path_factory.mktemp("installed") / "venv", *built.glob("*.whl"))


def sources(member: str) -> set[str]:
    """What the package consists of, by its paths."""
    found = (MEMBERS[member] / "src").rglob("*")
    return {
        str(file.relative_to(MEMBERS[member] / "src"))
        for file in found
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_holds_the_whole_package_and_the_licence(member, built):
    [file] = built.glob(f"{member}-*.whl")
    with zipfile.ZipFile(file) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        [licence] = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
        assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert {name for name in names if name.startswith(f"{member}/")} == sources(member)
    start = {Path(name).name for name in names if "/purelib/" in name}
    bootstrap = {
        "medalpaca_evalharness": {
            "medalpaca_evalharness_autoload.pth",
            "medalpaca_evalharness_autoload.start",
        },
        "medalpaca_data": {"medalpaca_data_seal.pth", "medalpaca_data_seal.start"},
    }
    assert start == bootstrap.get(member, set())


def test_wheels_are_pinned_to_each_other(built):
    wanted = {
        "medalpaca_data": [],
        "medalpaca_train": ["medalpaca-data==0.1.0"],
        "medalpaca_evalharness": ["medalpaca-data==0.1.0"],
        "medalpaca_demo": [
            "medalpaca-data==0.1.0",
            "medalpaca-evalharness==0.1.0",
            "medalpaca-train==0.1.0",
        ],
    }
    for member, pins in wanted.items():
        [file] = built.glob(f"{member}-*.whl")
        with zipfile.ZipFile(file) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            lines = wheel.read(name).decode().splitlines()
        found = [line.removeprefix("Requires-Dist: ") for line in lines if "Requires-Dist: medalpaca" in line]
        assert sorted(line.replace(" ", "") for line in found) == pins


@pytest.mark.parametrize("member", MEMBERS)
def test_a_source_distribution_holds_what_a_wheel_is_made_of(member, built):
    [file] = built.glob(f"{member}-*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert {f"src/{name}" for name in sources(member)} <= names


def test_data_alone_brings_no_torch(built, tmp_path):
    alone = install(
        tmp_path / "venv", *built.glob("medalpaca_data-*.whl"), members=("--package", "medalpaca-data")
    )
    listed = uv("pip", "list", "--quiet", "--python", alone.folder)
    assert "medalpaca-data" in listed
    assert "torch" not in listed
    assert alone.run("data", "--version", home=tmp_path / "home") == "data 0.1.0\n"


def test_the_commands_answer(installed, tmp_path):
    home = tmp_path / "home"
    assert installed.run("data", "--version", home=home) == "data 0.1.0\n"
    for name in ("data", "train", "exam", "demo", "quickstart"):
        assert f"{name} " in installed.run(name, "--help", home=home)
    where = f"print(*(__import__(name).__file__ for name in {[*MEMBERS]}))"
    for file in installed.run("python", "-c", where, home=home).split():
        assert Path(file).is_relative_to(installed.folder)


def test_bundled_recipes_are_found(installed, tmp_path):
    installed.run("data", "build", "pocket", f"out={tmp_path / 'rows'}", home=tmp_path / "home")
    assert list((tmp_path / "rows").iterdir())


def test_lm_eval_finds_our_tasks(installed, pair, tmp_path):
    arguments = (
        "--model",
        "hf",
        "--model_args",
        f"pretrained={pair.base}",
        "--device",
        "cpu",
        "--limit",
        "2",
    )
    exam = json.dumps({"exam": str(pair.exam)})
    out = ("--log_samples", "--output_path", tmp_path / "results")
    task = ("--tasks", "medalpaca_usmle", "--metadata", exam)
    installed.run("lm_eval", *arguments, *task, *out, home=tmp_path / "home")
    assert [len(samples(tmp_path / "results", f"medalpaca_usmle_step{n}")) for n in (1, 2, 3)] == [2, 2, 2]
