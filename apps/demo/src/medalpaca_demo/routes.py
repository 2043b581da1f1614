"""Allow-list of routes, checks of every request, and the security headers of the web server."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost"})

# All routes that the page needs. `*` stands for one or more characters. Every other route of Gradio is refused, also a
# route that a later version adds.
ALLOWED_ROUTES = frozenset(
    {
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/favicon.ico"),
        ("GET", "/robots.txt"),
        ("GET", "/assets/*"),
        ("GET", "/static/*"),
        ("POST", "/login"),
        ("POST", "/logout"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/heartbeat/*"),
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data"),
    }
)
_ALLOWED = re.compile("|".join(re.escape(f"{m} {path}").replace(r"\*", ".+") for m, path in ALLOWED_ROUTES))

# Methods that change nothing. The origin of every other request is checked.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Most bytes of the body of a request. The parser of forms writes no temporary file for a body of this size.
MAX_BODY_BYTES = 1 << 20

# Gradio's page consists of inline scripts and styles and compiles its templates. Everything comes from this server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
NO_STORE = (b"cache-control", b"no-store")
# The browser uses https only, for one year (RFC 6797).
HSTS = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """ASGI middleware: checks of host, route, origin and size, content security policy, and no caching of texts.

    `hosts` are the accepted values of the `Host` header, which protects against DNS rebinding. None accepts all; use
    it only with a log-in, whose cookie is not valid for another host name. The policy makes the browser refuse
    requests to other machines. `no-store` keeps questions out of the browser's disk cache. Over TLS, HSTS is set.

    `root_path` is the path of the page at a reverse proxy. A proxy may send it or leave it out; it is removed here,
    before the route is checked.
    """

    def __init__(self, app: App, hosts: frozenset[str] | None = LOCAL_HOSTS, root_path: str = "") -> None:
        self._app = app
        self._hosts = hosts
        self._root_path = root_path

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root_path and scope["path"].startswith(f"{self._root_path}/"):
            path = scope["path"].removeprefix(self._root_path)
            # Starlette's routes read the path, the raw path is for logs.
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if status := self._refusal(scope):
            await _refuse(send, status)
            return
        asset = scope["path"].startswith(("/assets/", "/static/"))
        added = [*HEADERS, *([] if asset else [NO_STORE]), *([HSTS] if scope["scheme"] == "https" else [])]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if asset or k.lower() != b"cache-control"]
                message["headers"] = [*kept, *added]
            await send(message)

        await self._app(scope, _limited(receive), send_with_headers)

    def _refusal(self, scope: Message) -> int:
        """Return the HTTP status with which a request is refused, 0 if it is accepted."""
        host = _header(scope, b"host")
        if self._hosts is not None and host.rsplit(":", 1)[0] not in self._hosts:
            return 421
        if not is_allowed(scope["method"], scope["path"]):
            return 404
        if scope["method"] not in SAFE_METHODS and not is_same_origin(
            scope["scheme"], host, _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
        ):
            return 403
        length = _header(scope, b"content-length")
        return 413 if length.isdigit() and int(length) > MAX_BODY_BYTES else 0


def is_allowed(method: str, path: str) -> bool:
    """Return whether the page needs this route. A path with `..`, `//` or a backslash is not allowed."""
    plain = ".." not in path and "//" not in path and "\\" not in path
    return plain and _ALLOWED.fullmatch(f"{method} {path}") is not None


def is_same_origin(scheme: str, host: str, origin: str, site: str) -> bool:
    """Return whether a request that changes state comes from this page, or from a program that is not a browser.

    `origin` and `site` are the headers `Origin` and `Sec-Fetch-Site`, empty if they are missing. A page cannot set or
    remove them. A browser sends at least one of them with every POST request.
    """
    if site:
        # A proxy may change the host, so the browser's own comparison takes precedence.
        return site == "same-origin"
    return not origin or _authority(origin) == _authority(f"{scheme}://{host}")


def _authority(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


def _header(scope: Message, name: bytes) -> str:
    """Return all values of a header of the request, joined by commas, so that a second value is never ignored."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def _limited(receive: Receive) -> Receive:
    """Return `receive` for a body without a length: it reports a disconnected client above `MAX_BODY_BYTES`."""
    read = 0

    async def receive_limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        return {"type": "http.disconnect"} if read > MAX_BODY_BYTES else message

    return receive_limited


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
