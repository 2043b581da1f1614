"""The bootstrap: what it patches, when it does nothing, and that it never breaks a program."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness import lm_eval_plugin


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def loaded_modules(code: str) -> list[str]:
    done = python(f"import sys\n{code}\nprint(*sorted(sys.modules))")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_hook_is_installed_at_every_start_of_python():
    done = python("import sys; print([type(f).__name__ for f in sys.meta_path].count('LmEvalFinder'))")
    assert done.stdout == "1\n", done.stderr


def test_the_start_of_python_loads_only_the_bootstrap():
    modules = loaded_modules("")
    project = [name for name in modules if name.startswith("medalpaca")]
    assert project == ["medalpaca_evalharness", "medalpaca_evalharness.lm_eval_plugin"]
    # Other packages of the environment may install path files of their own.
    without = python("import sys; print(*sorted(sys.modules))", MEDALPACA_NO_AUTOLOAD="1").stdout.split()
    assert modules == without
    third_party = {
        "torch",
        "lm_eval",
        "datasets",
        "transformers",
        "rich",
        "numpy",
        "polars",
        "pydantic",
        "yaml",
    }
    assert not {name.partition(".")[0] for name in modules} & third_party


def test_the_package_imports_its_public_functions_on_first_use():
    heavy = {"torch", "lm_eval", "rich", "transformers"}
    assert not heavy & set(loaded_modules("import medalpaca_evalharness"))
    assert not heavy & set(
        loaded_modules("from medalpaca_evalharness import compare, read_run, summarize_run")
    )
    import medalpaca_evalharness
    from medalpaca_evalharness import comparison, results

    assert medalpaca_evalharness.compare is comparison.compare
    assert medalpaca_evalharness.read_run is results.read_run
    assert set(medalpaca_evalharness.__all__) <= set(dir(medalpaca_evalharness))
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        medalpaca_evalharness.missing  # noqa: B018


def test_no_autoload_disables_the_hook():
    done = python("import sys; print([type(f).__name__ for f in sys.meta_path])", MEDALPACA_NO_AUTOLOAD="1")
    assert "Finder" not in done.stdout.replace("PathFinder", "").replace("MetaFinder", "")


def test_start_up_files():
    purelib = Path(__file__).parent.parent / "purelib"
    pth, start = sorted(purelib.iterdir(), key=lambda file: file.suffix)
    assert (
        pth.read_text()
        == "import medalpaca_evalharness.lm_eval_plugin; medalpaca_evalharness.lm_eval_plugin.install()\n"
    )
    # PEP 829: the form that replaces import lines, under the same name.
    assert start.read_text() == "medalpaca_evalharness.lm_eval_plugin:install\n"
    assert (pth.name, start.name) == (
        "medalpaca_evalharness_autoload.pth",
        "medalpaca_evalharness_autoload.start",
    )
    # site reads these in sorted order, and uv_build calls the editable path file so.
    assert sorted([pth.name, "medalpaca_evalharness.pth"])[-1] == pth.name


def test_sealed_mode_blocks_connections_of_lm_eval(monkeypatch):
    code = (
        "import lm_eval.tasks, os, socket\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY)\n"
        "try:\n"
        "    socket.create_connection(('192.0.2.1', 443), timeout=1)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )
    clean = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "")
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    for value in ("1", "TRUE", "yes "):
        assert python(code, MEDALPACA_SEALED=value, **clean).stdout.split() == ["True", "True", "SealedError"]
    open_ = python(code, **clean).stdout.split()
    assert open_[:2] == ["False", "True"]  # the hub may be asked, and is told nothing
    assert "SealedError" not in open_


def test_tasks_seal_the_process_without_the_hook():
    code = (
        "import socket\n"
        "from medalpaca_evalharness.task_data import build_dataset\n"
        "print(len(build_dataset(medalpaca_task='medalpaca_pocket')['test']) > 0)\n"
        "try:\n"
        "    socket.create_connection(('192.0.2.1', 443), timeout=1)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )
    for value in ("1", "on"):
        done = python(code, MEDALPACA_SEALED=value, MEDALPACA_NO_AUTOLOAD="1")
        assert done.stdout.split() == ["True", "SealedError"], done.stderr


NOT_ALLOWED = "environment variable MEDALPACA_SEALED='01' is not allowed; "


SCRIPT = Path(sys.executable).with_name("lm_eval")


@pytest.mark.parametrize(
    "words",
    [
        [SCRIPT, "--help"],
        [SCRIPT, "run", "--model", "dummy", "--tasks", "arc_easy"],
        [sys.executable, "-m", "lm_eval", "ls", "tasks"],
    ],
)
def test_an_invalid_switch_ends_the_command_line_with_one_line(words):
    done = subprocess.run(
        words,
        env=os.environ | {"MEDALPACA_SEALED": "01"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {NOT_ALLOWED}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["lm_eval.tasks", "lm_eval.models", "lm_eval.evaluator"])
def test_an_invalid_switch_prevents_the_import_of_lm_eval(module):
    code = (
        "import importlib\n"
        "for _ in range(2):\n"
        "    try:\n"
        f"        importlib.import_module('{module}')\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    lines = python(code, MEDALPACA_SEALED="01").stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"UserError {NOT_ALLOWED}") for line in lines)


def test_an_invalid_switch_is_an_error_of_the_tasks_without_the_hook():
    code = (
        "from medalpaca_evalharness.task_data import build_dataset\n"
        "try:\n"
        "    build_dataset(medalpaca_task='medalpaca_pocket')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = python(code, MEDALPACA_SEALED="01", MEDALPACA_NO_AUTOLOAD="1")
    assert done.stdout.startswith(f"UserError {NOT_ALLOWED}"), done.stderr


def test_an_invalid_switch_does_not_affect_other_programs():
    done = python("import json; print(json.dumps(1))", MEDALPACA_SEALED="01")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_an_invalid_switch_ends_a_run_whose_check_fails(monkeypatch):
    from medalpaca_evalharness import preflight

    monkeypatch.setattr(preflight, "before_model", lambda call: 1 / 0)
    monkeypatch.setenv("MEDALPACA_SEALED", "01")
    with pytest.raises(UserError, match="MEDALPACA_SEALED='01' is not allowed"):
        lm_eval_plugin._run_check_before(lambda tasks: "ran", "before_model")(["t"])


@pytest.mark.parametrize("value", ["1", "yes", "01"])
def test_lm_eval_ends_if_the_process_cannot_be_sealed(value, monkeypatch):
    monkeypatch.setitem(sys.modules, "medalpaca_data.core.offline", None)
    monkeypatch.setenv("MEDALPACA_SEALED", value)
    with pytest.raises(ImportError):
        lm_eval_plugin._seal_if_enabled("lm_eval.tasks.manager")
    monkeypatch.setenv("MEDALPACA_SEALED", "")
    lm_eval_plugin._seal_if_enabled("lm_eval.tasks.manager")


def test_install_is_idempotent(monkeypatch):
    monkeypatch.setattr(
        sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, lm_eval_plugin.LmEvalFinder)]
    )
    monkeypatch.setattr(lm_eval_plugin, "PATCHES", {})
    lm_eval_plugin.install()
    lm_eval_plugin.install()
    assert [type(finder) for finder in sys.meta_path].count(lm_eval_plugin.LmEvalFinder) == 1


def test_two_hooks_do_not_recurse(tmp_path, monkeypatch):
    (tmp_path / "patched_module_of_the_test.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []
    patch = {"patched_module_of_the_test": lambda module: seen.append(module.value)}
    monkeypatch.setattr(lm_eval_plugin, "PATCHES", patch)
    monkeypatch.setattr(
        sys, "meta_path", [lm_eval_plugin.LmEvalFinder(), lm_eval_plugin.LmEvalFinder(), *sys.meta_path]
    )
    module = __import__("patched_module_of_the_test")
    assert module.value == 1
    assert set(seen) == {1}


def test_a_failing_patch_is_logged(caplog):
    lm_eval_plugin._apply_patch(lambda module: 1 / 0, types.ModuleType("some_module"))
    assert "some_module could not be patched" in caplog.text or caplog.records == []


class Manager:
    """As much of lm-eval's task manager as is patched."""

    def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
        self.given = include_path
        self.metadata = metadata
        self.include_path = include_path


