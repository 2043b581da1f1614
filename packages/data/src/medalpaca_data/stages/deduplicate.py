"""Duplicate removal: exact duplicates, and near-duplicates that restate an earlier row.

Exact duplicates have the same three texts. A near-duplicate is dropped only if it differs from an earlier row in
nothing but case, punctuation, spelling and words without a meaning of their own. Two diseases with one description,
"before" and "after", and a sentence and its negation are different rows. All similar rows are linked in clusters,
dropped or not, so that the validation split does not separate them. Similar rows that are kept are reported (see
`contradictions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..core.row import TEXTS
from ..executor import OnProgress, Stage, StageResult, read_decisions, write_decisions
from ..shard import Drop, Shard, write_frame

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from .near_duplicates import NearDuplicates


class ExactDuplicates(Stage):
    """Drop every row whose id has occurred before, in the order of the recipe's sources.

    The id is the hash of the three texts of a row.
    """

    name: ClassVar[str] = "duplicates"

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        write_decisions(folder, self._repeats(shards, on_progress))

    def _repeats(self, shards: Sequence[Shard], on_progress: OnProgress) -> Iterator[tuple[str, int, Drop]]:
        import numpy as np
        import polars as pl

        from .near_duplicates import equal_values

        ids = _read_ids(shards)
        original, _ = equal_values(ids)
        repeats = np.flatnonzero(original != np.arange(len(ids)))
        # Locations of the rows that occur again, of which there are few.
        firsts = np.unique(original[repeats])
        places: dict[int, str] = {}
        start = 0
        starts = []
        for shard in shards:
            table = pl.read_parquet(shard.rows, columns=["source", "source_id"], glob=False)
            here = firsts[(firsts >= start) & (firsts < start + table.height)]
            named = table[here - start].iter_rows()
            places.update(
                (n, f"{source}: {place}") for n, (source, place) in zip(here.tolist(), named, strict=True)
            )
            starts.append(start)
            start += table.height
        for done, (shard, begin, end) in enumerate(zip(shards, starts, [*starts[1:], start], strict=True), 1):
            for n in repeats[(repeats >= begin) & (repeats < end)].tolist():
                evidence = {"kept": _row_id(ids[n]), "first": places[int(original[n])]}
                yield (
                    shard.key,
                    n - begin,
                    Drop(reason="exact duplicate of an earlier row", evidence=evidence),
                )
            on_progress(self.name, done, len(shards))

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


class NearDuplicateStage(Stage):
    """Drop rows that restate an earlier row, and write the clusters of similar rows for the validation split.

    Two rows are similar if the Jaccard similarity of their word 3-grams is at least `threshold`; question and answer
    are compared together. A row restates a similar one if both have one canonical form (see `restatement`).
    """

    name: ClassVar[str] = "near duplicates"

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def settings(self) -> Any:
        return self._threshold

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        import numpy as np

        from .near_duplicates import near_duplicates

        texts = _ShardTexts(shards)
        found = near_duplicates(
            texts, self._threshold, folder, lambda done, of: on_progress(self.name, done, of)
        )
        ids = _read_ids(shards)
        starts = [0, *accumulate(texts.sizes)]
        write_decisions(folder, _restatements(found, ids, shards, starts))
        counts = np.bincount(found.cluster, minlength=1)
        keeper = np.arange(len(ids), dtype=np.int32)
        keeper[found.dropped] = found.keeper
        for shard, start, stop in zip(shards, starts, starts[1:], strict=False):
            cluster = found.cluster[start:stop]
            linked = np.flatnonzero(counts[cluster] > 1)
            # A row that is kept, and the row to which it is similar.
            first = keeper[found.first[start:stop][linked]]
            other = (first != linked + start) & (keeper[start:stop][linked] == linked + start)
            _write_clusters(folder, shard, linked, ids[cluster[linked]], ids[first], other)

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


class _ShardTexts:
    """Question and answer of the rows of shards, one shard at a time (see `near_duplicates.Texts`)."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        import polars as pl

        self._shards = shards
        self.sizes = [
            pl.scan_parquet(shard.rows, glob=False).select(pl.len()).collect().item() for shard in shards
        ]

    def read(self, part: int) -> Sequence[str]:
        return self._texts(self._table(part))

    def select(self, part: int, positions: NDArray[np.int64]) -> tuple[Sequence[str], Sequence[int]]:
        from .restatement import form_hash

        table = self._table(part)[positions]
        return self._texts(table), [form_hash(*row) for row in table.iter_rows()]

    def _table(self, part: int) -> pl.DataFrame:
        import polars as pl

        return pl.read_parquet(self._shards[part].rows, columns=list(TEXTS), glob=False).select(TEXTS)

    def _texts(self, table: pl.DataFrame) -> Sequence[str]:
        import polars as pl

        question = pl.when(pl.col("input") == "").then("instruction").otherwise("input")
        return cast(
            "Sequence[str]", table.select(pl.concat_str(question, "output", separator="\n")).to_series()
        )


def _read_ids(shards: Sequence[Shard]) -> NDArray[np.uint64]:
    """Return the ids of all rows, which are hexadecimal numbers of 64 bits."""
    import numpy as np
    import polars as pl

    tables = (pl.read_parquet(shard.rows, columns=["id"], glob=False)["id"] for shard in shards)
    parts = [np.array([int(row_id, 16) for row_id in ids], np.uint64) for ids in tables]
    return np.concatenate([*parts, np.empty(0, np.uint64)])


def _restatements(
    found: NearDuplicates, ids: NDArray[np.uint64], shards: Sequence[Shard], starts: Sequence[int]
) -> Iterator[tuple[str, int, Drop]]:
    index = 0
    for row, keeper, value in zip(
        found.dropped.tolist(), found.keeper.tolist(), found.jaccard.tolist(), strict=True
    ):
        while row >= starts[index + 1]:
            index += 1
        evidence = {"kept": _row_id(ids[keeper]), "similarity": round(value, 4)}
        drop = Drop(reason="near-duplicate of an earlier row", evidence=evidence)
        yield shards[index].key, row - starts[index], drop


def _row_id(number: int) -> str:
    return f"{number:016x}"


def _write_clusters(
    folder: Path,
    shard: Shard,
    rows: NDArray[np.int64],
    clusters: NDArray[np.uint64],
    similar: NDArray[np.uint64],
    has_similar: NDArray[np.bool_],
) -> None:
    import polars as pl

    columns = {
        "row": rows,
        "cluster": [_row_id(number) for number in clusters.tolist()],
        "similar": [
            _row_id(number) if other else None
            for number, other in zip(similar.tolist(), has_similar.tolist(), strict=True)
        ],
    }
    schema = {"row": pl.Int64, "cluster": pl.String, "similar": pl.String}
    write_frame(folder / f"{shard.key}.clusters.parquet", pl.DataFrame(columns, schema=schema))


def read_clusters(folder: Path, shard: Shard) -> pl.DataFrame:
    """Return a table of the rows of `shard` that are similar to another row, of any shard.

    `shard` is an input shard of `NearDuplicateStage`, and `folder` the folder of its output. The column `row` has the
    position in the shard, and `cluster` the id of the first row of the cluster. `similar` has the id of an earlier
    row that is similar and kept, or null if there is none or the row itself is dropped.
    """
    import polars as pl

    return pl.read_parquet(folder / f"{shard.key}.clusters.parquet", glob=False)
