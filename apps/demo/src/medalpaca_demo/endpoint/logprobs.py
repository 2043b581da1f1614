"""Ratings of the options from what an endpoint tells of probabilities; lm-eval's numbers where it tells enough.

Letters stand among the likeliest next tokens (`logprobs`). Texts need the log-probabilities of what was sent (`echo`
with `logprobs`), which vLLM gives and llama.cpp's server and Ollama do not. lm-eval moves space at the prompt's end to
the continuation, so its numbers hold the prompt's last tokens too; with `echo` they are added here, and without, a
letter's number is that of the letter alone, which changes no share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..passes.request import OptionScores, Request
from ..passes.score import rate
from .completions import Completions, FailsError, RefusedError

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
