"""The one way in which a line gets on the screen.

What is seen while a run goes on: a live bar in a terminal, a line now and then in a log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .hardware import Hardware


def say(console: Console, text: str) -> None:
    """One line as it is, never wrapped: paths in it are copied.

    As a Text, because in a str rich would read `[a]` as a colour and `:b:` as a picture, also inside a path.
    """
    console.print(Text(text), soft_wrap=True)


LOG_EVERY = 10.0  # seconds between lines where there is no terminal


class Meter:
    """Receives every finished step and shows loss, tokens per second, model FLOP utilisation, memory and time left."""

    def __init__(
        self, console: Console, first: int, total: int, hardware: Hardware, rate: float, bar: Progress | None
    ) -> None:
        self._hardware, self._rate = hardware, rate
        self._console, self._bar, self._first, self._total = console, bar, first, total
        self._task = bar.add_task("", total=total, completed=first, loss="", speed="") if bar else None
        self._started = self._spoke = time.monotonic()
        self._tokens, self._flops = 0, 0.0
        # Since the start of this sitting, validation included: tokens per second, share of the device's peak FLOP/s.
        self.speed = self.mfu = 0.0

    def step(self, step: int, loss: float, tokens: int, flops: float) -> None:
        """Step number `step` is done: `loss` in nats per learned token, over `tokens` tokens, for `flops` FLOP."""
        now = time.monotonic()
        self._tokens += tokens
        self._flops += flops
        passed = max(now - self._started, 1e-9)
        self.speed, self.mfu = self._tokens / passed, self._flops / passed / self._rate
        speed = f"{self.speed:,.0f} tokens/s, MFU {100 * self.mfu:.0f} %, {self._hardware.peak_memory() / 1e9:.1f} GB"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, loss=f"loss {loss:.3f}", speed=speed)
        elif now - self._spoke >= LOG_EVERY or step == self._total:
            self._spoke = now
            left = (now - self._started) / (step - self._first) * (self._total - step)
            say(
                self._console,
                f"step {step}/{self._total}  loss {loss:.3f}  {speed}  {left:.0f} s left",
            )


@contextmanager
def metered(console: Console, first: int, total: int, hardware: Hardware, rate: float) -> Iterator[Meter]:
    """A meter for steps `first` to `total` on a device of `rate` FLOP/s, live where the console is a terminal."""
    if not console.is_terminal:
        yield Meter(console, first, total, hardware, rate, None)
        return
    columns = (
        BarColumn(bar_width=None),  # what is left of the line
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield Meter(console, first, total, hardware, rate, bar)
