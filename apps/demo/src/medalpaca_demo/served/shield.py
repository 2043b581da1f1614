"""What the web server refuses and forbids, whatever the page turns out to contain.

The `Host` check stops other sites from reaching this one under a name of theirs (DNS rebinding). The content
policy makes the browser itself refuse any request to another machine. `no-store` keeps questions out of its
disk cache. Gradio's routes that take or give files are shut: this page has none, and what is not there cannot be
talked into reading or keeping anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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

Message = MutableMapping[str, Any]
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
