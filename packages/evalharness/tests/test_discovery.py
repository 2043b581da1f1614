"""Stock lm-eval finds the tasks in fresh environments, however the two packages were installed.

The environments borrow everything heavy: a directory of links to what is installed here, without this project and
without path files, so that only what the installation itself brings can make a test pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("uv") is None, reason="uv is not on PATH, and environments are made with it"
    ),
]

PACKAGE = Path(__file__).parent.parent
DATA = PACKAGE.parent / "data"
INSTALLED = Path(sysconfig.get_path("purelib"))

KNOWN = len(list((PACKAGE / "src" / "medalpaca_evalharness" / "tasks").glob("*.yaml")))

FOUND = """
import sys
from lm_eval.tasks import TaskManager, manager
names = [name for name in TaskManager(include_defaults=False).all_tasks if name.startswith("medalpaca_")]
print("found", len(names), hasattr(manager.TaskManager.__init__, "__wrapped__"))
"""
EVALUATE = """
from lm_eval import simple_evaluate
results = simple_evaluate("dummy", tasks=["medalpaca_pocket"], bootstrap_iters=0)
print("asked", results["n-samples"]["medalpaca_pocket"]["effective"] > 0)
"""


def uv(*arguments: object) -> None:
    # Not the caller's environment: uv would install into it.
    clean = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(
        ["uv", *map(str, arguments)], env=clean, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


class Environment:
    """A virtual environment with borrowed packages."""

    def __init__(self, root: Path, *, without: str = "") -> None:
        # dill tells installed modules by this name in their paths.
        borrowed = root / "borrowed" / "site-packages"
        borrowed.mkdir(parents=True)
        for entry in INSTALLED.iterdir():
            own = entry.name.startswith("medalpaca") or entry.suffix in (".pth", ".start")
            if not own and not (without and entry.name.startswith(without)):
                (borrowed / entry.name).symlink_to(entry)
        uv("venv", "--python", sys.executable, root / "venv")
        self.python = root / "venv" / "bin" / "python"
        self.site = next((root / "venv" / "lib").glob("python*")) / "site-packages"
        (self.site / "borrowed.pth").write_text(f"{borrowed}\n")

    def install(self, *what: object) -> None:
        uv("pip", "install", "--python", self.python, "--no-deps", *what)

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {
            k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "MEDALPACA_EXAM")
        }
        return subprocess.run(
            [self.python, *map(str, arguments)],
            env=clean | {"HF_HUB_OFFLINE": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=300,
            cwd="/",
        )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("wheels")
    for package in (DATA, PACKAGE):
        uv("build", "--wheel", "--out-dir", out, package)
    return sorted(out.glob("*.whl"))


@pytest.fixture(params=["wheel", "editable"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, wheels: list[Path]) -> Environment:
    made = Environment(tmp_path)
    if request.param == "wheel":
        made.install(*wheels)
    else:
        made.install("-e", DATA, "-e", PACKAGE)
    return made


def test_tasks_are_found(environment: Environment):
    assert environment.run("-c", FOUND).stdout == f"found {KNOWN} True\n"
    assert environment.run("-I", "-c", FOUND).stdout == f"found {KNOWN} True\n"
    assert environment.run("-c", FOUND, MEDALPACA_NO_AUTOLOAD="1").stdout == "found 0 False\n"
    listed = environment.run("-m", "lm_eval", "validate", "--tasks", "medalpaca_usmle,medalpaca_pocket")
    assert "All tasks found and valid" in listed.stdout, listed.stderr
    evaluated = environment.run("-c", EVALUATE)
    assert evaluated.stdout.endswith("asked True\n"), evaluated.stderr


def test_start_up_is_silent_and_uninstall_removes_the_hook(environment: Environment):
    done = environment.run("-c", "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    uv("pip", "uninstall", "--python", environment.python, "medalpaca-evalharness")
    assert not list(environment.site.glob("medalpaca_evalharness*"))
    done = environment.run("-c", "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def copied_lm_eval(tmp_path: Path) -> Callable[[str], Path]:
    """The installed lm-eval as a source tree with the build back end that its own repository uses."""

    def copy(change: str = "") -> Path:
        tree = tmp_path / "lm-evaluation-harness"
        shutil.copytree(
            INSTALLED / "lm_eval", tree / "lm_eval", ignore=shutil.ignore_patterns("__pycache__", "tasks")
        )
        (tree / "lm_eval" / "tasks").mkdir()
        for file in (INSTALLED / "lm_eval" / "tasks").glob("*.py"):
            shutil.copy(file, tree / "lm_eval" / "tasks")
        with (tree / "lm_eval" / "tasks" / "manager.py").open("a") as manager:
            manager.write(change)
        (tree / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "lm_eval"\nversion = "0.4.13"\n'
            '[tool.setuptools.packages.find]\ninclude = ["lm_eval*"]\n'
        )
        return tree

    return copy


@pytest.mark.parametrize("plugin", ["wheel", "editable"])
def test_lm_eval_itself_installed_editable(tmp_path: Path, wheels: list[Path], copied_lm_eval, plugin: str):
    made = Environment(tmp_path / plugin, without="lm_eval")
    tree = copied_lm_eval()
    made.install("--no-build-isolation", "-e", tree)
    made.install(*(wheels if plugin == "wheel" else ["-e", DATA, "-e", PACKAGE]))
    where = made.run("-c", "import lm_eval; print(lm_eval.__file__)").stdout.strip()
    assert Path(where).is_relative_to(tree)
    assert made.run("-c", FOUND).stdout == f"found {KNOWN} True\n"
    listed = made.run("-m", "lm_eval", "ls", "tasks")
    assert "medalpaca_usmle_step3" in listed.stdout, listed.stderr


def test_an_lm_eval_that_reads_entry_points_is_not_patched(
    tmp_path: Path, wheels: list[Path], copied_lm_eval
):
    # What pull request 4015 adds, in the fewest words that behave the same.
    change = (
        "\n\ndef discover_plugin_task_paths():\n"
        "    import importlib.metadata, importlib.util\n"
        "    points = importlib.metadata.entry_points(group='lm_eval.tasks')\n"
        "    specs = [importlib.util.find_spec(point.value) for point in points]\n"
        "    return [Path(spec.submodule_search_locations[0]) for spec in specs]\n"
        "\n\n_build = TaskIndex.build\n"
        "TaskIndex.build = staticmethod(lambda paths: _build(paths + discover_plugin_task_paths()))\n"
    )
    made = Environment(tmp_path / "env", without="lm_eval")
    made.install("--no-build-isolation", "-e", copied_lm_eval(change))
    made.install(*wheels)
    assert made.run("-c", FOUND).stdout == f"found {KNOWN} False\n"


def test_two_plugins(tmp_path: Path, wheels: list[Path]):
    made = Environment(tmp_path)
    made.install(*wheels)
    other = tmp_path / "other"
    (other / "src" / "other_plugin").mkdir(parents=True)
    (other / "src" / "other_plugin" / "__init__.py").write_text("")
    (other / "src" / "other_plugin" / "t.yaml").write_text("task: other_task\ndataset_path: nowhere\n")
    (other / "pyproject.toml").write_text(
        '[project]\nname = "other-plugin"\nversion = "1"\n'
        '[project.entry-points."lm_eval.tasks"]\nother = "other_plugin"\n'
        '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
    )
    made.install(other)
    listed = made.run(
        "-c", "from lm_eval.tasks import TaskManager; print(TaskManager(include_defaults=False).all_tasks)"
    )
    assert "other_task" in listed.stdout, listed.stderr
    assert "medalpaca_pocket" in listed.stdout
