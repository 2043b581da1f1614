"""The completions protocol of vLLM, llama.cpp's server and Ollama: what is sent, and what may come back.

`/v1/completions`, not chat: the prompt is the one renderer's, to the character, and no template is added here. A
connection goes where the address says: no proxy, no `.netrc`, no redirect. No message holds a word of a prompt.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import httpx

from medalpaca_data.core.files import is_text

from .endpoint import Address

LARGEST = 32 << 20  # bytes of a body; a long prompt's log-probabilities are some MiB
CONNECT_SECONDS = 5.0
# Some servers load the model when it is first asked for.
READ_SECONDS = 180.0
SAID = {
    401: "wants a key (--api-key-env), or another one",
    403: "refuses this key",
    404: "has no such address or model",
    405: "takes no requests at this address",
    429: "is busy",
}
TOO_LONG = (
    "context length",
    "context size",
    "context window",
    "too long",
    "maximum context",
    "max_model_len",
)


class EndpointError(Exception):
    """An endpoint did not answer as asked. One line, without a word of what was asked."""


class RefusedError(EndpointError):
    """It understood and would not: HTTP 400 or 422. Perhaps it does not know a field."""


class FailsError(EndpointError):
    """It fails: HTTP 500 and above. Some do where they do not know a field."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream brings at a time: text, tokens so far where it tells, and why it ended where it did."""

    text: str = ""
    tokens: int | None = None
    finish: str | None = None


class Completions:
    """`async with Completions(address, key) as endpoint:`."""

    def __init__(self, address: Address, key: str | None = None, read_seconds: float = READ_SECONDS) -> None:
        self._address = address
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(read_seconds, connect=min(CONNECT_SECONDS, read_seconds)),
            verify=_tls(),
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def models(self) -> list[str]:
        """The names it serves, as far as it tells. Raises EndpointError where nobody answers."""
        async with self._exchange("GET", "/models") as response:
            if response.status_code in (401, 403):
                raise _refusal(self._address, response.status_code, b"")
            if response.status_code != 200:
                return []
            body = _json(await _all_of(response))
        listed = body.get("data") if isinstance(body, dict) else None
        return [
            str(one["id"]) for one in listed or [] if isinstance(one, dict) and isinstance(one.get("id"), str)
        ]

    async def complete(self, prompt: str, **more: Any) -> dict[str, Any]:
        """The first choice of one completion with its `usage`, not streamed. Raises EndpointError."""
        async with self._exchange("POST", "/completions", self._body(prompt, more)) as response:
            await self._check(response)
            body = _json(await _all_of(response))
        choice = _choice(body)
        if choice is None:
            raise EndpointError(f"{self._address.place} sent what is no completion")
        return {**choice, "usage": body.get("usage")}

    async def stream(self, prompt: str, max_tokens: int) -> AsyncGenerator[Piece, None]:
        """The answer as it comes. Closing this generator closes the connection, which is what stops a server.

        Raises EndpointError when it breaks off: a stream that ends without saying why has broken off.
        """
        wanted = {"max_tokens": max_tokens, "stream": True}
        try:
            told = {**wanted, "stream_options": {"include_usage": True}}
            async with aclosing(self._stream(prompt, told)) as pieces:
                async for piece in pieces:
                    yield piece
        except RefusedError:
            # Refused, perhaps for the one field that older servers do not know.
            async with aclosing(self._stream(prompt, wanted)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _stream(self, prompt: str, more: Mapping[str, Any]) -> AsyncGenerator[Piece, None]:
        ended = False
        async with self._exchange("POST", "/completions", self._body(prompt, more)) as response:
            await self._check(response)
            async for data in _events(response, self._address):
                if data == "[DONE]":
                    ended = True
                    break
                body = _json(data)
                choice, tokens = _choice(body), _tokens(body)
                if choice is None and tokens is None:
                    raise EndpointError(f"{self._address.place} sent what is no completion")
                finish = (choice or {}).get("finish_reason")
                ended = ended or finish is not None
                yield Piece(_text((choice or {}).get("text")), tokens, str(finish) if finish else None)
        if not ended:
            raise EndpointError(f"{self._address.place} broke off")

    def _body(self, prompt: str, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self._address.model, "prompt": prompt, "temperature": 0, **more}

    @asynccontextmanager
    async def _exchange(self, method: str, path: str, body: Any = None) -> AsyncIterator[httpx.Response]:
        place = self._address.place
        try:
            async with self._client.stream(method, f"{self._address.url}{path}", json=body) as response:
                yield response
        except httpx.ConnectTimeout:
            raise EndpointError(f"{place} cannot be reached") from None
        except httpx.TimeoutException:
            raise EndpointError(f"{place} does not answer in time") from None
        except httpx.ConnectError:
            raise EndpointError(f"nobody answers at {place}; is the server running?") from None
        except (httpx.HTTPError, OSError):
            raise EndpointError(f"{place} broke off") from None

    async def _check(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise _refusal(self._address, response.status_code, await _all_of(response))


def _refusal(address: Address, status: int, body: bytes) -> EndpointError:
    said = body[:4000].decode(errors="replace").lower()
    if status in (400, 413, 422, 500) and any(sign in said for sign in TOO_LONG):
        return EndpointError(f"question too long for {address.place}")
    if status in (400, 422):
        return RefusedError(f"{address.place} refuses the question (HTTP {status})")
    kind = FailsError if status >= 500 else EndpointError
    return kind(f"{address.place} {SAID.get(status, 'fails')} (HTTP {status})")


async def _all_of(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST:
            raise EndpointError("the endpoint sends without end")
        parts.append(part)
    return b"".join(parts)


async def _events(response: httpx.Response, address: Address) -> AsyncIterator[str]:
    """The `data:` of server-sent events; other fields and comments say nothing here."""
    rest, size = b"", 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST:
            raise EndpointError(f"{address.place} sends without end")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].decode(errors="replace").strip()
            elif line.startswith((b"{", b"error:")):
                raise EndpointError(f"{address.place} fails in the middle of an answer")


def _json(data: bytes | str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _choice(body: Any) -> dict[str, Any] | None:
    match body:
        case {"choices": [dict() as choice, *_]}:
            return choice
    return None


def _tokens(body: Any) -> int | None:
    match body:
        case {"usage": {"completion_tokens": int(count)}}:
            return count
    return None


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return text if is_text(text) else text.encode("utf-8", "replace").decode()


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificates, read once: a hospital's own authority is among them."""
    return ssl.create_default_context()


def ask(address: Address, key: str | None, read_seconds: float = READ_SECONDS) -> list[str]:
    """The names it serves; for start-up, where nothing else runs."""

    async def models() -> list[str]:
        async with Completions(address, key, read_seconds) as endpoint:
            return await endpoint.models()

    return asyncio.run(models())
