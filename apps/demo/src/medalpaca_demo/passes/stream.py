"""Tokens out of one `generate` call to the rows they belong to, and the per-row stop that goes back in.

`TextIteratorStreamer` serves one row; a mixed batch has two per user. Nothing here may raise into `generate`:
that is what leaves peft's hooks behind, so a failure is kept, every row is stopped, and the engine reports it
afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from .job import REDRAW_SECONDS, Job
from .prefill import Tail
from .request import Answer, Arm, Ended

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class Row:
    """One arm of one job inside a batch."""

    job: Job
    arm: Arm
    limit: int
    prompt: tuple[int, ...] = ()
    tails: tuple[Tail, ...] = ()
    tokens: list[int] = field(default_factory=list)
    ended: Ended | None = None
    seconds: float = 0.0

    def answer(self, tokenizer: Any) -> Answer:
        """The row as the page sees it."""
        text = tokenizer.decode(self.tokens, skip_special_tokens=True)
        if self.ended is None:
            # A character of several bytes may have arrived in part; show it when it is whole.
            text = text.rstrip(REPLACEMENT)
        return Answer(text=text, tokens=len(self.tokens), seconds=self.seconds, ended=self.ended)


class FanOut(BaseStreamer):
    """Gives each row its token and publishes now and then."""

    def __init__(
        self, rows: Sequence[Row], eos: Collection[int], publish: Callable[[Sequence[Row]], None]
    ) -> None:
        self.rows = rows
        self.error: Exception | None = None
        self._eos = eos
        self._publish = publish
        self._prompt_seen = False
        self._began = time.perf_counter()
        self._published = 0.0

    def put(self, value: torch.Tensor) -> None:
        """The prompts once, then one token per row and step."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        try:
            self._take(value.tolist())
        except Exception as error:  # see the module's docstring
            self.error = error

    def end(self) -> None:
        """Nothing is held back, so nothing is left."""

    def _take(self, tokens: list[int]) -> None:
        now = time.perf_counter()
        ended = False
        for row, token in zip(self.rows, tokens, strict=True):
            if row.ended is not None:
                continue  # `generate` pads finished rows
            row.seconds = now - self._began
            if row.job.cancelled.is_set():
                row.ended = "stopped"
            elif token in self._eos:
                row.ended = "end"
            else:
                row.tokens.append(token)
                if len(row.tokens) >= row.limit:
                    row.ended = "length"
            ended = ended or row.ended is not None
        if ended or now - self._published >= REDRAW_SECONDS:
            self._published = now
            self._publish(self.rows)


class StopRows(StoppingCriteria):
    """Ends a row whose user has left or whose limit is reached, and all rows once the stream has failed."""

    def __init__(self, stream: FanOut) -> None:
        self._stream = stream

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """One flag per row."""
        failed = self._stream.error is not None
        stop = [failed or row.ended is not None or row.job.cancelled.is_set() for row in self._stream.rows]
        return torch.tensor(stop, device=input_ids.device)
