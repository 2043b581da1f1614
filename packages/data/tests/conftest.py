"""Fixtures: a place of its own for every test, and the real data where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from medalpaca_data.core import paths


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEDALPACA_EXAM", "MEDALPACA_SEALED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / "home"))


@pytest.fixture
def fixed_key() -> Callable[..., Path]:
    """Write a key of patient text that is the same in every test; the default directory is that of builds."""

    def _fixed_key(directory: Path | None = None, number: int = 0) -> Path:
        file = (directory or paths.secrets()) / "patient-text.key"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(f"{number:064x}\n")
        return file

    return _fixed_key


@pytest.fixture(scope="session")
def real() -> Path:
    """The real data's directory; the test is skipped where there is none."""
    shared = paths.shared()
    if shared is None:
        pytest.skip("no real data: set MEDALPACA_SHARED to the directory that holds data/")
    return shared / "data"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a file under the test's directory: text as it is, a list as JSONL or JSON, by the name's suffix."""

    def _write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(entry) + "\n" for entry in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return _write


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """`row(3)` is a plain Alpaca row, the third of its kind."""

    def _row(n: int = 0, **changes: Any) -> dict[str, Any]:
        return {"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}", **changes}

    return _row


@pytest.fixture
def build_letters(write: Callable[[str, Any], Path], tmp_path: Path) -> Callable[..., Any]:
    """Build rows of the source `letters`, which is patient text; `source` and `keys` change the recipe."""

    def _build(
        rows: list[dict[str, Any]], *, out: str = "out", source: dict[str, Any] | None = None, **keys: Any
    ) -> Any:
        from medalpaca_data.build import build
        from medalpaca_data.recipe import load_recipe

        write("raw.json", rows)
        letters = {"kind": "alpaca", "name": "letters", "path": "raw.json", "patient_text": True}
        values = {"name": "t", "sources": [letters | (source or {})], "validation": 0, **keys}
        recipe, root = load_recipe(str(write("recipe.yaml", json.dumps(values))))
        return build(recipe, root, tmp_path / out)

    return _build


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes], st.SearchStrategy[bytes]]:
    """`data.draw(damaged(good))`: any bytes at all, `good` cut off, or `good` with a stretch of it replaced."""

    def _damaged(good: bytes) -> st.SearchStrategy[bytes]:
        places = st.integers(0, len(good))
        return st.one_of(
            st.binary(max_size=200),
            places.map(lambda at: good[:at]),
            st.tuples(places, st.integers(0, 8), st.binary(max_size=8)).map(
                lambda cut: good[: cut[0]] + cut[2] + good[cut[0] + cut[1] :]
            ),
        )

    return _damaged
