"""What is seen while an exam is asked: a bar with rate and time left in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LOG_EVERY = 30.0  # seconds between lines where there is no terminal


class Watched:
    """`with Watched(console) as watched`: `watched.tell(side, done, of)` counts items; one bar per side."""

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
        self._began: dict[str, tuple[float, int]] = {}
        self._spoke = 0.0

    def tell(self, side: str, done: int, of: int) -> None:
        """`done` of `of` items of a side are answered; what the first call finds done was done before."""
        now = time.monotonic()
        if side not in self._began:
            self._began[side] = (now, done)
            self._spoke = now
            if self._console.is_terminal:
                self._tasks[side] = self._bar.add_task(f"{side:<5}", total=of, completed=done, rate="")
            elif done:
                self._console.print(f"{side}: {done} of {of} items were answered before", highlight=False)
            return
        began, before = self._began[side]
        rate = (done - before) / max(now - began, 1e-9)
        said = f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
        if side in self._tasks:
            self._bar.update(self._tasks[side], completed=done, rate=said)
        elif now - self._spoke >= LOG_EVERY or done == of:
            self._spoke = now
            left = f", {(of - done) / rate:.0f} s left" if done < of else ""
            self._console.print(f"{side}: {done} of {of} items, {said}{left}", highlight=False)

    def __enter__(self) -> Watched:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
