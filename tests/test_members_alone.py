"""Each member installs and passes its own tests in an environment of its own. Slow: four environments."""

import os
import subprocess
import tomllib

import pytest

from .conftest import ROOT
from .test_structure import MEMBERS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_stands_alone(member, tmp_path):
    folder = MEMBERS[member]
    name = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv"), "UV_LINK_MODE": "hardlink"}
    environment.pop("VIRTUAL_ENV", None)
    # Everything is in uv's cache since the workspace was synced: no network is needed.
    sync = ["uv", "sync", "--quiet", "--offline", "--frozen", "--package", name, "--group", "dev"]
    done = subprocess.run(sync, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    python = tmp_path / "venv" / "bin" / "python"
    listed = subprocess.run(["uv", "pip", "list", "--python", python], capture_output=True, text=True).stdout
    if member == "medalpaca_data":
        assert "torch" not in listed
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(tests, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
