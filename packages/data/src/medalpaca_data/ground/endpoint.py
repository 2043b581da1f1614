"""Addresses of model servers: whose they are, what is wrong with them, and where their key comes from."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from .errors import UserError

# Where addresses carry keys: before the @, and behind a question mark or a hash.
_BEFORE = re.compile(r"""(\w+://)[^\s'"]*@|[^\s'",()\[\]]+:[^\s'"]*@""")
_BEHIND = re.compile(r"""(\w+://[^\s'"?#]*[?#])[^\s'"]+""")


def host(address: str) -> str:
    """The host of an address, lower case; empty where there is none or its port is no number."""
    try:
        url = urlsplit(address)
        usable = url.port != 0
    except ValueError:
        return ""
    return (url.hostname or "") if usable else ""


def fault(address: str, key_named_by: str) -> str:
    """What makes an address unusable, or nothing. A key in an address would end up wherever the address is shown."""
    if not host(address) or urlsplit(address).scheme not in ("http", "https"):
        return "an endpoint is an address such as http://127.0.0.1:8000/v1"
    url = urlsplit(address)
    if url.username or url.password or url.query or url.fragment:
        return f"an endpoint has no key in it; put it in a variable and name that: {key_named_by}"
    return ""


def masked(text: str) -> str:
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
