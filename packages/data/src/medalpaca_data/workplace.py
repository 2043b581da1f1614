"""Where a build keeps what its stages made, so that a killed one goes on and a changed one repeats only what changed.

One folder for each recipe under MEDALPACA_HOME, readable by its user alone: it may hold patient text.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .ground import places

try:
    import fcntl
except ImportError:  # Windows: nothing is ever taken away there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Workplace:
    """`with Workplace(name) as work`: hands out stage folders; a build that succeeds leaves only those it used."""

    def __init__(self, name: str) -> None:
        self.path = places.cache() / "build" / (re.sub(r"[^\w.-]", "_", name) or "_")
        self._used: set[Path] = set()
        self._handle = -1

    def folder(self, stage: str, fingerprint: str) -> Path:
        """The folder of one result. It need not exist yet."""
        path = self.path / f"{stage.replace(' ', '-')}-{fingerprint}"
        self._used.add(path)
        return path

    def __enter__(self) -> Workplace:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        if fcntl is not None:
            self._handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            with suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_SH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle >= 0:
            if kind is None:
                self._tidy()
            os.close(self._handle)

    def _tidy(self) -> None:
        """Take away what older builds of the recipe made, unless another one is under way."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        for path in self.path.iterdir():
            if path.is_dir() and path not in self._used:
                shutil.rmtree(path, ignore_errors=True)
        for left in self.path.glob("*/.*"):  # half-written by a build that was killed
            with suppress(OSError):
                left.unlink()
