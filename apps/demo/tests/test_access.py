"""Log-in over real HTTP, lock-out after failures, TLS, and the file of users."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from starlette.exceptions import HTTPException

from medalpaca_data.core.errors import UserError
from medalpaca_demo.access import (
    FORGET_AFTER_SECONDS,
    FREE_ATTEMPTS,
    LONGEST_WAIT_SECONDS,
    Lockout,
    _address,
    _client_network,
    check_tls,
    load_auth_file,
    make_auth_line,
)
from medalpaca_demo.engine import Engine
from medalpaca_demo.models import check_pair, failed_engine

PASSWORD = "difference engine"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    url: str
    clock: Clock

    def login(self, name: str, password: str, **headers: str) -> tuple[int, str, str | None]:
        """Return status, body and the waiting time."""
        form = urllib.parse.urlencode({"username": name, "password": password}).encode()
        request = urllib.request.Request(self.url + "login", form, headers)
        plain = ssl.create_default_context()
        plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=10, context=plain) as answer:
                return answer.status, answer.read().decode(), None
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers.get("Retry-After")

    def send(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers with names in lower case, and body; a redirection is not followed."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=10)
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, {**kind, **headers})
        answer = connection.getresponse()
        found = [(name.lower(), value) for name, value in answer.getheaders()]
        result = answer.status, found, answer.read()
        connection.close()
        return result


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("auth") / "users"
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a fast hash, to save time
    file.write_text("".join(f"{name}:{cheap.hash(PASSWORD)}\n" for name in ("ada", "bob")))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = failed_engine(UserError("no model here"))
    yield engine
    engine.close()


@pytest.fixture
def serve(
    engine: Engine,
    pair: tuple[Path, Path],
    users: Path,
    open_page: Any,
    one_question: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Site]]:
    """Return `serve(trusted, **access)`: a page with log-in; `trusted` is the address of a proxy."""
    from medalpaca_demo.app import access_settings

    with ExitStack() as stack:

        def serve(trusted: str = "", **access: Any) -> Site:
            monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
            clock = Clock()
            settings = access_settings("127.0.0.1", load_auth_file(users), clock=clock, **access)
            page = open_page(engine, check_pair(*pair), one_question, "text", settings, log_out=True)
            return Site(stack.enter_context(page), clock)

        yield serve


WRONG = '{"detail":"Incorrect credentials."}'


def test_after_five_failures_a_name_waits_twice_as_long_each_time(serve: Callable[..., Site]) -> None:
    site = serve()
    for _ in range(FREE_ATTEMPTS["name at address"]):
        assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD) == (400, WRONG, "31")
    assert site.login("bob", PASSWORD)[0] == 200
    site.clock.now += 31
    assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD) == (400, WRONG, "61")
    site.clock.now += 61
    assert site.login("ada", PASSWORD)[0] == 200
    assert site.login("ada", "wrong") == (400, WRONG, None)  # the count was reset
    assert site.login("ada", PASSWORD)[0] == 200


def test_an_unknown_name_is_treated_like_a_known_one(serve: Callable[..., Site]) -> None:
    site = serve()
    answers = {
        name: [site.login(name, "wrong") for _ in range(FREE_ATTEMPTS["name at address"] + 2)]
        for name in ("ada", "nobody")
    }
    assert answers["ada"] == answers["nobody"]
    assert answers["ada"][-1] == (400, WRONG, "31")


def test_an_address_with_many_failures_waits_and_the_rule_is_shown(
    serve: Callable[..., Site],
) -> None:
    site = serve()
    for n in range(FREE_ATTEMPTS["address"]):
        assert site.login(f"name{n}", "wrong", **{"X-Forwarded-For": f"192.0.2.{n}"})[2] is None
    assert site.login("ada", PASSWORD) == (400, WRONG, "31")
    with urllib.request.urlopen(site.url, timeout=10) as answer:
        assert "a name has to wait 30 seconds" in json.loads('"' + _config(answer.read().decode()) + '"')


class Door:
    """A lock-out without a server: `login` returns "in", "wrong" or the waiting time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._guarded = Lockout(self.clock).guard(lambda name, password: password == PASSWORD)

    def login(self, password: str, address: str, name: str = "ada") -> str:
        _address.set(address)
        try:
            return "in" if self._guarded(name, password) else "wrong"
        except HTTPException as error:
            assert error.headers is not None
            return error.headers["Retry-After"]


