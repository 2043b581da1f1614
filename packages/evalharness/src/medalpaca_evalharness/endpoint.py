"""Models that another program serves: their addresses, and which hosts may receive questions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import address_fault, address_host, is_loopback, is_sealed, sealed_setting


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Model of an OpenAI-compatible server: the URL that ends in `/v1`, and the model's name there."""

    url: str
    model: str

    @property
    def host(self) -> str:
        """Host name or IP address."""
        return address_host(self.url)

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine."""
        return is_loopback(self.host)

    @property
    def host_port(self) -> str:
        """Host, and port if the URL has one."""
        return urlsplit(self.url).netloc

    @property
    def name(self) -> str:
        """Model, host and port for display."""
        return f"{self.model} at {self.host_port}"

    def __str__(self) -> str:
        return f"{self.url}#{self.model}"


Source = Path | Endpoint


def parse_source(text: str) -> Source:
    """Return the path `DIR` or the endpoint `http://HOST:PORT/v1#MODEL`.

    Raises UserError if the URL is invalid, contains a key, or names no model.
    """
    if "://" not in text:
        return Path(text)
    url, model = urldefrag(text)
    if problem := address_fault(url, "--api-key-env"):
        # The message does not repeat the URL, which may contain a key.
        raise UserError(f"this URL cannot be used: {problem}")
    if not model:
        raise UserError(f"{url} names no model; add its name after a #, as in {url}#MODEL")
    return Endpoint(url.rstrip("/"), model)


def endpoints(*sources: Source) -> list[Endpoint]:
    """Return the sources that are endpoints."""
    return [source for source in sources if isinstance(source, Endpoint)]


def check_hosts(targets: Iterable[Endpoint], trusted: Collection[str]) -> list[str]:
    """Return the sorted hosts outside this machine that receive the questions; `targets` are the models' endpoints.

    Raises UserError if one of them is not in `trusted`, or if the process is sealed.
    """
    names = {name.lower() for name in trusted}
    outside = []
    for target in targets:
        if target.is_local:
            continue
        if is_sealed():
            raise UserError(
                f"{target.url} is outside this machine, and {sealed_setting()}; "
                "use an endpoint on 127.0.0.1 or unset it"
            )
        if target.host not in names:
            raise UserError(
                f"{target.url} is outside this machine, and every question would be sent there; "
                f"use an endpoint on 127.0.0.1, or allow this host with --trusted-host {target.host}"
            )
        outside.append(target.host)
    return sorted(set(outside))
