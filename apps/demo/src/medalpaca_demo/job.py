"""A job: one request in the engine's hands, watched from another thread.

What is asked of the engine and what it tells back; plain values, so that the page needs no torch.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Arm = Literal["base", "tuned"]
Scoring = Literal["letter", "text"]
State = Literal["waiting", "reading", "answering", "done", "stopped", "failed"]
Ended = Literal["end", "length", "stopped", "broken"]

ARMS: tuple[Arm, ...] = ("base", "tuned")
FINAL: frozenset[State] = frozenset({"done", "stopped", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question for both arms: the prompt as sent, and one continuation per option."""

    prompt: str
    choices: tuple[str, ...]
    scoring: Scoring
    max_new_tokens: int = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionScores:
    """How one arm rates the options, in option order.

    `loglikelihoods` are lm-eval's numbers for the item. `shares` are what the bars show: the softmax over
    them (letter) or over them divided by the option's length in characters (text; lm-eval's `acc_norm`).
    `mass` is the probability that all options hold together: 95 % of almost nothing is no confidence.
    `from_endpoint`: made of what another program tells of its probabilities, not by passes of our own.
    """

    loglikelihoods: tuple[float, ...]
    shares: tuple[float, ...]
    chosen: int
    mass: float
    from_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One arm's written answer so far."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: Ended | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """None until there is something to divide by."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Progress:
    """A picture of a job at one moment. Whoever looks late sees the newest one, never a backlog."""

    state: State = "waiting"
    ahead: int = 0
    scores: Mapping[Arm, OptionScores] = field(default_factory=lambda: MappingProxyType({}))
    answers: Mapping[Arm, Answer] = field(default_factory=lambda: MappingProxyType({}))
    unrated: Mapping[Arm, str] = field(default_factory=lambda: MappingProxyType({}))  # and why
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINAL


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
