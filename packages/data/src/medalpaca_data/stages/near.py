"""Near duplicates: rows that say almost the same; the first stays, and all that are alike stay on one side of a split.

Compared are question and answer together. Answers alone would merge every row that says "call your doctor".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .base import Stage, Tell, Verdict, decisions, write_decisions
from .shard import Drop, Shard, write_frame

if TYPE_CHECKING:
    import polars as pl

    from ..dedup import NearDuplicates

CLUSTER = "cluster"  # column: the id that rows which are alike share, null where a row is like no other


class Near(Stage):
    """Drops rows whose word 3-grams have a Jaccard similarity of `threshold` or more with those of a row that stays."""

    name: ClassVar[str] = "near duplicates"

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def settings(self) -> Any:
        return self._threshold

    def prepare(self, shards: Sequence[Shard], folder: Path, tell: Tell) -> None:
        import polars as pl

        from ..dedup import near_duplicates

        texts, tasks, ids, heights = [], [], [], []
        for shard in shards:
            table = pl.read_parquet(shard.rows, columns=["id", "instruction", "input", "output"], glob=False)
            question = pl.when(pl.col("input") == "").then("instruction").otherwise("input")
            texts.append(table.select(text=pl.concat_str(question, "output", separator="\n"))["text"])
            # Where the question is in the instruction, there is no other task than to answer it.
            task = pl.when(pl.col("input") == "").then(pl.lit("")).otherwise("instruction")
            tasks.append(table.select(task=task.hash(seed=0))["task"])
            ids.append(table["id"])
            heights.append(table.height)
        tell(self.name, 0, None)
        found = near_duplicates(
            cast("Sequence[str]", pl.concat(texts)), self._threshold, pl.concat(tasks).to_numpy()
        )
        del texts
        all_ids = pl.concat(ids)
        starts = [0, *accumulate(heights)]
        write_decisions(folder, self._drops(found, all_ids, shards, starts))
        clusters = pl.DataFrame({"row": range(len(all_ids)), "label": found.cluster})
        alike = clusters.filter(pl.len().over("label") > 1)
        named = alike.select("row", pl.Series(CLUSTER, all_ids.gather(alike["label"])))
        for shard, start, height in zip(shards, starts, heights, strict=False):
            here = named.filter(pl.col("row").is_between(start, start + height, closed="left"))
            write_frame(folder / f"{shard.key}.clusters.parquet", here.select(pl.col("row") - start, CLUSTER))

    def _drops(
        self, found: NearDuplicates, ids: pl.Series, shards: Sequence[Shard], starts: Sequence[int]
    ) -> Iterator[tuple[str, int, Drop]]:
        which = 0
        for row in found.dropped.tolist():
            while row >= starts[which + 1]:
                which += 1
            evidence = {
                "kept": ids[int(found.keeper[row])],
                "similarity": round(float(found.jaccard[row]), 4),
            }
            yield (
                shards[which].key,
                row - starts[which],
                Drop(reason="almost the same as another row", evidence=evidence),
            )

    def judge(self, table: pl.DataFrame, shard: Shard, folder: Path) -> Verdict:
        import polars as pl

        clusters = pl.read_parquet(folder / f"{shard.key}.clusters.parquet", glob=False)
        labels: list[str | None] = [None] * table.height
        for row, label in clusters.iter_rows():
            labels[row] = label
        marked = table.with_columns(pl.Series(CLUSTER, labels, dtype=pl.String))
        return Verdict(frame=marked, drops=decisions(folder, shard))
