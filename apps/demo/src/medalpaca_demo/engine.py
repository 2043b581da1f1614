"""Engine: one thread that holds the models and answers questions for base and tuned in batches.

One thread, because peft's active adapter is a state of the model: two threads with different adapters would change
each other's answers. One batch, because the questions of several users and both sides then share every pass over the
weights. Decoding is greedy, so an answer depends on the other rows only by rounding.

The engine does not depend on the page; `submit` returns a job to watch.
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

from .audit import AUDIT_WRITE_FAILED, Recorder
from .inference import (
    BatchRow,
    BatchStreamer,
    StopRows,
    compute_option_scores,
    encode,
    find_option_tokens,
    max_length,
    option_loglikelihoods,
    run_prefill,
    score_options,
)
from .job import SIDES, Job, Progress, Request, Side
from .remote import RemoteModel, answer_all
from .sides import ModelPair

# Jobs in one batch.
MAX_JOBS = 8
# Length of the queue. Further questions are refused at once instead of waiting for minutes.
MAX_WAITING = 32
# Time for which the first job of a batch waits for others.
GATHER_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Models for the engine: `pair` holds those in this process, `remotes` those behind an endpoint, by side.

    A side is "base" or "tuned". `pair` and `tokenizer` are None if both sides are behind endpoints.
    """

    pair: ModelPair | None
    tokenizer: Any
    remotes: Mapping[Side, RemoteModel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineState:
    """State of the engine: `error` if loading has failed, `seconds` of loading so far."""

    name: Literal["loading", "ready", "failed"]
    error: str = ""
    seconds: float = 0.0


class Engine:
    """Thread that loads the models and answers jobs until it is closed. Jobs can be submitted while it loads.

    `load` returns the models. `max_jobs` limits the jobs of a batch, `max_waiting` those in the queue. The first job of
    a batch waits `gather_seconds` for others. `shares_batch` is true, after loading, if base and tuned write at the
    same time. Otherwise they write one after the other.
    """

    def __init__(
        self,
        load: Callable[[], LoadedModels],
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
        self._remotes: Mapping[Side, RemoteModel] = {}
        self._local_sides: tuple[Side, ...] = ()
        self.shares_batch = False
        self._waiting: deque[Job] = deque()
        self._running: tuple[Job, ...] = ()
        self._wake = threading.Condition()
        self._closed = False
        self._began = time.monotonic()
        self._error: Exception | None = None
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-engine", daemon=True)
        self._thread.start()

    # Methods for any thread.

    def wait_until_loaded(self) -> Engine:
        """Wait until the models are loaded, and return this engine. Raises the exception that loading has raised."""
        self._loaded.wait()
        if self._error is not None:
            raise self._error
        return self

    @property
    def state(self) -> EngineState:
        """Whether the models are loading, loaded, or could not be loaded."""
        if not self._loaded.is_set():
            return EngineState("loading", seconds=time.monotonic() - self._began)
        return EngineState("failed", _error_message(self._error)) if self._error else EngineState("ready")

    def submit(self, request: Request, user: str = "") -> Job:
        """Add a request to the queue and return its job; record it in the audit log first, if there is one.

        The job has already failed if the log cannot be written, the queue is full, or the engine is closed.
        """
        job = Job(request, self._record_end if self._recorder else None)
        if not self._record(lambda recorder: recorder.record_question(job, user)):
            job.update(state="failed", error=AUDIT_WRITE_FAILED)
            return job
        with self._wake:
            if self._closed:
                job.update(state="failed", error="the model is closed")
            elif len(self._waiting) >= self._max_waiting:
                busy = f"{len(self._waiting)} questions are waiting already; try again in a minute"
                job.update(state="failed", error=busy)
            else:
                self._waiting.append(job)
                self._update_positions()
                self._wake.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job: at once in the queue, at the next token in a batch."""
        job.cancel()
        with self._wake:
            if job in self._waiting:
                self._waiting.remove(job)
                job.update(state="stopped")
                self._update_positions()

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running."""
        with self._wake:
            return bool(self._waiting or self._running)

    def close(self) -> None:
        """Cancel all jobs and wait until the thread has ended."""
        with self._wake:
            self._closed = True
            for job in (*self._waiting, *self._running):
                job.cancel()
            self._wake.notify_all()
        self._thread.join()

    def _record_end(self, job: Job, end: Progress) -> Progress:
        if self._record(lambda recorder: recorder.record_answers(job, end)):
            return end
        return replace(end, state="failed", error=AUDIT_WRITE_FAILED)

    def _record(self, write: Callable[[Recorder], None]) -> bool:
        try:
            if self._recorder is not None:
                write(self._recorder)
        except Exception:
            # For example a full disk or a damaged log. The user sees an error, and the engine continues.
            return False
        return True

    # Methods for the engine's own thread.

    def _run(self) -> None:
        try:
            loaded = self._load()
            self._remotes = loaded.remotes
            self._local_sides = tuple(side for side in SIDES if side not in loaded.remotes)
            if loaded.pair is not None:
                self._pair, self._tokenizer = loaded.pair, loaded.tokenizer
                models = [self._pair.model(side) for side in self._local_sides]
                self.max_length = max_length(models[0].config, self._tokenizer)
                self._eos = _eos_ids(models, self._tokenizer)
                self.shares_batch = self._local_sides == SIDES and self._pair.shares_batch
        except Exception as error:
            self._error = error
        self._loaded.set()
        while (batch := self._next_batch()) is not None:
            try:
                with torch.inference_mode():
                    self._answer_batch(batch)
            except BaseException as error:
                # The jobs fail, and the engine continues with the next batch.
                for job in batch:
                    job.update(state="failed", error=_error_message(error))
            finally:
                with self._wake:
                    self._running = ()

    def _next_batch(self) -> tuple[Job, ...] | None:
        """Wait for the next jobs in the order of arrival. None if the engine is closed.

        The batch is empty if all its jobs were cancelled during the gathering time.
        """
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
            self._running = tuple(
                self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_jobs))
            )
            self._update_positions()
            return self._running

    def _update_positions(self) -> None:
        for ahead, job in enumerate(self._waiting):
            job.update(ahead=ahead)

    def _answer_batch(self, batch: Sequence[Job]) -> None:
        if self._error is not None:
            raise self._error
        rows: list[BatchRow] = []
        started: list[Job] = []
        for job in batch:
            if job.cancelled.is_set():
                job.update(state="stopped")
                continue
            job.update(state="reading")
            try:
                rows += self._make_rows(job)
                started.append(job)
            except Exception as error:
                # The other jobs of the batch are answered nevertheless.
                job.update(state="failed", error=_error_message(error))
        groups = (
            [rows]
            if self.shares_batch
            else [[row for row in rows if row.side == side] for side in self._local_sides]
        )
        for group in groups:
            if active := [row for row in group if not row.job.cancelled.is_set()]:
                self._generate(active, rows)
        errors = answer_all(self._remotes, started) if self._remotes else {}
        for job in started:
            stopped = any(row.job is job and row.ended in (None, "stopped") and row.limit for row in rows)
            if stopped or (self._remotes and job.cancelled.is_set()):
                job.update(state="stopped")
            elif job in errors:
                job.update(state="failed", error=errors[job])
            else:
                job.update(state="done")

    def _make_rows(self, job: Job) -> list[BatchRow]:
        """Return one row for each side whose model is in this process.

        Options that cannot be scored from the prefill are scored here.
        """
        if not self._local_sides:
            return []
        prompt = encode(self._tokenizer, job.request.prompt)
        if len(prompt) >= self.max_length:
            raise QuestionTooLongError(
                f"question too long ({len(prompt)} tokens, limit {self.max_length}); shorten it"
            )
        options = find_option_tokens(self._tokenizer, job.request, prompt, self.max_length)
        if options is None:
            scores = score_options(
                self._pair, self._tokenizer, job.request, self.max_length, self._local_sides
            )
            job.update(scores=MappingProxyType(scores))
        limit = min(job.request.max_new_tokens, self.max_length - len(prompt))
        return [BatchRow(job, side, limit, tuple(prompt), options or ()) for side in self._local_sides]

    def _generate(self, rows: Sequence[BatchRow], all_rows: Sequence[BatchRow]) -> None:
        """Read the prompts of `rows`, score their options, and write their answers.

        `all_rows` are all rows of the batch; each update of the page shows both sides.
        """
        stream = BatchStreamer(rows, self._eos, lambda _: self._publish(all_rows))
        pad = min(self._eos, default=0)
        prompts, options = [row.prompt for row in rows], [row.options for row in rows]
        keep = 1 + max((option.in_prompt for row_options in options for option in row_options), default=0)
        with self._pair.activate([row.side for row in rows]) as call:
            prefill = run_prefill(call, prompts, pad, keep)
            sums = option_loglikelihoods(call, prefill, options, prompts)
            for row, row_sums in zip(rows, sums, strict=True):
                self._publish_scores(row, row_sums)
        writing = [n for n, row in enumerate(rows) if row.limit]
        if not writing:
            return
        if len(writing) < len(rows):
            prefill = prefill.select(writing)
            stream.rows = [rows[n] for n in writing]
        with self._pair.activate([row.side for row in stream.rows]) as (model, extra):
            model.generate(
                input_ids=prefill.ids,
                attention_mask=prefill.mask,
                past_key_values=prefill.cache_for_generation(),
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
        self._publish(all_rows)

    def _publish_scores(self, row: BatchRow, sums: Sequence[float]) -> None:
        job = row.job
        scores = dict(job.progress.scores)
        if sums:
            scores[row.side] = compute_option_scores(sums, job.request.choices, job.request.scoring)
        job.update(state="answering", scores=MappingProxyType(scores))

    def _publish(self, rows: Sequence[BatchRow]) -> None:
        answers: dict[Job, dict[Any, Any]] = {}
        for row in rows:
            answers.setdefault(row.job, {})[row.side] = row.answer(self._tokenizer)
        for job, both in answers.items():
            job.update(answers=MappingProxyType(both))


class QuestionTooLongError(Exception):
    """The prompt has more tokens than the model accepts."""


def _error_message(error: BaseException) -> str:
    """Describe an error in one line for the page. The line contains no text of the prompt."""
    if isinstance(error, QuestionTooLongError | UserError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory; close other programs that use this device and ask again"
    return f"an internal error stopped the answer ({type(error).__name__}); ask again"


def _eos_ids(models: Sequence[Any], tokenizer: Any) -> frozenset[int]:
    """Return all tokens that end an answer: those of the tokenizer and of the models' generation settings."""
    ids: set[int] = set()
    for model in models:
        with contextlib.suppress(AttributeError):
            eos = model.generation_config.eos_token_id
            ids.update([eos] if isinstance(eos, int) else eos or [])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return frozenset(ids)
