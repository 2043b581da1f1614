"""What quickstart keeps and what it makes again. The walk itself is tested at the root, with everything in it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import quickstart
from medalpaca_demo.quickstart import Loop, is_examined, only_one


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path))
    return Loop(1, quickstart(), Console(file=io.StringIO()))


def filled(loop: Loop) -> Path:
    file = loop.places.base / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("weights")
    return file


def test_what_this_code_and_seed_made_is_kept(loop: Loop) -> None:
    loop._start_over_if_outdated()
    file = filled(loop)
    loop._start_over_if_outdated()
    assert file.exists()


def test_what_another_seed_made_goes(loop: Loop) -> None:
    loop._start_over_if_outdated()
    file = filled(loop)
    Loop(2, loop.places, loop.console)._start_over_if_outdated()
    assert not file.exists()
    record = json.loads((loop.places.meadow.parent / "made.json").read_text())
    assert record["seed"] == 2
    assert sorted(path.name for path in loop.places.meadow.parent.iterdir()) == ["made.json"]


def test_what_has_no_record_goes(loop: Loop) -> None:
    """`train` alone leaves a base there, and a kill half way through deleting may leave anything."""
    file = filled(loop)
    loop._start_over_if_outdated()
    assert not file.exists()


def test_half_a_result_is_no_result(loop: Loop) -> None:
    out = loop.places.results_base / "model"
    out.mkdir(parents=True)
    (out / "results_2026-01-01T00-00-00.json").write_text(json.dumps({"results": {}}))
    assert not is_examined(loop.places.results_base, loop.places.base, None)
    assert not is_examined(loop.places.results_tuned, loop.places.base, loop.places.run)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        only_one(tmp_path),
        pytest.raises(UserError, match="another quickstart is at work"),
        only_one(tmp_path),
    ):
        pass
    with only_one(tmp_path):
        pass
