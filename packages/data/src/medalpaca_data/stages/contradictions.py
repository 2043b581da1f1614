"""Report of rows that may contradict each other. No row is dropped for it, and people decide which one is right.

Reported are rows with one question and different answers, and similar rows that differ in words with a meaning, such
as "before" and "after".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..core.row import TEXTS
from ..shard import Shard
from .deduplicate import NearDuplicateStage, read_clusters

if TYPE_CHECKING:
    import polars as pl

# Name of the stage and its shards, in the order of the stages.
Trail = Sequence[tuple[str, Sequence[Shard]]]
SAME_QUESTION, SIMILAR = "same question", "similar rows"
# Rows whose texts are held in memory at once.
TEXT_ROWS = 100_000


def find_contradictions(trail: Trail) -> list[dict[str, Any]]:
    """Return the contradictions among the rows of the last stage.

    `kind` is `SAME_QUESTION` for all rows with one question (instruction and input), and `SIMILAR` for a row and the
    first row to which it is similar, if their questions differ. `rows` has the ids, `places` the locations in the
    same order, and `sources` the distinct names of the sources. The shards must contain no exact duplicates, so that
    rows with one question have different answers.
    """
    import polars as pl

    shards = trail[-1][1]
    if not shards:
        return []
    # A 64-bit hash saves memory, and is precise enough for a report.
    question = pl.concat_str("instruction", "input", separator="\x1f").hash(seed=0).alias("question")
    questions = pl.concat([_read(shard, question) for shard in shards])["question"]
    repeated = questions.filter(questions.is_duplicated()).unique()
    pairs = _similar_pairs(trail)
    named = pl.concat([pairs["row"], pairs["similar"]]).unique()
    reported = pl.col("question").is_in(repeated.implode()) | pl.col("id").is_in(named.implode())
    rows = pl.concat(
        [_read(shard, "id", "source", "source_id", question).filter(reported) for shard in shards]
    )
    same = rows.filter(pl.col("question").is_in(repeated.implode()))
    groups = same.group_by("question", maintain_order=True).agg("id", "source", "source_id")
    found = [_entry(SAME_QUESTION, *group[1:]) for group in groups.iter_rows()]
    # Pairs of rows that are both left, in their order.
    both = pairs.join(rows, left_on="row", right_on="id", maintain_order="left").join(
        rows, left_on="similar", right_on="id", suffix="_first", maintain_order="left"
    )
    for pair in both.filter(pl.col("question") != pl.col("question_first")).iter_rows(named=True):
        ids = [pair["similar"], pair["row"]]
        sources, places = ([pair[f"{key}_first"], pair[key]] for key in ("source", "source_id"))
        found.append(_entry(SIMILAR, ids, sources, places))
    return found


def _read(shard: Shard, *columns: str | pl.Expr) -> pl.DataFrame:
    import polars as pl

    return pl.scan_parquet(shard.rows, glob=False).select(columns).collect()


def _similar_pairs(trail: Trail) -> pl.DataFrame:
    """Return the ids of rows (`row`) and of the earlier rows to which they are similar, as the stage wrote them."""
    import polars as pl

    tables = [pl.DataFrame(schema={"row": pl.String, "similar": pl.String})]
    for (_, before), (name, after) in pairwise(trail):
        if name == NearDuplicateStage.name:
            for shard, output in zip(before, after, strict=True):
                clusters = read_clusters(output.folder, shard).filter(pl.col("similar").is_not_null())
                ids = _read(shard, "id")["id"].gather(clusters["row"])
                tables.append(clusters.select(ids.alias("row"), "similar"))
    return pl.concat(tables)


def _entry(kind: str, ids: list[str], sources: list[str], places: list[str]) -> dict[str, Any]:
    return {"kind": kind, "rows": ids, "sources": sorted(set(sources)), "places": places}


def contradiction_lines(found: Sequence[Mapping[str, Any]], shards: Sequence[Shard]) -> Iterator[str]:
    """Yield a JSON line for each contradiction, with the texts of its rows under `texts`, in the order of `rows`."""
    import polars as pl

    start = 0
    while start < len(found):
        stop, ids = start, set[str]()
        while stop < len(found) and len(ids) < TEXT_ROWS:
            ids.update(found[stop]["rows"])
            stop += 1
        wanted = pl.col("id").is_in(pl.Series(sorted(ids)).implode())
        texts = {
            row.pop("id"): row
            for shard in shards
            for row in pl.scan_parquet(shard.rows, glob=False)
            .filter(wanted)
            .select("id", *TEXTS)
            .collect()
            .iter_rows(named=True)
        }
        for entry in found[start:stop]:
            yield json.dumps({**entry, "texts": [texts[row] for row in entry["rows"]]}) + "\n"
        start = stop


def count_contradictions(found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the numbers of questions with several answers, of their rows, and of pairs of similar rows."""
    same = [len(entry["rows"]) for entry in found if entry["kind"] == SAME_QUESTION]
    return {"questions": len(same), "rows": sum(same), "similar": len(found) - len(same)}
