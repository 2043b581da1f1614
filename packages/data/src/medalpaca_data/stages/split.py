"""Validation split: assign rows to train or validation, so that linked rows stay on one side.

Rows are linked by a common group, as duplicates or near-duplicates, and by the same question.
"""

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

# A question of fewer words, or one that more rows have, is a fixed form such as "Write a summary." and links no rows.
MIN_QUESTION_WORDS, MAX_SHARED_ROWS = 4, 20

# Pairs of the name of a stage and the shards that it wrote, in the order of the stages.
Trail = Sequence[tuple[str, Sequence[Shard]]]


def select_validation(trail: Trail, share: float, seed: int) -> list[pl.Series]:
    """Return a Boolean series for each shard of the last stage: True for the rows of the validation split.

    Linked are rows of one group, and rows with the same question. Groups are linked as well if they contained the same
    or a similar row before duplicates were dropped. Linked rows go to the same side: to validation if a source declares
    one of them as `dev`. Otherwise a hash of `seed` draws about the share `share` of the sets of linked rows.
    """
    import polars as pl

    links = _UnionFind()
    for pair in (*_exact_links(trail), *_near_links(trail), *_question_links(trail[-1][1])):
        links.join(*pair)
    tables = [_read_parts(shard, "split") for shard in trail[-1][1]]
    dev = {links.find(part) for table in tables for part, split in table.iter_rows() if split == "dev"}
    sides: dict[str, bool] = {}

    def side(part: str) -> bool:
        root = links.find(part)
        if root not in sides:
            draw = int(sha256_bytes(f"{seed}:{root[2:]}".encode())[:12], 16) / 16**12
            sides[root] = root in dev or draw < share
        return sides[root]

    return [pl.Series([side(part) for part in table["part"]], dtype=pl.Boolean) for table in tables]


def _read_parts(shard: Shard, *columns: str | pl.Expr) -> pl.DataFrame:
    """Return the column `part` (the group of each row, or its id if it has none) and the given columns."""
    import polars as pl

    group = pl.concat_str(pl.lit("g:"), "group")
    part = pl.when(pl.col("group").is_null()).then(pl.concat_str(pl.lit("i:"), "id")).otherwise(group)
    return pl.scan_parquet(shard.rows, glob=False).select(part.alias("part"), *columns).collect()


def _input_shards(trail: Trail, stage: str) -> Sequence[Shard]:
    """Return the input shards of a stage, or none if it was not run."""
    return next((shards for (_, shards), (name, _) in pairwise(trail) if name == stage), ())


def _exact_links(trail: Trail) -> Iterator[tuple[str, str]]:
    """Yield pairs of parts (see `_read_parts`) that contained the same row before duplicates were dropped."""
    if tables := [_read_parts(shard, "id") for shard in _input_shards(trail, ExactDuplicates.name)]:
        yield from _links_by_value(tables, "id")


def _near_links(trail: Trail) -> Iterator[tuple[str, str]]:
    """Yield (part, cluster) for every row that was similar to another one, dropped or not (see `_read_parts`)."""
    after = next((shards for name, shards in trail if name == NearDuplicateStage.name), ())
    for shard, output in zip(_input_shards(trail, NearDuplicateStage.name), after, strict=True):
        parts = _read_parts(shard)["part"]
        for row, cluster in read_clusters(output.folder, shard).select("row", "cluster").iter_rows():
            yield parts[row], f"c:{cluster}"


def _question_links(shards: Sequence[Shard]) -> Iterator[tuple[str, str]]:
    """Yield pairs of parts (see `_read_parts`) with the same question, apart from case and punctuation.

    Questions of fewer than `MIN_QUESTION_WORDS` words, or in more than `MAX_SHARED_ROWS` rows, are ignored.
    """
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
        yield from _links_by_value(tables, "question", max_rows=MAX_SHARED_ROWS)


def _links_by_value(
    tables: Sequence[pl.DataFrame], column: str, max_rows: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield pairs of parts (see `_read_parts`) that share a value of `column` which 2 to `max_rows` rows have.

    If `max_rows` is None, there is no upper limit.
    """
    import polars as pl

    rows = pl.concat(tables)
    count = pl.len().over(column)
    rows = rows.filter(count > 1 if max_rows is None else (count > 1) & (count <= max_rows))
    for (parts,) in rows.group_by(column, maintain_order=True).agg("part").select("part").iter_rows():
        yield from ((one, other) for one, other in pairwise(parts) if one != other)


class _UnionFind:
    """Union-find over names. The root of a set of linked names is the one that sorts first."""

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
