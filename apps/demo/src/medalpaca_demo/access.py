"""Log-in, lock-out after failed attempts, and the security headers of the web server.

Names and Argon2 hashes are read from a file; passwords are not stored. After a number of failures, a name or an
address has to wait, twice as long after each further failure, up to an hour. Status and message are the same for an
unknown name, a wrong password and a locked name; the last has a `Retry-After` header as well.
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

# Number of failures that starts the first wait. All users of a hospital may share one address.
FREE_ATTEMPTS = {"name": 5, "address": 20}
FIRST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3600.0
# Failures are forgotten after this time without another one.
FORGET_AFTER_SECONDS = 2 * LONGEST_WAIT_SECONDS
# Most names and addresses in memory.
MAX_ENTRIES = 10_000
# Characters of a name that are kept in memory.
MAX_NAME_LENGTH = 200
MIN_PASSWORD_LENGTH = 8
LOGIN_RULE = (
    f"After {FREE_ATTEMPTS['name']} failed attempts a name has to wait {FIRST_WAIT_SECONDS:.0f} seconds, "
    "and twice as long after each further one."
)

Check = Callable[[str, str], bool]
Message = MutableMapping[str, Any]
Key = tuple[str, str]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Address of the client whose request is being handled; set by `LoginMiddleware`.
_address: ContextVar[str] = ContextVar("address", default="")


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Lockout:
    """Counts of failed log-ins by name and by address, in the memory of this process only.

    `clock` returns seconds; `max_entries` limits the memory.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()

    def guard(self, check: Check) -> Check:
        """Return a function that calls `check` and counts its failures.

        For a locked name or address it raises HTTPException 400, the status of a wrong password. A success resets the
        count of the name. Gradio calls it in its event loop, one call after the other, so no attempt can come in
        between.
        """

        def guarded(name: str, password: str) -> bool:
            keys = [("name", name[:MAX_NAME_LENGTH]), ("address", _address.get())]
            if wait := max(self.wait(key) for key in keys):
                raise HTTPException(400, "Incorrect credentials.", {"Retry-After": str(int(wait) + 1)})
            if check(name, password):
                # The address keeps its count: a user with a valid password must not try other names without limit.
                self._failures.pop(keys[0], None)
                return True
            for key in keys:
                self._count(key)
            return False

        return guarded

    def wait(self, key: Key) -> float:
        """Return the seconds until this name or address may try again; 0 if it is not locked."""
        failures = self._failures.get(key)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def _count(self, key: Key) -> None:
        now = self._clock()
        failures = self._failures.setdefault(key, _Failures())
        if now - failures.last > FORGET_AFTER_SECONDS:
            failures.count = 0
        failures.count += 1
        failures.last = now
        if (over := failures.count - FREE_ATTEMPTS[key[0]]) >= 0:
            failures.until = now + min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(over, 20))
        self._failures.move_to_end(key)
        if len(self._failures) > self._max_entries:
            # Remove the oldest entry that is not locked, so that new names cannot push out a locked one.
            free = next((other for other, f in self._failures.items() if f.until <= now), None)
            self._failures.pop(free if free is not None else next(iter(self._failures)))


class LoginMiddleware:
    """ASGI middleware that passes the client's address to the lock-out.

    With `encrypted`, it also answers a log-in without TLS with status 403. TLS may end here or at the trusted proxy.
    """

    def __init__(self, app: Any, encrypted: bool = False) -> None:
        self._app = app
        self._encrypted = encrypted

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._encrypted and scope["path"].strip("/") == "login" and scope["scheme"] != "https":
                body = b"Log in over https only."
                head = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
                await send({"type": "http.response.start", "status": 403, "headers": head})
                await send({"type": "http.response.body", "body": body})
                return
            _address.set(_client_network(scope.get("client")))
        await self._app(scope, receive, send)


def _client_network(client: Any) -> str:
    """Return the client's IPv4 address, or its IPv6 network: a user of IPv6 has a whole network of addresses."""
    try:
        address = ip_address(client[0])
    except (ValueError, TypeError, IndexError):
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)


