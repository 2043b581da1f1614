"""The page at a path of a reverse proxy that serves TLS, in a real browser and without."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_demo.access import load_auth_file
from medalpaca_demo.app import access_settings
from medalpaca_demo.models import check_pair
from medalpaca_demo.server import check_port

PATH = "/wards/medalpaca"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class Proxy(BaseHTTPRequestHandler):
    """Forward requests below PATH, with the headers that nginx is usually told to set."""

    protocol_version = "HTTP/1.0"
    upstream, strips = "", True

    def forward(self) -> None:
        if not self.path.startswith(f"{PATH}/"):
            self.send_error(404)
            return
        path = self.path.removeprefix(PATH) if self.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9"}
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.request(self.command, path, body, headers)
        answer = connection.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()
        try:
            while part := answer.read1(65536):
                self.wfile.write(part)
        except OSError:
            pass  # the browser has left
        finally:
            connection.close()

    do_GET = do_POST = do_HEAD = forward  # noqa: N815

    def log_message(self, *words: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=proxy"
    )
    made = [*words.split(), "-out", str(file), "-keyout", str(file.with_name("key.pem"))]
    subprocess.run(made, check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_name("key.pem").read_text())
    return file


@pytest.fixture
def proxied(
    pair: tuple[Path, Path],
    loaded_engine: Any,
    open_page: Any,
    one_question: Any,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[bool], str]]:
    """Return `proxied(strips)`: the https URL of a page with log-in behind a proxy that removes the path or not."""
    from argon2 import PasswordHasher

    users = tmp_path / "users"
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users.write_text(f"ada:{cheap.hash('difference engine')}\n")
    users.chmod(0o600)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    with ExitStack() as stack:

        def start(strips: bool) -> str:
            access = access_settings("127.0.0.1", load_auth_file(users), proxy=True, root_path=PATH)
            page = stack.enter_context(
                open_page(loaded_engine, check_pair(*pair), one_question, "text", access, log_out=True)
            )
            handler = type("Handler", (Proxy,), {"upstream": urlsplit(page).netloc, "strips": strips})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"https://127.0.0.1:{server.server_port}{PATH}/"

        yield start


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("strips", [True, False])
def test_log_in_compare_and_log_out_below_a_path(
    proxied: Callable[[bool], str], browser: Any, strips: bool
) -> None:
    url = proxied(strips)
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.get_by_label("username").fill("ada")
    page.get_by_label("password").fill("difference engine")
    page.get_by_role("button", name="Login").click()
    page.locator("#mp-compare:enabled").click()
    page.locator("#mp-line .mp-status[data-state=done]").wait_for()
    config = json.loads(page.evaluate("fetch('config').then(answer => answer.text())"))
    assert config["root"] == url.rstrip("/")
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("password").wait_for()
    assert [address for address in requests if not address.startswith((url, "data:", "blob:"))] == []
    context.close()


def test_a_port_in_use_is_refused_before_models_are_loaded() -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with pytest.raises(UserError, match=rf"^demo: port {port} is in use; choose another with --port$"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.7 is no address of this machine"):
        check_port("192.0.2.7", port)
