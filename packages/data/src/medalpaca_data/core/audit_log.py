"""An append-only log that shows when it was changed: JSON lines, each with the SHA-256 of the line before it.

The chain alone cannot show that its end was cut off, nor that its last line was changed. So the number of entries and
the hash of the last one, its head, stand in a second file beside it, `LOG.head`. Whoever can write both can make both
anew; against that only a head helps that was noted elsewhere, which is why every head is handed out.
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
from .files import sha256_bytes

START = "0" * 64  # what the first entry names as the line before it
LONGEST = 1 << 15  # bytes of an entry
HASH = re.compile(r"[0-9a-f]{64}")
HEAD = re.compile(rb"(0|[1-9][0-9]{0,17}) ([0-9a-f]{64})\n")
OURS = ("n", "time", "what", "prev", "broken")


@dataclass(frozen=True, slots=True)
class Head:
    """How many entries, and the SHA-256 of the last one's line."""

    count: int = 0
    sha256: str = START


@dataclass(frozen=True, slots=True)
class Verified:
    """An unchanged log: its head, and what is worth saying about it all the same."""

    head: Head
    notes: tuple[str, ...] = ()


class AuditLog:
    """A log to append to, from several threads and processes at once. `tell` is told of what an earlier end left."""

    def __init__(self, path: Path, tell: Callable[[str], None] | None = None) -> None:
        self.path = Path(path).expanduser().absolute()
        self._tell = tell or (lambda said: None)

    def append(self, what: str, **facts: Any) -> Head:
        """Write one entry to the disk, not only towards it. `facts` are JSON values; no texts belong here.

        Raises UserError where the log cannot be continued: shortened, its head missing, open to others.
        """
        with _locked(self.path) as handle:
            head, pending = self._resume(handle)
            entry = {
                "n": head.count + 1,
                "time": _now(),
                "what": what,
                **_checked(facts),
                "prev": head.sha256,
            }
            if pending:
                entry["broken"] = {"bytes": len(_garbage(pending)), "sha256": sha256_bytes(_garbage(pending))}
            line = json.dumps(entry).encode()
            if len(line) > LONGEST:
                raise UserError(f"{self.path}: an entry of {len(line):,} bytes; at most {LONGEST:,}")
            _write(handle, (b"\n" if pending and not pending.endswith(b"\n") else b"") + line + b"\n")
            head = Head(head.count + 1, sha256_bytes(line))
            _write_head(self.path, head)
        return head

    def _resume(self, handle: int) -> tuple[Head, bytes]:
        """Where the log goes on, and what a process that was ended while writing left behind the last entry."""
        kept = _read_head(self.path)
        if os.fstat(handle).st_size == 0:
            if kept is not None and kept.count:
                raise UserError(
                    f"{self.path}: is empty, and its head names {kept.count:,} entries; see `verify`"
                )
            if kept is None:
                _write_head(self.path, Head())
            return Head(), b""
        if kept is None:
            raise UserError(
                f"{self.path}: its head ({_head_path(self.path).name}) is missing; start another log"
            )
        entry, line, pending = _last(handle, self.path)
        found = Head(entry["n"], sha256_bytes(line)) if entry else Head()
        if pending and _continues(pending, found):
            # All of an entry but its end of line: it was on its way, and is completed.
            _write(handle, b"\n")
            found, entry, pending = Head(found.count + 1, sha256_bytes(pending)), json.loads(pending), b""
        before = Head(found.count - 1, entry["prev"]) if entry else None
        if kept not in (found, before):
            raise UserError(
                f"{self.path}: holds {found.count:,} entries, and its head names {kept.count:,} or others; "
                "see `demo audit verify`, and start another log"
            )
        if pending:
            self._tell(
                f"{self.path}: {len(pending)} bytes of an entry that was never finished; the next one names them"
            )
        if kept == before:
            self._tell(
                f"{self.path}: entry {found.count:,} was written by a process that ended right after it"
            )
        return found, pending


