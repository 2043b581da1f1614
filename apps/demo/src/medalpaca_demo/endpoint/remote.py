"""Arms that other programs answer for: a job asks its endpoints in turn, and stops when it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType

from medalpaca_data.ground.errors import UserError, nearest

from ..passes.job import REDRAW_SECONDS, Job
from ..passes.request import ARMS, Answer, Arm, Ended
from .address import Address
from .completions import READ_SECONDS, Completions, EndpointError, ask
from .logprobs import Rater, UnratedError

# How soon a user who has left is noticed: the connection is closed then, and the server stops.
POLL_SECONDS = 0.1


class Remote:
    """One arm behind an endpoint. `read_seconds` is how long it may be silent."""

    def __init__(
        self, address: Address, key: str | None = None, *, read_seconds: float = READ_SECONDS
    ) -> None:
        self.address = address
        self._key = key
        self._read_seconds = read_seconds
        self._rater = Rater()

    def check(self) -> None:
        """Raises UserError, one line, where nobody answers, or no model of that name is served."""
        try:
            names = ask(self.address, self._key, self._read_seconds)
        except EndpointError as error:
            raise UserError(f"demo: {self.address.url}: {error}") from None
        model = self.address.model
        if names and model not in names and f"{model}:latest" not in names:
            meant = nearest(model, names) or names[0]
            raise UserError(f"demo: {self.address.url} serves no {model!r}; did you mean #{meant}?")

    async def answer(self, arm: Arm, job: Job) -> None:
        """Rate the options and write the answer, shown as they come. Raises EndpointError, with what came shown."""
        async with Completions(self.address, self._key, self._read_seconds) as endpoint:
            if job.request.choices:
                await self._rate(endpoint, arm, job)
            job.update(state="answering")
            if job.request.max_new_tokens:
                await self._write(endpoint, arm, job)

    async def _rate(self, endpoint: Completions, arm: Arm, job: Job) -> None:
        try:
            rated = await self._rater.rate(endpoint, job.request)
        except UnratedError as reason:
            job.update(unrated=MappingProxyType({**job.progress.unrated, arm: str(reason)}))
        else:
            job.update(scores=MappingProxyType({**job.progress.scores, arm: rated}))

    async def _write(self, endpoint: Completions, arm: Arm, job: Job) -> None:
        limit, began = job.request.max_new_tokens, time.perf_counter()
        text, pieces, tokens, shown = "", 0, None, 0.0
        ended: Ended | None = None

        def show(ended: Ended | None) -> None:
            # A piece is a token or several; who tells how many is believed, and never beyond the limit asked for.
            count = pieces if tokens is None else tokens
            answer = Answer(text, min(count, limit), time.perf_counter() - began, ended)
            job.update(answers=MappingProxyType({**job.progress.answers, arm: answer}))

        try:
            async with aclosing(endpoint.stream(job.request.prompt, limit)) as stream:
                async for piece in stream:
                    if ended is None and pieces >= limit and piece.text:
                        ended = "length"  # a server that heeds no limit
                        break
                    text += piece.text
                    pieces += bool(piece.text)
                    tokens = piece.tokens if piece.tokens is not None else tokens
                    if piece.finish:
                        ended = "length" if piece.finish == "length" else "end"
                    if (now := time.perf_counter()) - shown >= REDRAW_SECONDS:
                        shown = now
                        show(None)
        except EndpointError:
            show("broken")
            raise
        except asyncio.CancelledError:
            show("stopped")
            raise
        show(ended or "end")


def answer_all(remotes: Mapping[Arm, Remote], jobs: Sequence[Job]) -> dict[Job, str]:
    """Let every job ask its endpoints, the jobs beside each other. What went wrong, by job, in words."""

    async def everybody() -> list[str]:
        return await asyncio.gather(*(_one(remotes, job) for job in jobs))

    return {job: said for job, said in zip(jobs, asyncio.run(everybody()), strict=True) if said}


async def _one(remotes: Mapping[Arm, Remote], job: Job) -> str:
    """One job: an endpoint that fails leaves the other its turn."""
    troubles: dict[str, None] = {}
    for arm in (arm for arm in ARMS if arm in remotes):
        asking = asyncio.create_task(remotes[arm].answer(arm, job))
        while not asking.done():
            if job.cancelled.is_set():
                asking.cancel()
            await asyncio.wait({asking}, timeout=POLL_SECONDS)
        try:
            asking.result()
        except asyncio.CancelledError:
            break
        except EndpointError as error:
            troubles[str(error)] = None
    return "; ".join(troubles)
