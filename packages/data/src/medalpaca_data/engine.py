"""Who runs a build's parts: this process, a pool of processes, or a cluster that takes functions.

Anything with `submit(function, *arguments)` that returns a future is an engine: a pool of `concurrent.futures`, Dask's
`Client.get_executor()`, submitit's executors. Parts share nothing but files, so all engines give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from .ground.errors import UserError
from .ground.sealed import is_sealed, no_telemetry, seal_if_asked, sealed_setting

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
