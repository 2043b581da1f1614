"""The fast tests where the workspace's own environment does not go: the lowest versions, every newer Python.

    uv run --no-sync .ci/versions.py                 # all of it
    uv run --no-sync .ci/versions.py lowest 3.13     # parts of it

`lowest`: for each member an environment of its own with the lowest versions of what it declares, on the oldest Python;
its tests run there, so it is also shown to stand alone. A bound that the others raise is untrue, and fails. Then the
same for all together, with the tests that cross members. `3.12`, ...: the ordinary resolution, which with no lock in
the repository is the newest, on each Python of the machine. One that is not here is called "not found".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = ("packages/data", "packages/train", "packages/evalharness", "apps/demo")
OLDEST, KNOWN = "3.11", ("3.12", "3.13", "3.14", "3.15")
TESTS = ("-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider")


def run(*command: object, where: Path = ROOT, **switches: str) -> bool:
    """Whether it ended well; what it says is shown."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **switches}
    environment.pop("VIRTUAL_ENV", None)
    # `uv run` has put the workspace's own commands in front; they are not those that are tested.
    folders = environment["PATH"].split(os.pathsep)
    environment["PATH"] = os.pathsep.join(one for one in folders if Path(one) != ROOT / ".venv" / "bin")
    return subprocess.run([*map(str, command)], cwd=where, env=environment).returncode == 0


def interpreters() -> dict[str, Path]:
    """Version to program: on the PATH, of pyenv, of uv. What does not start is none."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin")
    uv = subprocess.run(["uv", "python", "dir"], capture_output=True, text=True).stdout.strip()
    folders += Path(uv).glob("*/bin")
    found: dict[str, Path] = {}
    for program in (program for folder in folders for program in sorted(folder.glob("python3.[1-9][0-9]"))):
        code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
        said = subprocess.run([program, "-c", code], capture_output=True, text=True)
        if said.returncode == 0:
            version, _, itself = said.stdout.strip().partition(" ")  # a shim is not the program
            found.setdefault(version, Path(itself))
    return found


def untrue_bounds(member: Path, environment: Path) -> Iterator[str]:
    """Declared lowest versions that are not the ones installed: nothing ever ran with them."""
    listed = subprocess.run(
        ["uv", "pip", "list", "--quiet", "--format", "json", "--python", environment],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    installed = {canonicalize_name(entry["name"]): Version(entry["version"]) for entry in json.loads(listed)}
    project = tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))
    for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        wanted = Requirement(line)
        for bound in wanted.specifier:
            found = installed[canonicalize_name(wanted.name)]
            if bound.operator == ">=" and found != Version(bound.version):
                yield f"{member / 'pyproject.toml'}: {line}, but the lowest that goes with the rest is {found}"


def lowest(folder: Path, python: Path) -> Iterator[tuple[str, bool]]:
    """Each member alone, then all together, with nothing newer than declared."""
    for name in (*MEMBERS, "tests"):
        member, environment = ROOT / name, folder / name.replace("/", "-")
        project = ["-e", name] if name in MEMBERS else ["-r", "pyproject.toml"]
        group = f"{name}/pyproject.toml:dev" if name in MEMBERS else "pyproject.toml:dev"
        install = ("uv", "pip", "install", "--quiet", "--resolution", "lowest-direct")
        good = run("uv", "venv", "--quiet", "--python", python, environment)
        good = good and run(
            *install, "--python", environment, *project, "--group", group, "pytest-xdist>=3.8"
        )
        for line in untrue_bounds(member, environment) if good and name in MEMBERS else ():
            print(line)
            good = False
        # Beside a member lies its own configuration; the tests that cross them are of the root.
        where, path = (member, "tests") if name in MEMBERS else (ROOT, "tests")
        yield f"lowest, {name}", good and run(environment / "bin" / "python", *TESTS, path, where=where)


def newest(folder: Path, version: str, python: Path) -> bool:
    """The workspace as `uv sync` makes it, on another Python."""
    environment = folder / version
    sync = ("uv", "sync", "--quiet", "--frozen", "--python", python)
    good = run(*sync, UV_PROJECT_ENVIRONMENT=str(environment))
    return good and run(environment / "bin" / "python", *TESTS)


def main(wanted: list[str]) -> int:
    found = interpreters()
    told: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="medalpaca-versions-") as folder:
        began = time.monotonic()

        def tell(what: str, good: bool) -> None:
            nonlocal began
            told.append((what, f"{'passed' if good else 'FAILED'}, {time.monotonic() - began:.0f} s"))
            print(*told[-1], sep=": ", flush=True)
            began = time.monotonic()

        if not wanted or "lowest" in wanted:
            for what, good in lowest(Path(folder), found.get(OLDEST, Path(sys.executable))):
                tell(what, good)
        for version in sorted({*KNOWN, *found} - {OLDEST}, key=Version):
            if (wanted and version not in wanted) or Version(version) < Version(OLDEST):
                continue
            if version in found:
                tell(version, newest(Path(folder), version, found[version]))
            else:
                told.append((version, "not found on this machine"))
    print()
    for what, how in told:
        print(f"{what:<32}{how}")
    return int(any("FAILED" in how for _, how in told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
