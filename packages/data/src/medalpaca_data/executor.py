"""Who runs a build's parts: this process, a pool of processes, or a cluster that takes functions.

Anything with `submit(function, *arguments)` that returns a future is an engine: a pool of `concurrent.futures`, Dask's
`Client.get_executor()`, submitit's executors. Parts share nothing but files, so all engines give the same bytes.

What a stage is, and how it is run: shard by shard, never twice, the same whoever runs it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from .core.errors import UserError
from .core.files import sha256_json
from .core.offline import is_sealed, no_telemetry, seal_if_asked, sealed_setting
from .shard import Drop, Shard, dropped_line, is_whole, write_shard

if TYPE_CHECKING:
    import polars as pl


Call = tuple[Callable[..., Any], tuple[Any, ...]]  # picklable: it may cross to another machine
Kind = Literal["serial", "processes", "ray"]
KINDS: tuple[Kind, ...] = ("serial", "processes", "ray")


class Engine(Protocol):
    """Takes functions."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """A future of `function(*arguments)`."""


class Serial:
    """Runs a function at once, here."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))  # what it raises is raised here, in its place
        return future


class _Ray:
    """Functions as tasks of a Ray cluster."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = self._ray.remote(function).remote(*arguments).future()
        return future


def run_all(engine: Engine, calls: Iterable[Call], at_once: int) -> Iterator[tuple[int, Any]]:
    """(number of the call, result) of every call as it is done; at most `at_once` are under way.

    The first that fails ends it: those under way are waited for, no other is begun, and its error is raised.
    """
    left = enumerate(calls)
    pending: dict[Future[Any], int] = {}
    try:
        while True:
            for number, (function, arguments) in left:
                pending[engine.submit(function, *arguments)] = number
                if len(pending) == at_once:
                    break
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=pending.__getitem__):
                yield pending.pop(future), _result(future)
    finally:
        for future in pending:
            future.cancel()
        wait(pending)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except UserError:
        raise
    except Exception as error:
        # Ray wraps what a task raised.
        if isinstance(cause := getattr(error, "cause", None), UserError):
            raise cause from None
        raise


def _begin_worker(parent: int) -> None:
    """Seal this worker as its parent is, and end it when the parent is gone: a pool's workers wait for ever for one
    that was killed."""
    seal_if_asked()
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def open_engine(kind: Kind, workers: int) -> Iterator[Engine]:
    """An engine by name, closed afterwards. Raises UserError when Ray is asked for and is not there."""
    match kind:
        case "serial":
            yield Serial()
        case "processes":
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # An invalid switch is an error of this process: raised in a worker, it would read as a broken pool.
            is_sealed()
            # Not forked: polars has threads of its own, which a fork would leave hanging.
            with ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (os.getpid(),)) as pool:
                yield pool
        case "ray":
            with _ray(workers) as engine:
                yield engine


@contextmanager
def _ray(workers: int) -> Iterator[Engine]:
    """The cluster that RAY_ADDRESS names, or one of `workers` on this machine."""
    if is_sealed():
        # Ray's own processes talk to each other past Python, where the guard does not see it.
        raise UserError(f"engine=ray: not with {sealed_setting()}; use workers=N on this machine")
    no_telemetry()
    # Under `uv run` Ray would build an environment anew for every worker; the one we run in is the right one.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise UserError("engine=ray: Ray is not installed; install the extra medalpaca-data[ray]") from None
    there = bool(os.environ.get("RAY_ADDRESS"))
    own = not ray.is_initialized()
    if own:
        local = {} if there else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, **local)
    try:
        yield _Ray(ray)
    finally:
        if own:
            ray.shutdown()


FINGERPRINT = 16  # hex digits in a folder's name

# Called with (name of the step, amount done, total amount or None if unknown).
OnProgress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The result of a stage for one shard.

    frame: all rows in the same order, with their texts changed or not.
    drops: position -> reason, for the rows to drop.
    changes: the changed texts, with the columns id, source_id, was, stage, field and before.
    extra: records that the stage reports besides, such as hits of exam questions.
    counts: number of changes by kind, in rows that are kept.
    """

    frame: pl.DataFrame
    drops: Mapping[int, Drop] = field(default_factory=dict)
    changes: pl.DataFrame | None = None
    extra: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def no_progress(what: str, done: int, of: int | None) -> None:
    """Ignore the progress."""


class Stage(ABC):
    """A pure function of its settings and of the shards before it."""

    name: ClassVar[str]

    def settings(self) -> Any:
        """Return everything except the rows that determines the result, as JSON values."""
        return None

    def prepare(self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress) -> None:  # noqa: B027 - most need none
        """Compute what needs the rows of all shards, and write it to `folder`, where `apply` reads it."""

    @abstractmethod
    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        """Return the result for the rows of one shard. It has no side effects and may run in any process."""


def fingerprint(*parts: Any) -> str:
    """The name of a stage's result: code, settings and inputs in one hash."""
    return sha256_json(parts)


def run_stage(
    stage: Stage, before: Sequence[Shard], folder: Path, on_progress: OnProgress, engine: Engine, at_once: int
) -> list[Shard]:
    """The shards of `stage` in `folder`; those that are there already are not made again."""
    after = [shard.within(folder) for shard in before]
    todo = [(old, new) for old, new in zip(before, after, strict=True) if not is_whole(new)]
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
        stage.prepare(before, folder, on_progress)
    calls = ((run_shard, (stage, old, new)) for old, new in todo)
    for done, _ in enumerate(run_all(engine, calls, at_once), 1):
        on_progress(stage.name, len(after) - len(todo) + done, len(after))
    return after


def run_shard(stage: Stage, old: Shard, new: Shard) -> None:
    """One shard through one stage."""
    import polars as pl

    table = old.read()
    result = stage.apply(table, new, new.folder)
    drops = result.drops
    gone = pl.Series("gone", [n in drops for n in range(table.height)], dtype=pl.Boolean)
    write_shard(
        new,
        read=table.height,
        kept=result.frame.filter(~gone),
        rejected=_lines(result.frame, drops, stage.name),
        reasons=Counter(drop.reason for drop in drops.values()),
        changes=result.changes,
        extra=result.extra,
        counts=result.counts,
    )


def _lines(table: pl.DataFrame, drops: Mapping[int, Drop], stage: str) -> Iterable[str]:
    for n in sorted(drops):
        yield dropped_line(table.row(n, named=True), stage, drops[n])


# The decisions of a stage that looks at all rows at once: which row of which shard to drop, and why.


def write_decisions(folder: Path, drops: Iterable[tuple[str, int, Drop]]) -> None:
    """Keep (shard key, position, drop) for `decisions`."""
    import json

    import polars as pl

    from .shard import write_frame

    listed = [(key, n, drop.reason, json.dumps(drop.evidence)) for key, n, drop in drops]
    schema = {"shard": pl.String, "row": pl.Int64, "reason": pl.String, "evidence": pl.String}
    write_frame(folder / "decisions.parquet", pl.DataFrame(listed, schema=schema, orient="row"))


def read_decisions(folder: Path, shard: Shard) -> dict[int, Drop]:
    """What `write_decisions` kept for `shard`."""
    import json

    import polars as pl

    table = pl.read_parquet(folder / "decisions.parquet").filter(pl.col("shard") == shard.key)
    return {
        row["row"]: Drop(reason=row["reason"], evidence=json.loads(row["evidence"]))
        for row in table.iter_rows(named=True)
    }
