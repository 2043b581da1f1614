"""Logging in, over real HTTP: who fails has to wait, by name and by address, and learns nothing from it."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from medalpaca_data.core.errors import UserError
from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item
from medalpaca_demo.access import (
    FORGOTTEN_SECONDS,
    FREE,
    LONGEST_SECONDS,
    Lockout,
    _address,
    _network,
    check_tls,
    read_auth,
)
from medalpaca_demo.engine import Engine
from medalpaca_demo.models import check_pair, no_engine

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
        """Status, body, and for how long to wait."""
        form = urllib.parse.urlencode({"username": name, "password": password}).encode()
        request = urllib.request.Request(self.url + "login", form, headers)
        plain = ssl.create_default_context()
        plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=10, context=plain) as answer:
                return answer.status, answer.read().decode(), None
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers.get("Retry-After")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("auth") / "users"
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # what costs is another's matter
    file.write_text("".join(f"{name}:{cheap.hash(PASSWORD)}\n" for name in ("ada", "bob")))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = no_engine(UserError("no model here"))
    yield engine
    engine.close()


@pytest.fixture
def serve(
    engine: Engine, pair: tuple[Path, Path], users: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Site]]:
    from medalpaca_demo.app import build_app, serving

    pages = []

    def serve(trusted: str = "", **how: Any) -> Site:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
        items = (Item(id="q", question="Which?", options={"A": "a", "B": "b"}, answer="A"),)
        exam = Exam(name="one", items=items, excluded=(), read=1, sha256="0" * 64, source_sha256="0" * 64)
        page, settings = build_app(engine, check_pair(*pair), exam, "text")
        clock = Clock()
        settings |= serving("127.0.0.1", read_auth(users), lockout=Lockout(clock), **how)
        _, url, _ = page.launch(prevent_thread_lock=True, **settings)
        pages.append(page)
        return Site(url, clock)

    yield serve
    for page in pages:
        page.close()


WRONG = '{"detail":"Incorrect credentials."}'


def test_after_five_failures_a_name_waits_and_twice_as_long_each_time(serve: Callable[..., Site]) -> None:
    site = serve()
    for _ in range(FREE["name"]):
        assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD) == (400, WRONG, "31")
    assert site.login("bob", PASSWORD)[0] == 200
    site.clock.now += 31
    assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD) == (400, WRONG, "61")
    site.clock.now += 61
    assert site.login("ada", PASSWORD)[0] == 200
    assert site.login("ada", "wrong") == (400, WRONG, None)  # the count is gone
    assert site.login("ada", PASSWORD)[0] == 200


def test_a_name_that_is_not_there_is_treated_the_same(serve: Callable[..., Site]) -> None:
    site = serve()
    heard = {name: [site.login(name, "wrong") for _ in range(FREE["name"] + 2)] for name in ("ada", "nobody")}
    assert heard["ada"] == heard["nobody"]
    assert heard["ada"][-1] == (400, WRONG, "31")


def test_an_address_that_tries_many_names_waits_and_says_so_before_the_log_in(
    serve: Callable[..., Site],
) -> None:
    site = serve()
    for n in range(FREE["address"]):
        assert site.login(f"name{n}", "wrong", **{"X-Forwarded-For": f"192.0.2.{n}"})[2] is None
    assert site.login("ada", PASSWORD) == (400, WRONG, "31")
    with urllib.request.urlopen(site.url, timeout=10) as answer:
        assert "a name has to wait 30 seconds" in json.loads('"' + _config(answer.read().decode()) + '"')


def _config(page: str) -> str:
    return page.partition('"auth_message":"')[2].partition('"')[0]


def test_behind_a_proxy_its_word_counts_and_clear_text_is_refused(serve: Callable[..., Site]) -> None:
    site = serve(trusted="127.0.0.1", proxy=True)
    over_tls = {"X-Forwarded-Proto": "https", "Host": "demo.hospital.example"}
    assert site.login("ada", PASSWORD)[:2] == (403, "Log in over https only.")
    assert site.login("ada", PASSWORD, **{"X-Forwarded-Proto": "http"})[0] == 403
    for n in range(FREE["address"]):
        site.login(f"name{n}", "wrong", **over_tls, **{"X-Forwarded-For": "198.51.100.1, 192.0.2.1"})
    # The proxy's own entry is the last; what stands before it may be anybody's invention.
    spoofed = {"X-Forwarded-For": "203.0.113.5, 192.0.2.1"}
    assert site.login("ada", PASSWORD, **over_tls, **spoofed) == (400, WRONG, "31")
    assert site.login("ada", PASSWORD, **over_tls, **{"X-Forwarded-For": "192.0.2.2"})[0] == 200


def test_from_elsewhere_a_proxys_headers_are_not_believed(serve: Callable[..., Site]) -> None:
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


def test_over_tls(serve: Callable[..., Site], tls: tuple[Path, Path]) -> None:
    site = serve(tls=check_tls(*tls))
    assert site.url.startswith("https://")
    assert site.login("ada", "wrong") == (400, WRONG, None)
    assert site.login("ada", PASSWORD)[0] == 200


def test_a_certificate_without_its_key_is_one_line(tls: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        check_tls(tls[0], tmp_path / "key.pem")
    with pytest.raises(UserError, match="cannot be used with"):
        check_tls(tls[1], tls[1])
    (tmp_path / "other.pem").write_text("no key\n")
    with pytest.raises(UserError, match="cannot be used with"):
        check_tls(tls[0], tmp_path / "other.pem")


def test_memory_is_bounded_waits_end_and_the_locked_are_kept() -> None:
    clock = Clock()
    lockout = Lockout(clock, most=100)
    guarded = lockout.guard(lambda name, password: False)

    def fail(name: str, address: str) -> bool:
        _address.set(address)
        try:
            return guarded(name, "wrong")
        except Exception:
            return False

    for n in range(FREE["name"]):
        fail("ada", f"192.0.2.{n}")
    for n in range(1000):
        fail(f"{n}" * 300, f"198.51.100.{n}")
    assert len(lockout._failures) == 100
    assert lockout.wait(("name", "ada")) == 30
    assert max(len(name) for _, name in lockout._failures) <= 200
    for _ in range(40):
        clock.now += lockout.wait(("name", "ada"))
        fail("ada", "203.0.113.1" if _ % 2 else "203.0.113.2")
    assert lockout.wait(("name", "ada")) <= LONGEST_SECONDS
    clock.now += FORGOTTEN_SECONDS + 1
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
def test_an_address_of_version_six_stands_for_its_network(client: Any, network: str) -> None:
    assert _network(client) == network
