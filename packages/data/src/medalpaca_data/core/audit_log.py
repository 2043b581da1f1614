"""Append-only audit log that makes changes visible: JSON lines with the SHA-256 of the previous line.

A hash chain alone does not show that entries at its end were removed or that the last entry was changed. Therefore
the head (number of entries and hash of the last line) is stored in a second file, `LOG.head`. A user who can write
both files can forge both. To detect that, store a head elsewhere; `append` returns it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import CheckFailed, UserError
from .files import existing, sha256_bytes

# Hash of the previous line in the first entry.
START = "0" * 64
# Largest size of an entry in bytes, without its line break.
MAX_ENTRY = 1 << 15
HASH = re.compile(r"[0-9a-f]{64}")
HEAD = re.compile(rb"(0|[1-9][0-9]{0,17}) ([0-9a-f]{64})\n")
RESERVED_KEYS = ("n", "time", "what", "prev", "broken")


@dataclass(frozen=True, slots=True)
class Head:
    """Number of entries, and SHA-256 of the line of the last entry; zeros for an empty log."""

    count: int = 0
    sha256: str = START


@dataclass(frozen=True, slots=True)
class Verified:
    """Result for an unchanged log: its head, and notes about entries that a killed process left incomplete."""

    head: Head
    notes: tuple[str, ...] = ()


class AuditLog:
    """Audit log that several threads and processes can append to.

    `on_notice` receives a message if an earlier process ended while it wrote an entry or its head. The default
    ignores it.
    """

    def __init__(self, path: Path, on_notice: Callable[[str], None] | None = None) -> None:
        self.path = Path(path).expanduser().absolute()
        self._on_notice = on_notice or (lambda message: None)

    def append(self, what: str, **facts: Any) -> Head:
        """Append one entry, flush it to disk, and return the new head.

        `what` names the event, and `facts` are JSON values. The caller must not pass texts of questions or answers. A
        new log is created with mode 0600, and with its head file.
        Raises UserError if the log cannot be continued: it was shortened or replaced, its head file is missing, or
        other users can access it. Also if the entry is too large. Raises CheckFailed for a damaged head file, and
        ValueError for a fact with a key in `RESERVED_KEYS`.
        """
        with _locked(self.path) as handle:
            head, pending = self._resume(handle)
            entry = {
                "n": head.count + 1,
                "time": _now(),
                "what": what,
                **_without_reserved(facts),
                "prev": head.sha256,
            }
            if pending:
                entry["broken"] = {"bytes": len(_garbage(pending)), "sha256": sha256_bytes(_garbage(pending))}
            line = json.dumps(entry).encode()
            if len(line) > MAX_ENTRY:
                raise UserError(f"{self.path}: an entry has {len(line):,} bytes; allowed: {MAX_ENTRY:,}")
            _write(handle, (b"\n" if pending and not pending.endswith(b"\n") else b"") + line + b"\n")
            head = Head(head.count + 1, sha256_bytes(line))
            _write_head(self.path, head)
        return head

    def _resume(self, handle: int) -> tuple[Head, bytes]:
        """Return the head to continue from, and the bytes of an incomplete entry after it."""
        kept = _read_head(self.path)
        if os.fstat(handle).st_size == 0:
            if kept is not None and kept.count:
                raise UserError(
                    f"{self.path}: the log is empty, but its head file names {kept.count:,} entries; "
                    "check it with `demo audit verify`"
                )
            if kept is None:
                _write_head(self.path, Head())
            return Head(), b""
        if kept is None:
            raise UserError(
                f"{self.path}: the head file {_head_path(self.path).name} is missing; start a new log"
            )
        entry, line, pending = _last(handle, self.path)
        found = Head(entry["n"], sha256_bytes(line)) if entry else Head()
        if pending and _continues(pending, found):
            # A complete entry without its newline: the process ended between the two; the entry is valid.
            _write(handle, b"\n")
            found, entry, pending = Head(found.count + 1, sha256_bytes(pending)), json.loads(pending), b""
        before = Head(found.count - 1, entry["prev"]) if entry else None
        if kept not in (found, before):
            raise UserError(
                f"{self.path}: the log has {found.count:,} entries, but its head file names {kept.count:,} or other "
                "entries; check it with `demo audit verify` and start a new log"
            )
        if pending:
            self._on_notice(
                f"{self.path}: {len(pending)} bytes of an incomplete entry; the next entry records them"
            )
        if kept == before:
            self._on_notice(
                f"{self.path}: entry {found.count:,} was written, but not its head; the process ended before"
            )
        return found, pending


def verify(path: Path, noted: str | None = None) -> Verified:
    """Verify the whole log, and return its head and notes.

    `noted` is the hash of a head that was stored elsewhere. It proves all entries up to it even against a user who
    can write both the log and the head file.
    Raises CheckFailed at the first edited, deleted, moved or missing entry. Without `noted`, a missing head file also
    raises it. Raises UserError if there is no log, or `noted` is not a SHA-256.
    """
    if noted is not None and not HASH.fullmatch(noted):
        raise UserError(f"--head {noted!r}: give 64 hexadecimal digits")
    if not path.is_file():
        if _head_path(path).is_file():
            raise CheckFailed(f"{path}: the log is missing, but its head file exists")
        raise UserError(f"{path}: no such file")
    with _locked(path, create=False):
        data, kept = path.read_bytes(), _read_head(path)
    if data and kept is None and not any(map(_entry, data.splitlines())):
        raise UserError(f"{path}: not an audit log; give the file that `--audit` has written")
    heads, notes = _chain(path, data)
    if noted is not None:
        at = next((head.count for head in heads if head.sha256 == noted), None)
        if at is None:
            raise CheckFailed(
                f"{path}: no entry has the given head; that entry or an earlier one was changed or removed"
            )
        notes.append(f"entries 1 to {at:,} match the given head; {heads[-1].count - at:,} were added later")
    if kept is None:
        if noted is None:
            raise CheckFailed(
                f"{path}: the head file {_head_path(path).name} is missing, so removed entries at the end cannot be "
                "detected; give a head that was stored elsewhere with --head"
            )
        notes.append("the head file is missing: removed entries after the given head cannot be detected")
    elif kept.count > heads[-1].count:
        raise CheckFailed(
            f"{path}: {kept.count - heads[-1].count:,} of {kept.count:,} entries at the end are missing"
        )
    elif heads[kept.count] != kept:
        raise CheckFailed(
            f"{path} entry {kept.count:,}: differs from the head file; it was changed or replaced"
        )
    elif heads[-1].count - kept.count > 1:
        raise CheckFailed(
            f"{path}: the head file is for entry {kept.count:,}, but the log has {heads[-1].count:,} entries"
        )
    elif heads[-1] != kept:
        notes.append(f"entry {heads[-1].count:,} was written, but not its head; the process ended before")
    return Verified(heads[-1], tuple(notes))


def _chain(path: Path, data: bytes) -> tuple[list[Head], list[str]]:
    """Return the head after every entry, starting with the empty log, and notes."""
    heads, notes, strange = [Head()], [], []
    *lines, rest = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            strange.append(line)
            continue
        last = heads[-1]
        if (entry["n"], entry["prev"]) != (last.count + 1, last.sha256):
            raise CheckFailed(
                f"{path} line {number}: does not continue the previous entry; one of the two was changed, "
                "or entries between them were removed"
            )
        garbage = b"\n".join(strange)
        named = {"bytes": len(garbage), "sha256": sha256_bytes(garbage)} if strange else None
        if entry.get("broken") != named:
            raise CheckFailed(
                f"{path} line {number}: the bytes before this entry are not the ones that it records"
            )
        if strange:
            notes.append(f"line {number - len(strange)}: an incomplete entry, recorded by the next entry")
        heads.append(Head(entry["n"], sha256_bytes(line)))
        strange = []
    if left := len(b"\n".join([*strange, rest])):
        raise CheckFailed(
            f"{path}: {left:,} bytes at the end are not an entry: a process ended while it wrote, or the file was "
            "edited; the next entry will record them"
        )
    return heads, notes


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match entry:
        case {"n": int(), "prev": str(), "what": str(), "time": str()}:
            return dict(entry)
    return None


def _continues(line: bytes, head: Head) -> bool:
    entry = _entry(line)
    return entry is not None and (entry["n"], entry["prev"]) == (head.count + 1, head.sha256)


def _last(handle: int, path: Path) -> tuple[dict[str, Any] | None, bytes, bytes]:
    """Return the last entry, its line, and the bytes after that line; (None, b"", all bytes) if there is no entry."""
    size = os.fstat(handle).st_size
    start = max(0, size - 4 * MAX_ENTRY)
    data = os.pread(handle, size - start, start)
    end = len(data)
    while (stop := data.rfind(b"\n", 0, end)) >= 0:
        begin = data.rfind(b"\n", 0, stop) + 1
        if (begin or not start) and (entry := _entry(data[begin:stop])) is not None:
            return entry, data[begin:stop], data[stop + 1 :]
        end = stop
    if start:
        raise UserError(
            f"{path}: no entry in the last {4 * MAX_ENTRY:,} bytes; check it with `demo audit verify`"
        )
    return None, b"", data


def _garbage(pending: bytes) -> bytes:
    return pending.removesuffix(b"\n")


def _without_reserved(facts: dict[str, Any]) -> dict[str, Any]:
    if reserved := [name for name in RESERVED_KEYS if name in facts]:
        raise ValueError(f"{reserved[0]!r} is a reserved key of the log")
    return facts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _locked(path: Path, *, create: bool = True) -> Iterator[int]:
    """Open and lock the log file; yield its file descriptor.

    With `create`, the file is created if it is missing, and the lock excludes all others. Without, it is opened for
    reading, and other readers are allowed.
    """
    try:
        import fcntl
    except ImportError:
        raise UserError(
            f"{path}: an audit log needs file locks, which this system does not support"
        ) from None
    if path.exists():
        existing(path)
    flags = (os.O_RDWR | os.O_APPEND | os.O_CREAT if create else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened as an audit log ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if create else fcntl.LOCK_SH)
        if create and os.fstat(handle).st_mode & 0o077:
            raise UserError(f"{path}: other users can read or write it; run `chmod 600 {path}`")
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _read_head(path: Path) -> Head | None:
    if _head_path(path).exists():
        existing(_head_path(path))
    try:
        found = HEAD.fullmatch(_head_path(path).read_bytes())
    except FileNotFoundError:
        return None
    if found is None:
        raise CheckFailed(f"{_head_path(path)}: not a valid head file; it was changed or damaged")
    return Head(int(found[1]), found[2].decode())


def _write_head(path: Path, head: Head) -> None:
    # mkstemp creates the file with mode 0600.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        _write(handle, f"{head.count} {head.sha256}\n".encode())
        temporary.replace(_head_path(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
