"""The guard cannot be taken out again, so each case runs in a process of its own."""

import os
import subprocess
import sys

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import NO_TELEMETRY, OFFLINE, is_sealed
from medalpaca_data.executor import open_engine

SEALS = ["1", "true", "yes", "on", "TRUE", "Yes", "oN", "1 ", "\ttrue\n"]
DOES_NOT_SEAL = ["0", "false", "no", "off", "FALSE", "No", " 0", "", "  "]
INVALID = ["01", "2", "enable", "y", "t", "-1", "1 1", "1,", "truee", "none"]


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = f"from medalpaca_data.core.offline import seal\nseal()\nimport socket, sys\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    "code",
    [
        "socket.getaddrinfo('example.org', 443)",
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.gethostbyname('example.org')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 9))",
        "socket.gethostbyname(b'example.org')",
        "socket.gethostbyname_ex('example.org')",
        "socket.gethostbyaddr('192.0.2.1')",
        "socket.getnameinfo(('192.0.2.1', 80), 0)",
        "sys.audit('socket.new_kind_of_lookup', 'example.org')",
        "import urllib.request; urllib.request.urlopen('http://example.org')",
    ],
)
def test_everything_but_loopback_is_refused_and_the_caller_named(code):
    done = run(code)
    assert done.returncode == 1
    assert "sealed mode refused socket." in done.stderr
    assert "called by" in done.stderr


PROXY_REQUEST = """
import http.server, os, sys, threading, urllib.request
from medalpaca_data.core.offline import seal

class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("sent through the proxy:", self.path, flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}"
for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "HTTPS_PROXY", "ftp_proxy"):
    os.environ[name] = address
if "seal" in sys.argv:
    seal()
urllib.request.urlopen("http://example.org/patient", timeout=5)
"""


def test_a_proxy_on_this_machine_receives_nothing_when_sealed():
    """A proxy on loopback passes the check of addresses, so its variables are removed; unsealed, it is used."""
    unsealed, sealed = (
        subprocess.run([sys.executable, "-c", PROXY_REQUEST, word], capture_output=True, text=True)
        for word in ("", "seal")
    )
    assert unsealed.stdout == "sent through the proxy: http://example.org/patient\n", unsealed.stderr
    assert (sealed.stdout, sealed.returncode) == ("", 1)
    assert "sealed mode refused socket.getaddrinfo to 'example.org'" in sealed.stderr


def test_loopback_works():
    code = """
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(("localhost", server.getsockname()[1]))
server.accept()[0].sendall(b"hello")
print(client.recv(5).decode())
"""
    done = run(code)
    assert done.stdout.strip() == "hello", done.stderr


def test_the_libraries_are_told_too():
    done = run("import os; print(os.environ['HF_HUB_OFFLINE'], os.environ['GRADIO_ANALYTICS_ENABLED'])")
    assert done.stdout.split() == ["1", "False"]


