"""Models behind an endpoint: option scores from reported log-probabilities, and written answers.

Letters are read from the most likely next tokens (`logprobs`). Texts, and letters not among those tokens, need the
log-probabilities of the input (`echo` with `logprobs`). vLLM reports them; llama.cpp's server and Ollama do not.

lm-eval counts spaces at the end of the prompt as part of the option, so its numbers include the prompt's last tokens.
With `echo` these are added here, and the numbers equal lm-eval's. Without it, a letter's number is that of the letter
alone; the shares are the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from medalpaca_evalharness.completions import (
    READ_SECONDS,
    CompletionsClient,
    EndpointError,
    RejectedError,
    ServerError,
    check_served_name,
)
from medalpaca_evalharness.endpoint import Endpoint
from medalpaca_evalharness.server_probe import NO_ECHO, NO_LOGPROBS, Reply, echo_fault_async

from .inference import compute_option_scores
from .job import REFRESH_SECONDS, SIDES, Answer, EndReason, Job, OptionScores, Request, Side

# Number of next tokens to request: vLLM's default maximum.
TOP_LOGPROBS = 20
FAILS = "it reports an error when probabilities are requested"
# Time between two checks whether the user has left. The connection is then closed, and the server stops.
POLL_SECONDS = 0.1


class UnratedError(Exception):
    """The endpoint does not report the probabilities that scores need. The message is shown on the page."""


class RemoteScorer:
    """Scorer of options by one endpoint. A probe checks `echo` first; after a failure, it is no longer requested.

    Every request has `cache_prompt: false`. llama.cpp would otherwise compute only the new part of a prompt, in batches
    of another size, and the numbers of the side that is rated first would differ in the last digits.
    """

    def __init__(self) -> None:
        self._echoes = True
        self._knows_cache_prompt = True
        # The result of the probe: "" if log-probabilities of an input text are real, None before the probe.
        self._fault: str | None = None

    async def _complete(self, client: CompletionsClient, prompt: str, **fields: Any) -> dict[str, Any]:
        """Return `client.complete` without the server's cache of prompts.

        A server that rejects the unknown field gets the request, and all later ones, without it.
        """
        if not self._knows_cache_prompt:
            return await client.complete(prompt, **fields)
        try:
            return await client.complete(prompt, **fields, cache_prompt=False)
        except (RejectedError, ServerError):
            choice = await client.complete(prompt, **fields)
        self._knows_cache_prompt = False
        return choice

    async def score(self, client: CompletionsClient, request: Request) -> OptionScores:
        """Return the scores of the options.

        Raises UnratedError if the endpoint does not report the needed probabilities, and EndpointError if a
        request fails.
        """
        letters = request.scoring == "letter"
        sums = await (self._letters if letters else self._texts)(client, request)
        return compute_option_scores(sums, request.choices, request.scoring, from_endpoint=True)

    async def _letters(self, client: CompletionsClient, request: Request) -> list[float]:
        next_tokens = await self._next_tokens(client, request.prompt)
        if not next_tokens:
            raise UnratedError(NO_LOGPROBS)
        in_prompt = await self._sum_in_prompt(client, request.prompt)
        if all(letter in next_tokens for letter in request.choices):
            return [in_prompt + next_tokens[letter] for letter in request.choices]
        if not self._echoes:
            missing = ", ".join(letter for letter in request.choices if letter not in next_tokens)
            raise UnratedError(
                f"{missing} not among the {len(next_tokens)} most likely tokens that it reports"
            )
        return await self._texts(client, request)

    async def _texts(self, client: CompletionsClient, request: Request) -> list[float]:
        await self._probe(client)
        if not self._echoes:
            raise UnratedError(self._fault or NO_ECHO)
        before = await self._count_tokens(client, request.prompt.rstrip())
        # One request after the other: a server for a single user may refuse several at once.
        return [await self._sum(client, request.prompt + choice, before) for choice in request.choices]

    async def _sum_in_prompt(self, client: CompletionsClient, prompt: str) -> float:
        """Return the log-probability of the spaces at the end of the prompt, which lm-eval counts for each option.

        0.0 if there are none, or if the endpoint does not report it.
        """
        if prompt == prompt.rstrip():
            return 0.0
        try:
            await self._probe(client)
            if not self._echoes:
                return 0.0
            return await self._sum(client, prompt, await self._count_tokens(client, prompt.rstrip()))
        except UnratedError:
            return 0.0

    async def _probe(self, client: CompletionsClient) -> None:
        """Check once whether the endpoint's log-probabilities of an input text are real (see `server_probe`)."""
        if self._fault is not None:
            return

        async def echo(text: str) -> Reply:
            try:
                choice = await self._complete(client, text, max_tokens=1, echo=True, logprobs=1)
            except RejectedError:
                return Reply(None)
            except ServerError:
                raise UnratedError(FAILS) from None
            return Reply({"choices": [choice], "usage": choice["usage"]})

        fault = await echo_fault_async(echo)
        self._echoes = not fault
        # Letters are then read from the next token, so the scorer does not report NO_LOGPROBS for texts.
        self._fault = NO_ECHO if fault == NO_LOGPROBS else fault

    async def _sum(self, client: CompletionsClient, text: str, before: int) -> float:
        """Return the sum of the log-probabilities of the tokens of `text` after the first `before`.

        Raises UnratedError if the endpoint does not report them.
        """
        try:
            choice = await self._complete(client, text, max_tokens=1, echo=True, logprobs=1)
        except RejectedError:
            choice = {}
        except ServerError:
            raise UnratedError(FAILS) from None
        match choice:
            case {
                "logprobs": {"token_logprobs": [*values]},
                "text": str(echoed),
                "usage": {"prompt_tokens": int(count)},
            } if (
                echoed.startswith(text)
                and 0 < before < count <= len(values)
                and _are_logprobs(values[before:count])
            ):
                return float(sum(values[before:count]))
        self._echoes = False
        raise UnratedError(NO_ECHO)

    async def _next_tokens(self, client: CompletionsClient, prompt: str) -> Mapping[str, float]:
        """Return the most likely next tokens as texts, with log-probabilities; empty if they are not reported."""
        try:
            choice = await self._complete(client, prompt, max_tokens=1, logprobs=TOP_LOGPROBS)
        except RejectedError:
            return {}
        except ServerError:
            raise UnratedError(FAILS) from None
        match choice.get("logprobs"):
            # OpenAI and vLLM.
            case {"top_logprobs": [dict() as tokens, *_]}:
                return {str(token): float(value) for token, value in tokens.items() if _are_logprobs([value])}
            # llama.cpp. In reverse order, so that of two tokens with the same text the more likely one is kept.
            case {"content": [{"top_logprobs": [*rows]}, *_]}:
                return {
                    str(row.get("token")): float(row["logprob"])
                    for row in reversed(rows)
                    if isinstance(row, dict) and _are_logprobs([row.get("logprob")])
                }
        return {}

    async def _count_tokens(self, client: CompletionsClient, text: str) -> int:
        match await self._complete(client, text, max_tokens=1):
            case {"usage": {"prompt_tokens": int(count)}}:
                return count
        raise UnratedError(NO_ECHO)