def check_tls(certificate: Path, key: Path) -> tuple[Path, Path]:
    """Return both files. Raises UserError if one is missing, or if they cannot be used together."""
    import ssl

    for file in (certificate, key):
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise UserError(
            f"{certificate}: cannot be used with {key} ({reason}); pass a PEM certificate and its own key"
        ) from None
    return certificate, key


def make_auth_line(name: str, ask: Callable[[str], str] = getpass) -> str:
    """Ask twice for a password and return the line `name:hash`.

    Raises UserError if the name is invalid, the password is too short, or the two passwords differ.
    """
    from argon2 import PasswordHasher

    # `load_auth_file` skips lines that begin with #.
    if not name or ":" in name or name.startswith("#") or any(c.isspace() for c in name):
        raise UserError(
            f"demo password: {name!r} is no valid user name; use no colon, no space and no # at its start"
        )
    password = ask(f"Password for {name}: ")
    if len(password) < MIN_PASSWORD_LENGTH:
        raise UserError(
            f"demo password: {len(password)} characters are too few; use at least {MIN_PASSWORD_LENGTH}"
        )
    if password != ask("Repeat the password: "):
        raise UserError("demo password: the two passwords differ; run the command again")
    return f"{name}:{PasswordHasher().hash(password)}"


def load_auth_file(file: Path) -> Callable[[str, str], bool]:
    """Read a file of `name:hash` lines and return a function that checks a name and a password.

    Empty lines and lines that start with # are skipped. Raises UserError if the file is missing, empty, readable by all
    users of the machine, or has an invalid line.
    """
    from argon2 import PasswordHasher, extract_parameters
    from argon2.exceptions import InvalidHashError, VerificationError

    if not file.is_file():
        raise UserError(f"{file}: no such file; make one with `demo password NAME >> {file}`")
    if file.stat().st_mode & 0o004:
        raise UserError(f"{file}: readable by all users of this machine; run `chmod 600 {file}`")
    hashes: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, password_hash = line.strip().partition(":")
        try:
            extract_parameters(password_hash)
        except InvalidHashError:
            raise UserError(
                f"{file} line {number}: not `name:hash` with an Argon2 hash; make a line with `demo password NAME`"
            ) from None
        hashes[name] = password_hash
    if not hashes:
        raise UserError(f"{file}: no users; add one with `demo password NAME >> {file}`")
    hasher = PasswordHasher()
    # Checked for unknown names, with the same cost as a real hash, so that the time does not reveal known names.
    decoy = PasswordHasher.from_parameters(extract_parameters(next(iter(hashes.values())))).hash("nobody")

    def check(name: str, password: str) -> bool:
        try:
            return hasher.verify(hashes.get(name, decoy), password) and name in hashes
        except VerificationError:
            return False

    return check


LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})

# Gradio's page consists of inline scripts and styles and compiles its templates. Everything comes from this server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

# Gradio's routes for calls outside the queue, records of runs, upload, download, proxying and monitoring. Older
# versions have them without the prefix `/gradio_api`.
BLOCKED_PATHS = (
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
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
NO_STORE = (b"cache-control", b"no-store")


class SecurityHeaders:
    """ASGI middleware: host check, blocked routes, content security policy, and no caching except of static files.

    `hosts` are the accepted values of the `Host` header, which protects against DNS rebinding. None accepts all; use
    it only with a log-in, whose cookie is not valid for another host name. The policy makes the browser refuse
    requests to other machines. `no-store` keeps questions out of the browser's disk cache.
    """

    def __init__(self, app: App, hosts: frozenset[str] | None = LOCAL_HOSTS) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        if self._hosts is not None and host.rsplit(":", 1)[0] not in self._hosts:
            await _refuse(send, 421)
            return
        if scope["path"].removeprefix("/gradio_api").startswith(BLOCKED_PATHS):
            await _refuse(send, 404)
            return
        asset = "/assets/" in scope["path"] or "/static/" in scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if asset or k.lower() != b"cache-control"]
                message["headers"] = [*kept, *HEADERS, *([] if asset else [NO_STORE])]
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
