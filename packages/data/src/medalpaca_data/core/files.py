"""Files: hashes, reading with errors that name the place, writing that is all or nothing.

What code made a result: a hash of a package's own files, and the versions of what it stands on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from .errors import UserError


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def sha256_listing(hashes: Iterable[tuple[str, str]]) -> str:
    """One name for several files together: hex SHA-256 over the lines `name digest`, in the order given."""
    return sha256_bytes("".join(f"{name} {digest}\n" for name, digest in hashes).encode())


def existing(path: Path | str, what: str = "file") -> Path:
    """`path`, or a UserError that says what is missing."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such {what}")
    return path


def read_text(path: Path | str) -> str:
    """A UTF-8 file's text."""
    path = existing(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: not UTF-8; convert the file to UTF-8") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory, a file was expected") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def parse_json(text: str, where: str) -> Any:
    """A JSON text's value; the error names the line."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{where}{line}: {json_fault(error)}") from None


def json_fault(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that `json.loads` raised `error` for."""
    match error:
        case json.JSONDecodeError():
            return f"not valid JSON ({error.msg})"
        case RecursionError():
            return "JSON nested too deeply"
        case _:  # Python refuses to turn thousands of digits into a number
            return "not valid JSON (a number of too many digits)"


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: half a surrogate pair is valid JSON, and no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: Path | str) -> Any:
    """A JSON file's value; the error names file and line."""
    return parse_json(read_text(path), str(path))


def write_bytes(path: Path, data: bytes) -> None:
    """Write all of `data` or nothing: a reader, or a kill, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; results are as readable as the user's own umask says.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Atomic UTF-8 write."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Atomic write of readable JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def refuse_directory(path: Path, *, replace: bool = False) -> None:
    """Raise the UserError that `new_directory` would raise, if it would; for asking before long work."""
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file, a directory was expected")
    if path == Path.cwd() or path in Path.cwd().parents:
        raise UserError(f"{path}: is the working directory or above it; name a directory of its own")
    if path.exists() and any(path.iterdir()) and not replace:
        raise UserError(f"{path}: already holds something; choose another out= or remove it first")
    there = next(parent for parent in (path.parent, *path.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        raise UserError(f"{path}: cannot be made, {there} is not writable; choose another out=")


@contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A directory that appears whole or not at all.

    Yields a temporary sibling to fill; on success it takes the name `path`, on failure it is removed.
    A directory that holds something is never overwritten unless `replace` says so.
    """
    path = Path(path).absolute()
    refuse_directory(path, replace=replace)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            path.rename(old / path.name)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


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
