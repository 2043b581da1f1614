"""A job: one request in the engine's hands, watched from another thread."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .request import Progress, Request

# Screens are redrawn at most this often; a token per redraw has made many a browser lag behind its model.
REDRAW_SECONDS = 0.06
# A watcher wakes this often even when nothing happens: a user who left is noticed, and a clock can tick.
POLL_SECONDS = 0.5


class Job:
    """Written by the engine's thread, read by the page's; both see whole `Progress` values only.

    `before_end` is given the last picture before anybody sees it, and what it returns is shown.
    """

    def __init__(
        self, request: Request, before_end: Callable[[Job, Progress], Progress] | None = None
    ) -> None:
        self.request = request
        self.id = secrets.token_hex(8)
        self._before_end = before_end
        self.cancelled = threading.Event()
        self._progress = Progress()
        self._version = 0
        self._changed = threading.Condition()

    @property
    def progress(self) -> Progress:
        """The newest picture."""
        with self._changed:
            return self._progress

    def update(self, **changes: Any) -> None:
        """Publish a new picture. Engine only; what is final stays as it is."""
        with self._changed:
            if not self._progress.final:
                picture = replace(self._progress, **changes)
                if picture.final and self._before_end is not None:
                    picture = self._before_end(self, picture)
                self._progress = picture
                self._version += 1
                self._changed.notify_all()

    def cancel(self) -> None:
        """Ask the engine to spend no more on this job. Safe to call twice, or too late."""
        self.cancelled.set()
        with self._changed:
            self._version += 1  # wakes a watcher, who may have somebody waiting for it
            self._changed.notify_all()

    def watch(self, every: float = REDRAW_SECONDS, poll: float = POLL_SECONDS) -> Iterator[Progress]:
        """Pictures until the final one: at most one per `every` seconds, at least one per `poll` seconds."""
        seen = -1
        while True:
            with self._changed:
                if self._version == seen:
                    self._changed.wait(timeout=poll)
                seen, picture = self._version, self._progress
            yield picture
            if picture.final:
                return
            time.sleep(every)
