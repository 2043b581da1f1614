"""What the house promises about itself: imports run down only, help is quick, nothing unsafe is switched on."""

import ast
import graphlib
import re
import resource
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from .conftest import ROOT

MEMBERS = {
    "medalpaca_data": ROOT / "packages/data",
    "medalpaca_train": ROOT / "packages/train",
    "medalpaca_evalharness": ROOT / "packages/evalharness",
    "medalpaca_demo": ROOT / "apps/demo",
}

# member -> what it may import of ours
BELOW = {
    "medalpaca_data": set(),
    "medalpaca_train": {"medalpaca_data"},
    "medalpaca_evalharness": {"medalpaca_data"},
    "medalpaca_demo": {"medalpaca_data", "medalpaca_train", "medalpaca_evalharness"},
}


def sources(member: str) -> list[Path]:
    return sorted((MEMBERS[member] / "src").rglob("*.py"))


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("member", MEMBERS)
def test_imports_run_down_only(member):
    ours = {name.partition(".")[0] for file in sources(member) for name in imports(file)} & MEMBERS.keys()
    assert ours - {member} <= BELOW[member]


def rooms(member: str) -> dict[str, set[str]]:
    """What each module of a member imports of the same member, type-checking imports included."""
    root = MEMBERS[member] / "src" / member
    modules = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sources(member)
    }
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        here = file.relative_to(root).parent.parts
        found = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = [*here[: len(here) - node.level + 1], *(node.module or "").split(".")]
                base = [part for part in base if part]
                whole = {".".join([*base, alias.name]) for alias in node.names}
                found |= {one if one in modules else ".".join(base) for one in whole}
        graph[name] = (found & modules.keys()) - {name}
    return graph


@pytest.mark.parametrize("member", MEMBERS)
def test_no_file_stands_on_itself(member):
    """No circle of imports, be it one that only a type checker walks or one hidden in a function."""
    graphlib.TopologicalSorter(rooms(member)).prepare()


@pytest.mark.parametrize("member", MEMBERS)
def test_no_room_stands_on_itself(member):
    """The same of a member's folders, so that each can be read without those that use it."""
    graph: dict[str, set[str]] = {}
    for name, found in rooms(member).items():
        room = name.partition(".")[0]
        graph.setdefault(room, set()).update({other.partition(".")[0] for other in found} - {room})
    graphlib.TopologicalSorter(graph).prepare()


def drawn() -> dict[str, list[list[str]]]:
    """Of every member the floors that docs/architecture.md draws, from the top down."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    floors: dict[str, list[list[str]]] = {}
    for line in page.partition("<!-- floors -->\n```text\n")[2].partition("```")[0].splitlines():
        member, names = line[:16].strip(), re.split(r" {2,}", line[16:].strip())[0]
        if member:
            floors[f"medalpaca_{member}"] = []
        if names:
            floors[list(floors)[-1]].append(names.split(" · "))
    return floors


@pytest.mark.parametrize("member", MEMBERS)
def test_the_floors_are_as_drawn(member):
    floor = {name: level for level, names in enumerate(drawn()[member]) for name in names}
    for name, found in rooms(member).items():
        room = name.partition(".")[0]
        for used in {other.partition(".")[0] for other in found} - {room}:
            if room in floor and used in floor:
                assert floor[room] < floor[used], f"{name} uses {used}"
    root = MEMBERS[member] / "src" / member
    folders = {path.parent.name for path in root.glob("*/*.py")}
    assert floor.keys() >= folders
    assert all((root / name).is_dir() or (root / f"{name}.py").is_file() for name in floor)


@pytest.mark.parametrize(
    "file",
    [
        ROOT / "packages/data/src/medalpaca_data/core/errors.py",
        ROOT / "packages/data/src/medalpaca_data/core/files.py",
        ROOT / "packages/data/src/medalpaca_data/core/offline.py",
        ROOT / "packages/data/src/medalpaca_data/core/weights.py",
    ],
    ids=lambda file: file.name,
)
def test_the_lowest_modules_import_the_standard_library_only(file):
    assert {name.partition(".")[0] for name in imports(file)} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("member", MEMBERS)
def test_no_module_constant_is_bound_twice_and_no_module_is_longer_than_400_lines(member):
    for file in sources(member):
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, file
        bound = [
            target.id
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id.isupper()
        ]
        assert len(bound) == len(set(bound)), f"{file}: {[name for name in bound if bound.count(name) > 1]}"


def test_data_pulls_no_torch():
    declared = tomllib.loads((MEMBERS["medalpaca_data"] / "pyproject.toml").read_text())["project"][
        "dependencies"
    ]
    assert not [
        name for name in declared if re.match(r"torch|transformers|peft|gradio|datasets|lm.eval", name)
    ]


@pytest.mark.parametrize("member", MEMBERS)
def test_nothing_unsafe_is_switched_on(member):
    for file in sources(member):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "share", "push_to_hub"):
                assert isinstance(node.value, ast.Constant), f"{file}: {node.arg}"
                assert node.value.value is False, f"{file}: {node.arg}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = f"{node.value.id}.{node.attr}"
                assert used not in ("torch.load", "pickle.load", "pickle.loads", "joblib.load"), (
                    f"{file}: {used}"
                )


# Modules that may write to a terminal or a CSV file themselves, with the reason.
OUTPUT = {
    "medalpaca_data/core/cli.py",  # print_text, print_json, screen and the texts of run
    "medalpaca_data/core/untrusted.py",  # csv_text
    "medalpaca_train/process_group.py",  # shows the cursor again
    "medalpaca_evalharness/lm_eval_plugin.py",  # one error in one line, in lm_eval
}


def test_text_is_printed_and_written_as_csv_by_one_module():
    """Elsewhere, control characters and formulas of a row would reach the terminal or the spreadsheet."""
    found = set()
    for member in MEMBERS:
        for file in sources(member):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                used = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if used in (
                    "print",
                    "sys.stdout.write",
                    "sys.stderr.write",
                    "Console",
                    "csv.writer",
                    "csv.DictWriter",
                ):
                    found.add(file.relative_to(MEMBERS[member] / "src").as_posix())
    assert found <= OUTPUT
    assert {"medalpaca_data/core/cli.py", "medalpaca_data/core/untrusted.py"} <= found


@pytest.mark.parametrize("name", ["data", "train", "exam", "demo", "quickstart"])
def test_help_is_quick_and_shows_how(name):
    script = Path(sys.executable).with_name(name)
    times = []
    for _ in range(5):
        start, busy = time.perf_counter(), cpu_seconds()
        done = subprocess.run([script, "--help"], capture_output=True, text=True)
        # Other tests run beside this one: what they take from it is not the command's.
        times.append(min(time.perf_counter() - start, cpu_seconds() - busy))
        assert done.returncode == 0
        assert name in done.stdout
        if times[-1] < 0.5:
            break
    assert min(times) < 0.5, times


def cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_nothing_names_an_index_host_or_this_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert "uv.lock" not in tracked.stdout.split()
    for name in tracked.stdout.split():
        file = ROOT / name
        if file.suffix in (".py", ".md", ".toml", ".yaml", ".json", ".css", ".js") and file.is_file():
            text = file.read_text(encoding="utf-8")
            assert str(ROOT) + "/" not in text, name
            assert not re.search(r"(extra-)?index-url|find-links", text) or file == Path(__file__), name
