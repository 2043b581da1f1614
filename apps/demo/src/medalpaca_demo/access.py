"""Log-in, cookies of sessions, and lock-out after failed attempts.

Names and Argon2 hashes are read from a file; passwords are not stored. After a number of failures, a name at an
address, a name, or an address has to wait, twice as long after each further failure, up to an hour. Status and message
are the same for an unknown name, a wrong password and a locked name; the last has a `Retry-After` header as well.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from getpass import getpass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import read_text, sha256_bytes

from .routes import App, Message, Receive, Send

# Number of failures that starts the first wait. All users of a hospital may share one address. A name alone has more
# than a name at one address, so that a stranger who guesses does not lock the name everywhere.
FREE_ATTEMPTS = {"name at address": 5, "name": 20, "address": 20}
FIRST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3600.0
# Failures are forgotten after this time without another one.
FORGET_AFTER_SECONDS = 2 * LONGEST_WAIT_SECONDS
# Time after a log-in in which the same name at the same address does not wait because of failures elsewhere.
RECENT_SECONDS = 30 * 24 * 3600.0
# Time after which a user has to log in again.
SESSION_SECONDS = 12 * 3600
# Most names and addresses in memory.
MAX_ENTRIES = 10_000
# Characters of a name that are kept in memory.
MAX_NAME_LENGTH = 200
MIN_PASSWORD_LENGTH = 8
LOGIN_RULE = (
    f"After {FREE_ATTEMPTS['name at address']} failed attempts a name has to wait {FIRST_WAIT_SECONDS:.0f} seconds, "
    "and twice as long after each further one."
)

# First characters of the names of Gradio's cookies.
ACCESS_COOKIE = b"access-token-"

Check = Callable[[str, str], bool]
# A key of `FREE_ATTEMPTS`, and the name, the address, or both.
Key = tuple[str, ...]

# Address of the client whose request is being handled; set by `LoginMiddleware`.
_address: ContextVar[str] = ContextVar("address", default="")


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Lockout:
    """Counts of failed log-ins by name, by address and by both, in the memory of this process only.

    A name that has logged in at an address within `RECENT_SECONDS` waits there only for failures at that address. So a
    stranger at another address cannot lock it out. `clock` returns seconds; `max_entries` limits the names and
    addresses in memory.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()
        # Time of the last log-in by (name, address).
        self._recent: OrderedDict[tuple[str, str], float] = OrderedDict()

    def guard(self, check: Check) -> Check:
        """Return a function that calls `check(name, password)` and counts failed log-ins.

        For a locked name or address it raises HTTPException 400, the status of a wrong password. A success resets the
        counts of the name. Gradio calls it in its event loop, one call after the other, so no attempt can come in
        between.
        """

        def guarded(name: str, password: str) -> bool:
            user = (name[:MAX_NAME_LENGTH], _address.get())
            keys: list[Key] = [("name at address", *user), ("name", user[0]), ("address", user[1])]
            if wait := max(self.wait(key) for key in (keys[:1] if self._is_recent(user) else keys)):
                raise HTTPException(400, "Incorrect credentials.", {"Retry-After": str(int(wait) + 1)})
            if check(name, password):
                # The address keeps its count: a user with a valid password must not try other names without limit.
                self._failures.pop(keys[0], None)
                self._failures.pop(keys[1], None)
                self._remember(user)
                return True
            for key in keys:
                self._count(key)
            return False

        return guarded

    def wait(self, key: Key) -> float:
        """Return the seconds until the name or address of `key` may try again; 0 if it is not locked.

        `key` is a key of `FREE_ATTEMPTS`, followed by the name, the address, or both.
        """
        failures = self._failures.get(key)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def _is_recent(self, user: tuple[str, str]) -> bool:
        return self._clock() - self._recent.get(user, -RECENT_SECONDS) < RECENT_SECONDS

    def _remember(self, user: tuple[str, str]) -> None:
        self._recent[user] = self._clock()
        self._recent.move_to_end(user)
        if len(self._recent) > self._max_entries:
            self._recent.popitem(last=False)

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
    """ASGI middleware for log-in, log-out and the cookies of Gradio.

    It passes the client's address to the lock-out, and limits cookies to this site and to `SESSION_SECONDS`. POST
    /logout ends the sessions of a user. With `encrypted`, cookies are sent over TLS only, and a log-in without TLS is
    answered with status 403. TLS may end here or at the trusted proxy. `clock` returns seconds.
    """

    def __init__(
        self, app: App, encrypted: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._encrypted = encrypted
        self._clock = clock
        # End of every session by the SHA-256 of its token.
        self._ends: dict[str, float] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._encrypted and scope["path"] == "/login" and scope["scheme"] != "https":
            body = b"Log in over https only."
            head = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        _address.set(_client_network(scope.get("client")))
        if scope["path"] == "/logout":
            # Gradio's route has the method GET, which a link of another page could call.
            scope = {**scope, "method": "GET"}
        headers = [(k, self._valid_cookies(v) if k == b"cookie" else v) for k, v in scope["headers"]]

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (k, self._limited_cookie(v) if k.lower() == b"set-cookie" else v)
                    for k, v in message["headers"]
                    if scope["path"] != "/logout" or k.lower() != b"location"
                ]
                if scope["path"] == "/logout":
                    # Gradio's address has the host of the request, which a proxy may change.
                    message["headers"].append((b"location", b"./"))
            await send(message)

        await self._app({**scope, "headers": headers}, receive, send_with_cookies)

    def _valid_cookies(self, value: bytes) -> bytes:
        """Return the header `Cookie` without the tokens of sessions that have ended or that are unknown."""
        cookies = [cookie.strip() for cookie in value.split(b";")]
        return b"; ".join(
            cookie
            for cookie in cookies
            if not cookie.startswith(ACCESS_COOKIE)
            or self._ends.get(_token_sha256(cookie), 0.0) > self._clock()
        )

    def _limited_cookie(self, value: bytes) -> bytes:
        """Return the header `Set-Cookie` with SameSite, Secure if `encrypted`, and the session's end."""
        pair, *attributes = [part.strip() for part in value.split(b";")]
        if not pair.startswith(ACCESS_COOKIE):
            return value
        kept = [
            part
            for part in attributes
            if part.lower().partition(b"=")[0] not in (b"samesite", b"secure", b"httponly")
        ]
        # Gradio gives an age only to a cookie that it deletes.
        if not any(part.lower().startswith(b"max-age") for part in kept):
            now = self._clock()
            self._ends = {token: end for token, end in self._ends.items() if end > now}
            self._ends[_token_sha256(pair)] = now + SESSION_SECONDS
            kept.append(b"Max-Age=%d" % SESSION_SECONDS)
        secure = [b"Secure"] if self._encrypted else []
        return b"; ".join([pair, *kept, b"HttpOnly", b"SameSite=Lax", *secure])


def _token_sha256(cookie: bytes) -> str:
    return sha256_bytes(cookie.partition(b"=")[2].strip(b'"'))


def _client_network(client: Any) -> str:
    """Return the client's IPv4 address, or its IPv6 network (/64), which one user may have whole; else "unknown"."""
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
    """Return both files unchanged. Raises UserError if one is missing, or if they are not a certificate and its key."""
    import ssl

    for file in (certificate, key):
        if not file.is_file():
            raise UserError(f"{file}: no such file; check --ssl-certfile and --ssl-keyfile")
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
