"""What a server sent: the completion in a response's body, and the JSON object in its text. It may be any bytes.

Every raw answer ever paid for, in one SQLite file by the SHA-256 of its request.

An answer is committed before anything else is done with it, so a killed run repeats only what was in flight; and it is
kept as it came, so another parser asks nobody again. Readable by its user alone: it may hold patient text.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from ..clean_text import clean_text
from ..core.errors import UserError
from ..core.files import is_text

THINKING = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
MAX_OBJECT_STARTS = 20  # places at which an object is looked for in running text


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model wrote, and what it took. Tokens are 0 where the server does not say."""

    text: str
    cut: bool  # at max_tokens
    prompt_tokens: int
    completion_tokens: int


def parse_response(body: bytes) -> Completion:
    """The completion in a response. Raises ValueError where there is none: such a body is a fault of the line."""
    value = _load_json(body)
    if not isinstance(value, dict):
        raise ValueError("no object")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ValueError("no completion in it")
    text = message.get("content")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text if isinstance(text, str) else "",
        cut=choice.get("finish_reason") == "length",
        prompt_tokens=_token_count(usage.get("prompt_tokens")),
        completion_tokens=_token_count(usage.get("completion_tokens")),
    )


def parse_texts(completion: Completion, asks: Sequence[str]) -> dict[str, str]:
    """The texts asked for, by key. Raises ValueError with the kind of fault."""
    if completion.cut:
        raise ValueError("cut off at max_tokens")
    text = THINKING.sub("", completion.text)
    if not text.strip():
        raise ValueError("an empty answer")
    found = next((value for value in _json_objects(text) if all(name in value for name in asks)), None)
    if found is None:
        raise ValueError("no JSON object with " + " and ".join(asks))
    answer = {}
    for name in asks:
        part = found[name]
        if not isinstance(part, str) or not is_text(part):
            raise ValueError(f"its {name} is not text")
        answer[name], _ = clean_text(part)
        if not answer[name]:
            raise ValueError(f"an empty {name}")
    return answer


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects in a text: all of it, what stands in a fence, or what begins at a brace."""
    for part in (text, *FENCE.findall(text)):
        try:
            value = _load_json(part)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(MAX_OBJECT_STARTS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict):
                yield value
        at = text.find("{", end)


def _load_json(data: bytes | str) -> Any:
    try:
        return json.loads(data.decode() if isinstance(data, bytes) else data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def _token_count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0


VERSION = 1
CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    body BLOB,                 -- of the response; NULL where it failed for good
    failure TEXT,              -- why; asked again by the next run
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""
KEYS_PER_QUERY = 500  # keys in one question to SQLite
LOCK_TIMEOUT = 60  # seconds for another process that writes


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Sums over answers."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int  # answers whose server did not say


class CompletionReader:
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


class CompletionStore(CompletionReader):
    """`with Store(path) as store`; several processes may use it at once. Another kind of file raises UserError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made private before SQLite opens it; its two side files take over the mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._db = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)
        with self._told():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise UserError(f"{path}: written by another version ({version}); name another store")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A crash of the machine may cost the last answers; a killed process costs none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(CREATE_TABLE)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def keep(self, key: str, body: bytes) -> None:
        """Keep a response that `read_body` can read; it is on disk when this returns."""
        got = parse_response(body)
        self._put(key, body, None, got.prompt_tokens, got.completion_tokens)

    def keep_failure(self, key: str, failure: str) -> None:
        """Keep why there is no answer."""
        self._put(key, None, failure, 0, 0)

    def taken(self, keys: Iterable[str]) -> TokenTotals:
        """What the answers to these requests took, by the servers' own count."""
        sums = [0, 0, 0, 0]
        for part in _key_batches(keys):
            marks = ",".join("?" * len(part))
            asked = (
                "SELECT count(*), sum(prompt_tokens), sum(completion_tokens), sum(prompt_tokens = 0) "  # noqa: S608
                f"FROM answers WHERE body IS NOT NULL AND key IN ({marks})"
            )
            with self._told():
                found = self._db.execute(asked, part).fetchone()
            sums = [a + (b or 0) for a, b in zip(sums, found, strict=True)]
        return TokenTotals(*sums)

    def copy(self, keys: Iterable[str], path: Path) -> None:
        """Copy what is known of these requests into a file of its own, for `Answers`; whole or not at all."""
        part = path.with_name(f".{path.name}")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT, 0o600))
        with self._told():
            self._db.execute("ATTACH ? AS part", (str(part),))
            self._db.execute(CREATE_TABLE.replace("answers (", "part.answers ("))
            self._db.execute("BEGIN")
            for batch in _key_batches(keys):
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


def _key_batches(keys: Iterable[str]) -> Iterator[list[str]]:
    listed = list(dict.fromkeys(keys))
    return (listed[start : start + KEYS_PER_QUERY] for start in range(0, len(listed), KEYS_PER_QUERY))
