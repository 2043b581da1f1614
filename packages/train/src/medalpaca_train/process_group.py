"""The processes that train one model together: ranks, collective operations, start and shutdown.

Ranks come from the environment variables that torchrun, accelerate launch or an srun script set. Only the main process
(rank 0) writes the run directory and prints progress. Python objects are exchanged over gloo on the CPU, gradients on
GPUs over NCCL. If one process fails, all of them end, and exactly one prints the reason.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from medalpaca_data.core.cli import INTERRUPTED
from medalpaca_data.core.errors import UserError, one_line

REQUIRED_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOCAL_VARIABLES = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
# From these, an srun script sets the variables above. Outside of a job step they are missing, never empty.
SLURM_VARIABLES = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
# The main process may tokenise or save for this long while the others wait in a collective operation.
COLLECTIVE_TIMEOUT = timedelta(hours=1)
# Longest time for which another process waits for the main process's error.
ERROR_WAIT_SECONDS = 3.0
# Time for the process that prints the error to exit first: launchers end all processes as soon as one exits.
EXIT_DELAY_SECONDS = 1.0
POLL_SECONDS = 0.2
CONNECTION_ERRORS = (
    "gloo",
    "nccl",
    "connection closed",
    "connection reset",
    "broken pipe",
    "socket",
    "store",
)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process (`rank`, `local_rank` on its node) among `size` processes, `local_size` of them on its node.

    All processes must call all_gather, broadcast, barrier and all_reduce in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run directory and prints progress."""
        return self.rank == 0

    def all_gather(self, value: Any) -> list[Any]:
        """Return the `value` of every process, ordered by rank; values are pickled between processes."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the main process's `value` on every process."""
        return self.all_gather(value if self.is_main else None)[0]

    def barrier(self) -> None:
        """Wait until all processes call this method. Raises RuntimeError if one has ended."""
        self.all_gather(None)

    def all_reduce(self, *values: float) -> list[float]:
        """Return each of `values` summed over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block in one process per node first; the others then find the files that this process made."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Run the block in one process of each node at a time."""
        turns = max(self.all_gather(self.local_size))
        for _ in range(self.local_rank):
            self.barrier()
        yield
        for _ in range(turns - self.local_rank):
            self.barrier()


SINGLE_PROCESS = ProcessGroup()


def read_process_group(environment: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Return the group of this process by the ranks that a launcher, such as torchrun, set in `environment`.

    Without RANK or WORLD_SIZE, or with WORLD_SIZE=1, the result is a single process. Raises UserError if a variable of
    the launcher is empty, if a number is invalid or out of range, or if MASTER_ADDR or MASTER_PORT is missing.
    """
    launcher = (*REQUIRED_VARIABLES, *LOCAL_VARIABLES, *SLURM_VARIABLES)
    if empty := [key for key in launcher if not environment.get(key, "set").strip()]:
        raise UserError(
            f"environment variable {', '.join(empty)} is empty; start with torchrun or srun, which set it, or unset it"
        )
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        return SINGLE_PROCESS
    try:
        size, rank = int(environment["WORLD_SIZE"]), int(environment["RANK"])
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
        local_rank = int(environment.get("LOCAL_RANK", rank % max(1, local_size)))
    except ValueError as error:
        raise UserError(
            f"environment variables RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE: {error}; "
            "set whole numbers or unset them"
        ) from None
    if size == 1:
        return SINGLE_PROCESS
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(
            f"RANK={rank} with WORLD_SIZE={size}, LOCAL_RANK={local_rank} with LOCAL_WORLD_SIZE={local_size}: "
            "a rank must be less than its size; start with torchrun, or unset these variables"
        )
    if missing := [key for key in REQUIRED_VARIABLES if not environment.get(key)]:
        raise UserError(f"WORLD_SIZE={size}, but {' and '.join(missing)} is not set; start with torchrun")
    return ProcessGroup(rank, size, local_rank, local_size)


@contextmanager
def join_process_group(group: ProcessGroup) -> Iterator[None]:
    """Connect the processes of `group` while the block runs.

    An error that all processes meet is raised by the main process only. An error of a single process is raised by that
    process, with its rank. The others exit with the same code and print nothing. Raises UserError if the processes
    cannot connect, or if one of them has ended.
    """
    if group.size == 1:
        yield
        return
    store = _initialize(group)
    stop_watching = _exit_on_peer_failure(store)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        stop_watching()
        raise _choose_error(error, group, store) from None
    import torch.distributed as dist

    stop_watching()
    dist.destroy_process_group()
    _leave(group, store)


def _initialize(group: ProcessGroup) -> Any:
    """Create torch's process group; return a key-value store, which still works when the group is broken."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        root, rank, size = next(rendezvous("env://", timeout=RENDEZVOUS_TIMEOUT))
        # torchrun keeps its store when it restarts all processes, with the values of the last attempt.
        store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", root)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", store),
            rank=rank,
            world_size=size,
            timeout=COLLECTIVE_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {group.rank} of {group.size} cannot connect to the others at {address} "
            f"({one_line(error)[:200]}); check MASTER_ADDR and MASTER_PORT"
        ) from None
    return PrefixStore("notes", store)


