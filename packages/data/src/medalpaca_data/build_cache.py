"""The build cache of a recipe: a directory, readable only by its user, with the shards of every stage.

The shards of the stages before de-identification have the original text and the case numbers of patient text. They
stay until a later build does not use them, or until the directory is removed.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .core import paths
from .core.errors import UserError
from .core.files import write_text
from .deid.secret import KEY_FILE, create_secret, key_id, load_secret
from .ledger import read_ledger

try:
    import fcntl
except ImportError:
    # Windows has no fcntl; the cache is not cleaned there.
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
# File of a build cache with the ID of the last key of patient text.
KEY_ID = ".key-id"


def cache_folder(name: str) -> Path:
    """Return the folder of the build cache of the recipe `name`."""
    return paths.cache() / "build" / (re.sub(r"[^\w.-]", "_", name) or "_")


def secret_of_build(directory: Path, out: Path | None, recipe: str) -> bytes:
    """Return the key of patient text in `directory` for a build of the recipe named `recipe` into `out`, if given.

    If the key file does not exist, and no earlier build had a key, a new key is written. Raises UserError if the key of
    an earlier build is missing, or is not that of the Meadow directory `out`.
    """
    file, cache = directory / KEY_FILE, cache_folder(recipe)
    built_with = (read_ledger(out) or {}).get("key_id") if out else None
    known = built_with or ((cache / KEY_ID).read_text().strip() if (cache / KEY_ID).is_file() else None)
    if known and not file.exists():
        where = out if built_with else cache
        raise UserError(
            f"{file}: no key file, but {where} was made with the key {known}; restore the key from a backup, or set "
            f"deidentify.secret to its directory; to begin with a new key, remove {cache} and use another out="
        )
    secret = load_secret(directory) if file.exists() else create_secret(directory)
    if built_with and key_id(secret) != built_with:
        raise UserError(
            f"{file}: has the key {key_id(secret)}, but {out} was made with the key {built_with}; set "
            "deidentify.secret to the directory of that key, or use another out="
        )
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(cache / KEY_ID, f"{key_id(secret)}\n")
    except OSError as error:
        raise UserError(f"{cache}: cannot be written ({error.strerror}); set MEDALPACA_HOME") from None
    return secret


class BuildCache:
    """Context manager of the build cache of the recipe `name`.

    After a successful build, the folders that it did not use are removed, unless another build of the recipe runs.
    """

    def __init__(self, name: str) -> None:
        self.path = cache_folder(name)
        self._used: set[Path] = set()
        self._handle = -1

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Return the folder of one result, which may not exist yet; it then counts as used."""
        path = self.path / f"{stage.replace(' ', '-')}-{fingerprint}"
        self._used.add(path)
        return path

    def __enter__(self) -> BuildCache:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        if fcntl is not None:
            self._handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            with suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_SH)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle >= 0:
            if kind is None:
                self._remove_unused()
            os.close(self._handle)

    def _remove_unused(self) -> None:
        # Another build of the same recipe holds a shared lock and may need the folders.
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        for path in self.path.iterdir():
            if path.is_dir() and path not in self._used:
                shutil.rmtree(path, ignore_errors=True)
        # Partial files of builds that were killed.
        for partial in self.path.glob("*/.*"):
            with suppress(OSError):
                partial.unlink()
