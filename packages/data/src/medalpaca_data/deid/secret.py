"""The secret of patient text: a random key in a file, and what is computed from it.

With the key, the hashes of case numbers, the surrogates and the shifts of dates can be computed again from the raw
files. Without it, they cannot be undone. The key is in no output of a build; a ledger has its ID.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import stat
from pathlib import Path

from ..core import paths
from ..core.errors import UserError

KEY_FILE = "patient-text.key"
KEY_BYTES = 32
# A keyed hash has this prefix and 24 hexadecimal digits (96 bits): no collision is expected below 10**12 values.
HASH_PREFIX, HASH_DIGITS = "h:", 24
HASH = re.compile(rf"{HASH_PREFIX}[0-9a-f]{{{HASH_DIGITS}}}")
KEY_ID_DIGITS = 12


def key_path(directory: str | None, root: Path = Path()) -> Path:
    """Return the absolute path of the key file in `directory`, which may be relative to `root`.

    None is the default directory, `secrets/` below `MEDALPACA_HOME`.
    """
    folder = root / Path(directory).expanduser() if directory else paths.secrets()
    return folder.absolute() / KEY_FILE


def load_secret(directory: Path) -> bytes:
    """Return the key in the file `patient-text.key` of a directory.

    Raises UserError if the file is missing or damaged, or if its mode lets other users read it.
    """
    file = directory / KEY_FILE
    try:
        # The mode is checked on the open file, so that it is the mode of the bytes that are read.
        with file.open("rb") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            text = handle.read(2 * KEY_BYTES + 2)
    except FileNotFoundError:
        raise UserError(f"{file}: no such key file; restore it from a backup") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    # Windows has no such modes.
    if os.name != "nt" and mode & 0o077:
        raise UserError(
            f"{file}: mode {mode:04o} lets other users read the key; allowed: 0600; run `chmod 600 {file}`"
        )
    if not re.fullmatch(rb"[0-9a-f]{%d}\n?" % (2 * KEY_BYTES), text):
        raise UserError(f"{file}: not a key of {2 * KEY_BYTES} hexadecimal digits; restore it from a backup")
    return bytes.fromhex(text.decode())


def create_secret(directory: Path) -> bytes:
    """Write a new random key to the file `patient-text.key` of a directory, with mode 0600, and return it.

    Missing directories are created with mode 0700. An existing file is not changed, and its key is returned. Raises
    UserError if the file cannot be written.
    """
    file = directory / KEY_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return load_secret(directory)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}); set deidentify.secret to another directory"
        ) from None
    try:
        secret = secrets.token_bytes(KEY_BYTES)
        os.write(handle, f"{secret.hex()}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    return secret


def key_id(secret: bytes) -> str:
    """Return the ID of a key: 12 hexadecimal digits that identify it and do not reveal it."""
    return _hmac(secret, "id").hex()[:KEY_ID_DIGITS]


def keyed_hash(secret: bytes, value: str) -> str:
    """Return the keyed hash of a value such as a case number: `h:` and 24 hexadecimal digits of HMAC-SHA256."""
    return HASH_PREFIX + _hmac(secret, "value", value).hex()[:HASH_DIGITS]


def cache_token(secret: bytes) -> str:
    """Return a text for the key of the build cache that is different for every secret and does not reveal it."""
    return _hmac(secret, "build cache").hex()


def draw(secret: bytes, *parts: str) -> int:
    """Return a number of 256 bits that depends on the secret and on `parts`, and is random to others."""
    return int.from_bytes(_hmac(secret, "draw", *parts))


def _hmac(secret: bytes, *parts: str) -> bytes:
    # JSON keeps the limits between the parts, and encodes lone surrogates.
    return hmac.digest(secret, json.dumps(parts).encode(), "sha256")
