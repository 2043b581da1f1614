"""Client for OpenAI-compatible endpoints: many requests at once, with retries; rows with equal texts share requests.

Every completion is stored at once, so a restarted run repeats only requests that failed or were in flight. Texts of
rows appear in no log and in no message.
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

# HTTP statuses of a temporary fault; those from 500 are temporary as well.
RETRY_STATUSES = frozenset((408, 409, 425, 429))
FATAL_STATUSES = {
    401: "requires another API key; set api_key_env",
    402: "requires payment",
    403: "refuses this API key",
    404: "does not have this address or model",
    405: "accepts no requests at this address",
}


class RequestFailed(Exception):
    """Raised if a request gets no completion. `reason` is the kind of fault.

    `row` is true if the server refuses this request, and false if all attempts ended with a temporary fault.
    """

    def __init__(self, reason: str, *, row: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts for a request, and the seconds between them: doubled each time, up to `max_wait`."""

    attempts: int = 10
    first_wait: float = 0.5
    max_wait: float = 60
    # A longer Retry-After of a server is cut to this.
    max_retry_after: float = 3600

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds to wait after failed attempt `attempt` (from 0), with random jitter.

        With `retry_after`, it is at least this value, or `max_retry_after` if that is less. With None, it is half to
        all of the time between attempts.
        """
        backoff = min(self.max_wait, self.first_wait * 2.0**attempt)
        jitter = random.random()  # noqa: S311 - spreads the load, keeps no secret
        if retry_after is None:
            return backoff * (0.5 + jitter / 2)
        return min(retry_after, self.max_retry_after) + min(backoff, self.first_wait) * jitter


@dataclass(slots=True)
class Endpoint:
    """One server: the limit of concurrent requests, and its state.

    in_flight: requests that wait for the limit or for a response.
    structured: whether requests have a JSON schema; false after the server accepted a request only without it.
    paused_until: time of the monotonic clock before which other servers are preferred.
    """

    url: str
    limit: asyncio.Semaphore
    in_flight: int = 0
    structured: bool = True
    paused_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _TransientFault:
    reason: str
    retry_after: float | None = None
    unreachable: bool = False


@dataclass(slots=True)
class RequestCounts:
    """Numbers of requests sent, of attempts with a temporary fault (`retried`), and of these faults by reason."""

    sent: int = 0
    retried: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class Client:
    """A client for one or more endpoints: `async with Client(...) as client: body = await client.send(request)`.

    `concurrency` limits the requests in flight at each endpoint. `timeout` is in seconds, for one attempt. `key` is the
    API key; with None, no key is sent. `policy` is by default `RetryPolicy()`.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        concurrency: int = 16,
        timeout: float = 120,
        key: str | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.counts = RequestCounts()
        self._endpoints = [
            Endpoint(_completions_url(url), asyncio.Semaphore(concurrency)) for url in endpoints
        ]
        self._policy = policy or RetryPolicy()
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(30, timeout))

    async def __aenter__(self) -> Self:
        # No proxy and no .netrc from the environment: requests go only to the endpoints of the recipe.
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

    async def send(self, request: Request) -> bytes:
        """Return the body of the response, which `parse_response` accepts.

        A temporary fault is retried, if possible at another server. Raises RequestFailed if this request gets no
        completion. Raises UserError if no request would get one, for example because the server cannot be reached at
        the last attempt or refuses the API key.
        """
        fault = _TransientFault("not sent")
        for attempt in range(self._policy.attempts):
            endpoint = self._pick()
            endpoint.in_flight += 1
            try:
                async with endpoint.limit:
                    result = await self._send_to(endpoint, request)
            finally:
                endpoint.in_flight -= 1
            if isinstance(result, bytes):
                return result
            fault = result
            self.counts.retried += 1
            self.counts.reasons[fault.reason] = self.counts.reasons.get(fault.reason, 0) + 1
            if attempt + 1 < self._policy.attempts:
                wait = self._policy.wait(attempt, fault.retry_after)
                endpoint.paused_until = time.monotonic() + wait
                # Another server that is not paused gets the request at once.
                if self._pick().paused_until > time.monotonic():
                    await asyncio.sleep(wait)
        if fault.unreachable:
            urls = ", ".join(endpoint.url for endpoint in self._endpoints)
            raise UserError(
                f"rephrase: cannot connect to {urls}; completed requests are stored, "
                "so start the server and run the command again"
            )
        raise RequestFailed(fault.reason)

    def _pick(self) -> Endpoint:
        """Return the least busy server that is not paused, or the one with the shortest pause left."""
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        now = time.monotonic()
        return min(
            self._endpoints, key=lambda endpoint: (max(endpoint.paused_until - now, 0.0), endpoint.in_flight)
        )

    async def _send_to(self, endpoint: Endpoint, request: Request) -> bytes | _TransientFault:
        structured = endpoint.structured
        result = await self._post(endpoint, request.body if structured else request.plain())
        if isinstance(result, RequestFailed) and structured:
            # The JSON schema may be the reason. If the server accepts the request without it, later requests to this
            # server have none.
            result = await self._post(endpoint, request.plain())
            if isinstance(result, bytes):
                endpoint.structured = False
        if isinstance(result, RequestFailed):
            raise result
        return result

    async def _post(self, endpoint: Endpoint, body: bytes) -> bytes | _TransientFault | RequestFailed:
        """Send one request; return the body, a temporary fault, or a permanent refusal (not raised).

        Raises UserError for a status that no request would avoid.
        """
        self.counts.sent += 1
        try:
            async with self._session.post(endpoint.url, data=body, allow_redirects=False) as response:
                status, headers = response.status, response.headers
                answer = await response.read()
        except TimeoutError:
            return _TransientFault("timeout")
        except aiohttp.ClientConnectorError:
            return _TransientFault("cannot connect", unreachable=True)
        except (aiohttp.ClientError, OSError):
            return _TransientFault("connection lost")
        if status == 200:
            try:
                parse_response(answer)
            except ValueError:
                return _TransientFault("a response without a completion")
            return answer
        if status in RETRY_STATUSES or status >= 500:
            return _TransientFault(f"HTTP {status}", retry_after=retry_after(headers.get("Retry-After")))
        if status in FATAL_STATUSES:
            raise UserError(f"rephrase: {endpoint.url} {FATAL_STATUSES[status]} (HTTP {status})")
        if status < 400:
            raise UserError(
                f"rephrase: {endpoint.url} answers with HTTP {status}, not with a completion; "
                "set rephrase.endpoints to the final address"
            )
        return RequestFailed(f"refused by the server (HTTP {status})", row=True)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds to wait by a Retry-After header (RFC 9110, 10.2.3), or None if it is missing or invalid.

    The header has a number of seconds or a date; `now` is the current time by default.
    """
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


# After this many requests in a row that failed with a temporary fault at every attempt, the server is the cause, not
# the row.
MAX_CONSECUTIVE_FAILURES = 5
# After this many refusals without one finished row, the form of the requests is the cause, not the row.
MAX_REFUSALS = 50


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """Counts of the requests of this run, and the keys of all requests on which the outcomes of the rows depend.

    The keys include those of earlier runs and of failed requests.
    """

    counts: RequestCounts
    keys: list[str]


@dataclass(slots=True)
class _State:
    done: int = 0
    answered: int = 0
    refused: int = 0
    consecutive_failures: int = 0
    keys: list[str] = field(default_factory=list)


def request_all(
    settings: Rephrase,
    rows: Iterator[RowAttempts],
    store: CompletionStore,
    on_progress: Callable[[int], None],
    policy: RetryPolicy | None = None,
) -> RequestSummary:
    """Send requests until each row has an accepted completion, a failed request, or no attempt left.

    Completions and failures are saved in `store`; a completion that is in it already is not requested again. Rows with
    the same first request are requested once. `on_progress` receives the number of finished rows. Raises UserError if
    the endpoints do not work at all; the completions received until then are in the store.
    """
    return asyncio.run(_request_all(settings, rows, store, on_progress, policy))


async def _request_all(
    settings: Rephrase,
    rows: Iterator[RowAttempts],
    store: CompletionStore,
    on_progress: Callable[[int], None],
    policy: RetryPolicy | None,
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
        policy=policy,
    ) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.concurrency * len(settings.endpoints)):
                    group.create_task(work(client))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return RequestSummary(client.counts, state.keys)


async def _request_row(row: RowAttempts, client: Client, store: CompletionStore, state: _State) -> None:
    while (request := (outcome := row.outcome(store.completion)).next) is not None:
        try:
            body = await client.send(request)
        except RequestFailed as error:
            store.save_failure(request.key, error.reason)
            state.keys += (*outcome.keys, request.key)
            _stop_if_systematic(state, error)
            return
        store.save(request.key, body)
        state.consecutive_failures = 0
    state.keys += outcome.keys
    state.answered += 1


def _stop_if_systematic(state: _State, error: RequestFailed) -> None:
    """Raise UserError if the failures so far show that the server or the form of the requests is the cause."""
    if error.row:
        state.refused += 1
        if state.refused >= MAX_REFUSALS and not state.answered:
            raise UserError(
                f"rephrase: all {state.refused} requests so far were {error.reason}; "
                "check the log of the server, and rephrase.model and rephrase.parameters in the recipe"
            )
        return
    state.consecutive_failures += 1
    if state.consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
        raise UserError(
            f"rephrase: {state.consecutive_failures} requests in a row got no completion ({error.reason}); "
            "completed requests are stored, so run the command again to continue"
        )
