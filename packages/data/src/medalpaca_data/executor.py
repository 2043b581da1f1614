"""Stages of a build, and the engines that run them: one process, a process pool, or a Ray cluster.

An engine is any object with `submit(function, *arguments)` that returns a future, such as the executors of
`concurrent.futures`, Dask or submitit. Calls share only files, so all engines give the same bytes. A stage is run
shard by shard, and a complete shard is not computed again.
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

from .core.errors import UserError, one_line
from .core.files import sha256_json
from .core.offline import is_sealed, no_telemetry, seal_if_requested, sealed_setting
from .shard import Drop, Shard, dropped_line, is_whole, write_shard

if TYPE_CHECKING:
    import polars as pl


# Picklable, because an engine may run it on another machine.
Call = tuple[Callable[..., Any], tuple[Any, ...]]
Kind = Literal["serial", "processes", "ray"]
KINDS: tuple[Kind, ...] = ("serial", "processes", "ray")


class Engine(Protocol):
    """Protocol of an object that runs functions in this or in other processes."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Return a future of `function(*arguments)`."""


class Serial:
    """Engine that runs each function immediately in this process. Exceptions are raised by `submit`."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


class _Ray:
    """Engine that runs functions as tasks of a Ray cluster."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = self._ray.remote(function).remote(*arguments).future()
        return future


