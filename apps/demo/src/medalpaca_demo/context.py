"""Context shared by all tabs, and the running job of each browser session.

If a user goes to another question while the models write, the old answers must not appear under the new question.
Closing the stream is not enough, because snapshots may still be on their way. `Sessions.end` therefore waits until
the old stream has yielded its last value, which is None.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item, exam_prompt

from .engine import Engine
from .job import Job, Progress, Request, Scoring
from .models import Pair
from .results import Results

# Longest wait for the end of a cancelled stream. A stream ends at once, unless its page has been closed.
STREAM_END_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class _Stream:
    job: Job
    over: threading.Event = field(default_factory=threading.Event)


class Sessions:
    """Jobs of the browser sessions: one for each session, whose newest job replaces the others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()

    def stream(
        self, session: str, request: Request, user: str | None = None
    ) -> Generator[Progress | None, None, None]:
        """Submit a request and yield its progress. `user` is the log-in name.

        Yields None as the last value if the session has started another job or ended this one. Closing the
        generator, as Gradio does for a closed page, cancels the job.
        """
        stream = _Stream(self._engine.submit(request, user or ""))
        with self._lock:
            self._streams[session] = stream
        try:
            for progress in stream.job.watch():
                if self._streams.get(session) is not stream:
                    yield None
                    return
                yield progress
        finally:
            self._engine.cancel(stream.job)
            with self._lock:
                if self._streams.get(session) is stream:
                    del self._streams[session]
            stream.over.set()

    def stop(self, session: str) -> None:
        """Cancel the session's job; the page keeps the text written so far."""
        if stream := self._streams.get(session):
            self._engine.cancel(stream.job)

    def end(self, session: str) -> None:
        """Cancel the session's job and wait until its stream has ended, at most `STREAM_END_TIMEOUT_SECONDS`."""
        with self._lock:
            stream = self._streams.pop(session, None)
        if stream is not None:
            self._engine.cancel(stream.job)
            stream.over.wait(STREAM_END_TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class Context:
    """One pair of models on one exam, as all tabs use them.

    `max_new_tokens` limits each written answer. `audit_notice` describes what an audit log keeps; empty without a log.
    """

    engine: Engine
    pair: Pair
    exam: Exam
    scoring: Scoring
    results: Results
    sessions: Sessions
    max_new_tokens: int
    audit_notice: str = ""

    @property
    def items(self) -> tuple[Item, ...]:
        """Questions in the exam's order."""
        return self.exam.items

    def request(self, item: Item, max_new_tokens: int | None = None) -> Request:
        """Return an item as a request, with the prompt of training and evaluation.

        With `max_new_tokens=0` the options are scored and no answer is written.
        """
        question = exam_prompt(item, self.scoring)
        tokens = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        return Request(
            prompt=question.prompt, choices=question.choices, scoring=self.scoring, max_new_tokens=tokens
        )


def list_steps(items: Iterable[Item]) -> list[str]:
    """Return the exam's steps as texts, sorted by number."""
    return [str(step) for step in sorted({item.step for item in items if item.step is not None})]
