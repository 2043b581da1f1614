"""Requests to the engine, and jobs that report their progress to the page. Plain values, without torch."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Side = Literal["base", "tuned"]
Scoring = Literal["letter", "text"]
State = Literal["waiting", "reading", "answering", "done", "stopped", "failed"]
EndReason = Literal["end", "length", "stopped", "broken"]

SIDES: tuple[Side, ...] = ("base", "tuned")
FINAL_STATES: frozenset[State] = frozenset({"done", "stopped", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question for both models: the prompt exactly as sent, and one continuation per option.

    `choices` is empty for a question without options. With `max_new_tokens` 0, no answer is written.
    """

    prompt: str
    choices: tuple[str, ...]
    scoring: Scoring
    max_new_tokens: int = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionScores:
    """Scores that one model gives to the options, in option order.

    `loglikelihoods` are in nats and equal lm-eval's, except for letters from an endpoint without `echo`. `shares` are
    the lengths of the bars: the softmax of the log-likelihoods (letter), or of the log-likelihoods divided by the
    option's length in characters (text; lm-eval's `acc_norm`). `chosen` is the index of the option with the highest
    score. `total_probability` is the probability of all options together. A share of 95 % means little if it is near 0.
    `from_endpoint` is true if the numbers were computed from an endpoint's log-probabilities.
    """

    loglikelihoods: tuple[float, ...]
    shares: tuple[float, ...]
    chosen: int
    total_probability: float
    from_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Text that one model has written so far.

    `tokens` is its number of tokens, `seconds` the time since writing began. `ended` is the reason of the end: an end
    token, the limit of tokens (length), the user (stopped) or the connection (broken); None while the model writes.
    """

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: EndReason | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Mean speed of writing so far; None before the first token."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


def _empty() -> Mapping[Side, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Progress:
    """Snapshot of a job. `ahead` counts earlier jobs in the queue; `unrated` gives reasons for missing scores.

    The mappings have an entry for each side (base, tuned) that has reported one.
    `error` is the reason of the state `failed`, and empty otherwise.
    """

    state: State = "waiting"
    ahead: int = 0
    scores: Mapping[Side, OptionScores] = field(default_factory=_empty)
    answers: Mapping[Side, Answer] = field(default_factory=_empty)
    unrated: Mapping[Side, str] = field(default_factory=_empty)
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether the job has ended: done, stopped or failed."""
        return self.state in FINAL_STATES


# Minimum time between two updates of the page. Browsers cannot keep up with one update per token.
REFRESH_SECONDS = 0.06
# Maximum time between two snapshots, so that a closed page is noticed and the displayed waiting time advances.
POLL_SECONDS = 0.5


class Job:
    """One request in the engine. The engine's thread writes the progress, the page's threads read it.

    `before_end` receives the final snapshot before any reader does, and returns the snapshot to publish.
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
        """Newest snapshot."""
        with self._changed:
            return self._progress

    def update(self, **changes: Any) -> None:
        """Publish a new snapshot; do nothing after the final one. Only the engine and its remote models call it."""
        with self._changed:
            if not self._progress.final:
                snapshot = replace(self._progress, **changes)
                if snapshot.final and self._before_end is not None:
                    snapshot = self._before_end(self, snapshot)
                self._progress = snapshot
                self._version += 1
                self._changed.notify_all()

    def cancel(self) -> None:
        """Mark the job as cancelled; a running job stops at the next token. May be called more than once."""
        self.cancelled.set()
        with self._changed:
            # Wake the readers at once: another thread may wait until this job's stream has ended.
            self._version += 1
            self._changed.notify_all()

    def watch(self, interval: float = REFRESH_SECONDS, poll: float = POLL_SECONDS) -> Iterator[Progress]:
        """Yield snapshots until the final one. A slow reader gets the newest snapshot and never a backlog.

        `interval` is the minimum, `poll` the maximum number of seconds between two snapshots.
        """
        seen = -1
        while True:
            with self._changed:
                if self._version == seen:
                    self._changed.wait(timeout=poll)
                seen, snapshot = self._version, self._progress
            yield snapshot
            if snapshot.final:
                return
            time.sleep(interval)
