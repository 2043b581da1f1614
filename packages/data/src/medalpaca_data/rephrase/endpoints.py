"""Who may be asked: nobody outside when sealed, nobody outside with patient text, and with what key."""

from __future__ import annotations

from collections.abc import Collection

from ..ground import endpoint as ground
from ..ground.endpoint import host
from ..ground.errors import UserError
from ..ground.sealed import is_loopback, is_sealed, sealed_setting
from .settings import Rephrase


def check_endpoints(settings: Rephrase, patients: Collection[str]) -> None:
    """Raise UserError where an endpoint may not have what it would be sent.

    `patients` are the sources among those to be rephrased whose rows are written by or about patients.
    """
    trusted = {name.lower() for name in settings.trusted_hosts}
    for endpoint in settings.endpoints:
        name = host(endpoint)
        if is_loopback(name):
            continue
        if is_sealed():
            raise UserError(
                f"rephrase: {endpoint} is outside this machine, and {sealed_setting()}; "
                "name an endpoint on 127.0.0.1 or unset it"
            )
        if patients and name not in trusted:
            raise UserError(
                f"rephrase: {min(patients)} holds patient text, which does not leave this machine for {name}; "
                f"name an endpoint on 127.0.0.1, or trusted_hosts: [{name}] if it may see it"
            )


def api_key(settings: Rephrase) -> str | None:
    """The key from the variable that the recipe names; it is kept nowhere and shown by nothing."""
    if settings.api_key_env is None:
        return None
    return ground.api_key(settings.api_key_env, "api_key_env", "rephrase")
