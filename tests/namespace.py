"""Where there is no network but loopback: `python namespace.py RECORD COMMAND ...` runs COMMAND there (Linux).

The kernel counts packets for which it found no way out, whoever sent them; RECORD gets their number as JSON.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def enter() -> None:
    """Into a user and a network namespace of our own, with `lo` up. Raises OSError where that is not allowed."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no user or network namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", asked)[1] | IFF_UP
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


def unroutable() -> int:
    """Packets of this namespace, IPv4 and IPv6, for which there was no route."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines()[:2])
    found = int(values[names.index("OutNoRoutes")])
    newer = Path("/proc/net/snmp6")
    lines = newer.read_text().splitlines() if newer.is_file() else []
    return found + sum(int(line.split()[1]) for line in lines if line.startswith("Ip6OutNoRoutes"))


if __name__ == "__main__":
    enter()
    done = subprocess.run(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps({"unroutable": unroutable()}))
    sys.exit(done.returncode)
