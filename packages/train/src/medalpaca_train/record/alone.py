"""One process per run directory: a lock that the system takes back from a process that is killed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medalpaca_data.ground.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: nothing there is given back by a killed process, so there is no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".train.lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what a file system without locks answers


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Make the directory `run`, and hold it for this process alone while the block runs.

    Afterwards the lock file is gone, and so are directories made here into which nothing was put. Raises UserError
    when another process holds `run`, or when it cannot be made or written.
    """
    made = [path for path in (run, *run.parents) if not path.exists()]
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            handle = _acquire(run / LOCK)
        except OSError as error:
            raise UserError(f"out={run}: cannot be written ({error.strerror}); choose another out=") from None
        try:
            yield
        finally:
            if handle is not None:
                with suppress(OSError):
                    # Before it is released, so that nobody ever holds a file that we then take away.
                    (run / LOCK).unlink()
                os.close(handle)
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def is_abandoned(folder: Path) -> bool:
    """Whether `folder` was held by a process that is gone: its lock file is there, and nobody holds it.

    False wherever that cannot be told.
    """
    if fcntl is None:
        return False
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _acquire(file: Path) -> int | None:
    """The handle that holds the lock. None without locks: then two processes are the user's to keep apart."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"another train is running in {file.parent}; wait for it or choose another out="
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                raise
        if _is(handle, file):
            return handle
        # The holder before us removed the file between our two calls: we hold one that nobody else will find.
        os.close(handle)


def _is(handle: int, file: Path) -> bool:
    """Whether the open `handle` is what lies at `file`."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
