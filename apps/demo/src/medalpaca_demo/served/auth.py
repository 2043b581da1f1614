"""Who may log in: a file of names and Argon2 hashes. Passwords themselves are nowhere."""

from __future__ import annotations

from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import read_text

SHORTEST = 8  # characters


def check_tls(certificate: Path, key: Path) -> tuple[Path, Path]:
    """Raises UserError, one line, where the two are missing or do not belong together."""
    import ssl

    for file in (certificate, key):
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        said = getattr(error, "reason", None) or str(error)
        raise UserError(f"{certificate}: cannot be used with {key} ({said})") from None
    return certificate, key


def hash_line(name: str, ask: Callable[[str], str] = getpass) -> str:
    """A line for the file, from a password typed twice. Raises UserError when the two differ or are short."""
    from argon2 import PasswordHasher

    if not name or ":" in name or any(c.isspace() for c in name):
        raise UserError(f"demo password: {name!r} is no user name (no colon, no space)")
    password = ask(f"Password for {name}: ")
    if len(password) < SHORTEST:
        raise UserError(f"demo password: at least {SHORTEST} characters")
    if password != ask("Once more: "):
        raise UserError("demo password: the two differ")
    return f"{name}:{PasswordHasher().hash(password)}"


def read_auth(file: Path) -> Callable[[str, str], bool]:
    """A check of name and password against `file`, one `name:hash` a line.

    Raises UserError, one line, when the file is missing, empty, readable by everybody, or holds no hash.
    """
    from argon2 import PasswordHasher, extract_parameters
    from argon2.exceptions import InvalidHashError, VerificationError

    if not file.is_file():
        raise UserError(f"{file}: no such file; make one with `demo password NAME >> {file}`")
    if file.stat().st_mode & 0o004:
        raise UserError(f"{file}: everybody on this machine can read it; run `chmod 600 {file}`")
    hashes: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, kept = line.strip().partition(":")
        try:
            extract_parameters(kept)
        except InvalidHashError:
            raise UserError(
                f"{file} line {number}: not `name:hash` with an Argon2 hash; see `demo password`"
            ) from None
        hashes[name] = kept
    if not hashes:
        raise UserError(f"{file}: nobody in it; make a line with `demo password NAME >> {file}`")
    hasher = PasswordHasher()
    # As costly to check as what is in the file.
    decoy = PasswordHasher.from_parameters(extract_parameters(next(iter(hashes.values())))).hash("nobody")

    def check(name: str, password: str) -> bool:
        """Takes as long for a name that is not there."""
        try:
            return hasher.verify(hashes.get(name, decoy), password) and name in hashes
        except VerificationError:
            return False

    return check
