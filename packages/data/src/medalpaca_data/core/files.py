"""File helpers: SHA-256, reading with errors that name file and line, atomic writes, package versions.

Standard library only: medalpaca-evalharness imports this module at the start of Python, through a .pth file.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from .errors import UserError

# Kinds of files that are not read, by their type in `st_mode`.
_SPECIAL = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. The file is read in blocks. Raises UserError as `existing` does."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def sha256_listing(hashes: Iterable[tuple[str, str]]) -> str:
    """Return one SHA-256 for several (name, SHA-256) pairs: over the lines `name digest`, in the given order."""
    return sha256_bytes("".join(f"{name} {digest}\n" for name, digest in hashes).encode())


def existing(path: Path | str, what: str = "file") -> Path:
    """Return `path` as a Path; `what` names the kind of file in the message.

    Raises UserError if it does not exist, or if it is neither a regular file nor a directory: a named pipe without a
    writer would be waited for without end, and a device has no end.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such {what}")
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(
            f"{path}: is a {_SPECIAL.get(stat.S_IFMT(mode), 'special file')}; give a regular file or a directory"
        )
    return path


def unique_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return the names of files; files with the same name also have as many of their directories as are needed."""
    names = {file: file.name for file in files}
    for depth in range(2, max((len(file.parts) for file in names), default=0) + 1):
        known = Counter(names.values())
        repeated = [file for file, name in names.items() if known[name] > 1]
        if not repeated:
            break
        names.update((file, "/".join(file.parts[-depth:])) for file in repeated)
    return names


def read_text(path: Path | str) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises UserError if the file is missing, is a directory, cannot be opened or is not UTF-8.
    """
    path = existing(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line}: not UTF-8; convert the file to UTF-8") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; give a file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def parse_json(
    text: str, where: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Return the value of a JSON text. Raises UserError, with `where` and the line, if it is not valid.

    `pairs_hook` is the `object_pairs_hook` of the decoder.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs_hook)
    except (ValueError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{where}{line}: {json_fault(error)}") from None


def json_fault(error: ValueError | RecursionError) -> str:
    """Return the cause of an error of `json.loads` as a phrase, such as "JSON nested too deeply"."""
    match error:
        case json.JSONDecodeError():
            return f"not valid JSON ({error.msg})"
        case RecursionError():
            return "JSON nested too deeply"
        case _:
            # Python limits the digits of an integer that is parsed from text.
            return "not valid JSON (a number with too many digits)"


def is_text(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8. JSON allows lone surrogates, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: Path | str) -> Any:
    """Return the value of a JSON file. Raises UserError if it cannot be read or is not valid JSON in UTF-8."""
    return parse_json(read_text(path), str(path))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a partial file is never visible under the name `path`.

    Missing parent directories are created. A killed process may leave a hidden temporary file beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp creates private files; results get the permissions of the user's umask.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def refuse_directory(path: Path, *, replace: bool = False) -> None:
    """Raise UserError if `new_directory` could not create `path`. Commands call it before long work starts.

    Refused are a file, the working directory and its parents, a place that is not writable, and, without `replace`, a
    directory that is not empty.
    """
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; give a directory")
    if path == Path.cwd() or path in Path.cwd().parents:
        raise UserError(f"{path}: is the working directory or one of its parents; give another directory")
    if path.exists() and any(path.iterdir()) and not replace:
        raise UserError(f"{path}: the directory is not empty; choose another out= or remove it first")
    there = next(parent for parent in (path.parent, *path.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        raise UserError(f"{path}: cannot be created because {there} is not writable; choose another out=")


@contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Create a directory atomically, and its missing parents.

    Yields a temporary directory beside `path`. After success it is renamed to `path`, in place of a directory that
    is there. After an error it is removed. Raises UserError as `refuse_directory` does.
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
    """Return the SHA-256 over names and bytes of all files of a package, without compiled Python code."""
    return sha256_listing(sorted(_walk(files(package), "")))


def versions(*distributions: str) -> dict[str, str]:
    """Return the version of each distribution, or "not installed", and of Python under the key `python`."""
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
