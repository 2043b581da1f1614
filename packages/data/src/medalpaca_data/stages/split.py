"""The split: rows that answer each other, are almost the same, or ask the same are never on both sides of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ..core.files import sha256_bytes
from ..shard import Shard
from .deduplicate import ExactDuplicates, NearDuplicateStage, read_clusters

if TYPE_CHECKING:
    import polars as pl

TRAIN, VALIDATION = "train", "validation"

# A question of fewer words, or one that more rows share, is a form and ties nothing: "Write a summary."
MIN_QUESTION_WORDS, MAX_SHARED_ROWS = 4, 20

Trail = Sequence[tuple[str, Sequence[Shard]]]  # (stage, its shards), in order


def select_validation(trail: Trail, share: float, seed: int) -> list[pl.Series]:
    """For every last shard, which of its rows are for validation.

    Tied are rows of one group; groups that held the same row or almost the same, even where only one copy stayed; and
    rows with the same question. What is tied goes one way: to validation where its source says `dev` of any of it, or
    else by a hash that draws `share` of all such parts.
    """
    import polars as pl

    ties = _UnionFind()
    for tied in (*_exact_links(trail), *_near_links(trail), *_question_links(trail[-1][1])):
        ties.join(*tied)
    tables = [_read_parts(shard, "split") for shard in trail[-1][1]]
    dev = {ties.find(part) for table in tables for part, split in table.iter_rows() if split == "dev"}
    sides: dict[str, bool] = {}

    def side(part: str) -> bool:
        root = ties.find(part)
        if root not in sides:
            draw = int(sha256_bytes(f"{seed}:{root[2:]}".encode())[:12], 16) / 16**12
            sides[root] = root in dev or draw < share
        return sides[root]

    return [pl.Series([side(part) for part in table["part"]], dtype=pl.Boolean) for table in tables]


def _read_parts(shard: Shard, *columns: str | pl.Expr) -> pl.DataFrame:
    """`part` of every row, its group or else its id, and the columns."""
    import polars as pl

    group = pl.concat_str(pl.lit("g:"), "group")
    part = pl.when(pl.col("group").is_null()).then(pl.concat_str(pl.lit("i:"), "id")).otherwise(group)
    return pl.scan_parquet(shard.rows, glob=False).select(part.alias("part"), *columns).collect()


def _input_shards(trail: Trail, stage: str) -> Sequence[Shard]:
    """The shards that a stage was given; none where it was not run."""
    return next((shards for (_, shards), (name, _) in pairwise(trail) if name == stage), ())


def _exact_links(trail: Trail) -> Iterator[tuple[str, str]]:
    """Groups that held the same row."""
    if tables := [_read_parts(shard, "id") for shard in _input_shards(trail, ExactDuplicates.name)]:
        yield from _links_by_value(tables, "id")


def _near_links(trail: Trail) -> Iterator[tuple[str, str]]:
    """Groups that held almost the same row."""
    after = next((shards for name, shards in trail if name == NearDuplicateStage.name), ())
    for shard, left in zip(_input_shards(trail, NearDuplicateStage.name), after, strict=True):
        parts = _read_parts(shard)["part"]
        for row, cluster in read_clusters(left.folder, shard).iter_rows():
            yield parts[row], f"c:{cluster}"


def _question_links(shards: Sequence[Shard]) -> Iterator[tuple[str, str]]:
    """Parts that ask the same, in whatever letters and marks."""
    import polars as pl

    question = pl.when(pl.col("input") == "").then("instruction").otherwise("input")
    plain = question.str.to_lowercase().str.replace_all(r"[^\pL\pN]+", " ").str.strip_chars()
    tables = [
        _read_parts(shard, plain.alias("question"))
        .filter(pl.col("question").str.count_matches(" ") >= MIN_QUESTION_WORDS - 1)
        .with_columns(pl.col("question").hash(seed=0))
        for shard in shards
    ]
    if tables:
        yield from _links_by_value(tables, "question", most=MAX_SHARED_ROWS)


def _links_by_value(
    tables: Sequence[pl.DataFrame], column: str, most: int | None = None
) -> Iterator[tuple[str, str]]:
    """Pairs of parts that share a value of a column, where at least two rows do and at most `most`."""
    import polars as pl

    rows = pl.concat(tables)
    count = pl.len().over(column)
    rows = rows.filter(count > 1 if most is None else (count > 1) & (count <= most))
    for (parts,) in rows.group_by(column, maintain_order=True).agg("part").select("part").iter_rows():
        yield from ((one, other) for one, other in pairwise(parts) if one != other)


class _UnionFind:
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