def test_a_stranger_cannot_lock_a_user_out() -> None:
    login = Door().login
    assert login(PASSWORD, "192.0.2.1") == "in"
    assert [login("wrong", "198.51.100.1") for _ in range(6)] == ["wrong"] * 5 + ["31"]
    # The name is free elsewhere, also at an address from which it was never used.
    assert login(PASSWORD, "192.0.2.1") == "in"
    assert login(PASSWORD, "192.0.2.2") == "in"
    # Many strangers: 20 failures lock the name, but not where it was used before.
    assert [login("wrong", f"203.0.113.{n}") for n in range(20)] == ["wrong"] * 20
    assert login(PASSWORD, "192.0.2.3") == "31"
    assert login(PASSWORD, "192.0.2.1") == "in"
    # 20 failures with other names at the user's address lock the address for others only.
    assert [login("wrong", "192.0.2.1", f"name{n}") for n in range(20)] == ["wrong"] * 20
    assert login(PASSWORD, "192.0.2.1", "bob") == "31"
    assert login(PASSWORD, "192.0.2.1") == "in"
    # The user's own failures count everywhere.
    assert [login("wrong", "192.0.2.1") for _ in range(6)] == ["wrong"] * 5 + ["31"]
    assert login(PASSWORD, "192.0.2.1") == "31"


def test_a_log_in_of_long_ago_does_not_pass() -> None:
    door = Door()
    assert door.login(PASSWORD, "192.0.2.1") == "in"
    door.clock.now += 31 * 24 * 3600
    assert {door.login("wrong", f"203.0.113.{n}") for n in range(20)} == {"wrong"}
    assert door.login(PASSWORD, "192.0.2.1") == "31"


LOG_IN = urllib.parse.urlencode({"username": "ada", "password": PASSWORD})
OVER_TLS = {"X-Forwarded-Proto": "https", "Host": "demo.hospital.example"}


def cookies_of(headers: list[tuple[str, str]]) -> list[list[str]]:
    """Return the parts of each header `Set-Cookie`, the attributes in order of the alphabet."""
    found = [value.split("; ") for name, value in headers if name == "set-cookie"]
    return [[pair, *sorted(attributes)] for pair, *attributes in found]