def verify(path: Path, noted: str | None = None) -> Verified:
    """Read the whole log. Raises CheckFailed at the first sign of an edit, a deletion, a swap, a truncation.

    `noted` is a head's hash that was kept elsewhere: everything up to it is what it was then, even if somebody could
    write log and head file.
    """
    if noted is not None and not HASH.fullmatch(noted):
        raise UserError(f"--head {noted!r}: 64 hexadecimal digits were expected")
    if not path.is_file():
        if _head_path(path).is_file():
            raise CheckFailed(f"{path}: is gone, and its head is still there")
        raise UserError(f"{path}: no such file")
    with _locked(path, create=False):
        data, kept = path.read_bytes(), _read_head(path)
    heads, notes = _chain(path, data)
    if noted is not None:
        at = next((head.count for head in heads if head.sha256 == noted), None)
        if at is None:
            raise CheckFailed(
                f"{path}: no entry has the noted head: it, or one before it, was changed or cut off"
            )
        notes.append(f"entries up to {at:,} are those of the noted head; {heads[-1].count - at:,} came later")
    if kept is None:
        if noted is None:
            raise CheckFailed(
                f"{path}: its head ({_head_path(path).name}) is missing, so that its end is there cannot be shown; "
                "give one that was noted with --head"
            )
        notes.append(
            "the head file is missing: whether entries after the noted one were cut off cannot be told"
        )
    elif kept.count > heads[-1].count:
        raise CheckFailed(
            f"{path}: {kept.count - heads[-1].count:,} of {kept.count:,} entries are cut off its end"
        )
    elif heads[kept.count] != kept:
        raise CheckFailed(
            f"{path} entry {kept.count:,}: is not the one that its head names; changed or replaced"
        )
    elif heads[-1].count - kept.count > 1:
        raise CheckFailed(f"{path}: its head is of entry {kept.count:,}, and {heads[-1].count:,} are there")
    elif heads[-1] != kept:
        notes.append(f"entry {heads[-1].count:,} was written by a process that ended right after it")
    return Verified(heads[-1], tuple(notes))


def _chain(path: Path, data: bytes) -> tuple[list[Head], list[str]]:
    """Every head the log has had, from the empty one on."""
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
                f"{path} line {number}: does not continue the entry before it; one of the two was changed, "
                "or something between them is gone"
            )
        garbage = b"\n".join(strange)
        named = {"bytes": len(garbage), "sha256": sha256_bytes(garbage)} if strange else None
        if entry.get("broken") != named:
            raise CheckFailed(
                f"{path} line {number}: what stands before it is no entry, or is not what it names"
            )
        if strange:
            notes.append(f"line {number - len(strange)}: an entry that was never finished, named by the next")
        heads.append(Head(entry["n"], sha256_bytes(line)))
        strange = []
    if left := len(b"\n".join([*strange, rest])):
        raise CheckFailed(
            f"{path}: ends in {left:,} bytes that are no entry: a process was ended while it wrote, or somebody "
            "added or cut; the next entry will name them"
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
    """The last entry with its line, and the bytes after that line's end."""
    size = os.fstat(handle).st_size
    start = max(0, size - 4 * LONGEST)
    data = os.pread(handle, size - start, start)
    end = len(data)
    while (stop := data.rfind(b"\n", 0, end)) >= 0:
        begin = data.rfind(b"\n", 0, stop) + 1
        if (begin or not start) and (entry := _entry(data[begin:stop])) is not None:
            return entry, data[begin:stop], data[stop + 1 :]
        end = stop
    if start:
        raise UserError(f"{path}: no entry in its last {4 * LONGEST:,} bytes; see `demo audit verify`")
    return None, b"", data


def _garbage(pending: bytes) -> bytes:
    return pending.removesuffix(b"\n")


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    if taken := [name for name in OURS if name in facts]:
        raise ValueError(f"{taken[0]!r} is the log's own")
    return facts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _locked(path: Path, *, create: bool = True) -> Iterator[int]:
    """The log's file, for one process at a time."""
    try:
        import fcntl
    except ImportError:
        raise UserError(f"{path}: an audit log needs file locks, which this system does not have") from None
    flags = (os.O_RDWR | os.O_APPEND | os.O_CREAT if create else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened as an audit log ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if create else fcntl.LOCK_SH)
        if create and os.fstat(handle).st_mode & 0o077:
            raise UserError(f"{path}: others on this machine can read or write it; run `chmod 600 {path}`")
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
    try:
        found = HEAD.fullmatch(_head_path(path).read_bytes())
    except FileNotFoundError:
        return None
    if found is None:
        raise CheckFailed(f"{_head_path(path)}: is no head; changed or damaged")
    return Head(int(found[1]), found[2].decode())


def _write_head(path: Path, head: Head) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    temporary = Path(name)
    try:
        _write(handle, f"{head.count} {head.sha256}\n".encode())
        temporary.replace(_head_path(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
