"""The sealed guard: offline by setting, and refused by the process itself if a library forgets.

Addresses of model servers: whose they are, what is wrong with them, and where their key comes from.
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

# Says nothing to anybody about what is installed here and what it does; a hub may still be asked for files.
NO_TELEMETRY = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # else transformers asks a service to convert pickled weights
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}

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
ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

LOOPBACK_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost"}


class SealedError(UserError, OSError):
    """A look-up or connection that sealed mode refused. Also an OSError, as network code expects."""


def is_sealed() -> bool:
    """Return whether `MEDALPACA_SEALED` is on; letter case and surrounding spaces do not count.

    Every reader of the variable calls this function. Raises UserError for a value that is neither on nor off: a
    misspelt switch must not leave the process unsealed.
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
    """Return the switch as the user set it, for messages: `MEDALPACA_SEALED=yes`."""
    return f"{SWITCH}={os.environ.get(SWITCH, '').strip()}"


def no_telemetry() -> None:
    """Switch off what libraries would report by themselves, unless the user's own environment decides otherwise.

    Call before the library is imported: most read it once.
    """
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)


def go_offline() -> None:
    """Set every library's offline switch. Call before the library is imported: most read it once."""
    os.environ.update(OFFLINE)


def no_hub_kernels() -> None:
    """Have libraries find no package that fetches kernels from a hub: they are code, and run when they are loaded.

    bitsandbytes asks for one as soon as it is imported on some CPUs.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # to the import system: not to be had


def seal_if_asked() -> None:
    """Call `seal` where `MEDALPACA_SEALED` is on, else switch telemetry off. Every process of ours begins with it.

    Raises UserError for an invalid value of the switch.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(
        logging.ERROR
    )  # announces kernels it did not find
    if is_sealed():
        seal()
    else:
        no_telemetry()


def seal(but: Collection[str] = ()) -> None:
    """Go offline and refuse, in this process and for good, any look-up or connection but loopback.

    `but` are hosts that the user named as ones to be asked; only the first call of a process can let any in.
    An audit hook is used because no library can be built around it and none can take it out again.
    """
    go_offline()
    no_hub_kernels()
    if not getattr(sys, "_medalpaca_sealed", False):
        sys._medalpaca_sealed = True  # type: ignore[attr-defined]
        sys.addaudithook(partial(_refuse_outside, frozenset(_addresses(but))))


def _addresses(hosts: Collection[str]) -> Iterator[str]:
    """The names, and what they are resolved to now: a name that later leads elsewhere is refused."""
    for host in hosts:
        yield host.lower()
        try:
            found = socket.getaddrinfo(host, None)
        except OSError as error:
            raise UserError(f"{host}: no such host ({error.strerror or error})") from None
        yield from (str(address[0]) for *_, address in found)


def _refuse_outside(let_in: frozenset[str], event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a str is a Unix socket: local
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    if host is not None and not is_loopback(host) and _text(host).lower() not in let_in:
        raise SealedError(
            f"sealed: {event} to {_text(host)!r} refused, asked for by {_caller()}; "
            "unset MEDALPACA_SEALED to allow the network"
        )


def _text(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) else str(host)


def is_loopback(host: Any) -> bool:
    """Whether a host name or address is this machine itself."""
    name = _text(host).lower()
    if name in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    # An unspecified address (0.0.0.0) as the target of a connection is this machine.
    return address.is_loopback or address.is_unspecified


def _caller() -> str:
    """The outermost library frame that asked, file and line: enough to find who forgot its switch."""
    for frame in reversed(traceback.extract_stack()[:-2]):
        if "socket.py" not in frame.filename and __file__ != frame.filename:
            return f"{frame.filename}:{frame.lineno} ({frame.name})"
    return "an unknown caller"


# Where addresses carry keys: before the @, and behind a question mark or a hash.
_BEFORE = re.compile(r"""(\w+://)[^\s'"]*@|[^\s'",()\[\]]+:[^\s'"]*@""")
_BEHIND = re.compile(r"""(\w+://[^\s'"?#]*[?#])[^\s'"]+""")


def address_host(address: str) -> str:
    """The host of an address, lower case; empty where there is none or its port is no number."""
    try:
        url = urlsplit(address)
        usable = url.port != 0
    except ValueError:
        return ""
    return (url.hostname or "") if usable else ""


def address_fault(address: str, key_named_by: str) -> str:
    """What makes an address unusable, or nothing. A key in an address would end up wherever the address is shown."""
    if not address_host(address) or urlsplit(address).scheme not in ("http", "https"):
        return "an endpoint is an address such as http://127.0.0.1:8000/v1"
    url = urlsplit(address)
    if url.username or url.password or url.query or url.fragment:
        return f"an endpoint has no key in it; put it in a variable and name that: {key_named_by}"
    return ""


def masked_address(text: str) -> str:
    """`text` without what may be a key in the addresses it quotes."""
    return _BEHIND.sub(r"\1***", _BEFORE.sub(lambda found: f"{found[1] or ''}***@", text))


def api_key(variable: str, named_by: str, who: str) -> str:
    """The key that the environment's `variable` holds; it is kept nowhere and shown by nothing.

    Raises UserError, in the name of `who` and of the switch or key that named the variable, where it holds none.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"{who}: the variable {variable} ({named_by}) is not set")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{who}: what {variable} ({named_by}) holds is no key")
    return key