@pytest.fixture
def manager():
    module = types.ModuleType("lm_eval.tasks.manager")
    module.TaskManager = type("TaskManager", (Manager,), {"__init__": Manager.__init__})
    return module


OURS = Path(lm_eval_plugin.__file__).parent / "tasks"


@pytest.mark.parametrize(
    ("include", "searched"),
    [(None, []), ("mine", ["mine"]), (["mine", "other"], ["mine", "other"]), (str(OURS), [])],
)
def test_plugin_directories_come_before_include_path(manager, include, searched):
    lm_eval_plugin._patch_task_manager(manager)
    made = manager.TaskManager(include_path=include, metadata={"exam": "x"})
    assert made.metadata == {"exam": "x"}
    assert made.include_path == include
    assert [str(path) for path in made.given if Path(path) != OURS] == searched
    assert [Path(path) for path in made.given].count(OURS) == 1
    if include == "mine":
        assert Path(made.given[-1]) == Path("mine")


def test_no_patch_if_lm_eval_reads_entry_points(manager):
    manager.discover_plugin_task_paths = list
    lm_eval_plugin._patch_task_manager(manager)
    assert manager.TaskManager().given is None


def test_a_broken_plugin_of_another_package_is_skipped(monkeypatch):
    real = importlib.metadata.entry_points

    def entry_points(group):
        broken = [("a", "no_such_package.tasks"), ("b", "no_such_package"), ("c", "")]
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in broken] + list(
            real(group=group)
        )

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert OURS in lm_eval_plugin.task_directories()


