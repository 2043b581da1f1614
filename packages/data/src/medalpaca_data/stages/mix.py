"""Mix stage: limit the number of rows of each source.

The kept rows of a source are drawn by a hash of seed and id. With the same seed and rows, a larger limit keeps every
row that a smaller one keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.files import sha256_bytes
from ..executor import OnProgress, Stage, StageResult, read_decisions, write_decisions
from ..shard import Drop, Shard

if TYPE_CHECKING:
    import polars as pl


class Mix(Stage):
    """Limit each source to its cap (`max_rows`), and the mix to `rows`, allocated to the sources by weight.

    A cap of None is no limit. If `rows` is None, only the caps apply. A source without a weight has weight 1.
    """

    name: ClassVar[str] = "mix"

    def __init__(
        self, caps: Mapping[str, int | None], weights: Mapping[str, float], rows: int | None, seed: int
    ) -> None:
        self._caps, self._weights, self._rows, self._seed = dict(caps), dict(weights), rows, seed

    def settings(self) -> Any:
        return [sorted(self._caps.items()), sorted(self._weights.items()), self._rows, self._seed]

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:
        write_decisions(folder, self._drops(shards))

    def _drops(self, shards: Sequence[Shard]) -> Iterator[tuple[str, int, Drop]]:
        import polars as pl

        ids = {shard.key: pl.read_parquet(shard.rows, columns=["id"], glob=False)["id"] for shard in shards}
        available = Counter[str]()
        for shard in shards:
            available[shard.source] += len(ids[shard.key])
        allocated = allocate_rows(available, self._caps, self._weights, self._rows)
        for source, count in allocated.items():
            if count >= available[source]:
                continue
            capped = self._caps.get(source) == count
            reason = "over max_rows" if capped else "above the source's share of the mix"
            draws = sorted(
                (self._draw(row_id), shard.key, n)
                for shard in shards
                if shard.source == source
                for n, row_id in enumerate(ids[shard.key])
            )
            dropped = sorted((key, n) for _, key, n in draws[count:])
            yield from ((key, n, Drop(reason=reason)) for key, n in dropped)

    def _draw(self, row_id: str) -> str:
        return sha256_bytes(f"{self._seed}:mix:{row_id}".encode())[:16]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


def allocate_rows(
    available: Mapping[str, int],
    caps: Mapping[str, int | None],
    weights: Mapping[str, float],
    rows: int | None,
) -> dict[str, int]:
    """Return {source: number of rows to keep} for every source in `available`.

    Without `rows`, this is all available rows, up to the cap of the source. With `rows`, it is in proportion to the
    weights. Rows that a source cannot provide within its cap are allocated to the others by weight. The sum is `rows`,
    or less only if all sources together have fewer rows.
    """
    limit = {
        name: min(count, count if caps.get(name) is None else caps[name] or 0)
        for name, count in available.items()
    }
    if rows is None:
        return limit
    allocated = dict.fromkeys(available, 0)
    total = min(rows, sum(limit.values()))
    remaining, unfilled = total, {name for name in available if limit[name]}
    while remaining and unfilled:
        weight_sum = sum(weights.get(name, 1.0) for name in unfilled)
        ideal = {name: allocated[name] + remaining * weights.get(name, 1.0) / weight_sum for name in unfilled}
        if full := {name for name in unfilled if ideal[name] >= limit[name]}:
            # These sources get all their rows; the next round allocates the rest to the others.
            remaining -= sum(limit[name] - allocated[name] for name in full)
            allocated |= {name: limit[name] for name in full}
            unfilled -= full
            continue
        allocated |= {name: int(ideal[name]) for name in unfilled}
        rest = total - sum(allocated.values())
        # Largest remainders, in the order of the names if they are equal.
        for name in sorted(unfilled, key=lambda name: (int(ideal[name]) - ideal[name], name))[:rest]:
            allocated[name] += 1
        break
    return allocated
