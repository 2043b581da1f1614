"""Exact duplicates: the same three texts again, anywhere in the build; the first stays.

Near duplicates: rows that say the same in almost the same words; the first stays.

A row is dropped only as a restatement: question and answer together, and the question alone, are almost those of a row
that stays, with the same numbers in them and, where the answer is short, the same answer. Two diseases with one
description, two doses in one sentence and two labels of one sentence are not the same. All that is alike, dropped or
not, is linked, so that a split does not cut through it.

Contradictions: one question with several answers. Reported, never decided: who is right is not ours to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..core.files import sha256_bytes
from ..core.words import ngrams, words
from ..executor import OnProgress, Stage, StageResult, read_decisions, write_decisions
from ..shard import Drop, Shard, write_frame

if TYPE_CHECKING:
    import polars as pl

    from .minhash import NearDuplicates


class ExactDuplicates(Stage):
    """Drops every row whose id has occurred before, in the order of the recipe's sources."""

    name: ClassVar[str] = "duplicates"

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        write_decisions(folder, self._repeats(shards, on_progress))

    def _repeats(self, shards: Sequence[Shard], on_progress: OnProgress) -> Iterator[tuple[str, int, Drop]]:
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
            on_progress(self.name, done, len(shards))

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


SHORT_ANSWER = (
    8  # words: an answer below this is a label, a name or a number, and only the very same is the same
)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NGRAM = 3


class NearDuplicateStage(Stage):
    """Drops rows that restate one that stays, by a Jaccard similarity of word 3-grams of at least `threshold`."""

    name: ClassVar[str] = "near duplicates"

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def settings(self) -> Any:
        return self._threshold

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        import numpy as np
        import polars as pl

        from .minhash import near_duplicates

        questions, texts, tasks, ids, heights = [], [], [], [], []
        for shard in shards:
            table = pl.read_parquet(shard.rows, columns=["id", "instruction", "input", "output"], glob=False)
            question = pl.when(pl.col("input") == "").then("instruction").otherwise("input")
            questions.append(table.select(question=question)["question"])
            texts.append(table.select(text=pl.concat_str(question, "output", separator="\n"))["text"])
            tasks += [task_hash(*row[1:]) for row in table.iter_rows()]
            ids.append(table["id"])
            heights.append(table.height)
        on_progress(self.name, 0, None)
        asked = pl.concat(questions)
        found = near_duplicates(
            cast("Sequence[str]", pl.concat(texts)),
            self._threshold,
            np.array(tasks, np.uint64),
            lambda kept, dropped: is_same_question(asked[kept], asked[dropped], self._threshold),
        )
        del texts, questions, tasks
        all_ids = pl.concat(ids)
        starts = [0, *accumulate(heights)]
        write_decisions(folder, self._drops(found, all_ids, shards, starts))
        clusters = pl.DataFrame({"row": range(len(all_ids)), "label": found.cluster})
        linked = clusters.filter(pl.len().over("label") > 1)
        named = linked.select("row", pl.Series("cluster", all_ids.gather(linked["label"])))
        for shard, start, height in zip(shards, starts, heights, strict=False):
            here = named.filter(pl.col("row").is_between(start, start + height, closed="left"))
            write_frame(
                folder / f"{shard.key}.clusters.parquet", here.select(pl.col("row") - start, "cluster")
            )

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
            drop = Drop(reason="almost the same as another row", evidence=evidence)
            yield shards[which].key, row - starts[which], drop

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


def read_clusters(folder: Path, shard: Shard) -> pl.DataFrame:
    """(row, cluster) of the rows of a shard, before any was dropped, that are linked to another."""
    import polars as pl

    return pl.read_parquet(folder / f"{shard.key}.clusters.parquet", glob=False)


def task_hash(instruction: str, input: str, output: str) -> int:
    """What two rows must have in common to be the same: what is asked for, every number, and an answer that is short.

    A hash of 64 bits. An instruction without an input is the question itself, and no task.
    """
    answer = words(output)
    numbers = sorted(NUMBER.findall(f"{input or instruction}\n{output}"))
    parts = [instruction if input else "", *numbers, "\x1f", *(answer if len(answer) < SHORT_ANSWER else ())]
    return int(sha256_bytes("\x1e".join(parts).encode())[:16], 16)


def is_same_question(question: str, other: str, threshold: float) -> bool:
    """Whether two questions are the same but for a few words."""
    first, second = words(question), words(other)
    if first == second:
        return True
    one, two = set(ngrams(first, NGRAM)), set(ngrams(second, NGRAM))
    return bool(one) and len(one & two) >= threshold * len(one | two)


def find_contradictions(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """For every question (instruction and input) with more than one answer: its rows, as ids and places.

    To be called on rows without exact duplicates, so that each of them is another answer.
    """
    import polars as pl

    tables = []
    for shard in shards:
        table = pl.read_parquet(
            shard.rows, columns=["id", "source", "source_id", "instruction", "input"], glob=False
        )
        # Compared by hash, so that a million questions need not be held; 64 bits are enough for a report.
        question = pl.concat_str("instruction", "input", separator="\x1f").hash(seed=0)
        tables.append(table.select("id", "source", "source_id", question=question))
    if not tables:
        return []
    rows = pl.concat(tables).filter(pl.len().over("question") > 1)
    groups = rows.group_by("question", maintain_order=True).agg("id", "source", "source_id")
    return [
        {"rows": entry["id"], "sources": sorted(set(entry["source"])), "places": entry["source_id"]}
        for entry in groups.iter_rows(named=True)
    ]
