"""Rows are tokenised once for the same tokenizer, options and code, and again if any of them differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.row import Row
from medalpaca_train import tokenize
from medalpaca_train.tokenize import encode_cached

OPTIONS: dict[str, Any] = {"max_tokens": 64, "loss": "answer", "overlong": "drop"}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every tokenisation; the cache is empty at first."""
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path / "home"))
    made: list[int] = []
    encode = tokenize.encode

    def counting(*args: Any, **options: Any) -> Any:
        made.append(1)
        return encode(*args, **options)

    monkeypatch.setattr(tokenize, "encode", counting)
    return made


def test_second_call_reads_the_cache(rows: list[Row], tokenizer: Any, calls: list[int]) -> None:
    rows = [*rows, Row(instruction="Answer.", input="word " * 90, output="Yes.")]
    first, second = (encode_cached(rows, tokenizer, **OPTIONS) for _ in range(2))
    assert len(calls) == 1
    assert [s.row_id for s in first.samples] == [s.row_id for s in second.samples]
    assert all(
        (a.ids == b.ids).all() and a.prompt_length == b.prompt_length
        for a, b in zip(first.samples, second.samples, strict=True)
    )
    assert first.rejected == second.rejected != []


def test_cache_key_covers_rows_tokenizer_and_options(
    rows: list[Row], tokenizer: Any, calls: list[int]
) -> None:
    from medalpaca_train.model import make_pocket_tokenizer

    encode_cached(rows, tokenizer, **OPTIONS)
    encode_cached(rows[1:], tokenizer, **OPTIONS)
    encode_cached(rows, make_pocket_tokenizer(["other words"] * 3), **OPTIONS)
    for change in ({"max_tokens": 65}, {"loss": "all"}, {"overlong": "cut"}):
        encode_cached(rows, tokenizer, **(OPTIONS | change))
    assert len(calls) == 6


def test_damaged_entry_is_replaced(rows: list[Row], tokenizer: Any, calls: list[int], tmp_path: Path) -> None:
    encode_cached(rows, tokenizer, **OPTIONS)
    (entry,) = (tmp_path / "home" / "cache" / "tokens").iterdir()
    (entry / "ids.npy").write_bytes(b"")
    assert len(encode_cached(rows, tokenizer, **OPTIONS).samples) == len(rows)
    assert len(calls) == 2


def test_cache_that_cannot_be_written_is_skipped(
    rows: list[Row], tokenizer: Any, calls: list[int], tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where the directory would be")
    for _ in range(2):
        assert len(encode_cached(rows, tokenizer, **OPTIONS).samples) == len(rows)
    assert len(calls) == 2
