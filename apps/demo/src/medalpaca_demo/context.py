"""What every tab is given: who is compared, on what, by which engine, and what the examination found.

Which answer belongs on which visitor's screen.

A visitor who turns to another question while the models write must not see the old stream run over the new
question. Closing the stream is not enough: pictures of it may still be on their way. So whoever turns the page
first waits until the stream has said its last word, which `Visits.show` makes sure is about nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import exam_prompt

from .engine import Engine
from .job import Job, Progress, Request, Scoring
from .models import Pair
from .results import Results

# A stream wakes at once when its job is cancelled; this only bounds the wait should its visitor be gone.
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class _Stream:
    job: Job
    over: threading.Event = field(default_factory=threading.Event)


class Visits:
    """At most one running job per visitor."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()

    def show(
        self, visitor: str, request: Request, user: str | None = None
    ) -> Generator[Progress | None, None, None]:
        """Pictures of a new job. None, and no more, when the visitor has turned to something else. `user` is the
        name of who has logged in.

        Closing this generator, which is what a closed page does, frees the engine.
        """
        stream = _Stream(self._engine.submit(request, user or ""))
        with self._lock:
            self._streams[visitor] = stream
        try:
            for progress in stream.job.watch():
                if self._streams.get(visitor) is not stream:
                    yield None
                    return
                yield progress
        finally:
            self._engine.cancel(stream.job)
            with self._lock:
                if self._streams.get(visitor) is stream:
                    del self._streams[visitor]
            stream.over.set()

    def stop(self, visitor: str) -> None:
        """End the visitor's job; its stream ends by itself and keeps what was written."""
        if stream := self._streams.get(visitor):
            self._engine.cancel(stream.job)

    def leave(self, visitor: str) -> None:
        """End the visitor's job and wait until its stream is over."""
        with self._lock:
            stream = self._streams.pop(visitor, None)
        if stream is not None:
            self._engine.cancel(stream.job)
            stream.over.wait(PATIENCE_SECONDS)


@dataclass(frozen=True, slots=True)
class Scene:
    """One pair on one exam."""

    engine: Engine
    pair: Pair
    exam: Exam
    scoring: Scoring
    results: Results
    visits: Visits
    max_new_tokens: int
    recorded: str = ""  # what an audit log keeps, in words; empty where there is none

    @property
    def items(self) -> tuple[Item, ...]:
        """The questions, in the exam's order."""
        return self.exam.items

    def request(self, item: Item, max_new_tokens: int | None = None) -> Request:
        """The item as training and examination ask it. With 0 tokens it is rated and nothing is written."""
        question = exam_prompt(item, self.scoring)
        tokens = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        return Request(
            prompt=question.prompt, choices=question.choices, scoring=self.scoring, max_new_tokens=tokens
        )
