"""Sealed mode, which blocks the network in this process, and checks of addresses of model servers.

In sealed mode, libraries get their offline settings, and proxies are removed from the environment. In addition, a
Python audit hook refuses every look-up and connection except to this machine.

Standard library only: medalpaca-evalharness imports this module at the start of Python, through a .pth file.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .errors import UserError

# Variables that stop libraries from sending usage data. Downloads from a hub are still possible.
NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Otherwise, transformers requests the conversion of pickled weights from a web service.
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}

# Variables that stop libraries from using the network.
OFFLINE = {
    **NO_TELEMETRY,
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "GRADIO_SHARE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "WANDB_MODE": "disabled",
}

SWITCH = "MEDALPACA_SEALED"
# `seal` sets this variable to "1" for child processes, which `child.seal_child` seals. It is no switch for users.
SEALED_CHILDREN = "MEDALPACA_SEALED_CHILDREN"
ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

# Audit events of `socket` that neither send anything nor look up a host. All other ones are checked or refused.
LOCAL_EVENTS = frozenset(
    {
        "socket.__new__", "socket.bind", "socket.gethostname", "socket.getservbyname", "socket.getservbyport",
        "socket.sethostname",
    }
)  # fmt: skip

LOOPBACK_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost"}


class SealedError(UserError, OSError):
    """A look-up or connection that sealed mode refused. It is also an OSError, which network code handles."""


def is_sealed() -> bool:
    """Return whether `MEDALPACA_SEALED` is on; letter case and surrounding spaces are ignored.

    It is off if it is not set or empty. All code that reads the variable calls this function. Raises UserError for any
    other value: a misspelt switch must not leave the process unsealed.
    """
    value = os.environ.get(SWITCH, "")
    word = value.strip().casefold()
    if word in ON:
        return True
    if word in OFF or not word:
        return False
    raise UserError(
        f"environment variable {SWITCH}={value!r} is not allowed; allowed: {', '.join(ON)} (sealed), "
        f"{', '.join(OFF)} or empty (not sealed); set one of them or unset it"
    )


def sealed_setting() -> str:
    """Return the variable and its value as text for messages, such as `MEDALPACA_SEALED=yes`."""
    return f"{SWITCH}={os.environ.get(SWITCH, '').strip()}"


def no_telemetry() -> None:
    """Set the variables `NO_TELEMETRY`, except those that the environment already has.

    Call it before a library is imported, because most libraries read the variables once.
    """
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)


def go_offline() -> None:
    """Set the variables `OFFLINE`, also those that have other values. Call it before a library is imported."""
    os.environ.update(OFFLINE)


def disable_proxies() -> None:
    """Remove the variables `*_proxy` and set `no_proxy` to `*`, so that no library uses a proxy.

    A proxy on this machine would pass the check of addresses and send requests to other machines. `no_proxy` also
    covers proxies that the system configures outside the environment.
    """
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(NO_PROXY="*", no_proxy="*")


def no_hub_kernels() -> None:
    """Hide the package `kernels` from libraries, because it downloads code from a hub and runs it.

    On some CPUs, bitsandbytes uses it as soon as it is imported. Call this function before any library is imported.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]


def seal_if_requested() -> None:
    """Switch on sealed mode if `MEDALPACA_SEALED` is on, else switch off telemetry. Every command calls it first.

    Raises UserError for an invalid value of the variable.
    """
    # Otherwise, bitsandbytes logs a warning because the package `kernels` is hidden.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    if is_sealed():
        seal()
    else:
        no_telemetry()


def seal(but: Collection[str] = ()) -> None:
    """Refuse every look-up and connection of this process except to this machine and to the hosts `but`.

    Only the first call in a process can allow hosts. Their names are resolved before. Python code cannot remove the
    audit hook, but libraries in C with sockets of their own are not covered by it. Child processes that run Python of
    this environment are sealed at their start, without `but`; other programs are not. A refused call raises
    SealedError. Raises UserError if a host is unknown.
    """
    go_offline()
    os.environ[SEALED_CHILDREN] = "1"
    disable_proxies()
    no_hub_kernels()
    if not getattr(sys, "_medalpaca_sealed", False):
        sys._medalpaca_sealed = True  # type: ignore[attr-defined]
        sys.addaudithook(partial(_refuse_outside, frozenset(_addresses(but))))


