"""Allow-list of routes, origin of requests, size of requests. The expected values are written out here."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_demo.app import build_app
from medalpaca_demo.models import check_pair, failed_engine
from medalpaca_demo.routes import is_same_origin

ALLOWED = {
    "GET /",
    "HEAD /",
    "GET /config",
    "GET /theme.css",
    "GET /favicon.ico",
    "GET /robots.txt",
    "GET /assets/{path}",
    "GET /static/{path}",
    "POST /login",
    "GET /gradio_api/startup-events",
    "GET /gradio_api/heartbeat/{session_hash}",
    "POST /gradio_api/queue/join",
    "GET /gradio_api/queue/data",
}
# Gradio's route; the page has POST /logout in its place.
REPLACED = {"GET /logout"}
# Routes of records of runs, which Gradio adds unless `run_history` is off.
RUN_HISTORY = {
    "GET /gradio_api/run-history/buckets",
    "GET /gradio_api/run-history/records",
    "GET /gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}",
    "POST /gradio_api/run-history/connect",
}
REFUSED = {
    "GET /config/",
    "GET /gradio_api/app_id",
    "GET /gradio_api/app_id/",
    "GET /gradio_api/call/v2/{api_name}/{event_id}",
    "GET /gradio_api/call/{api_name}/{event_id}",
    "GET /gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
    "GET /gradio_api/deep_link",
    "GET /gradio_api/dev/reload",
    "GET /gradio_api/file/{path}",
    "GET /gradio_api/file={path_or_url}",
    "GET /gradio_api/info",
    "GET /gradio_api/info/",
    "GET /gradio_api/login_check",
    "GET /gradio_api/login_check/",
    "GET /gradio_api/openapi.json",
    "GET /gradio_api/proxy={url_path}",
    "GET /gradio_api/queue/status",
    "GET /gradio_api/runs",
    "GET /gradio_api/runs/",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
    "GET /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
    "GET /gradio_api/theme.css",
    "GET /gradio_api/token",
    "GET /gradio_api/token/",
    "GET /gradio_api/upload_progress",
    "GET /gradio_api/user",
    "GET /gradio_api/user/",
    "GET /gradio_api/vibe-code",
    "GET /gradio_api/vibe-code/",
    "GET /manifest.json",
    "GET /monitoring",
    "GET /monitoring/summary",
    "GET /monitoring/{key}",
    "GET /pwa_icon",
    "GET /pwa_icon/{size}",
    "GET /svelte/{path}",
    "HEAD /gradio_api/file={path_or_url}",
    "HEAD /gradio_api/proxy={url_path}",
    "POST /gradio_api/api/{api_name}",
    "POST /gradio_api/api/{api_name}/",
    "POST /gradio_api/call/v2/{api_name}",
    "POST /gradio_api/call/v2/{api_name}/",
    "POST /gradio_api/call/{api_name}",
    "POST /gradio_api/call/{api_name}/",
    "POST /gradio_api/cancel",
    "POST /gradio_api/component_server",
    "POST /gradio_api/component_server/",
    "POST /gradio_api/process_recording",
    "POST /gradio_api/reset",
    "POST /gradio_api/reset/",
    "POST /gradio_api/run/{api_name}",
    "POST /gradio_api/run/{api_name}/",
    "POST /gradio_api/stream/{event_id}",
    "POST /gradio_api/stream/{event_id}/close",
    "POST /gradio_api/undo-vibe-edit",
    "POST /gradio_api/undo-vibe-edit/",
    "POST /gradio_api/upload",
    "POST /gradio_api/vibe-code",
    "POST /gradio_api/vibe-code/",
    "POST /gradio_api/vibe-edit",
    "POST /gradio_api/vibe-edit/",
    "POST /gradio_api/vibe-starter-queries",
    "POST /gradio_api/vibe-starter-queries/",
    "POST /login/",
}


@pytest.fixture(scope="module")
def served(pair: tuple[Path, Path], one_question: Any) -> Iterator[tuple[str, Any]]:
    """URL of a page, and its application."""
    engine = failed_engine(UserError("no model here"))
    page, settings = build_app(engine, check_pair(*pair), one_question, "text")
    app, url, _ = page.launch(prevent_thread_lock=True, **settings)
    yield str(url), app
    page.close()
    engine.close()


@pytest.fixture
def url(served: tuple[str, Any]) -> str:
    return served[0]


def walk(routes: Iterable[Any]) -> Iterator[str]:
    """Yield "METHOD /path" of every route, also of routers inside."""
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from walk(route.effective_candidates())
        else:
            path = getattr(route, "path_format", None) or route.path.replace(":path", "")
            # A mounted application has no methods.
            yield from (f"{method} {path}" for method in route.methods or ["*"])


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    """Send a request as a program does: without `Origin` unless it is given. A stream is read in part."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(10) if answer.status != 200 else b""
    finally:
        connection.close()


