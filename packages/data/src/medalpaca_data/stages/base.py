"""What a stage is, and how it is run: shard by shard, never twice, the same whoever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine import Engine, run_all
from ..ground.files import sha256_json
from ..shard import Drop, Shard, dropped_line, is_whole, write_shard

if TYPE_CHECKING:
    import polars as pl

FINGERPRINT = 16  # hex digits in a folder's name

Tell = Callable[[str, int, int | None], None]  # (what is being done, how much is done, of how much)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a stage says of one shard: the same rows in the same order, perhaps changed, and which of them to drop."""

    frame: pl.DataFrame
    drops: Mapping[int, Drop] = field(default_factory=dict)  # by position
    changes: pl.DataFrame | None = None  # id, source_id, was, stage, field, before
    extra: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)  # what was done to rows that stay


def silent(what: str, done: int, of: int | None) -> None:
    """Tell nobody."""


class Stage(ABC):
    """A pure function of its settings and of the shards before it."""

    name: ClassVar[str]

    def settings(self) -> Any:
        """Everything its result depends on but the rows; JSON."""
        return None

    def prepare(self, shards: Sequence[Shard], folder: Path, tell: Tell) -> None:  # noqa: B027 - most need none
        """What needs all rows at once. Its result goes into `folder`, for `judge` to read."""

    @abstractmethod
    def judge(self, table: pl.DataFrame, shard: Shard, folder: Path) -> Verdict:
        """What becomes of one shard's rows. Does nothing else, and may run in any process."""


def fingerprint(*parts: Any) -> str:
    """The name of a stage's result: code, settings and inputs in one hash."""
    return sha256_json(parts)


def run_stage(
    stage: Stage, before: Sequence[Shard], folder: Path, tell: Tell, engine: Engine, at_once: int
) -> list[Shard]:
    """The shards of `stage` in `folder`; those that are there already are not made again."""
    after = [shard.within(folder) for shard in before]
    todo = [(old, new) for old, new in zip(before, after, strict=True) if not is_whole(new)]
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
        stage.prepare(before, folder, tell)
    calls = ((run_shard, (stage, old, new)) for old, new in todo)
    for done, _ in enumerate(run_all(engine, calls, at_once), 1):
        tell(stage.name, len(after) - len(todo) + done, len(after))
    return after


def run_shard(stage: Stage, old: Shard, new: Shard) -> None:
    """One shard through one stage."""
    import polars as pl

    table = old.read()
    verdict = stage.judge(table, new, new.folder)
    drops = verdict.drops
    gone = pl.Series("gone", [n in drops for n in range(table.height)], dtype=pl.Boolean)
    write_shard(
        new,
        read=table.height,
        kept=verdict.frame.filter(~gone),
        rejected=_lines(verdict.frame, drops, stage.name),
        reasons=Counter(drop.reason for drop in drops.values()),
        changes=verdict.changes,
        extra=verdict.extra,
        counts=verdict.counts,
    )


def _lines(table: pl.DataFrame, drops: Mapping[int, Drop], stage: str) -> Iterable[str]:
    for n in sorted(drops):
        yield dropped_line(table.row(n, named=True), stage, drops[n])


# The decisions of a stage that looks at all rows at once: which row of which shard to drop, and why.


def write_decisions(folder: Path, drops: Iterable[tuple[str, int, Drop]]) -> None:
    """Keep (shard key, position, drop) for `decisions`."""
    import json

    import polars as pl

    from ..shard import write_frame

    listed = [(key, n, drop.reason, json.dumps(drop.evidence)) for key, n, drop in drops]
    schema = {"shard": pl.String, "row": pl.Int64, "reason": pl.String, "evidence": pl.String}
    write_frame(folder / "decisions.parquet", pl.DataFrame(listed, schema=schema, orient="row"))


def decisions(folder: Path, shard: Shard) -> dict[int, Drop]:
    """What `write_decisions` kept for `shard`."""
    import json

    import polars as pl

    table = pl.read_parquet(folder / "decisions.parquet").filter(pl.col("shard") == shard.key)
    return {
        row["row"]: Drop(reason=row["reason"], evidence=json.loads(row["evidence"]))
        for row in table.iter_rows(named=True)
    }
