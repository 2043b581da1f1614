"""Exact duplicates: the same three texts again, anywhere in the build; the first stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..shard import Drop, Shard
from .base import Stage, Tell, Verdict, decisions, write_decisions

if TYPE_CHECKING:
    import polars as pl


class Duplicates(Stage):
    """Drops every row whose id has occurred before, in the order of the recipe's sources."""

    name: ClassVar[str] = "duplicates"

    def prepare(self, shards: Sequence[Shard], folder: Path, tell: Tell) -> None:
        write_decisions(folder, self._repeats(shards, tell))

    def _repeats(self, shards: Sequence[Shard], tell: Tell) -> Iterator[tuple[str, int, Drop]]:
        import polars as pl

        first: dict[int, str] = {}
        for done, shard in enumerate(shards, 1):
            table = pl.read_parquet(shard.rows, columns=["id", "source", "source_id"], glob=False)
            for n, (row_id, source, place) in enumerate(table.iter_rows()):
                key = int(row_id, 16)
                if key in first:
                    evidence = {"kept": row_id, "first": first[key]}
                    yield shard.key, n, Drop(reason="same row again", evidence=evidence)
                else:
                    first[key] = f"{source}: {place}"
            tell(self.name, done, len(shards))

    def judge(self, table: pl.DataFrame, shard: Shard, folder: Path) -> Verdict:
        return Verdict(frame=table, drops=decisions(folder, shard))