def _are_logprobs(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and value <= 0 for value in values)


class RemoteModel:
    """Model of one side (base or tuned) behind an endpoint.

    `read_seconds` is the longest time without data from the server.
    """

    def __init__(
        self, endpoint: Endpoint, key: str | None = None, *, read_seconds: float = READ_SECONDS
    ) -> None:
        self.endpoint = endpoint
        self._key = key
        self._read_seconds = read_seconds
        self._scorer = RemoteScorer()

    def check(self) -> None:
        """Raise UserError if the server does not answer, rejects the key, or serves no model of this name.

        The name is not checked if the server lists no models.
        """
        check_served_name(self.endpoint, self._key, self._read_seconds)

    async def answer(self, side: Side, job: Job) -> None:
        """Score the options, then stream the answer into the job.

        Raises EndpointError if the endpoint fails; the text written until then is kept.
        """
        async with CompletionsClient(self.endpoint, self._key, self._read_seconds) as client:
            if job.request.choices:
                await self._score(client, side, job)
            job.update(state="answering")
            if job.request.max_new_tokens:
                await self._write(client, side, job)

    async def _score(self, client: CompletionsClient, side: Side, job: Job) -> None:
        try:
            scores = await self._scorer.score(client, job.request)
        except UnratedError as reason:
            job.update(unrated=MappingProxyType({**job.progress.unrated, side: str(reason)}))
        else:
            job.update(scores=MappingProxyType({**job.progress.scores, side: scores}))

    async def _write(self, client: CompletionsClient, side: Side, job: Job) -> None:
        limit, began = job.request.max_new_tokens, time.perf_counter()
        text, chunks, tokens, published = "", 0, None, 0.0
        ended: EndReason | None = None

        def publish(ended: EndReason | None) -> None:
            # Without a reported number, each chunk counts as one token.
            count = chunks if tokens is None else tokens
            answer = Answer(text, min(count, limit), time.perf_counter() - began, ended)
            job.update(answers=MappingProxyType({**job.progress.answers, side: answer}))

        try:
            async with aclosing(client.stream(job.request.prompt, limit)) as stream:
                async for chunk in stream:
                    # Stop a server that ignores `max_tokens`.
                    if ended is None and chunks >= limit and chunk.text:
                        ended = "length"
                        break
                    text += chunk.text
                    chunks += bool(chunk.text)
                    tokens = chunk.tokens if chunk.tokens is not None else tokens
                    if chunk.finish:
                        ended = "length" if chunk.finish == "length" else "end"
                    if (now := time.perf_counter()) - published >= REFRESH_SECONDS:
                        published = now
                        publish(None)
        except EndpointError:
            publish("broken")
            raise
        except asyncio.CancelledError:
            publish("stopped")
            raise
        publish(ended or "end")


def answer_all(remotes: Mapping[Side, RemoteModel], jobs: Sequence[Job]) -> dict[Job, str]:
    """Answer all jobs at the same time, each by its endpoints in turn. Return the message of each job with an error."""

    async def run_all() -> list[str]:
        return await asyncio.gather(*(_answer_one(remotes, job) for job in jobs))

    return {job: error for job, error in zip(jobs, asyncio.run(run_all()), strict=True) if error}


async def _answer_one(remotes: Mapping[Side, RemoteModel], job: Job) -> str:
    """Answer one job. If the endpoint of one side fails, the other side is answered nevertheless."""
    errors: dict[str, None] = {}
    for side in (side for side in SIDES if side in remotes):
        task = asyncio.create_task(remotes[side].answer(side, job))
        while not task.done():
            if job.cancelled.is_set():
                task.cancel()
            await asyncio.wait({task}, timeout=POLL_SECONDS)
        try:
            task.result()
        except asyncio.CancelledError:
            break
        except EndpointError as error:
            errors[str(error)] = None
    return "; ".join(errors)
