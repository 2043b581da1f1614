"""Ratings of the options from what an endpoint tells of probabilities; lm-eval's numbers where it tells enough.

Letters stand among the likeliest next tokens (`logprobs`). Texts need the log-probabilities of what was sent (`echo`
with `logprobs`), which vLLM gives and llama.cpp's server and Ollama do not. lm-eval moves space at the prompt's end to
the continuation, so its numbers hold the prompt's last tokens too; with `echo` they are added here, and without, a
letter's number is that of the letter alone, which changes no share.

Arms that other programs answer for: a job asks its endpoints in turn, and stops when it is told to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from medalpaca_data.core.errors import UserError, nearest

from .completions import READ_SECONDS, Completions, EndpointError, FailsError, RefusedError, ask
from .endpoint import Address
from .inference import rate
from .job import ARMS, REDRAW_SECONDS, Answer, Arm, Ended, Job, OptionScores, Request

LIKELIEST = 20  # what vLLM gives unless told otherwise
NO_LOGPROBS = "it tells no probabilities"
NO_ECHO = "it tells no probabilities of a given text"
FAILS = "it fails when it is asked for probabilities"


class UnratedError(Exception):
    """The endpoint does not tell what a rating needs; the reason, for the page."""


class Rater:
    """Remembers of one endpoint what it has shown not to tell, so that it is not asked again and again."""

    def __init__(self) -> None:
        self._echoes = True

    async def rate(self, endpoint: Completions, request: Request) -> OptionScores:
        """Raises UnratedError where the endpoint does not tell enough, EndpointError where it does not answer."""
        letters = request.scoring == "letter"
        sums = await (self._letters if letters else self._texts)(endpoint, request)
        return rate(sums, request.choices, request.scoring, from_endpoint=True)

    async def _letters(self, endpoint: Completions, request: Request) -> list[float]:
        next_ones = await _next_tokens(endpoint, request.prompt)
        if not next_ones:
            raise UnratedError(NO_LOGPROBS)
        inside = await self._inside(endpoint, request.prompt)
        if all(letter in next_ones for letter in request.choices):
            return [inside + next_ones[letter] for letter in request.choices]
        if not self._echoes:
            missing = ", ".join(letter for letter in request.choices if letter not in next_ones)
            raise UnratedError(f"{missing} not among the {len(next_ones)} likeliest tokens that it tells")
        return await self._texts(endpoint, request)

    async def _texts(self, endpoint: Completions, request: Request) -> list[float]:
        if not self._echoes:
            raise UnratedError(NO_ECHO)
        before = await _count(endpoint, request.prompt.rstrip())
        return [
            await self._sum(endpoint, request.prompt + choice, before)  # one after the other
            for choice in request.choices
        ]

    async def _inside(self, endpoint: Completions, prompt: str) -> float:
        """What lm-eval counts of the prompt itself; 0 where the endpoint does not tell."""
        if not self._echoes or prompt == prompt.rstrip():
            return 0.0
        try:
            return await self._sum(endpoint, prompt, await _count(endpoint, prompt.rstrip()))
        except UnratedError:
            return 0.0

    async def _sum(self, endpoint: Completions, text: str, before: int) -> float:
        """The log-likelihood of all tokens of `text` but the first `before`."""
        try:
            choice = await endpoint.complete(text, max_tokens=1, echo=True, logprobs=1)
        except RefusedError:
            choice = {}
        except FailsError:
            raise UnratedError(FAILS) from None
        match choice:
            case {
                "logprobs": {"token_logprobs": [*values]},
                "text": str(said),
                "usage": {"prompt_tokens": int(count)},
            } if (
                said.startswith(text)
                and 0 < before < count <= len(values)
                and _are_numbers(values[before:count])
            ):
                return float(sum(values[before:count]))
        self._echoes = False
        raise UnratedError(NO_ECHO)


async def _next_tokens(endpoint: Completions, prompt: str) -> Mapping[str, float]:
    """The likeliest next tokens as texts, and their log-probabilities, in either of the two layouts in use."""
    try:
        choice = await endpoint.complete(prompt, max_tokens=1, logprobs=LIKELIEST)
    except RefusedError:
        return {}
    except FailsError:
        raise UnratedError(FAILS) from None
    match choice.get("logprobs"):
        case {"top_logprobs": [dict() as found, *_]}:  # OpenAI, vLLM
            return {str(token): float(value) for token, value in found.items() if _are_numbers([value])}
        case {"content": [{"top_logprobs": [*rows]}, *_]}:  # llama.cpp
            return {
                str(row.get("token")): float(row["logprob"])
                for row in reversed(rows)  # of two tokens with one text, the likelier
                if isinstance(row, dict) and _are_numbers([row.get("logprob")])
            }
    return {}


async def _count(endpoint: Completions, text: str) -> int:
    """How many tokens the endpoint makes of `text`."""
    match await endpoint.complete(text, max_tokens=1):
        case {"usage": {"prompt_tokens": int(count)}}:
            return count
    raise UnratedError(NO_ECHO)


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and value <= 0 for value in values)


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
