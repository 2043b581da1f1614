"""What code made a result: a hash of a package's own files, and the versions of what it stands on."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable

from .files import sha256_bytes, sha256_listing


def package_sha256(package: str) -> str:
    """SHA-256 over the names and bytes of a package's source and data files, sorted by name."""
    return sha256_listing(sorted(_walk(files(package), "")))


def versions(*distributions: str) -> dict[str, str]:
    """Distribution -> installed version, and Python's own."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _walk(folder: Traversable, prefix: str) -> Iterable[tuple[str, str]]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, f"{name}/")
        elif not entry.name.endswith(".pyc"):
            yield name, sha256_bytes(entry.read_bytes())
