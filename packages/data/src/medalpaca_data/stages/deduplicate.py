"""Duplicate removal: exact duplicates, near-duplicates, and a report of contradictions.

Exact duplicates have the same three texts. A near-duplicate is dropped only if it restates an earlier row: question and
answer together, and the question alone, are almost the same. Instruction, numbers and a short answer must be equal.
Two diseases with one description, two doses in one sentence and two labels of one sentence are different rows.
All similar rows are linked in clusters, dropped or not, so that the validation split does not separate them.

Contradictions are equal questions with different answers. They are reported, and no row is dropped for them.
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
    """Drop every row whose id has occurred before, in the order of the recipe's sources.

    The id is the hash of the three texts of a row.
    """

    name: ClassVar[str] = "duplicates"

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        write_decisions(folder, self._repeats(shards, on_progress))

    def _repeats(self, shards: Sequence[Shard], on_progress: OnProgress) -> Iterator[tuple[str, int, Drop]]:
        import polars as pl

        first: dict[int, str] = {}
        for done, shard in enumerate(shards, 1):
            table = pl.read_parquet(shard.rows, columns=["id", "source", "source_id"], glob=False)
            for n, (row_id, source, source_id) in enumerate(table.iter_rows()):
                key = int(row_id, 16)
                if key in first:
                    evidence = {"kept": row_id, "first": first[key]}
                    yield shard.key, n, Drop(reason="exact duplicate of an earlier row", evidence=evidence)
                else:
                    first[key] = f"{source}: {source_id}"
            on_progress(self.name, done, len(shards))

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


# An answer of fewer words is a label, a name or a number, and must be equal in a near-duplicate.
SHORT_ANSWER = 8
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NGRAM = 3


class NearDuplicateStage(Stage):
    """Drop rows that restate an earlier row, and write the clusters of similar rows for the validation split.

    Two rows are similar if the Jaccard similarity of their word 3-grams is at least `threshold`. Question and answer
    are compared together, and for a drop also the question alone.
    """

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
        all_questions = pl.concat(questions)
        duplicates = near_duplicates(
            cast("Sequence[str]", pl.concat(texts)),
            self._threshold,
            np.array(tasks, np.uint64),
            lambda kept, dropped: is_same_question(
                all_questions[kept], all_questions[dropped], self._threshold
            ),
        )
        del texts, questions, tasks
        all_ids = pl.concat(ids)
        starts = [0, *accumulate(heights)]
        write_decisions(folder, self._drops(duplicates, all_ids, shards, starts))
        clusters = pl.DataFrame({"row": range(len(all_ids)), "label": duplicates.cluster})
        linked = clusters.filter(pl.len().over("label") > 1)
        named = linked.select("row", pl.Series("cluster", all_ids.gather(linked["label"])))
        for shard, start, height in zip(shards, starts, heights, strict=False):
            in_shard = named.filter(pl.col("row").is_between(start, start + height, closed="left"))
            write_frame(
                folder / f"{shard.key}.clusters.parquet", in_shard.select(pl.col("row") - start, "cluster")
            )

    def _drops(
        self, duplicates: NearDuplicates, ids: pl.Series, shards: Sequence[Shard], starts: Sequence[int]
    ) -> Iterator[tuple[str, int, Drop]]:
        index = 0
        for row in duplicates.dropped.tolist():
            while row >= starts[index + 1]:
                index += 1
            evidence = {
                "kept": ids[int(duplicates.keeper[row])],
                "similarity": round(float(duplicates.jaccard[row]), 4),
            }
            drop = Drop(reason="near-duplicate of an earlier row", evidence=evidence)
            yield shards[index].key, row - starts[index], drop

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


def read_clusters(folder: Path, shard: Shard) -> pl.DataFrame:
    """Return a table of the rows of `shard` that are similar to another row, of any shard.

    `shard` is an input shard of `NearDuplicateStage`, and `folder` the folder of its output. The column `row` has the
    position in the shard, and `cluster` the id of the first row of the cluster.
    """
    import polars as pl

    return pl.read_parquet(folder / f"{shard.key}.clusters.parquet", glob=False)


def task_hash(instruction: str, input: str, output: str) -> int:
    """Return a 64-bit hash of what must be equal in near-duplicates.

    It covers the instruction, the numbers of question and answer in any order, and the words of a short answer. Without
    an input, the instruction is the question itself; then only its numbers are part of the hash.
    """
    answer = words(output)
    numbers = sorted(NUMBER.findall(f"{input or instruction}\n{output}"))
    parts = [instruction if input else "", *numbers, "\x1f", *(answer if len(answer) < SHORT_ANSWER else ())]
    return int(sha256_bytes("\x1e".join(parts).encode())[:16], 16)


def is_same_question(question: str, other: str, threshold: float) -> bool:
    """Return whether two questions have equal words, or word 3-grams with a Jaccard similarity from `threshold`."""
    first, second = words(question), words(other)
    if first == second:
        return True
    one, two = set(ngrams(first, NGRAM)), set(ngrams(second, NGRAM))
    return bool(one) and len(one & two) >= threshold * len(one | two)


def find_contradictions(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Return one dictionary for every question (instruction and input) that occurs in several rows.

    `rows` has the ids of these rows, `places` their locations in the same order, and `sources` the distinct names of
    their sources. The shards must contain no exact duplicates, so that rows with one question have different answers.
    """
    import polars as pl

    tables = []
    for shard in shards:
        table = pl.read_parquet(
            shard.rows, columns=["id", "source", "source_id", "instruction", "input"], glob=False
        )
        # A 64-bit hash saves memory, and is precise enough for a report.
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
