"""The guard cannot be taken out again, so each case runs in a process of its own."""

import os
import subprocess
import sys

import pytest

from medalpaca_data.ground.sealed import NO_TELEMETRY, OFFLINE


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = f"from medalpaca_data.ground.sealed import seal\nseal()\nimport socket\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    "code",
    [
        "socket.getaddrinfo('example.org', 443)",
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.gethostbyname('example.org')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://example.org')",
    ],
)
def test_everything_but_loopback_is_refused_and_the_caller_named(code):
    done = run(code)
    assert done.returncode == 1
    assert "sealed: socket." in done.stderr
    assert "asked for by" in done.stderr


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
    imports = "import os, socket, sys\nfrom medalpaca_data.ground.command import run\n"
    program = f"{imports}def main(argv):\n    {code}\nrun(main)"
    known = {key: value for key, value in os.environ.items() if key not in (*OFFLINE, "MEDALPACA_SEALED")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=known | environment
    )


def test_every_command_is_sealed_before_it_begins():
    code = "socket.create_connection(('192.0.2.1', 443), timeout=1)"
    done = command(code, MEDALPACA_SEALED="1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: sealed: socket.")
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
        "from medalpaca_data.engine import open_engine\n"
        "    with open_engine('processes', 1) as engine:\n"
        "        print(engine.submit(socket.gethostbyname, 'example.org').exception())"
    )
    assert (
        "sealed: socket.gethostbyname to 'example.org' refused" in command(code, MEDALPACA_SEALED="1").stdout
    )


def test_ray_is_not_sealed_and_so_not_used():
    code = "from medalpaca_data.engine import open_engine\n    with open_engine('ray', 1): pass"
    done = command(code, MEDALPACA_SEALED="1")
    assert (done.returncode, "engine=ray: not with MEDALPACA_SEALED=1" in done.stderr) == (2, True)


def test_hosts_that_were_named_are_let_in_and_their_neighbours_are_not():
    code = """
from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground import sealed
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
