"""A model that another program serves: its address and name, and who may be asked at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import address_fault, address_host, is_loopback, is_sealed, sealed_setting


@dataclass(frozen=True, slots=True)
class Address:
    """An OpenAI-compatible endpoint with its `/v1`, and the model's name there."""

    url: str
    model: str

    @property
    def host(self) -> str:
        """The machine it is on."""
        return address_host(self.url)

    @property
    def is_here(self) -> bool:
        """Whether that is this machine."""
        return is_loopback(self.host)

    @property
    def place(self) -> str:
        """Host and port, as a reader would quote them."""
        return urlsplit(self.url).netloc

    @property
    def name(self) -> str:
        """The model and where it answers."""
        return f"{self.model} at {self.place}"

    def __str__(self) -> str:
        return f"{self.url}#{self.model}"


Source = Path | Address


def read_source(text: str) -> Source:
    """`DIR`, or `http://HOST:PORT/v1#MODEL`. Raises UserError where an address is none, or names no model."""
    if "://" not in text:
        return Path(text)
    url, model = urldefrag(text)
    if wrong := address_fault(url, "--api-key-env"):
        # Not the address itself: there may be a key in it.
        raise UserError(f"demo: an address cannot be used: {wrong}")
    if not model:
        raise UserError(f"demo: {url}: which model there? write it behind a #, as in {url}#MODEL")
    return Address(url.rstrip("/"), model)


def addresses(*sources: Source) -> list[Address]:
    """Those of the sources that are addresses."""
    return [source for source in sources if isinstance(source, Address)]


def check_hosts(asked: Iterable[Address], trusted: Collection[str]) -> list[str]:
    """The hosts outside this machine that will be asked, each named by the user as one that may be.

    Raises UserError for any other, and for all of them when the whole process is sealed.
    """
    names = {name.lower() for name in trusted}
    outside = []
    for address in asked:
        if address.is_here:
            continue
        if is_sealed():
            raise UserError(
                f"demo: {address.url} is outside this machine, and {sealed_setting()}; "
                "name an endpoint on 127.0.0.1 or unset it"
            )
        if address.host not in names:
            raise UserError(
                f"demo: {address.url} is outside this machine, and every question would go there; "
                f"name an endpoint on 127.0.0.1, or say --trusted-host {address.host}"
            )
        outside.append(address.host)
    return sorted(set(outside))