def run_all(engine: Engine, calls: Iterable[Call], at_once: int) -> Iterator[tuple[int, Any]]:
    """Yield (index of the call, result) as calls complete; at most `at_once` calls are submitted at a time.

    If a call fails, no further call is started, running calls are awaited, and its error is raised.
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
        # Ray wraps the exception of a task.
        if isinstance(cause := getattr(error, "cause", None), UserError):
            raise cause from None
        raise


def _begin_worker(parent: int) -> None:
    """Switch on sealed mode in a worker if it is requested, and end the worker when its parent has ended.

    Without the second step, workers of a killed parent would wait for ever.
    """
    seal_if_requested()
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def open_engine(kind: Kind, workers: int) -> Iterator[Engine]:
    """Yield an engine and close it afterwards. "serial" ignores `workers`.

    Raises UserError for "ray" if Ray is not installed or in sealed mode, and for an invalid `MEDALPACA_SEALED`.
    """
    match kind:
        case "serial":
            yield Serial()
        case "processes":
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # An invalid switch is an error of this process: raised in a worker, it would read as a broken pool.
            is_sealed()
            # Not forked, because polars has threads that would hang in a forked process.
            with ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (os.getpid(),)) as pool:
                yield pool
        case "ray":
            with _ray(workers) as engine:
                yield engine


@contextmanager
def _ray(workers: int) -> Iterator[Engine]:
    """Yield an engine on the cluster of RAY_ADDRESS, or on a local one with `workers` CPUs.

    If Ray was initialised before, that cluster is used and stays open.
    """
    if is_sealed():
        # Ray's processes are not Python code, so sealed mode cannot check their connections.
        raise UserError(f"engine=ray is not allowed with {sealed_setting()}; use workers=N on this machine")
    no_telemetry()
    # Under `uv run`, Ray would build a new environment for every worker; the current one is complete.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise UserError("engine=ray: Ray is not installed; install the extra medalpaca-data[ray]") from None
    has_cluster = bool(os.environ.get("RAY_ADDRESS"))
    own = not ray.is_initialized()
    if own:
        local = {} if has_cluster else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, **local)
        except Exception as error:
            ray.shutdown()
            where = (
                f"the cluster RAY_ADDRESS={os.environ['RAY_ADDRESS']}" if has_cluster else "a local cluster"
            )
            remedy = "check the address" if has_cluster else "set RAY_ADDRESS to a running cluster"
            raise UserError(
                f"engine=ray: {where} cannot be used ({type(error).__name__}: {one_line(error)[:200]}); {remedy}, or "
                "use engine=processes"
            ) from None
    try:
        yield _Ray(ray)
    finally:
        if own:
            ray.shutdown()


# Hexadecimal digits of a fingerprint in the name of a folder of the build cache.
FINGERPRINT = 16

# Called with (task, units done, units in total or None).
OnProgress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """Result of a stage for one shard.

    Attributes:
        frame: All rows of the shard in the same order, with changed texts.
        drops: Rejected rows by position.
        changes: A row for each changed field (columns id, source_id, was, stage, field, before); None if there is none.
        extra: Records beside rows and rejects. Only `Decontaminate` has any: matches of rows with exam questions.
        counts: Numbers of changes or of identifiers found, by kind.
        spans: A row for each surrogate (columns id, field, start, end, class); None if there is none.
        checked: Counts of the independent check of de-identification in the rows that are kept.
    """

    frame: pl.DataFrame
    drops: Mapping[int, Drop] = field(default_factory=dict)
    changes: pl.DataFrame | None = None
    extra: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    spans: pl.DataFrame | None = None
    checked: Mapping[str, int] = field(default_factory=dict)


def no_progress(what: str, done: int, of: int | None) -> None:
    """Do nothing; the default of `on_progress`."""


class Stage(ABC):
    """One step of a build: a pure function of its settings and the shards of the previous stage."""

    name: ClassVar[str]

    def settings(self) -> Any:
        """Return a JSON value of everything the result depends on except the rows."""
        return None

    def prepare(  # noqa: B027 - most stages need no preparation
        self, shards: Sequence[Shard], folder: Path, on_progress: OnProgress
    ) -> None:
        """Compute what needs all rows at once, and write it to `folder`, where `apply` reads it.

        `shards` are all shards of the previous stage. Called once in the main process, before any `apply`, unless
        the stage is already complete.
        """

    @abstractmethod
    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        """Return the result for one shard. It has no side effects and may run in any process."""


def fingerprint(*parts: Any) -> str:
    """Return the hexadecimal SHA-256 over JSON values.

    The values are everything that a result depends on: code, settings and inputs, or earlier fingerprints. A stored
    result with the same fingerprint is used again.
    """
    return sha256_json(parts)


def run_stage(
    stage: Stage, before: Sequence[Shard], folder: Path, on_progress: OnProgress, engine: Engine, at_once: int
) -> list[Shard]:
    """Run a stage on all shards of the stage before, and return its own shards in `folder`.

    Complete shards are not computed again. `on_progress` receives the numbers of finished shards.
    """
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
    """Run a stage on the shard `old` and write the result as the shard `new`."""
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
        spans=result.spans,
        **({"checked": dict(sorted(result.checked.items()))} if result.checked else {}),
    )


def _lines(table: pl.DataFrame, drops: Mapping[int, Drop], stage: str) -> Iterable[str]:
    for n in sorted(drops):
        yield dropped_line(table.row(n, named=True), stage, drops[n])


def write_decisions(folder: Path, drops: Iterable[tuple[str, int, Drop]]) -> None:
    """Write the rows that a stage rejects after comparing all rows: (key of the shard, position in it, reason)."""
    import json

    import polars as pl

    from .shard import write_frame

    listed = [(key, n, drop.reason, json.dumps(drop.evidence)) for key, n, drop in drops]
    schema = {"shard": pl.String, "row": pl.Int64, "reason": pl.String, "evidence": pl.String}
    write_frame(folder / "decisions.parquet", pl.DataFrame(listed, schema=schema, orient="row"))


def read_decisions(folder: Path, shard: Shard) -> dict[int, Drop]:
    """Return the rejected rows of `shard` by position, as written by `write_decisions`."""
    import json

    import polars as pl

    table = pl.read_parquet(folder / "decisions.parquet").filter(pl.col("shard") == shard.key)
    return {
        row["row"]: Drop(reason=row["reason"], evidence=json.loads(row["evidence"]))
        for row in table.iter_rows(named=True)
    }
