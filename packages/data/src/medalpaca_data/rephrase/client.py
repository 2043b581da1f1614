"""Asking OpenAI-compatible endpoints, many requests at once, and what to do when one is not answered.

It knows nothing of rows, prompts or the store: a request goes in, the body of a completion comes out. Texts are never
logged and stand in no message.

Asking for all rows: many at once, nothing twice, every answer kept before it is looked at.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp

from ..core.errors import UserError
from .prompts import Rephrase, Request, api_key
from .run import RowAttempts
from .store import CompletionStore, parse_response

RETRY_STATUSES = frozenset((408, 409, 425, 429))  # and everything from 500
FATAL_STATUSES = {
    401: "wants a key (api_key_env), or another one",
    402: "wants to be paid first",
    403: "refuses this key",
    404: "has no such address or model",
    405: "takes no requests at this address",
}


class RequestFailed(Exception):
    """One request will not be answered; the reason names a kind of fault. `row` says that the row is at fault."""

    def __init__(self, reason: str, *, row: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is made, and how long it is waited in between (seconds)."""

    attempts: int = 10
    first: float = 0.5  # doubled each time
    longest: float = 60
    asked_for: float = 3600  # the longest Retry-After that is heeded

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """After failed attempt `attempt` (from 0): at least what the server asks for, and never all at once."""
        backoff = min(self.longest, self.first * 2.0**attempt)
        jitter = random.random()  # noqa: S311 - spreads the load, keeps no secret
        if retry_after is None:
            return backoff * (0.5 + jitter / 2)
        return min(retry_after, self.asked_for) + min(backoff, self.first) * jitter


@dataclass(slots=True)
class Endpoint:
    """One server: how much it may have at once, and what was learned of it."""

    url: str
    gate: asyncio.Semaphore
    busy: int = 0
    structured: bool = True  # takes a schema, until it refuses one
    rests_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _TransientFault:
    reason: str
    retry_after: float | None = None
    unreachable: bool = False


@dataclass(slots=True)
class RequestCounts:
    """What was done, for the report."""

    sent: int = 0
    again: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class Client:
    """`async with Client(...) as client: body = await client.ask(request)`."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        concurrency: int = 16,
        timeout: float = 120,
        key: str | None = None,
        patience: RetryPolicy | None = None,
    ) -> None:
        self.counts = RequestCounts()
        self._endpoints = [
            Endpoint(_completions_url(url), asyncio.Semaphore(concurrency)) for url in endpoints
        ]
        self._patience = patience or RetryPolicy()
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(30, timeout))

    async def __aenter__(self) -> Self:
        # No proxy and no .netrc from the environment: a request goes where the recipe says, nowhere else.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=self._timeout,
            headers=self._headers,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, request: Request) -> bytes:
        """The body that answers, readable by `read_body`.

        Raises Failed when this request gets none, UserError when none would (no such server, no entry).
        """
        fault = _TransientFault("not asked")
        for attempt in range(self._patience.attempts):
            endpoint = self._pick()
            endpoint.busy += 1
            try:
                async with endpoint.gate:
                    result = await self._send(endpoint, request)
            finally:
                endpoint.busy -= 1
            if isinstance(result, bytes):
                return result
            fault = result
            self.counts.again += 1
            self.counts.reasons[fault.reason] = self.counts.reasons.get(fault.reason, 0) + 1
            if attempt + 1 < self._patience.attempts:
                wait = self._patience.wait(attempt, fault.retry_after)
                endpoint.rests_until = time.monotonic() + wait
                # Another server that is not resting may have it at once.
                if self._pick().rests_until > time.monotonic():
                    await asyncio.sleep(wait)
        if fault.unreachable:
            tried = ", ".join(endpoint.url for endpoint in self._endpoints)
            raise UserError(
                f"rephrase: cannot connect to {tried}; what was answered is kept, run again when it is up"
            )
        raise RequestFailed(fault.reason)

    def _pick(self) -> Endpoint:
        """The server with the fewest requests among those not resting, else the one that rests the shortest."""
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        now = time.monotonic()
        return min(self._endpoints, key=lambda one: (max(one.rests_until - now, 0.0), one.busy))

    async def _send(self, endpoint: Endpoint, request: Request) -> bytes | _TransientFault:
        structured = endpoint.structured
        result = await self._post(endpoint, request.body if structured else request.plain())
        if isinstance(result, RequestFailed) and structured:
            # Refused, perhaps for the schema: a server that takes the same without one gets none from now on.
            result = await self._post(endpoint, request.plain())
            if isinstance(result, bytes):
                endpoint.structured = False
        if isinstance(result, RequestFailed):
            raise result
        return result

    async def _post(self, endpoint: Endpoint, body: bytes) -> bytes | _TransientFault | RequestFailed:
        """One exchange: the body, a fault that may pass, or a refusal that will not."""
        self.counts.sent += 1
        try:
            async with self._session.post(endpoint.url, data=body, allow_redirects=False) as response:
                status, headers = response.status, response.headers
                answer = await response.read()
        except TimeoutError:
            return _TransientFault("no answer in time")
        except aiohttp.ClientConnectorError:
            return _TransientFault("cannot connect", unreachable=True)
        except (aiohttp.ClientError, OSError):
            return _TransientFault("connection lost")
        if status == 200:
            try:
                parse_response(answer)
            except ValueError:
                return _TransientFault("an answer that is no completion")
            return answer
        if status in RETRY_STATUSES or status >= 500:
            return _TransientFault(f"HTTP {status}", retry_after=retry_after(headers.get("Retry-After")))
        if status in FATAL_STATUSES:
            raise UserError(f"rephrase: {endpoint.url} {FATAL_STATUSES[status]} (HTTP {status})")
        if status < 400:
            raise UserError(
                f"rephrase: {endpoint.url} answers HTTP {status}, no completion; name the final address"
            )
        return RequestFailed(f"refused by the server (HTTP {status})", row=True)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, in seconds or as an HTTP date (RFC 9110, 10.2.3); None for nonsense."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _completions_url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith("/chat/completions") else f"{base}/chat/completions"


MAX_CONSECUTIVE_FAILURES = (
    5  # requests that fail one after the other, each many times: it is the server, not the row
)
MAX_REFUSALS = 50  # requests refused and none answered: it is the request's form, not the row


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What was done in this run, and the keys of all requests that the rows' outcomes rest on."""

    counts: RequestCounts
    keys: list[str]


