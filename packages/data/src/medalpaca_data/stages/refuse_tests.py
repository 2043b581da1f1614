"""Test rows, told by their content: a question of a published test set is never trained on, whatever its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..shard import Drop, Shard
from .base import Stage, Verdict

if TYPE_CHECKING:
    import polars as pl


class RefuseTests(Stage):
    """Drops rows that hold a question whose hash is shipped in `known_questions.bin`."""

    name: ClassVar[str] = "test questions"

    def judge(self, table: pl.DataFrame, shard: Shard, folder: Path) -> Verdict:
        from ..exams.known_questions import KnownQuestions

        parts = zip(table["instruction"], table["input"], table["output"], strict=True)
        found = KnownQuestions.load().find("\n".join(texts) for texts in parts)
        splits = table["split"]
        # What a source declares as dev goes to validation and is never trained on.
        bad = [(n, name) for n, name in found if not (splits[n] == "dev" and name.endswith(" dev"))]
        drops = {n: Drop(reason=f"a test question of {name}") for n, name in bad}
        return Verdict(frame=table, drops=drops)
