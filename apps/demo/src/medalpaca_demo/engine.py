"""The engine: one thread that owns one copy of the weights and answers for base and tuned in the same batch.

One thread, because peft's switches belong to the model and not to the caller: two threads that ask for
different adapters at once get each other's answers. One batch, because the rows of several users and of both
arms then share every pass over the weights. Decoding is greedy, so nobody's answer depends on another's dice.

The engine knows nothing about pages; `submit` gives a job to watch.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch

from .encode import encode, max_length
from .hooks import HookGuard
from .job import Job
from .request import ARMS, Request
from .score import ADAPTER_NAMES, score_options
from .stream import FanOut, Row, StopRows

MAX_JOBS = 8
# How long a batch's first request waits for company: too short to notice, enough for a classroom's click.
GATHER_SECONDS = 0.03


class Engine:
    """Serves jobs until closed. The model must be a `PeftModel` with one adapter named "default"."""

    def __init__(
        self, model: Any, tokenizer: Any, *, max_jobs: int = MAX_JOBS, gather_seconds: float = GATHER_SECONDS
    ) -> None:
        self.max_length = max_length(model.config, tokenizer)
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._guard = HookGuard(model)
        self._eos = _eos_ids(model, tokenizer)
        self._max_jobs = max_jobs
        self._gather_seconds = gather_seconds
        self._waiting: deque[Job] = deque()
        self._serving: tuple[Job, ...] = ()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="demo-engine", daemon=True)
        self._thread.start()

    # -- called from any thread

    def submit(self, request: Request) -> Job:
        """Queue a request."""
        job = Job(request)
        with self._wake:
            if self._closed:
                job.update(state="failed", error="the model is closed")
            else:
                self._waiting.append(job)
                self._tell_positions()
                self._wake.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job where it is: out of the queue at once, out of a batch at the next token."""
        job.cancel()
        with self._wake:
            if job in self._waiting:
                self._waiting.remove(job)
                job.update(state="stopped")
                self._tell_positions()

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or served."""
        with self._wake:
            return bool(self._waiting or self._serving)

    def close(self) -> None:
        """Stop everything and wait for the thread."""
        with self._wake:
            self._closed = True
            for job in (*self._waiting, *self._serving):
                job.cancel()
            self._wake.notify_all()
        self._thread.join()

    # -- the engine's own thread

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                with torch.inference_mode():
                    self._serve(batch)
            except Exception as error:  # an error belongs to the jobs; the engine goes on
                for job in batch:
                    job.update(state="failed", error=_explain(error))
            finally:
                with self._wake:
                    self._serving = ()

    def _next_batch(self) -> tuple[Job, ...] | None:
        """The next jobs, first come first served; None when closed. Empty when all left while gathering."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self._gather_seconds
            while len(self._waiting) < self._max_jobs and not self._closed:
                if not self._wake.wait(timeout=max(0.0, until - time.monotonic())):
                    break
            if self._closed:
                for job in self._waiting:
                    job.update(state="stopped")
                return None
            self._serving = tuple(
                self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_jobs))
            )
            self._tell_positions()
            return self._serving

    def _tell_positions(self) -> None:
        for ahead, job in enumerate(self._waiting):
            job.update(ahead=ahead)

    def _serve(self, batch: Sequence[Job]) -> None:
        rows: list[Row] = []
        prompts: list[list[int]] = []
        for job in batch:
            if job.cancelled.is_set():
                job.update(state="stopped")
                continue
            try:
                tokens = self._read(job)
            except Exception as error:  # one job's trouble is not the others'
                job.update(state="failed", error=_explain(error))
                continue
            limit = min(job.request.max_new_tokens, self.max_length - len(tokens))
            if limit < 1:  # only the ratings were asked for
                job.update(state="done")
                continue
            rows += [Row(job, arm, limit) for arm in ARMS]
            prompts += [tokens for _ in ARMS]
        if rows:
            self._answer(rows, prompts)

    def _read(self, job: Job) -> list[int]:
        """Rate the options, which a reader sees first, and return the prompt's tokens."""
        job.update(state="reading")
        tokens = encode(self._tokenizer, job.request.prompt)
        if len(tokens) >= self.max_length:
            raise TooLongError(f"question too long ({len(tokens)} tokens, limit {self.max_length})")
        with self._guard():
            scores = score_options(self._model, self._tokenizer, job.request, self.max_length)
        job.update(state="answering", scores=MappingProxyType(scores))
        return tokens

    def _answer(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> None:
        """Write both arms' answers for all jobs at once."""
        stream = FanOut(rows, self._eos, self._publish)
        width = max(len(tokens) for tokens in prompts)
        pad = min(self._eos, default=0)
        device = self._model.device
        with self._guard():
            self._model.generate(
                input_ids=torch.tensor([[*[pad] * (width - len(p)), *p] for p in prompts], device=device),
                attention_mask=torch.tensor(
                    [[*[0] * (width - len(p)), *[1] * len(p)] for p in prompts], device=device
                ),
                adapter_names=[ADAPTER_NAMES[row.arm] for row in rows],
                streamer=stream,
                stopping_criteria=[StopRows(stream)],
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=max(row.limit for row in rows),
                eos_token_id=sorted(self._eos) or None,
                pad_token_id=pad,
            )
        if stream.error is not None:
            raise stream.error
        self._publish(rows)
        for row in rows:
            row.job.update(state="stopped" if row.ended == "stopped" else "done")

    def _publish(self, rows: Sequence[Row]) -> None:
        answers: dict[Job, dict[Any, Any]] = {}
        for row in rows:
            answers.setdefault(row.job, {})[row.arm] = row.answer(self._tokenizer)
        for job, both in answers.items():
            job.update(answers=MappingProxyType(both))


class TooLongError(Exception):
    """The question does not fit into the model."""


def _explain(error: Exception) -> str:
    """One line for the page, and never a word of the prompt."""
    if isinstance(error, TooLongError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory: close other programs on this device or ask for shorter answers"
    return f"the model stopped ({type(error).__name__}); try again"


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's and the model's own."""
    found: set[int] = set()
    with contextlib.suppress(AttributeError):
        named = model.generation_config.eos_token_id
        found.update([named] if isinstance(named, int) else named or [])
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return frozenset(found)
