"""Being asked to stop: the step under way is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .processes.world import World


@dataclass(slots=True)
class StopRequest:
    """Set by SIGTERM (a scheduler) or the first Ctrl-C; a second Ctrl-C interrupts at once."""

    wanted: bool = False
    interrupted: bool = False

    def agreed(self, world: World) -> bool:
        """Whether any process was asked, so that all stop after the same step. All have to ask at the same place."""
        wanted, interrupted = world.summed(self.wanted, self.interrupted)
        # Only ever raised here: a signal may have come meanwhile.
        self.interrupted = self.interrupted or bool(interrupted)
        return bool(wanted)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that signals set while the block runs; the former handlers are put back after it."""
    request = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if request.wanted:
                raise KeyboardInterrupt
            request.interrupted = True
        request.wanted = True

    if threading.current_thread() is not threading.main_thread():
        yield request  # Python delivers signals to the main thread only
        return
    former: dict[int, Any] = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
