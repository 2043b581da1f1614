"""Progress of `exam stress` in a terminal or a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

# Seconds between two progress lines if the output is not a terminal.
LOG_INTERVAL = 30.0


class StressProgress:
    """Context manager that shows progress: a bar per model in a terminal, else a line at most every 30 seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("items {task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        # Per side: time of the first update, and items that were finished then.
        self._started: dict[str, tuple[float, int]] = {}
        self._last_line = 0.0

    def update(self, side: str, done: int, total: int) -> None:
        """Show that `done` of `total` items of a model are finished; the first call counts those of an earlier run."""
        now = time.monotonic()
        if side not in self._started:
            self._started[side] = (now, done)
            self._last_line = now
            if self._console.is_terminal:
                self._tasks[side] = self._bar.add_task(f"{side:<5}", total=total, completed=done, rate="")
            elif done:
                self._console.print(
                    f"{side}: {done} of {total} items finished in an earlier run", highlight=False
                )
            return
        start, before = self._started[side]
        rate = (done - before) / max(now - start, 1e-9)
        speed = f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
        if side in self._tasks:
            self._bar.update(self._tasks[side], completed=done, rate=speed)
        elif now - self._last_line >= LOG_INTERVAL or done == total:
            self._last_line = now
            left = f", {(total - done) / rate:.0f} s left" if done < total else ""
            self._console.print(f"{side}: {done} of {total} items, {speed}{left}", highlight=False)

    def __enter__(self) -> StressProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
