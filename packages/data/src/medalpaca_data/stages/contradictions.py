"""Contradictions: one question with several answers. Reported, never decided: who is right is not ours to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..shard import Shard


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
