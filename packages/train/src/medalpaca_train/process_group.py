"""The processes that train one model together: who is who, and the few things they tell each other.

Whoever starts them (torchrun, accelerate launch, srun) says by environment variables who each is. The first one alone
writes and speaks. What they agree on goes through gloo on the CPU, gradients on GPUs through NCCL.

Joining the other processes, and leaving them: when one fails all end, and one of them says why.
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

KEYS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size` others: its `rank`, and its `local_rank` among the `local_size` of its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Everybody's `value`, by rank. All have to ask at the same place."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def told(self, value: Any) -> Any:
        """What the first has as `value`, on every process."""
        return self.gather(value if self.first else None)[0]

    def wait(self) -> None:
        """Until all are here; an error where one has gone."""
        self.gather(None)

    def summed(self, *values: float) -> list[float]:
        """Each of `values`, summed over all processes in double precision."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    @contextmanager
    def first_of_node_first(self) -> Iterator[None]:
        """The block runs in one process of each node before it runs in the others, which find what that one made."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()

    @contextmanager
    def one_after_another(self) -> Iterator[None]:
        """The block runs in one process of a node at a time."""
        turns = max(self.gather(self.local_size))
        for _ in range(self.local_rank):
            self.wait()
        yield
        for _ in range(turns - self.local_rank):
            self.wait()


ALONE = World()


def find_world(environment: Mapping[str, str] = os.environ) -> World:
    """Who we are according to the launcher; alone where there is none. Raises UserError for half an answer."""
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        return ALONE
    try:
        size, rank = int(environment["WORLD_SIZE"]), int(environment["RANK"])
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
        local_rank = int(environment.get("LOCAL_RANK", rank % max(1, local_size)))
    except ValueError as error:
        raise UserError(f"RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE: {error}; unset them") from None
    if size == 1:
        return ALONE
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(
            f"RANK={rank} of WORLD_SIZE={size}, LOCAL_RANK={local_rank} of LOCAL_WORLD_SIZE={local_size}: "
            "not possible; start with torchrun, or unset them"
        )
    if missing := [key for key in KEYS if not environment.get(key)]:
        raise UserError(f"WORLD_SIZE={size}, but {' and '.join(missing)} is not set; start with torchrun")
    return World(rank, size, local_rank, local_size)


MEETING = timedelta(minutes=10)  # for all to have started
PATIENCE = timedelta(hours=1)  # the first may tokenise or save for so long while the others wait
HEARING = 3.0  # seconds until all know what one has met
GRACE = 1.0  # seconds in which it says so
LOOK = 0.2  # seconds between looks at whether another has failed
LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "store")


@contextmanager
def joined(world: World) -> Iterator[None]:
    """The processes of `world` can talk to each other while the block runs.

    An error that all meet is raised by the first alone, one that a single process meets by that one, with its number;
    the others leave with the same exit code and say nothing. Raises UserError when they do not find each other, or
    when one of them is gone.
    """
    if world.size == 1:
        yield
        return
    notes = _meet(world)
    leave = _stay_until_one_fails(notes)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        leave()
        raise _judge(error, world, notes) from None
    import torch.distributed as dist

    leave()
    dist.destroy_process_group()
    _go(world, notes)


def _meet(world: World) -> Any:
    """Make the process group; returns a store for notes, which still arrive when the group is broken."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        found, rank, size = next(rendezvous("env://", timeout=MEETING))
        # torchrun keeps its store when it starts all anew, with what the last attempt left in it.
        store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", found)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {world.rank} of {world.size} cannot meet the others at {where} ({one_line(error)[:200]})"
        ) from None
    return PrefixStore("notes", store)


def _stay_until_one_fails(notes: Any) -> Callable[[], None]:
    """Have this process end when another one fails, also while it waits for that one; returns what calls it off.

    A process that waits on a GPU for one that has gone would wait for ever.
    """
    leaving = threading.Event()

    def watch() -> None:
        with suppress(RuntimeError):  # the store has gone with its process: then the group says so too
            while not leaving.wait(LOOK):
                if notes.check(["failed"]):
                    code = int(notes.get("failed"))
                    # Who speaks goes first: launchers end all as soon as one has gone.
                    time.sleep(GRACE)
                    notes.add("left", 1)
                    if sys.stdout.isatty():
                        sys.stdout.write("\x1b[?25h")  # the cursor, which a bar had hidden
                    sys.stdout.flush()
                    os._exit(code)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def leave() -> None:
        leaving.set()
        thread.join()

    return leave


def _judge(error: BaseException, world: World, notes: Any) -> BaseException:
    """What this process raises: the error, or an exit without a word because another one speaks."""
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
    atexit.register(_go, world, notes)
    if _means_lost(error):
        return _lost(world, notes)
    text = f"{type(error).__name__} {error}"
    with suppress(RuntimeError):
        if world.first:
            notes.set("first", text)
        elif _heard(notes) == text:
            return SystemExit(code)
        notes.set("failed", str(code))
    if world.first or not isinstance(error, UserError):
        return error
    named = UserError(f"process {world.rank} of {world.size}: {error}")
    named.exit_code = error.exit_code
    return named


def _lost(world: World, notes: Any) -> BaseException:
    """What is raised when another process has gone: a line, by one of those that are left."""
    try:
        if notes.check(["failed"]):
            return SystemExit(int(notes.get("failed")))
        speaks = notes.add("speaker", 1) == 1
        notes.set("failed", "1")
    except RuntimeError:  # the store was in the first process
        speaks = world.rank == 1
    if not speaks:
        return SystemExit(1)
    error = UserError("another process of this run has ended; the same command continues")
    error.exit_code = 1
    return error


def _means_lost(error: BaseException) -> bool:
    """Whether `error` only says that another process has gone."""
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, NotImplementedError)
        and any(word in str(error).lower() for word in LOST)
    )


def _heard(notes: Any) -> str | None:
    """What the first has failed with, if it does within `HEARING` seconds."""
    deadline = time.monotonic() + HEARING
    while time.monotonic() < deadline:
        if notes.check(["first"]):
            return str(notes.get("first").decode())
        time.sleep(0.05)
    return None


def _go(world: World, notes: Any) -> None:
    """Leave the others; the first, in which the notes may lie, goes last."""
    deadline = time.monotonic() + 2 * HEARING
    with suppress(RuntimeError):
        left = notes.add("left", 0 if world.first else 1)
        while world.first and left < world.size - 1 and time.monotonic() < deadline:
            time.sleep(0.05)
            left = notes.add("left", 0)