def test_every_route_of_the_application_is_listed_here(served: tuple[str, Any]) -> None:
    """A new version of Gradio with another route fails here; the route is refused until it is listed as allowed."""
    assert set(walk(served[1].routes)) == ALLOWED | REPLACED | REFUSED


def test_only_routes_that_the_page_needs_are_answered(url: str) -> None:
    for route in sorted(REFUSED | REPLACED | RUN_HISTORY):
        method, path = route.split(" ", 1)
        path = path.replace("{", "").replace("}", "")
        assert ask(url, method, path, b"{}" if method == "POST" else None)[0] == 404, route
    for path in (
        "/unknown",
        "/gradio_api/unknown",
        "/run/predict",
        "/upload",
        "/assets/../config",
        "//config",
    ):
        assert ask(url, "GET", path)[0] == 404, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert ask(url, method, "/")[0] == 404, method
    for path in ("/", "/config", "/theme.css", "/gradio_api/startup-events", "/gradio_api/heartbeat/x"):
        assert ask(url, "GET", path)[0] == 200, path


RECORDING = (
    b'--b\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n'
    b"Content-Type: video/mp4\r\n\r\ntext of a patient\r\n--b--\r\n"
)


@pytest.mark.parametrize("origin", ["", "http://evil.example"])
def test_no_page_can_leave_files(url: str, origin: str) -> None:
    """A form needs no permission of the server (CORS): any web page can send one to this machine."""

    def files() -> set[Path]:
        return {path for path in Path(tempfile.gettempdir(), "gradio").rglob("*") if path.is_file()}

    before = files()
    headers = {"Origin": origin} if origin else {}
    form = {"Content_Type": "multipart/form-data; boundary=b"}
    for path in ("/gradio_api/process_recording", "/gradio_api/upload"):
        assert ask(url, "POST", path, RECORDING, **form, **headers)[0] in (403, 404)
    assert files() == before


JOIN = b'{"data": [], "fn_index": 0, "session_hash": "x"}'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # A program that is not a browser sends neither header.
        ({}, 200),
        ({"Origin": "HERE"}, 200),
        ({"Origin": "HERE", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        # The same machine, but another port or scheme: another page.
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "HERE", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
    ],
)
def test_requests_of_other_origins_change_nothing(url: str, headers: dict[str, str], status: int) -> None:
    headers = {name: url.rstrip("/") if value == "HERE" else value for name, value in headers.items()}
    assert (
        ask(url, "POST", "/gradio_api/queue/join", JOIN, Content_Type="application/json", **headers)[0]
        == status
    )
    for path in ("/login", "/logout"):
        refused = ask(url, "POST", path, b"", **headers)[0] == 403
        assert refused is (status == 403)


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "same"),
    [
        ("https", "demo.example", "https://demo.example", True),
        ("https", "demo.example", "https://demo.example:443", True),
        ("https", "demo.example", "http://demo.example", False),
        ("https", "demo.example:8443", "http://demo.example:8443", False),
        ("https", "demo.example", "https://demo.example.evil.example", False),
        ("https", "demo.example", "https://evil.example,https://demo.example", False),
        ("https", "demo.example", "https://demo.example:99999", False),
        ("http", "[::1]:7860", "http://[::1]:7860", True),
    ],
)
def test_origins_are_compared_whole(scheme: str, host: str, origin: str, same: bool) -> None:
    assert is_same_origin(scheme, host, origin, "") is same


def test_large_requests_are_refused(url: str) -> None:
    assert ask(url, "POST", "/gradio_api/queue/join", Content_Length=str(1024 * 1024 + 1))[0] == 413
    # Without a length, the request ends above the limit, and it is not answered as a call.
    chunks = iter([b"x" * 65536] * 20)
    try:
        status = ask(url, "POST", "/gradio_api/queue/join", chunks, Transfer_Encoding="chunked")[0]
    except (ConnectionError, http.client.HTTPException):
        return
    assert status >= 400
