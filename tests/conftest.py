"""Fixtures of the tests that cross packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medalpaca_data.ground import places

ROOT = Path(__file__).resolve().parents[1]

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def real() -> Path:
    """The real data's directory; the test is skipped where there is none."""
    shared = places.shared()
    if shared is None:
        pytest.skip("no real data: set MEDALPACA_SHARED to the directory that holds data/")
    return shared / "data"


def run_command(
    name: str, *arguments: object, home: Path, **switches: str
) -> subprocess.CompletedProcess[str]:
    """One of the console scripts, as a user calls it, with a home of its own."""
    environment = {**os.environ, "MEDALPACA_HOME": str(home), "COLUMNS": "120", **switches}
    environment.pop("MEDALPACA_EXAM", None)
    script = Path(sys.executable).with_name(name)
    return subprocess.run(
        [script, *map(str, arguments)], capture_output=True, text=True, env=environment, cwd=home.parent
    )


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`command("data", "build", ...)` in a fresh home."""

    def _command(name: str, *arguments: object, **switches: str) -> subprocess.CompletedProcess[str]:
        return run_command(name, *arguments, home=tmp_path / "home", **switches)

    return _command
