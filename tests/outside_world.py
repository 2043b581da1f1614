"""A network namespace with a proxy on loopback, a resolver and a host outside, all on this machine, for tests (Linux).

`python outside_world.py STEPS RECORD` runs the commands of the JSON list STEPS in it, one after the other. A step has
`words`, `environment`, `input`, and optionally `url`: then the command is a server, which is interrupted once it has
answered. RECORD gets a list with `code`, `out`, `err` and `seconds` of each step, and the bytes that anything sent
meanwhile: to the `proxy`, to the `resolver`, to the `host`; and `unroutable`, packets to any other address.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import namespace

PROXY, RESOLVER, HOST = ("127.0.0.1", 3128), ("127.0.0.1", 53), "192.0.2.1"
CLONE_NEWNS, MS_BIND, MS_PRIVATE_TREE = 0x20000, 4096, (1 << 18) | (1 << 14)
SIOCSIFADDR, SIOCSIFNETMASK = 0x8916, 0x891C
ETH_P_ALL, ETH_P_IP, PACKET_OUTGOING, SOL_PACKET, PACKET_STATISTICS = 3, 0x0800, 4, 263, 6
PATIENCE = 120


def enter(resolv: Path) -> None:
    """Enter the namespaces; names are resolved by `RESOLVER`, and `HOST` exists. Raises OSError if not permitted."""
    namespace.enter()
    libc = ctypes.CDLL(None, use_errno=True)
    resolv.write_text(f"nameserver {RESOLVER[0]}\noptions timeout:1 attempts:1\n")
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_PRIVATE_TREE, None)
        or libc.mount(bytes(resolv), b"/etc/resolv.conf", None, MS_BIND, None)
    ):
        raise OSError(ctypes.get_errno(), "no mount namespaces")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, address in ((SIOCSIFADDR, HOST), (SIOCSIFNETMASK, "255.255.255.255")):
            packed = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, request, packed)


class Meter:
    """Counts the bytes of all packets on loopback that go to the proxy, the resolver or the host."""

    def __init__(self) -> None:
        self.bytes = {"proxy": 0, "resolver": 0, "host": 0}
        # Only sockets of all protocols receive outgoing packets.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", 0))
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            packet, address = self._socket.recvfrom(65536)
            is_sent = address[1:3] == (ETH_P_IP, PACKET_OUTGOING)
            if is_sent and (place := destination(packet)):
                self.bytes[place] += len(packet)

    def dropped(self) -> int:
        """Return the number of packets that were not counted since the last call."""
        return int(struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])


def destination(packet: bytes) -> str | None:
    """Return which of the three an IPv4 packet goes to; None for the rest of loopback, such as answers of the host."""
    source, target = (socket.inet_ntoa(packet[start : start + 4]) for start in (12, 16))
    if target == HOST:
        return None if source == HOST and packet[9] == socket.IPPROTO_TCP and _is_answer(packet) else "host"
    header = (packet[0] & 15) * 4
    port = int.from_bytes(packet[header + 2 : header + 4])
    return {PROXY: "proxy", RESOLVER: "resolver"}.get((target, port))


def _is_answer(packet: bytes) -> bool:
    header = (packet[0] & 15) * 4
    return int.from_bytes(packet[header : header + 2]) in (80, 443)


def resolve() -> None:
    """Answer every query of an IPv4 address with that of the host, and other queries with nothing."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(RESOLVER)
    while True:
        query, sender = server.recvfrom(4096)
        end = query.index(0, 12) + 5
        is_ipv4 = query[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(HOST) if is_ipv4 else b""
        header = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + b"\0\0\0\0"
        server.sendto(header + query[12:end] + answer, sender)


def refuse(server: socket.socket) -> None:
    """Read a request and answer it with an error."""
    while True:
        client, _ = server.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(2)
            client.recv(65536)
            client.sendall(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def run(step: dict[str, Any]) -> dict[str, Any]:
    """Run one command; return its exit code and output."""
    process = subprocess.Popen(
        step["words"],
        env={**os.environ, **step["environment"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if url := step.get("url"):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(PATIENCE * 2):
            with contextlib.suppress(OSError):
                opener.open(url, timeout=5).read()
                break
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(step.get("input", ""))
    return {"code": process.returncode, "out": out, "err": err}


def main(steps: Path, record: Path) -> None:
    enter(record.with_suffix(".resolv"))
    meter = Meter()
    servers = [socket.create_server(address) for address in (PROXY, (HOST, 80), (HOST, 443))]
    for server in servers:
        threading.Thread(target=refuse, args=(server,), daemon=True).start()
    threading.Thread(target=resolve, daemon=True).start()
    results = []
    for step in json.loads(steps.read_text()):
        before, lost = dict(meter.bytes), namespace.unroutable()
        begun = time.monotonic()
        result = run(step)
        result["seconds"] = round(time.monotonic() - begun, 1)
        # The last packets are counted by another thread.
        time.sleep(0.2)
        result |= {place: count - before[place] for place, count in meter.bytes.items()}
        results.append(result | {"unroutable": namespace.unroutable() - lost, "dropped": meter.dropped()})
    record.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
