"""The split: rows that answer each other, or are almost the same, are never on both sides of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ground.files import sha256_bytes
from .near import CLUSTER
from .shard import Shard

if TYPE_CHECKING:
    import polars as pl

TRAIN, VALIDATION = "train", "validation"


def held_out(shards: Sequence[Shard], share: float, seed: int) -> list[pl.Series]:
    """For every shard, which of its rows are for validation.

    Rows are tied by their group and by their cluster of near duplicates; what is tied goes one way. It goes to
    validation where its source says `dev` of any of it, or else by a hash that draws `share` of all such parts.
    """
    import polars as pl

    columns = ["id", "group", "split", CLUSTER]
    tables = [_columns(shard, columns) for shard in shards]
    ties = _Ties()
    dev: set[str] = set()
    for table in tables:
        for row_id, group, split, cluster in table.iter_rows():
            part = _part(row_id, group, cluster)
            if group and cluster:
                ties.join(part, f"c:{cluster}")
            if split == "dev":
                dev.add(part)
    held_parts = {ties.find(part) for part in dev}
    sides: dict[str, bool] = {}

    def side(part: str) -> bool:
        root = ties.find(part)
        if root not in sides:
            draw = int(sha256_bytes(f"{seed}:{root[2:]}".encode())[:12], 16) / 16**12
            sides[root] = root in held_parts or draw < share
        return sides[root]

    return [
        pl.Series(
            [side(_part(row_id, group, cluster)) for row_id, group, _, cluster in table.iter_rows()],
            dtype=pl.Boolean,
        )
        for table in tables
    ]


def _columns(shard: Shard, names: Sequence[str]) -> pl.DataFrame:
    """The columns, null where a stage that would make one was not run."""
    import polars as pl

    table = pl.scan_parquet(shard.rows, glob=False)
    there = table.collect_schema().names()
    return table.select(
        pl.col(name) if name in there else pl.lit(None, dtype=pl.String).alias(name) for name in names
    ).collect()


def _part(row_id: str, group: str | None, cluster: str | None) -> str:
    return f"g:{group}" if group else f"c:{cluster}" if cluster else f"i:{row_id}"


class _Ties:
    """Union-find over the few parts that are tied to others; the smallest name stands for all."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, part: str) -> str:
        root = part
        while (up := self._parent.get(root, root)) != root:
            root = up
        while (up := self._parent.get(part, part)) != root:
            self._parent[part] = root
            part = up
        return root

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        if first != second:
            self._parent[second] = first
