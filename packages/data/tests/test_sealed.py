"""The guard cannot be taken out again, so each case runs in a process of its own."""

import subprocess
import sys

import pytest


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
