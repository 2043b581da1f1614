"""Probe of a model server: whether log-probabilities of an input text are real and every token is counted.

Scores of options need `echo` with `logprobs` of `/v1/completions`. Some servers ignore `echo`. Then every option gets
the sum of an empty list, 0.0, and the first one is chosen. The probe sends four requests and compares their answers.

`echo_steps` is a generator without input or output, so that synchronous and asynchronous clients share it. It yields a
text, and expects the server's answer to `{"prompt": text, "max_tokens": 1, "echo": true, "logprobs": 1}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

NO_LOGPROBS = "it reports no probabilities"
NO_ECHO = "it reports no probabilities of an input text"

PROMPT = "Question: Which vitamin is lacking in scurvy?\nAnswer: It is vitamin"
# Before PROMPT, it changes the probabilities of the tokens of PROMPT, but not the tokens.
CONTEXT = "Rain falls on the hills, and the river is high. "
# Nats by which the log-probability of one token in one text may differ between two requests. Batches of half precision
# differ by some hundredths.
NEAR = 0.25


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to one text of the probe: the decoded JSON, None if the server rejects the request.

    `tokens` is the number of tokens of the text that the client counts; None if it leaves the count to the server.
    """

    body: Any
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EchoedText:
    """Log-probabilities of a text and of one more token: `values` of all, the first may be None; `text` of all."""

    values: tuple[float | None, ...]
    text: str
    prompt_tokens: int

    @property
    def prompt_values(self) -> tuple[Any, ...]:
        """Log-probabilities of the tokens of the text but the first, which has none."""
        return self.values[1:-1]


def echo_fault(echo: Callable[[str], Reply]) -> str:
    """Return why log-probabilities of a server cannot be used, or "" if they are real; `echo` sends one text."""
    steps = echo_steps()
    text = next(steps)
    try:
        while True:
            text = steps.send(echo(text))
    except StopIteration as done:
        return str(done.value)


async def echo_fault_async(echo: Callable[[str], Awaitable[Reply]]) -> str:
    """Return what `echo_fault` returns, for a client in an event loop."""
    steps = echo_steps()
    text = next(steps)
    try:
        while True:
            text = steps.send(await echo(text))
    except StopIteration as done:
        return str(done.value)


def echo_steps() -> Generator[str, Reply, str]:
    """Yield the texts of the probe and receive their answers; return the fault, or "" if there is none."""
    first = read_echo((yield PROMPT), PROMPT)
    if isinstance(first, str):
        return first
    if max(first.prompt_values) - min(first.prompt_values) < 1e-9:
        return (
            f"it reports the same log-probability, {first.prompt_values[0]}, for all tokens of an input text"
        )
    again = read_echo((yield PROMPT), PROMPT)
    if isinstance(again, str):
        return again
    if len(again.values) != len(first.values) or _distance(first.prompt_values, again.prompt_values) > NEAR:
        return "it reports other log-probabilities when the same text is sent again"
    longer = read_echo((yield CONTEXT + PROMPT), CONTEXT + PROMPT)
    if isinstance(longer, str):
        return longer
    if longer.prompt_tokens <= first.prompt_tokens:
        return "it reports the same number of tokens for a longer text"
    if first.prompt_values[:-1] == longer.prompt_values[: len(first.prompt_values) - 1]:
        return "it reports the same log-probabilities for another text"
    # The first tokens of PROMPT may be others after a space.
    shared = len(first.prompt_values) - 2
    if _distance(first.prompt_values[-shared:], longer.prompt_values[-shared:]) < 1e-9:
        return "its log-probabilities do not depend on the text before a token"
    return (yield from _own_token_steps(first))


def _own_token_steps(first: EchoedText) -> Generator[str, Reply, str]:
    """Compare the log-probability of the model's own next token as output and as input."""
    own = first.text.partition(PROMPT)[2]
    value = first.values[-1]
    # Without a visible token, or with a value after the temperature was applied, there is nothing to compare.
    if not own.strip() or not value:
        return ""
    text = PROMPT + own
    second = read_echo((yield text), text)
    if isinstance(second, str):
        return second
    if second.prompt_tokens != first.prompt_tokens + 1:
        return ""
    found = second.values[-2]
    if found is None or abs(found - value) > NEAR:
        return f"its next token has the log-probability {value:.2f} as output and {found} as input"
    return ""


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return median(abs(a - b) for a, b in zip(one, other, strict=True))


def read_echo(reply: Reply, text: str) -> EchoedText | str:
    """Return the log-probabilities of `text` in an answer with `echo`, or the fault as text."""
    match reply.body:
        case {"choices": [dict() as choice, *_]}:
            pass
        case _:
            return NO_ECHO
    reported = choice.get("logprobs")
    if not isinstance(reported, dict):
        return NO_LOGPROBS if reported is None else NO_ECHO
    values, echoed = reported.get("token_logprobs"), choice.get("text")
    if not isinstance(values, list) or len(values) < 3 or not isinstance(echoed, str) or text not in echoed:
        return NO_ECHO
    if faulty := [value for value in values[1:] if not _is_logprob(value)]:
        return f"it reports {faulty[0]!r} as a log-probability"
    usage = reply.body.get("usage")
    server_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if isinstance(server_tokens, int) and server_tokens != len(values) - 1:
        return (
            f"it counts {server_tokens} tokens of an input text, but reports {len(values) - 1} log-probabilities "
            "before the next token, so start tokens (BOS) are not counted alike"
        )
    tokens = server_tokens if reply.tokens is None else reply.tokens
    if tokens is None:
        return "it does not report the number of tokens of an input text (usage.prompt_tokens)"
    if tokens != len(values) - 1:
        return (
            f"it reports log-probabilities of {len(values) - 1} tokens for an input text that has {tokens} by "
            "tokenizer=, so start tokens (BOS) are not counted alike; set add_bos_token= or tokenized_requests= "
            "in --model_args, or give the tokenizer of the served model"
        )
    return EchoedText(tuple(values), echoed, tokens)


def _is_logprob(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value <= 1e-6
    )
