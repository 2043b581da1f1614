"""Print lines and progress: a live bar in a terminal, elsewhere a line at most every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .hardware import Hardware

# Seconds between progress lines if the output is not a terminal.
LOG_INTERVAL = 10.0


def echo(console: Console, text: str) -> None:
    """Print one line without markup and without wrapping.

    A str would be parsed: rich reads `[a]` as a style and `:b:` as an emoji, also inside a path.
    """
    console.print(Text(text), soft_wrap=True)


class ProgressMeter:
    """Display of loss, tokens per second, model FLOP utilisation (MFU), peak memory and time left.

    With `bar` it is updated after each step. Without, a line is printed every `LOG_INTERVAL` seconds and after the last
    step. `first` is the number of steps already done.
    """

    def __init__(
        self,
        console: Console,
        first: int,
        total: int,
        hardware: Hardware,
        peak_flops: float,
        bar: Progress | None,
    ) -> None:
        self._hardware, self._peak_flops = hardware, peak_flops
        self._console, self._bar, self._first, self._total = console, bar, first, total
        self._task = bar.add_task("", total=total, completed=first, loss="", speed="") if bar else None
        self._started = self._last_line = time.monotonic()
        self._tokens, self._flops = 0, 0.0
        # Averages from the start of this meter to the last finished step, time for validation included.
        self.tokens_per_second = self.mfu = 0.0

    def step(self, step: int, loss: float, tokens: int, flops: float) -> None:
        """Record a finished step: number (from 1), loss in nats per supervised token, its tokens and its FLOP."""
        now = time.monotonic()
        self._tokens += tokens
        self._flops += flops
        elapsed = max(now - self._started, 1e-9)
        self.tokens_per_second, self.mfu = self._tokens / elapsed, self._flops / elapsed / self._peak_flops
        memory = self._hardware.peak_memory() / 1e9
        speed = f"{self.tokens_per_second:,.0f} tokens/s, MFU {100 * self.mfu:.0f} %, {memory:.1f} GB"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, loss=f"loss {loss:.3f}", speed=speed)
        elif now - self._last_line >= LOG_INTERVAL or step == self._total:
            self._last_line = now
            left = (now - self._started) / (step - self._first) * (self._total - step)
            echo(
                self._console,
                f"step {step}/{self._total}  loss {loss:.3f}  {speed}  {left:.0f} s left",
            )


@contextmanager
def progress_meter(
    console: Console, first: int, total: int, hardware: Hardware, peak_flops: float
) -> Iterator[ProgressMeter]:
    """Yield a meter for the steps after `first` up to `total`, with a bar if the console is a terminal.

    `peak_flops` is the peak FLOP/s of all devices together.
    """
    if not console.is_terminal:
        yield ProgressMeter(console, first, total, hardware, peak_flops, None)
        return
    columns = (
        # None: the bar takes the rest of the line.
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield ProgressMeter(console, first, total, hardware, peak_flops, bar)
