"""Tokens are made once for the same rows, tokenizer, options and code, and again when any of them differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.row import Row
from medalpaca_train import tokenize
from medalpaca_train.tokenize import cached

OPTIONS: dict[str, Any] = {"max_tokens": 64, "loss": "answer", "overlong": "drop"}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every real tokenisation; the cache is empty at first."""
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / "home"))
    made: list[int] = []

    def counting(*args: Any, **options: Any) -> Any:
        made.append(1)
        return tokenize.encode(*args, **options)

    monkeypatch.setattr(tokenize, "encode", counting)
    return made


def test_the_second_time_is_read_and_equal(rows: list[Row], tokenizer: Any, calls: list[int]) -> None:
    rows = [*rows, Row(instruction="Answer.", input="word " * 90, output="Yes.")]
    first, second = (cached(rows, tokenizer, **OPTIONS) for _ in range(2))
    assert len(calls) == 1
    assert [s.row_id for s in first.samples] == [s.row_id for s in second.samples]
    assert all(
        (a.ids == b.ids).all() and a.given == b.given
        for a, b in zip(first.samples, second.samples, strict=True)
    )
    assert first.rejected == second.rejected != []


def test_whatever_tokens_depend_on_is_in_the_name(rows: list[Row], tokenizer: Any, calls: list[int]) -> None:
    from medalpaca_train.model import make_tokenizer

    cached(rows, tokenizer, **OPTIONS)
    cached(rows[1:], tokenizer, **OPTIONS)
    cached(rows, make_tokenizer(["other words"] * 3), **OPTIONS)
    for change in ({"max_tokens": 65}, {"loss": "all"}, {"overlong": "cut"}):
        cached(rows, tokenizer, **(OPTIONS | change))
    assert len(calls) == 6


def test_a_damaged_entry_is_made_again(
    rows: list[Row], tokenizer: Any, calls: list[int], tmp_path: Path
) -> None:
    cached(rows, tokenizer, **OPTIONS)
    (entry,) = (tmp_path / "home" / "cache" / "tokens").iterdir()
    (entry / "ids.npy").write_bytes(b"")
    assert len(cached(rows, tokenizer, **OPTIONS).samples) == len(rows)
    assert len(calls) == 2


def test_a_home_that_cannot_be_written_is_no_hindrance(
    rows: list[Row], tokenizer: Any, calls: list[int], tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where the directory would be")
    for _ in range(2):
        assert len(cached(rows, tokenizer, **OPTIONS).samples) == len(rows)
    assert len(calls) == 2
