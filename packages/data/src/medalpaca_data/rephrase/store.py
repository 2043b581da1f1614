"""Every raw answer ever paid for, in one SQLite file by the SHA-256 of its request.

An answer is committed before anything else is done with it, so a killed run repeats only what was in flight; and it is
kept as it came, so another parser asks nobody again. Readable by its user alone: it may hold patient text.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ..ground.errors import UserError
from .answer import read_body

VERSION = 1
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    body BLOB,                 -- of the response; NULL where it failed for good
    failure TEXT,              -- why; asked again by the next run
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""
BATCH = 500  # keys in one question to SQLite
WAIT = 60  # seconds for another process that writes


@dataclass(frozen=True, slots=True)
class Taken:
    """Sums over answers."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int  # answers whose server did not say


class Answers:
    """Answers that are only read: a copy that nobody writes, so it may lie on any file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)

    def answer(self, key: str) -> bytes | None:
        """The body that answered a request, None where none did."""
        with self._told():
            found = self._db.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def failure(self, key: str) -> str | None:
        """Why a request got no answer when it was last made."""
        with self._told():
            found = self._db.execute("SELECT failure FROM answers WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """End the use of the file."""
        self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path}: {error}; it is no store of answers, or cannot be written"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store(Answers):
    """`with Store(path) as store`; several processes may use it at once. Another kind of file raises UserError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made private before SQLite opens it; its two side files take over the mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
        with self._told():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise UserError(f"{path}: written by another version ({version}); name another store")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A crash of the machine may cost the last answers; a killed process costs none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(TABLE)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def keep(self, key: str, body: bytes) -> None:
        """Keep a response that `read_body` can read; it is on disk when this returns."""
        got = read_body(body)
        self._put(key, body, None, got.prompt_tokens, got.completion_tokens)

    def keep_failure(self, key: str, failure: str) -> None:
        """Keep why there is no answer."""
        self._put(key, None, failure, 0, 0)

    def taken(self, keys: Iterable[str]) -> Taken:
        """What the answers to these requests took, by the servers' own count."""
        sums = [0, 0, 0, 0]
        for part in _batches(keys):
            marks = ",".join("?" * len(part))
            asked = (
                "SELECT count(*), sum(prompt_tokens), sum(completion_tokens), sum(prompt_tokens = 0) "  # noqa: S608
                f"FROM answers WHERE body IS NOT NULL AND key IN ({marks})"
            )
            with self._told():
                found = self._db.execute(asked, part).fetchone()
            sums = [a + (b or 0) for a, b in zip(sums, found, strict=True)]
        return Taken(*sums)

    def copy(self, keys: Iterable[str], path: Path) -> None:
        """Copy what is known of these requests into a file of its own, for `Answers`; whole or not at all."""
        part = path.with_name(f".{path.name}")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT, 0o600))
        with self._told():
            self._db.execute("ATTACH ? AS part", (str(part),))
            self._db.execute(TABLE.replace("answers (", "part.answers ("))
            self._db.execute("BEGIN")
            for batch in _batches(keys):
                marks = ",".join("?" * len(batch))
                asked = f"SELECT * FROM main.answers WHERE key IN ({marks})"  # noqa: S608 - question marks only
                self._db.execute(f"INSERT INTO part.answers {asked}", batch)
            self._db.execute("COMMIT")
            self._db.execute("DETACH part")
        part.replace(path)

    def _put(self, key: str, body: bytes | None, failure: str | None, asked: int, written: int) -> None:
        with self._told():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (key, body, failure, asked, written)
            )


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    listed = list(dict.fromkeys(keys))
    return (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))
