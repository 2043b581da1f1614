"""Completions: parse the response of a server, and store every response with a completion in an SQLite file.

A response is stored whole, under the SHA-256 of its request, as soon as it arrives; `parse_texts` reads the texts from
it later. So a killed run repeats only the requests in flight, and other checks need no new request. Only the user can
read the file, because it may contain patient text.
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
# Largest number of opening braces in a text at which parsing of a JSON object is tried.
MAX_OBJECT_STARTS = 20


@dataclass(frozen=True, slots=True)
class Completion:
    """The text of a completion, whether it is cut off at max_tokens, and the token counts of the server.

    A count that the server omits is 0.
    """

    text: str
    cut_off: bool
    prompt_tokens: int
    completion_tokens: int


def parse_response(body: bytes) -> Completion:
    """Return the completion in the body of a response. Its text is "" if the message has no text.

    Raises ValueError if the body is not JSON or has no message; such a request is retried.
    """
    value = _load_json(body)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ValueError("no completion in the response")
    text = message.get("content")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=text if isinstance(text, str) else "",
        cut_off=choice.get("finish_reason") == "length",
        prompt_tokens=_token_count(usage.get("prompt_tokens")),
        completion_tokens=_token_count(usage.get("completion_tokens")),
    )


def parse_texts(completion: Completion, asks: Sequence[str]) -> dict[str, str]:
    """Return {key: cleaned text} for the keys `asks` of the JSON object in a completion.

    Text around the object, such as reasoning of the model, is ignored. Raises ValueError with the kind of fault if the
    completion is cut off, has no such object, or has an empty text.
    """
    if completion.cut_off:
        raise ValueError("cut off at max_tokens")
    text = THINKING.sub("", completion.text)
    if not text.strip():
        raise ValueError("an empty answer")
    answer = next((value for value in _json_objects(text) if all(name in value for name in asks)), None)
    if answer is None:
        raise ValueError("no JSON object with " + " and ".join(asks))
    texts = {}
    for name in asks:
        part = answer[name]
        if not isinstance(part, str) or not is_text(part):
            raise ValueError(f"the {name} is not text")
        texts[name], _ = clean_text(part)
        if not texts[name]:
            raise ValueError(f"an empty {name}")
    return texts


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text: the whole text, then code blocks, then objects from the first braces on."""
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
KEYS_PER_QUERY = 500
# Largest number of seconds to wait while another process writes.
LOCK_TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Number of completions, and sums of their tokens as the servers counted them.

    `uncounted` is the number of completions without a count of prompt tokens.
    """

    completions: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int


class CompletionReader:
    """Read-only access to a file of completions that no process writes any more, such as one made by `copy`.

    The file is not locked, so it may be on any file system.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)

    def completion(self, key: str) -> bytes | None:
        """Return the stored response body for the key of a request, or None if there is no completion."""
        with self._sqlite_errors():
            row = self._db.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def failure(self, key: str) -> str | None:
        """Return why the request with this key got no completion when it was last sent.

        None if it got one or was never sent.
        """
        with self._sqlite_errors():
            row = self._db.execute("SELECT failure FROM answers WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path}: {error}; the file is not a store of completions, or cannot be written"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CompletionStore(CompletionReader):
    """Read and write access to a store: `with CompletionStore(path) as store`; safe for several processes at once.

    A missing file and its directory are created, readable only by the user. Raises UserError if the file is not a
    store, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The file is made private before SQLite opens it; SQLite gives its two journal files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._db = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)
        with self._sqlite_errors():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise UserError(
                    f"{path}: store of version {version}, but this program reads version {VERSION}; "
                    "set rephrase.store to another file"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            # A crash of the machine may lose the last completions; a killed process loses none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(CREATE_TABLE)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def save(self, key: str, body: bytes) -> None:
        """Store the body of a response under the key of its request, and commit it.

        Raises ValueError if `parse_response` cannot read the body.
        """
        completion = parse_response(body)
        self._put(key, body, None, completion.prompt_tokens, completion.completion_tokens)

    def save_failure(self, key: str, failure: str) -> None:
        """Store why a request got no completion; it replaces a completion under the same key."""
        self._put(key, None, failure, 0, 0)

    def totals(self, keys: Iterable[str]) -> TokenTotals:
        """Return the totals over the stored completions of these requests; a repeated key counts once."""
        sums = [0, 0, 0, 0]
        for part in _key_batches(keys):
            marks = ",".join("?" * len(part))
            query = (
                "SELECT count(*), sum(prompt_tokens), sum(completion_tokens), sum(prompt_tokens = 0) "  # noqa: S608
                f"FROM answers WHERE body IS NOT NULL AND key IN ({marks})"
            )
            with self._sqlite_errors():
                row = self._db.execute(query, part).fetchone()
            sums = [a + (b or 0) for a, b in zip(sums, row, strict=True)]
        return TokenTotals(*sums)

    def copy(self, keys: Iterable[str], path: Path) -> None:
        """Copy the completions and failures of these requests to the file `path`, which `CompletionReader` can read.

        The file is complete or does not exist; an older one is replaced.
        """
        part = path.with_name(f".{path.name}")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT, 0o600))
        with self._sqlite_errors():
            self._db.execute("ATTACH ? AS part", (str(part),))
            self._db.execute(CREATE_TABLE.replace("answers (", "part.answers ("))
            self._db.execute("BEGIN")
            for batch in _key_batches(keys):
                marks = ",".join("?" * len(batch))
                query = f"SELECT * FROM main.answers WHERE key IN ({marks})"  # noqa: S608 - question marks only
                self._db.execute(f"INSERT INTO part.answers {query}", batch)
            self._db.execute("COMMIT")
            self._db.execute("DETACH part")
        part.replace(path)

    def _put(
        self, key: str, body: bytes | None, failure: str | None, prompt_tokens: int, completion_tokens: int
    ) -> None:
        with self._sqlite_errors():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (key, body, failure, prompt_tokens, completion_tokens),
            )


def _key_batches(keys: Iterable[str]) -> Iterator[list[str]]:
    listed = list(dict.fromkeys(keys))
    return (listed[start : start + KEYS_PER_QUERY] for start in range(0, len(listed), KEYS_PER_QUERY))
