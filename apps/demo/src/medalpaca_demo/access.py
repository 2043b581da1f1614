"""Logging in: how often it may be tried, from where, and not in clear text.

After some failures a name has to wait, and so has an address, twice as long each time. A name that is not there waits
just like one that is, and what is answered does not tell whether name, password or patience was wrong.

Who may log in: a file of names and Argon2 hashes. Passwords themselves are nowhere.

What the web server refuses and forbids, whatever the page turns out to contain.

The `Host` check stops other sites from reaching this one under a name of theirs (DNS rebinding). The content
policy makes the browser itself refuse any request to another machine. `no-store` keeps questions out of its
disk cache. Gradio's routes that take or give files are shut: this page has none, and what is not there cannot be
talked into reading or keeping anything.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from getpass import getpass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_text

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


SHORTEST = 8  # characters


def check_tls(certificate: Path, key: Path) -> tuple[Path, Path]:
    """Raises UserError, one line, where the two are missing or do not belong together."""
    import ssl

    for file in (certificate, key):
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        said = getattr(error, "reason", None) or str(error)
        raise UserError(f"{certificate}: cannot be used with {key} ({said})") from None
    return certificate, key


def hash_line(name: str, ask: Callable[[str], str] = getpass) -> str:
    """A line for the file, from a password typed twice. Raises UserError when the two differ or are short."""
    from argon2 import PasswordHasher

    if not name or ":" in name or any(c.isspace() for c in name):
        raise UserError(f"demo password: {name!r} is no user name (no colon, no space)")
    password = ask(f"Password for {name}: ")
    if len(password) < SHORTEST:
        raise UserError(f"demo password: at least {SHORTEST} characters")
    if password != ask("Once more: "):
        raise UserError("demo password: the two differ")
    return f"{name}:{PasswordHasher().hash(password)}"


def read_auth(file: Path) -> Callable[[str, str], bool]:
    """A check of name and password against `file`, one `name:hash` a line.

    Raises UserError, one line, when the file is missing, empty, readable by everybody, or holds no hash.
    """
    from argon2 import PasswordHasher, extract_parameters
    from argon2.exceptions import InvalidHashError, VerificationError

    if not file.is_file():
        raise UserError(f"{file}: no such file; make one with `demo password NAME >> {file}`")
    if file.stat().st_mode & 0o004:
        raise UserError(f"{file}: everybody on this machine can read it; run `chmod 600 {file}`")
    hashes: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, kept = line.strip().partition(":")
        try:
            extract_parameters(kept)
        except InvalidHashError:
            raise UserError(
                f"{file} line {number}: not `name:hash` with an Argon2 hash; see `demo password`"
            ) from None
        hashes[name] = kept
    if not hashes:
        raise UserError(f"{file}: nobody in it; make a line with `demo password NAME >> {file}`")
    hasher = PasswordHasher()
    # As costly to check as what is in the file.
    decoy = PasswordHasher.from_parameters(extract_parameters(next(iter(hashes.values())))).hash("nobody")

    def check(name: str, password: str) -> bool:
        """Takes as long for a name that is not there."""
        try:
            return hasher.verify(hashes.get(name, decoy), password) and name in hashes
        except VerificationError:
            return False

    return check


LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})

# Gradio's page is made of inline scripts and styles and compiles its templates; nothing comes from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

# Calls round the queue, records of runs, upload, download, fetching for others, and watching; each under the prefix
# and, from older versions, without it.
SHUT = (
    "/run/",
    "/api/",
    "/runs",
    "/upload",
    "/upload_progress",
    "/file",
    "/proxy",
    "/stream",
    "/component_server",
    "/monitoring",
    "/deep_link",
)

HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
NO_STORE = (b"cache-control", b"no-store")

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Shield:
    """ASGI middleware. `names` are those it answers to; None answers to all, for an address behind a log-in,
    whose cookie no other name can carry."""

    def __init__(self, app: App, names: frozenset[str] | None = LOCAL_NAMES) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a local request on with the headers added; refuse any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        if self._names is not None and host.rsplit(":", 1)[0] not in self._names:
            await _refuse(send, 421)
            return
        if scope["path"].removeprefix("/gradio_api").startswith(SHUT):
            await _refuse(send, 404)
            return
        asset = "/assets/" in scope["path"] or "/static/" in scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if asset or k.lower() != b"cache-control"]
                message["headers"] = [*kept, *HEADERS, *([] if asset else [NO_STORE])]
            await send(message)

        await self._app(scope, receive, with_headers)


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