@pytest.mark.parametrize(("error", "code"), [(UserError("wrong\nhere"), 2), (CheckFailed("no"), 1)])
def test_a_user_error_is_one_line(error, code, capsys):
    class HarnessCLI:
        def execute(self, args):
            raise error

    harness = types.ModuleType("lm_eval._cli.harness")
    harness.HarnessCLI = HarnessCLI
    lm_eval_plugin._patch_command_line(harness)
    with pytest.raises(SystemExit) as ended:
        HarnessCLI().execute(None)
    assert ended.value.code == code
    assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"


def test_other_errors_are_not_changed():
    class HarnessCLI:
        def execute(self, args):
            raise ZeroDivisionError("lm-eval's own")

    harness = types.ModuleType("lm_eval._cli.harness")
    harness.HarnessCLI = HarnessCLI
    lm_eval_plugin._patch_command_line(harness)
    with pytest.raises(ZeroDivisionError, match="own"):
        HarnessCLI().execute(None)


@pytest.mark.parametrize("reads_them_itself", [False, True])
def test_models_are_registered_unless_lm_eval_reads_entry_points(monkeypatch, reads_them_itself):
    from lm_eval.api import registry

    mine: registry.Registry = registry.Registry("model")
    monkeypatch.setattr(registry, "model_registry", mine)
    if reads_them_itself:
        monkeypatch.setattr(registry, "load_plugins", lambda: None, raising=False)
    for _ in range(2):
        lm_eval_plugin._register_models(types.ModuleType("lm_eval.models"))
    assert ("medalpaca" in mine) is not reads_them_itself
    # A string until it is asked for: neither torch nor transformers is imported for a list of names.
    assert all(isinstance(held, str) for held in mine.values())