def _addresses(hosts: Collection[str]) -> Iterator[str]:
    # Names are resolved now; a name that resolves to another address later is refused.
    for host in hosts:
        yield host.lower()
        try:
            resolved = socket.getaddrinfo(host, None)
        except OSError as error:
            raise UserError(f"{host}: unknown host ({error.strerror or error})") from None
        yield from (str(address[0]) for *_, address in resolved)


def _refuse_outside(allowed: frozenset[str], event: str, args: tuple[Any, ...]) -> None:
    if not event.startswith("socket.") or event in LOCAL_EVENTS:
        return
    match event:
        case "socket.connect" | "socket.sendto" | "socket.sendmsg":
            host = _host_of(args[1])
        case "socket.getnameinfo":
            host = _host_of(args[0])
        case "socket.getaddrinfo" | "socket.gethostbyname" | "socket.gethostbyaddr":
            host = args[0]
        case _:
            # An event that a later version of Python adds.
            host = "an unknown host"
    if host is not None and not is_loopback(host) and _text(host).lower() not in allowed:
        raise SealedError(
            f"sealed mode refused {event} to {_text(host)!r}, called by {_caller()}; "
            "unset MEDALPACA_SEALED to allow the network"
        )


def _host_of(address: Any) -> Any:
    """Return the host of a socket address, or None for one without a host, such as the path of a Unix socket."""
    return address[0] if isinstance(address, tuple) else None


def _text(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) else str(host)


def is_loopback(host: Any) -> bool:
    """Return whether a host name or address, as text or bytes, is this machine; an empty one is."""
    name = _text(host).lower()
    if name in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    # A connection to the unspecified address (0.0.0.0) reaches this machine.
    return address.is_loopback or address.is_unspecified


def _caller() -> str:
    # File and line of the library that opened the connection.
    for frame in reversed(traceback.extract_stack()[:-2]):
        if "socket.py" not in frame.filename and __file__ != frame.filename:
            return f"{frame.filename}:{frame.lineno} ({frame.name})"
    return "an unknown caller"


# Parts of an address that may contain a key: before the @, and after a question mark or a hash.
_BEFORE = re.compile(r"""(\w+://)[^\s'"]*@|[^\s'",()\[\]]+:[^\s'"]*@""")
_BEHIND = re.compile(r"""(\w+://[^\s'"?#]*[?#])[^\s'"]+""")


def address_host(address: str) -> str:
    """Return the host of a URL in lower case, or an empty string if the URL is invalid."""
    try:
        url = urlsplit(address)
        usable = url.port != 0
    except ValueError:
        return ""
    return (url.hostname or "") if usable else ""


def address_fault(address: str, key_named_by: str) -> str:
    """Return the reason why a URL cannot be used as an endpoint, or an empty string if it can.

    A key inside the URL is refused, because URLs are printed and logged. `key_named_by` is for the message: the option
    or recipe key with the name of the environment variable that has the key.
    """
    if not address_host(address) or urlsplit(address).scheme not in ("http", "https"):
        return "an endpoint is a URL such as http://127.0.0.1:8000/v1"
    url = urlsplit(address)
    if url.username or url.password or url.query or url.fragment:
        return f"the URL of an endpoint must not contain a key; put it in an environment variable: {key_named_by}"
    return ""


def masked_address(text: str) -> str:
    """Return `text` with *** for the parts of its URLs that may contain a key: before @, and after ? or #."""
    return _BEHIND.sub(r"\1***", _BEFORE.sub(lambda found: f"{found[1] or ''}***@", text))


def api_key(variable: str, named_by: str, who: str) -> str:
    """Return the key in the environment variable `variable`. It is never stored or printed.

    `who` and `named_by`, the option or recipe key with the name of the variable, are for the message. Raises UserError
    if the variable is empty or has other characters than printable ASCII.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"{who}: the variable {variable} ({named_by}) is not set; set it to the API key")
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"{who}: the value of {variable} ({named_by}) is not a key; only printable ASCII characters are allowed"
        )
    return key
