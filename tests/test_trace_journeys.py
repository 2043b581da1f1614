"""Tests of `tools/trace_journeys.py`: which files count, on a synthetic package and on the first journey."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import ROOT

MODULES = {
    "plain.py": "LIMIT = 3\nfor n in range(LIMIT):\n    TOTAL = n\n\n\nclass Box:\n    size = LIMIT\n",
    "never.py": "class Box:\n    def open(self):\n        return 1\n\n\ndef call():\n    return 2\n",
    "called.py": "def call():\n    return (lambda: sum(n for n in range(2)))()\n",
    "imported.py": "def call():\n    return 1\n\n\nVALUE = call()\n",
    "method.py": "class Box:\n    def open(self):\n        return 1\n",
    "threaded.py": "def call():\n    pass\n",
    "child.py": "def call():\n    pass\n",
}
PROGRAM = """
import subprocess, sys, threading
sys.path[:0] = [{source!r}, {outside!r}]
from made import called, child, imported, method, never, plain, threaded
import outside
called.call(); outside.call(); method.Box().open()
thread = threading.Thread(target=threaded.call); thread.start(); thread.join()
code = "import sys; sys.path.insert(0, {source!r}); from made import child; child.call()"
subprocess.run([sys.executable, "-c", code], check=True)
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trace_journeys", ROOT / "tools/trace_journeys.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one member, and a folder that belongs to none."""
    root = tmp_path / "project"
    package = root / "packages/made/src/made"
    package.mkdir(parents=True)
    for name, text in {"__init__.py": "", **MODULES}.items():
        (package / name).write_text(text)
    (root / "packages/made/tests").mkdir()
    (root / "packages/made/tests/outside.py").write_text("def call():\n    pass\n")
    return root


@pytest.fixture
def commands(tool: ModuleType, project: Path, tmp_path: Path) -> Any:
    folder = tmp_path / "work"
    folder.mkdir()
    return tool.Commands(folder, project)


def test_files_count_by_the_functions_that_ran(tool: ModuleType, commands: Any, project: Path) -> None:
    member = project / "packages/made"
    program = PROGRAM.format(source=str(member / "src"), outside=str(member / "tests"))
    commands.run("made", Path(sys.executable).name, "-c", program)
    functions = commands.functions("made")
    counted = ("called", "child", "imported", "method", "threaded")
    assert tool.files_of(functions) == [f"packages/made/src/made/{name}.py" for name in counted]
    inside = {name for file, name in functions if file.endswith("/called.py")}
    assert {"call", "call.<locals>.<lambda>", "call.<locals>.<lambda>.<locals>.<genexpr>"} == inside


def test_another_exit_code_is_an_error_with_the_output(commands: Any) -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3, expected 2(.|\n)*the last line"):
        commands.run("made", Path(sys.executable).name, "-c", "print('the last line'); exit(3)", code=2)


def test_functions_of_a_refused_command_are_left_out(
    tool: ModuleType, commands: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str, *functions: str) -> None:
        lines = [
            f"{project}/packages/made/src/made/{function.replace(':', chr(9))}\n" for function in functions
        ]
        (commands.folder / f"{name}.trace").write_text("".join(lines))

    monkeypatch.setattr(tool, "JOURNEYS", {"both": (("one", "two"), ()), "less": (("one",), ("refused",))})
    write("one", "a.py:start", "a.py:go", "b.py:start")
    write("two", "c.py:go")
    write("refused", "a.py:start", "b.py:start")
    made = "packages/made/src/made"
    assert tool.count_files(commands) == {
        "both": [f"{made}/{name}.py" for name in "abc"],
        "less": [f"{made}/a.py"],
    }
    write("refused", "a.py:start", "a.py:go", "b.py:start")
    with pytest.raises(RuntimeError, match="less: no function observed"):
        tool.count_files(commands)


@pytest.mark.slow
def test_the_first_journey_counts_no_file_without_a_function(tool: ModuleType, tmp_path: Path) -> None:
    commands = tool.Commands(tmp_path)
    tool.build(commands)
    assert (tmp_path / "meadow/train.parquet").is_file()
    counted = tool.files_of(commands.functions("build"))
    [command] = importlib.metadata.distribution("medalpaca-data").entry_points.select(name="data")
    entry = importlib.util.find_spec(command.module)
    assert entry is not None
    assert entry.origin is not None
    assert str(Path(entry.origin).relative_to(ROOT)) in counted
    kinds = (ast.FunctionDef, ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)
    for file in counted:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert any(isinstance(node, kinds) for node in ast.walk(tree)), file
    # Most modules are not part of a build.
    assert 10 < len(counted) < sum(map(len, tool.sizes(ROOT).values())) / 2
