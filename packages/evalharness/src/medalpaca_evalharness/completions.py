"""Client for the completions protocol of vLLM, llama.cpp's server and Ollama.

It uses `/v1/completions` and not the chat endpoint: the prompt is sent exactly as rendered, without another template.
Proxies, `.netrc` and redirects are ignored. Error messages contain no text of a prompt.
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

from medalpaca_data.core.errors import UserError, nearest
from medalpaca_data.core.files import is_text

from .endpoint import Endpoint

# Largest response in bytes. The log-probabilities of a long prompt take some MiB.
MAX_BODY_BYTES = 32 << 20
CONNECT_SECONDS = 5.0
# Longest wait for data from the server. Some servers load the model at the first request.
READ_SECONDS = 180.0
STATUS_MESSAGES = {
    401: "requires a valid key; name its environment variable with --api-key-env",
    403: "rejects this key",
    404: "has no such URL or model",
    405: "accepts no completions at this URL",
    429: "is busy",
}
# Phrases in the servers' error messages for a prompt that is too long.
TOO_LONG_PHRASES = (
    "context length",
    "context size",
    "context window",
    "too long",
    "maximum context",
    "max_model_len",
)


class EndpointError(Exception):
    """The endpoint did not answer as expected. The message is one line without text of the prompt."""


class RejectedError(EndpointError):
    """HTTP 400 or 422: the endpoint rejects the request, perhaps because of an unknown field."""


class ServerError(EndpointError):
    """HTTP 500 or higher. Some servers answer so to an unknown field."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a streamed answer: text, number of tokens so far, and reason for the end.

    `tokens` is None if the server does not report it, `finish` is None before the end.
    """

    text: str = ""
    tokens: int | None = None
    finish: str | None = None


class CompletionsClient:
    """Connection to one endpoint: `async with CompletionsClient(endpoint, key) as client:`.

    `key` is the API key, None if the server needs none; `read_seconds` is the longest wait for data.
    """

    def __init__(
        self, endpoint: Endpoint, key: str | None = None, read_seconds: float = READ_SECONDS
    ) -> None:
        self._endpoint = endpoint
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
        """Return the names of the served models; an empty list if the server does not list them.

        Raises EndpointError if the server does not answer or rejects the key.
        """
        async with self._exchange("GET", "/models") as response:
            if response.status_code in (401, 403):
                raise _status_error(self._endpoint, response.status_code, b"")
            if response.status_code != 200:
                return []
            body = _json(await _read_body(response))
        listed = body.get("data") if isinstance(body, dict) else None
        return [
            str(one["id"]) for one in listed or [] if isinstance(one, dict) and isinstance(one.get("id"), str)
        ]

    async def complete(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """Return the first choice of a completion as JSON, with `usage` (None if not reported), without streaming.

        `fields` are added to the request. Raises EndpointError if there is no valid answer.
        """
        async with self._exchange("POST", "/completions", self._body(prompt, fields)) as response:
            await self._check(response)
            body = _json(await _read_body(response))
        choice = _choice(body)
        if choice is None:
            raise EndpointError(f"{self._endpoint.host_port} sent an invalid completion")
        return {**choice, "usage": body.get("usage")}

    async def stream(self, prompt: str, max_tokens: int) -> AsyncGenerator[Chunk, None]:
        """Yield the answer as it arrives. Closing the generator closes the connection, so that the server can stop.

        Raises EndpointError if the connection breaks, or if the stream ends without a reason for its end.
        """
        fields = {"max_tokens": max_tokens, "stream": True}
        try:
            with_usage = {**fields, "stream_options": {"include_usage": True}}
            async with aclosing(self._stream(prompt, with_usage)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except RejectedError:
            # Older servers reject `stream_options`.
            async with aclosing(self._stream(prompt, fields)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _stream(self, prompt: str, fields: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        ended = False
        async with self._exchange("POST", "/completions", self._body(prompt, fields)) as response:
            await self._check(response)
            async for data in _events(response, self._endpoint):
                if data == "[DONE]":
                    ended = True
                    break
                body = _json(data)
                choice, tokens = _choice(body), _tokens(body)
                if choice is None and tokens is None:
                    raise EndpointError(f"{self._endpoint.host_port} sent an invalid completion")
                finish = (choice or {}).get("finish_reason")
                ended = ended or finish is not None
                yield Chunk(_text((choice or {}).get("text")), tokens, str(finish) if finish else None)
        if not ended:
            raise EndpointError(f"{self._endpoint.host_port} closed the connection")

    def _body(self, prompt: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self._endpoint.model, "prompt": prompt, "temperature": 0, **fields}

    @asynccontextmanager
    async def _exchange(self, method: str, path: str, body: Any = None) -> AsyncIterator[httpx.Response]:
        server = self._endpoint.host_port
        try:
            async with self._client.stream(method, f"{self._endpoint.url}{path}", json=body) as response:
                yield response
        except httpx.ConnectTimeout:
            raise EndpointError(f"{server} cannot be reached") from None
        except httpx.TimeoutException:
            raise EndpointError(f"{server} does not answer in time") from None
        except httpx.ConnectError:
            raise EndpointError(f"no server answers at {server}; is it running?") from None
        except (httpx.HTTPError, OSError):
            raise EndpointError(f"{server} closed the connection") from None

    async def _check(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise _status_error(self._endpoint, response.status_code, await _read_body(response))


def _status_error(endpoint: Endpoint, status: int, body: bytes) -> EndpointError:
    message = body[:4000].decode(errors="replace").lower()
    if status in (400, 413, 422, 500) and any(phrase in message for phrase in TOO_LONG_PHRASES):
        return EndpointError(f"question too long for {endpoint.host_port}")
    if status in (400, 422):
        return RejectedError(f"{endpoint.host_port} rejects the question (HTTP {status})")
    kind = ServerError if status >= 500 else EndpointError
    return kind(f"{endpoint.host_port} {STATUS_MESSAGES.get(status, 'reports an error')} (HTTP {status})")


async def _read_body(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise EndpointError(f"the endpoint sent more than {MAX_BODY_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


async def _events(response: httpx.Response, endpoint: Endpoint) -> AsyncIterator[str]:
    """Yield the `data:` of server-sent events; comments and other fields are skipped.

    Raises EndpointError if the server reports an error or sends too much.
    """
    rest, size = b"", 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise EndpointError(f"{endpoint.host_port} sent more than {MAX_BODY_BYTES >> 20} MiB")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].decode(errors="replace").strip()
            elif line.startswith((b"{", b"error:")):
                raise EndpointError(f"{endpoint.host_port} reported an error in the middle of an answer")


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
    """Return a TLS context with the system's certificates, which may include a hospital's own authority."""
    return ssl.create_default_context()


def list_models(endpoint: Endpoint, key: str | None, read_seconds: float = READ_SECONDS) -> list[str]:
    """Return `CompletionsClient.models()` for a caller outside an event loop."""

    async def models() -> list[str]:
        async with CompletionsClient(endpoint, key, read_seconds) as client:
            return await client.models()

    return asyncio.run(models())


def check_served_name(endpoint: Endpoint, key: str | None, read_seconds: float = READ_SECONDS) -> None:
    """Raise UserError if the server does not answer, rejects the key, or serves no model of this name.

    The name is not checked if the server lists no models.
    """
    try:
        names = list_models(endpoint, key, read_seconds)
    except EndpointError as error:
        raise UserError(f"{endpoint.url}: {error}") from None
    model = endpoint.model
    if names and model not in names and f"{model}:latest" not in names:
        meant = nearest(model, names) or names[0]
        raise UserError(f"{endpoint.url} serves no model {model!r}; did you mean #{meant}?")
