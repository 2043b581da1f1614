"""Logging in: how often it may be tried, from where, and not in clear text.

After some failures a name has to wait, and so has an address, twice as long each time. A name that is not there waits
just like one that is, and what is answered does not tell whether name, password or patience was wrong.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.exceptions import HTTPException

FREE = {"name": 5, "address": 20}  # failures; a hospital's people share an address
FIRST_SECONDS = 30.0
LONGEST_SECONDS = 3600.0
FORGOTTEN_SECONDS = 2 * LONGEST_SECONDS  # without a failure
MOST = 10_000  # names and addresses remembered
LONGEST_NAME = 200  # characters remembered of one
RULE = (
    f"After {FREE['name']} wrong attempts a name has to wait {FIRST_SECONDS:.0f} seconds, "
    "and twice as long after each further one."
)

Check = Callable[[str, str], bool]
Message = MutableMapping[str, Any]
Key = tuple[str, str]

_address: ContextVar[str] = ContextVar("address", default="")


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Lockout:
    """Failures by name and by address, in this process's memory and nowhere else. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()

    def guard(self, check: Check) -> Check:
        """`check`, tried only where name and address may. Raises HTTPException 400 as for a wrong password.

        Gradio calls it on its event loop, one call after the other: nobody slips in between a look and a count.
        """

        def guarded(name: str, password: str) -> bool:
            keys = [("name", name[:LONGEST_NAME]), ("address", _address.get())]
            if wait := max(self.wait(key) for key in keys):
                raise HTTPException(400, "Incorrect credentials.", {"Retry-After": str(int(wait) + 1)})
            if check(name, password):
                # Not the address too: who has one password must not try the others' for ever.
                self._failures.pop(keys[0], None)
                return True
            for key in keys:
                self._count(key)
            return False

        return guarded

    def wait(self, key: Key) -> float:
        """Seconds until this name or address may try again."""
        failures = self._failures.get(key)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def _count(self, key: Key) -> None:
        now = self._clock()
        failures = self._failures.setdefault(key, _Failures())
        if now - failures.last > FORGOTTEN_SECONDS:
            failures.count = 0
        failures.count += 1
        failures.last = now
        if (over := failures.count - FREE[key[0]]) >= 0:
            failures.until = now + min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(over, 20))
        self._failures.move_to_end(key)
        if len(self._failures) > self._most:
            # Of the oldest, the first that need not wait; who is locked out is not forgotten for newcomers' sake.
            free = next((other for other, f in self._failures.items() if f.until <= now), None)
            self._failures.pop(free if free is not None else next(iter(self._failures)))


class Door:
    """ASGI middleware: tells the lock-out who knocks, and refuses a password sent in clear text.

    `encrypted` demands that a log-in came over TLS: to this server, or to the proxy in front of it that was named.
    """

    def __init__(self, app: Any, encrypted: bool = False) -> None:
        self._app = app
        self._encrypted = encrypted

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Pass everything on but a log-in in clear text."""
        if scope["type"] == "http":
            if self._encrypted and scope["path"].strip("/") == "login" and scope["scheme"] != "https":
                body = b"Log in over https only."
                head = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
                await send({"type": "http.response.start", "status": 403, "headers": head})
                await send({"type": "http.response.body", "body": body})
                return
            _address.set(_network(scope.get("client")))
        await self._app(scope, receive, send)


def _network(client: Any) -> str:
    """An address, of version 6 the network: whoever has one has all of them."""
    try:
        address = ip_address(client[0])
    except (ValueError, TypeError, IndexError):
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
