"""Joining the other processes, and leaving them: when one fails all end, and one of them says why."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from medalpaca_data.ground.command import INTERRUPTED
from medalpaca_data.ground.errors import UserError, one_line

from .world import World

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