@dataclass(slots=True)
class _State:
    done: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0  # in a row
    keys: list[str] = field(default_factory=list)


def request_all(
    settings: Rephrase,
    rows: Iterator[RowAttempts],
    store: CompletionStore,
    on_progress: Callable[[int], None],
    patience: RetryPolicy | None = None,
) -> RequestSummary:
    """Ask until each row has an answer that may stand, or no try is left. `tell` hears how many rows are done.

    Rows whose first request is the same are one row. Raises UserError when the endpoints do not work at all; what
    was answered until then is in the store.
    """
    return asyncio.run(_request_all(settings, rows, store, on_progress, patience))


async def _request_all(
    settings: Rephrase,
    rows: Iterator[RowAttempts],
    store: CompletionStore,
    on_progress: Callable[[int], None],
    patience: RetryPolicy | None,
) -> RequestSummary:
    state = _State()
    seen: set[str] = set()

    async def work(client: Client) -> None:
        for row in rows:
            key = row.request(0).key
            if key not in seen:
                seen.add(key)
                await _request_row(row, client, store, state)
            state.done += 1
            on_progress(state.done)

    async with Client(
        settings.endpoints,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        key=api_key(settings),
        patience=patience,
    ) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.concurrency * len(settings.endpoints)):
                    group.create_task(work(client))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return RequestSummary(client.counts, state.keys)


async def _request_row(row: RowAttempts, client: Client, store: CompletionStore, state: _State) -> None:
    while (request := (found := row.outcome(store.answer)).next) is not None:
        try:
            body = await client.ask(request)
        except RequestFailed as error:
            store.keep_failure(request.key, error.reason)
            state.keys += (*found.keys, request.key)
            _stop_if_systematic(state, error)
            return
        store.keep(request.key, body)
        state.failed = 0
    state.keys += found.keys
    state.answered += 1


def _stop_if_systematic(state: _State, error: RequestFailed) -> None:
    """End the run when it is not the row that is at fault."""
    again = "what was answered is kept, run again to go on"
    if error.row:
        state.refused += 1
        if state.refused >= MAX_REFUSALS and not state.answered:
            raise UserError(
                f"rephrase: all {state.refused} requests so far were {error.reason}; "
                "see the server's log, and model and parameters in the recipe"
            )
        return
    state.failed += 1
    if state.failed >= MAX_CONSECUTIVE_FAILURES:
        raise UserError(f"rephrase: {state.failed} requests in a row got no answer ({error.reason}); {again}")