def _exit_on_peer_failure(store: Any) -> Callable[[], None]:
    """End this process when another one fails, from a thread; return a function that stops the thread.

    Without the thread, a process that waits on a GPU for a process that has ended would wait for ever.
    """
    stopped = threading.Event()

    def watch() -> None:
        # RuntimeError: the store ended with its process; the collective operation then fails as well.
        with suppress(RuntimeError):
            while not stopped.wait(POLL_SECONDS):
                if store.check(["failed"]):
                    code = int(store.get("failed"))
                    time.sleep(EXIT_DELAY_SECONDS)
                    store.add("left", 1)
                    if sys.stdout.isatty():
                        # Show the cursor again, which a progress bar had hidden.
                        sys.stdout.write("\x1b[?25h")
                    sys.stdout.flush()
                    os._exit(code)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join()

    return stop


def _choose_error(error: BaseException, group: ProcessGroup, store: Any) -> BaseException:
    """Return what this process raises: its error, or a silent exit if another process reports the error."""
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
    atexit.register(_leave, group, store)
    if _is_connection_error(error):
        return _make_lost_error(group, store)
    text = f"{type(error).__name__} {error}"
    with suppress(RuntimeError):
        if group.is_main:
            store.set("first", text)
        elif _wait_for_main_error(store) == text:
            return SystemExit(code)
        store.set("failed", str(code))
    if group.is_main or not isinstance(error, UserError):
        return error
    named = UserError(f"process {group.rank} of {group.size}: {error}")
    named.exit_code = error.exit_code
    return named


def _make_lost_error(group: ProcessGroup, store: Any) -> BaseException:
    """Return what this process raises when another has ended: one of those left reports it, the others are silent."""
    try:
        if store.check(["failed"]):
            return SystemExit(int(store.get("failed")))
        reports = store.add("speaker", 1) == 1
        store.set("failed", "1")
    except RuntimeError:
        # The store was in the main process, which has ended.
        reports = group.rank == 1
    if not reports:
        return SystemExit(1)
    error = UserError("another process of this run has ended; the same command continues")
    error.exit_code = 1
    return error


def _is_connection_error(error: BaseException) -> bool:
    """Return whether `error` only means that another process has ended."""
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, NotImplementedError)
        and any(word in str(error).lower() for word in CONNECTION_ERRORS)
    )


def _wait_for_main_error(store: Any) -> str | None:
    """Return the main process's error, or None if it has none within `ERROR_WAIT_SECONDS`."""
    deadline = time.monotonic() + ERROR_WAIT_SECONDS
    while time.monotonic() < deadline:
        if store.check(["first"]):
            return str(store.get("first").decode())
        time.sleep(0.05)
    return None


def _leave(group: ProcessGroup, store: Any) -> None:
    """Leave the group; the main process, which may hold the store, leaves last."""
    deadline = time.monotonic() + 2 * ERROR_WAIT_SECONDS
    with suppress(RuntimeError):
        left = store.add("left", 0 if group.is_main else 1)
        while group.is_main and left < group.size - 1 and time.monotonic() < deadline:
            time.sleep(0.05)
            left = store.add("left", 0)
