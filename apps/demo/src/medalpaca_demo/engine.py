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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import torch

from medalpaca_data.core.errors import UserError

from .audit import UNWRITTEN, Recorder
from .inference import (
    FanOut,
    Row,
    StopRows,
    encode,
    follow,
    loglikelihoods,
    max_length,
    rate,
    read,
    score_options,
)
from .job import ARMS, Arm, Job, Progress, Request
from .remote import Remote, answer_all
from .sides import Arms

MAX_JOBS = 8
# Whoever would come after these is told so at once: nobody waits minutes for an answer without knowing.
MAX_WAITING = 32
# How long a batch's first request waits for company: too short to notice, enough for a classroom's click.
GATHER_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading gives the engine: `arms` for the models here, `remotes` for those that other programs serve."""

    arms: Arms | None
    tokenizer: Any
    remotes: Mapping[Arm, Remote] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineState:
    """For the page: whether answers can be had, and if not, why or since when one waits."""

    name: Literal["loading", "up", "failed"]
    error: str = ""
    seconds: float = 0.0


class Engine:
    """Serves jobs until closed. Loading happens on its own thread too; jobs may be put before it is done."""

    def __init__(
        self,
        load: Callable[[], Loaded],
        *,
        max_jobs: int = MAX_JOBS,
        max_waiting: int = MAX_WAITING,
        gather_seconds: float = GATHER_SECONDS,
        recorder: Recorder | None = None,
    ) -> None:
        self._load = load
        self._recorder = recorder
        self._max_jobs = max_jobs
        self._max_waiting = max_waiting
        self._gather_seconds = gather_seconds
        self._remotes: Mapping[Arm, Remote] = {}
        self._here: tuple[Arm, ...] = ()
        # Whether base and tuned write at the same time; else the base is first.
        self.together = False
        self._waiting: deque[Job] = deque()
        self._serving: tuple[Job, ...] = ()
        self._wake = threading.Condition()
        self._closed = False
        self._began = time.monotonic()
        self._error: Exception | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-engine", daemon=True)
        self._thread.start()

    # -- called from any thread

    def ready(self) -> Engine:
        """Wait until the models are loaded. Raises what loading raised."""
        self._up.wait()
        if self._error is not None:
            raise self._error
        return self

    @property
    def state(self) -> EngineState:
        """Loading for so many seconds, up, or why not."""
        if not self._up.is_set():
            return EngineState("loading", seconds=time.monotonic() - self._began)
        return EngineState("failed", _explain(self._error)) if self._error else EngineState("up")

    def submit(self, request: Request, user: str = "") -> Job:
        """Queue a request; with a recorder, only once it is on record who asked."""
        job = Job(request, self._record_end if self._recorder else None)
        if not self._record(lambda recorder: recorder.asked(job, user)):
            job.update(state="failed", error=UNWRITTEN)
            return job
        with self._wake:
            if self._closed:
                job.update(state="failed", error="the model is closed")
            elif len(self._waiting) >= self._max_waiting:
                busy = f"{len(self._waiting)} questions are waiting already; try again in a minute"
                job.update(state="failed", error=busy)
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

    def _record_end(self, job: Job, end: Progress) -> Progress:
        if self._record(lambda recorder: recorder.answered(job, end)):
            return end
        return replace(end, state="failed", error=UNWRITTEN)

    def _record(self, write: Callable[[Recorder], None]) -> bool:
        try:
            if self._recorder is not None:
                write(self._recorder)
        except (
            Exception
        ):  # a full disk, a log that was shortened: whoever asked is told, and the engine goes on
            return False
        return True

    # -- the engine's own thread

    def _run(self) -> None:
        try:
            loaded = self._load()
            self._remotes = loaded.remotes
            self._here = tuple(arm for arm in ARMS if arm not in loaded.remotes)
            if loaded.arms is not None:
                self._arms, self._tokenizer = loaded.arms, loaded.tokenizer
                models = [self._arms.model(arm) for arm in self._here]
                self.max_length = max_length(models[0].config, self._tokenizer)
                self._eos = _eos_ids(models, self._tokenizer)
                self.together = self._here == ARMS and self._arms.together
        except Exception as error:
            self._error = error
        self._up.set()
        while (batch := self._next_batch()) is not None:
            try:
                with torch.inference_mode():
                    self._serve(batch)
            except BaseException as error:  # whatever it was, it belongs to the jobs; the engine goes on
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
        if self._error is not None:
            raise self._error
        rows: list[Row] = []
        served: list[Job] = []
        for job in batch:
            if job.cancelled.is_set():
                job.update(state="stopped")
                continue
            job.update(state="reading")
            try:
                rows += self._rows(job)
                served.append(job)
            except Exception as error:  # one job's trouble is not the others'
                job.update(state="failed", error=_explain(error))
        groups = [rows] if self.together else [[row for row in rows if row.arm == arm] for arm in self._here]
        for group in groups:
            if asked := [row for row in group if not row.job.cancelled.is_set()]:
                self._answer(asked, rows)
        troubles = answer_all(self._remotes, served) if self._remotes else {}
        for job in served:
            stopped = any(row.job is job and row.ended in (None, "stopped") and row.limit for row in rows)
            if stopped or (self._remotes and job.cancelled.is_set()):
                job.update(state="stopped")
            elif job in troubles:
                job.update(state="failed", error=troubles[job])
            else:
                job.update(state="done")

    def _rows(self, job: Job) -> list[Row]:
        """A job's arms that answer here, with its options where the prompt's reading rates them; else rated now."""
        if not self._here:
            return []
        prompt = encode(self._tokenizer, job.request.prompt)
        if len(prompt) >= self.max_length:
            raise TooLongError(f"question too long ({len(prompt)} tokens, limit {self.max_length})")
        tails = follow(self._tokenizer, job.request, prompt, self.max_length)
        if tails is None:
            scores = score_options(self._arms, self._tokenizer, job.request, self.max_length, self._here)
            job.update(scores=MappingProxyType(scores))
        limit = min(job.request.max_new_tokens, self.max_length - len(prompt))
        return [Row(job, arm, limit, tuple(prompt), tails or ()) for arm in self._here]

    def _answer(self, rows: Sequence[Row], shown: Sequence[Row]) -> None:
        """Read these rows' prompts, rate their options, and write their answers; `shown` are all of the batch's."""
        stream = FanOut(rows, self._eos, lambda _: self._publish(shown))
        pad = min(self._eos, default=0)
        prompts, tails = [row.prompt for row in rows], [row.tails for row in rows]
        keep = 1 + max((tail.inside for options in tails for tail in options), default=0)
        with self._arms.speak([row.arm for row in rows]) as voice:
            prefill = read(voice, prompts, pad, keep)
            for row, sums in zip(rows, loglikelihoods(voice, prefill, tails, prompts), strict=True):
                self._rated(row, sums)
        writing = [n for n, row in enumerate(rows) if row.limit]
        if not writing:
            return
        if len(writing) < len(rows):
            prefill = prefill.only(writing)
            stream.rows = [rows[n] for n in writing]
        with self._arms.speak([row.arm for row in stream.rows]) as (model, extra):
            model.generate(
                input_ids=prefill.ids,
                attention_mask=prefill.mask,
                past_key_values=prefill.continued(),
                streamer=stream,
                stopping_criteria=[StopRows(stream)],
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=max(row.limit for row in stream.rows),
                eos_token_id=sorted(self._eos) or None,
                pad_token_id=pad,
                **extra,
            )
        if stream.error is not None:
            raise stream.error
        self._publish(shown)

    def _rated(self, row: Row, sums: Sequence[float]) -> None:
        job = row.job
        scores = dict(job.progress.scores)
        if sums:
            scores[row.arm] = rate(sums, job.request.choices, job.request.scoring)
        job.update(state="answering", scores=MappingProxyType(scores))

    def _publish(self, rows: Sequence[Row]) -> None:
        answers: dict[Job, dict[Any, Any]] = {}
        for row in rows:
            answers.setdefault(row.job, {})[row.arm] = row.answer(self._tokenizer)
        for job, both in answers.items():
            job.update(answers=MappingProxyType(both))


class TooLongError(Exception):
    """The question does not fit into the model."""


def _explain(error: BaseException) -> str:
    """One line for the page, and never a word of the prompt."""
    if isinstance(error, TooLongError | UserError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory: close other programs on this device or ask for shorter answers"
    return f"the model stopped ({type(error).__name__}) and was started again; try once more"


def _eos_ids(models: Sequence[Any], tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's and the models' own."""
    found: set[int] = set()
    for model in models:
        with contextlib.suppress(AttributeError):
            named = model.generation_config.eos_token_id
            found.update([named] if isinstance(named, int) else named or [])
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return frozenset(found)