def command(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A console script whose `main` is `code`."""
    imports = "import os, socket, sys\nfrom medalpaca_data.core.cli import run\n"
    program = f"{imports}def main(argv):\n    {code}\nrun(main)"
    known = {key: value for key, value in os.environ.items() if key not in (*OFFLINE, "MEDALPACA_SEALED")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=known | environment
    )


@pytest.mark.parametrize("value", SEALS)
def test_values_that_seal(value, monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", value)
    assert is_sealed()


@pytest.mark.parametrize("value", DOES_NOT_SEAL)
def test_values_that_do_not_seal(value, monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", value)
    assert not is_sealed()
    monkeypatch.delenv("MEDALPACA_SEALED")
    assert not is_sealed()


@pytest.mark.parametrize("value", INVALID)
def test_any_other_value_is_an_error(value, monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", value)
    with pytest.raises(UserError) as refused:
        is_sealed()
    assert str(refused.value) == (
        f"environment variable MEDALPACA_SEALED='{value}' is not allowed; allowed: 1, true, yes, on (sealed), "
        "0, false, no, off or empty (not sealed); set one of them or unset it"
    )


@pytest.mark.parametrize("value", ["01", "2", "enable"])
def test_an_invalid_value_ends_every_command_before_it_begins(value):
    done = command("print('begun')", MEDALPACA_SEALED=value)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: environment variable MEDALPACA_SEALED='{value}' is not allowed; ")
    assert done.stderr.count("\n") == 1


def test_an_invalid_value_is_an_error_of_the_build_and_not_of_its_workers(monkeypatch):
    monkeypatch.setenv("MEDALPACA_SEALED", "enable")
    with (
        pytest.raises(UserError, match="MEDALPACA_SEALED='enable' is not allowed"),
        open_engine("processes", 1) as engine,
    ):
        engine.submit(int, "1").result()


@pytest.mark.parametrize("value", ["1", "yes", "TRUE", "1 "])
def test_every_command_is_sealed_before_it_begins(value):
    code = "socket.create_connection(('192.0.2.1', 443), timeout=1)"
    done = command(code, MEDALPACA_SEALED=value)
    assert done.returncode == 2
    assert done.stderr.startswith("error: sealed mode refused socket.")
    assert done.stderr.count("\n") == 1


def test_no_command_reports_home_sealed_or_not():
    code = f"print(*(os.environ.get(name) for name in {tuple(NO_TELEMETRY)!r}), sep='|')"
    wanted = "|".join(NO_TELEMETRY.values())
    assert command(code).stdout.strip() == wanted
    assert command(code, MEDALPACA_SEALED="1").stdout.strip() == wanted
    # What the user has decided stays, but not against a seal.
    assert "false" in command(code, MLFLOW_DISABLE_TELEMETRY="false").stdout
    assert command(code, MLFLOW_DISABLE_TELEMETRY="false", MEDALPACA_SEALED="1").stdout.strip() == wanted


def test_workers_of_a_build_are_sealed_as_it_is():
    code = (
        "from medalpaca_data.executor import open_engine\n"
        "    with open_engine('processes', 1) as engine:\n"
        "        print(engine.submit(socket.gethostbyname, 'example.org').exception())"
    )
    assert (
        "sealed mode refused socket.gethostbyname to 'example.org'"
        in command(code, MEDALPACA_SEALED="1").stdout
    )


def test_ray_is_not_sealed_and_so_not_used():
    code = "from medalpaca_data.executor import open_engine\n    with open_engine('ray', 1): pass"
    for value in ("1", "yes"):
        done = command(code, MEDALPACA_SEALED=value)
        assert (
            done.returncode,
            f"engine=ray is not allowed with MEDALPACA_SEALED={value};" in done.stderr,
        ) == (
            2,
            True,
        )


def test_hosts_that_were_named_are_let_in_and_their_neighbours_are_not():
    code = """
from medalpaca_data.core.errors import UserError
from medalpaca_data.core import offline as sealed
sealed.seal(["192.0.2.7"])
sealed.seal(["192.0.2.9"])
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for host in ("192.0.2.7", "192.0.2.8", "192.0.2.9"):
    try:
        udp.connect((host, 9))
        print("open")
    except sealed.SealedError:
        print("shut")
    except OSError:
        print("open")  # let through, and no such network here
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["open", "shut", "shut"], done.stderr


def test_no_command_fetches_kernels_from_a_hub(tmp_path):
    """Nor does a process that is sealed: bitsandbytes would, as it is imported, where the package is installed."""
    (tmp_path / "kernels.py").write_text("print('loaded')\ndef get_kernel(*_, **__): print('fetched')\n")
    asks = "try:\n        from kernels import get_kernel\n    except ImportError:\n        print('none')"
    path = {"PYTHONPATH": str(tmp_path)}
    assert command(asks, **path).stdout == "none\n"
    assert command(asks, MEDALPACA_SEALED="1", **path).stdout == "none\n"
    plain = [sys.executable, "-c", "from kernels import get_kernel"]
    assert subprocess.run(plain, env=os.environ | path, capture_output=True, text=True).stdout == "loaded\n"