def token(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {"Cookie": "; ".join(cookie[0] for cookie in cookies_of(headers))}


def test_cookies_over_tls_are_secure_and_log_out_ends_sessions(serve: Callable[..., Site]) -> None:
    site = serve(trusted="127.0.0.1", proxy=True)
    status, headers, _ = site.send("POST", "/login", LOG_IN, **OVER_TLS)
    assert status == 200
    cookies = cookies_of(headers)
    assert len(cookies) == 2
    assert cookies[0][0].startswith("access-token-")
    assert cookies[1][0].startswith("access-token-unsecure-")
    for cookie in cookies:
        assert cookie[1:] == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Lax", "Secure"]
    assert ("strict-transport-security", "max-age=31536000") in headers
    second = token(site.send("POST", "/login", LOG_IN, **OVER_TLS)[1])
    sessions = [token(headers), second]

    def read() -> list[int]:
        return [site.send("GET", "/config", **OVER_TLS, **session)[0] for session in sessions]

    # Another page can send neither.
    assert site.send("GET", "/logout", **OVER_TLS, **second)[0] == 404
    evil = {"Origin": "https://evil.example"}
    assert site.send("POST", "/logout", **OVER_TLS, **second, **evil)[0] == 403
    assert site.send("POST", "/login", LOG_IN, **OVER_TLS, **evil)[0] == 403
    assert read() == [200, 200]
    same = {"Origin": "https://demo.hospital.example"}
    status, headers, _ = site.send("POST", "/logout", **OVER_TLS, **second, **same)
    assert status == 302
    assert dict(headers)["location"] == "./"
    removed = cookies_of(headers)
    assert len(removed) == 2
    assert all("Max-Age=0" in cookie and "Secure" in cookie for cookie in removed)
    assert read() == [401, 401]


def test_a_session_ends_after_twelve_hours(serve: Callable[..., Site]) -> None:
    site = serve()
    _, headers, _ = site.send("POST", "/login", LOG_IN)
    for cookie in cookies_of(headers):
        assert cookie[1:] == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Lax"]
    assert "strict-transport-security" not in dict(headers)
    session = token(headers)
    assert site.send("GET", "/config", **session)[0] == 200
    site.clock.now += 12 * 3600 - 1
    assert site.send("GET", "/config", **session)[0] == 200
    site.clock.now += 2
    # The browser removes the cookie; the server ends the session, too.
    assert site.send("GET", "/config", **session)[0] == 401
    assert site.send("GET", "/config", **token(site.send("POST", "/login", LOG_IN)[1]))[0] == 200


@pytest.mark.browser
def test_the_log_out_button_in_the_browser(serve: Callable[..., Site], browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    site = serve()
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(site.url)
    page.get_by_label("username").fill("ada")
    page.get_by_label("password").fill(PASSWORD)
    page.get_by_role("button", name="Login").click()
    button = page.get_by_role("button", name="Log out")
    button.wait_for()
    assert len(context.cookies()) == 2
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert axe.run(page, context=".mp-purpose", options=rules).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_label("password").wait_for()
    assert context.cookies() == []
    context.close()


def _config(page: str) -> str:
    return page.partition('"auth_message":"')[2].partition('"')[0]


def test_proxy_headers_are_trusted_and_http_log_ins_refused(serve: Callable[..., Site]) -> None:
    site = serve(trusted="127.0.0.1", proxy=True)
    over_tls = {"X-Forwarded-Proto": "https", "Host": "demo.hospital.example"}
    assert site.login("ada", PASSWORD)[:2] == (403, "Log in over https only.")
    assert site.login("ada", PASSWORD, **{"X-Forwarded-Proto": "http"})[0] == 403
    for n in range(FREE_ATTEMPTS["address"]):
        site.login(f"name{n}", "wrong", **over_tls, **{"X-Forwarded-For": "198.51.100.1, 192.0.2.1"})
    # The last entry is the proxy's own; earlier ones come from the client and may be forged.
    spoofed = {"X-Forwarded-For": "203.0.113.5, 192.0.2.1"}
    assert site.login("ada", PASSWORD, **over_tls, **spoofed) == (400, WRONG, "31")
    assert site.login("ada", PASSWORD, **over_tls, **{"X-Forwarded-For": "192.0.2.2"})[0] == 200


def test_proxy_headers_from_other_addresses_are_ignored(serve: Callable[..., Site]) -> None:
    site = serve(trusted="192.0.2.99", proxy=True)
    assert site.login("ada", PASSWORD, **{"X-Forwarded-Proto": "https"})[0] == 403


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    where = tmp_path_factory.mktemp("tls")
    certificate, key = where / "certificate.pem", where / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=demo"
    )
    try:
        subprocess.run(
            [*command.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    return certificate, key


def test_log_in_over_tls(serve: Callable[..., Site], tls: tuple[Path, Path]) -> None:
    site = serve(tls=check_tls(*tls))
    assert site.url.startswith("https://")
    assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD)[0] == 200


def test_a_certificate_without_its_key_is_refused(tls: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        check_tls(tls[0], tmp_path / "key.pem")
    with pytest.raises(UserError, match="cannot be used with"):
        check_tls(tls[1], tls[1])
    (tmp_path / "other.pem").write_text("no key\n")
    with pytest.raises(UserError, match="cannot be used with"):
        check_tls(tls[0], tmp_path / "other.pem")


def test_lockout_memory_is_bounded_and_waits_expire() -> None:
    clock = Clock()
    lockout = Lockout(clock, max_entries=100)
    guarded = lockout.guard(lambda name, password: False)

    def fail(name: str, address: str) -> bool:
        _address.set(address)
        try:
            return guarded(name, "wrong")
        except Exception:
            return False

    for n in range(20):
        fail("ada", f"192.0.2.{n}")
    for n in range(1000):
        fail(f"{n}" * 300, f"198.51.100.{n}")
    assert len(lockout._failures) == 100
    assert lockout.wait(("name", "ada")) == 30
    assert max(len(word) for key in lockout._failures for word in key) <= 200
    for _ in range(40):
        clock.now += lockout.wait(("name", "ada"))
        fail("ada", "203.0.113.1" if _ % 2 else "203.0.113.2")
    assert lockout.wait(("name", "ada")) <= LONGEST_WAIT_SECONDS
    clock.now += FORGET_AFTER_SECONDS + 1
    fail("ada", "192.0.2.77")
    assert lockout.wait(("name", "ada")) == 0


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::"),
        (None, "unknown"),
        (("testclient", 5), "unknown"),
    ],
)
def test_ipv6_addresses_count_by_network(client: Any, network: str) -> None:
    assert _client_network(client) == network


def write(where: Path, text: str) -> Path:
    file = where / "users"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_valid_password_is_accepted(tmp_path: Path) -> None:
    line = make_auth_line("ada", lambda prompt: "difference engine")
    assert line.startswith("ada:$argon2id$")
    assert "difference" not in line
    check = load_auth_file(write(tmp_path, f"# raters\n\n{line}\n"))
    assert check("ada", "difference engine")
    assert not check("ada", "difference engines")
    assert not check("bob", "difference engine")
    assert not check("nobody", "nobody")
    assert not check("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada:secret\n", "line 1: not `name:hash`"),
        ("", "no users"),
        ("# only a comment\n", "no users"),
    ],
)
def test_an_invalid_auth_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        load_auth_file(write(tmp_path, text))
    assert "secret" not in str(caught.value)


def test_a_world_readable_auth_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, make_auth_line("ada", lambda prompt: "difference engine"))
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        load_auth_file(file)
    with pytest.raises(UserError, match="no such file"):
        load_auth_file(tmp_path / "other")


def test_an_invalid_name_or_password_is_refused() -> None:
    typed = iter(["long enough", "long enuff"])
    with pytest.raises(UserError, match="two passwords differ"):
        make_auth_line("ada", lambda prompt: next(typed))
    with pytest.raises(UserError, match="5 characters are too few; use at least 8"):
        make_auth_line("ada", lambda prompt: "short")
    # A line that begins with # is a comment in the file.
    for name in ("a:b", "a b", "#ada", ""):
        with pytest.raises(UserError, match="no valid user name"):
            make_auth_line(name, lambda prompt: "long enough")
