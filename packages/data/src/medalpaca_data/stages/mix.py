"""The mix: how many rows each source may bring. Who stays is drawn by a hash, so more rows never change who was in."""

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
    """Caps every source at its `max_rows`, and shares `rows`, where that is given, among them by weight."""

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
        held = Counter[str]()
        for shard in shards:
            held[shard.source] += len(ids[shard.key])
        wanted = allocate_rows(held, self._caps, self._weights, self._rows)
        for source, want in wanted.items():
            if want >= held[source]:
                continue
            cap = self._caps.get(source)
            reason = (
                "over max_rows" if cap is not None and want == cap else "over the source's share of the mix"
            )
            own = [shard for shard in shards if shard.source == source]
            draws = sorted(
                (self._draw(i), shard.key, n) for shard in own for n, i in enumerate(ids[shard.key])
            )
            gone = sorted((key, n) for _, key, n in draws[want:])
            yield from ((key, n, Drop(reason=reason)) for key, n in gone)

    def _draw(self, row_id: str) -> str:
        return sha256_bytes(f"{self._seed}:mix:{row_id}".encode())[:16]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        return StageResult(frame=table, drops=read_decisions(folder, shard))


def allocate_rows(
    held: Mapping[str, int], caps: Mapping[str, int | None], weights: Mapping[str, float], rows: int | None
) -> dict[str, int]:
    """How many rows of each source are wanted.

    Without `rows`: all, up to the cap. With it: in proportion to the weights; what a source cannot fill goes to the
    others, again by weight, so that the sum is `rows` whenever there are enough.
    """
    limit = {
        name: min(count, count if caps.get(name) is None else caps[name] or 0) for name, count in held.items()
    }
    if rows is None:
        return limit
    given = dict.fromkeys(held, 0)
    left, open_ = min(rows, sum(limit.values())), {name for name in held if limit[name]}
    while left and open_:
        whole = sum(weights.get(name, 1.0) for name in open_)
        ideal = {name: given[name] + left * weights.get(name, 1.0) / whole for name in open_}
        if full := {name for name in open_ if ideal[name] >= limit[name]}:
            # Filled sources first; what they leave is shared anew.
            left -= sum(limit[name] - given[name] for name in full)
            given |= {name: limit[name] for name in full}
            open_ -= full
            continue
        given |= {name: int(ideal[name]) for name in open_}
        rest = min(rows, sum(limit.values())) - sum(given.values())
        # Largest remainders, names in order where they tie.
        for name in sorted(open_, key=lambda name: (int(ideal[name]) - ideal[name], name))[:rest]:
            given[name] += 1
        break
    return given
