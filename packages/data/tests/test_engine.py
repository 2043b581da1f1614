"""One build by several engines: the same bytes."""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.executor import Serial, open_engine, run_all
from medalpaca_data.recipe import load_recipe


@pytest.fixture
def recipe_file(write, tmp_path, row) -> Path:
    for name in ("a", "b", "c"):
        write(f"{name}.json", [row(0, input=f"{name} {n} " + f"w{n}x " * 30 + "<br>") for n in range(500)])
    sources = [{"kind": "alpaca", "name": name, "path": f"{name}.json"} for name in ("a", "b", "c")]
    values = {
        "name": "t",
        "sources": sources,
        "validation": 0.2,
        "exams": ["medalpaca_pocket"],
        "max_coverage": 0.9,
    }
    return write("recipe.yaml", yaml.safe_dump(values))


def built(recipe_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **how) -> dict[str, bytes]:
    """Every file of the build, by an engine that finds nothing done."""
    monkeypatch.setenv("MEDALPACA_HOME", str(out.with_suffix(".home")))
    recipe, root = load_recipe(str(recipe_file))
    build(recipe, root, out, **how)
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_a_pool_gives_the_same_bytes(recipe_file, tmp_path, monkeypatch):
    serial = built(recipe_file, tmp_path / "serial", monkeypatch)
    pool = built(recipe_file, tmp_path / "pool", monkeypatch, engine="processes", workers=2)
    assert serial.keys() == pool.keys()
    assert serial == pool
    assert json.loads(serial["ledger.json"])["rows"]["train"] > 300


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra medalpaca-data[ray] is not installed")
def test_a_local_ray_gives_the_same_bytes(recipe_file, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    serial = built(recipe_file, tmp_path / "serial", monkeypatch)
    assert serial == built(recipe_file, tmp_path / "ray", monkeypatch, engine="ray", workers=2)


def test_a_fault_in_a_worker_is_told_as_usual(write, recipe_file, tmp_path, monkeypatch):
    write("b.json", "{")
    with pytest.raises(UserError, match=r"b.json"):
        built(recipe_file, tmp_path / "out", monkeypatch, engine="processes", workers=2)
    assert not (tmp_path / "out").exists()


def test_no_more_calls_at_once_than_wanted_and_none_after_a_failure():
    class ProgressBars:
        def __init__(self) -> None:
            self.pool, self.now, self.most, self.begun = ThreadPoolExecutor(8), 0, 0, 0

        def submit(self, function, /, *arguments) -> Future:
            self.begun += 1
            future = self.pool.submit(function, *arguments)
            self.now += 1
            self.most = max(self.most, self.now)
            future.add_done_callback(lambda _: setattr(self, "now", self.now - 1))
            return future

    watched = ProgressBars()
    assert dict(run_all(watched, [(pow, (n, 2)) for n in range(50)], 3)) == {n: n * n for n in range(50)}
    assert watched.most <= 3
    failing = ProgressBars()
    with pytest.raises(ZeroDivisionError):
        list(run_all(failing, [(divmod, (1, 0))] * 50, 2))
    assert failing.begun <= 4


def test_serial_is_lazy():
    called = []
    results = run_all(Serial(), ((called.append, (n,)) for n in range(9)), 1)
    next(results)
    assert called == [0]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "a local cluster cannot be used (RuntimeError: no free port, see the log); set RAY_ADDRESS"),
        ("10.0.0.1:6379", "the cluster RAY_ADDRESS=10.0.0.1:6379 cannot be used (RuntimeError: no free port"),
    ],
)
def test_ray_that_cannot_start_is_one_line(monkeypatch, address, message):
    def fail(**_):
        raise RuntimeError("no free port,\n  see the log")

    ray = SimpleNamespace(is_initialized=lambda: False, init=fail, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError) as error, open_engine("ray", 2):
        pass
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__


def test_ray_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"medalpaca-data\[ray\]"), open_engine("ray", 2):
        pass
