"""Find keys that occur twice in a JSON object. Python keeps the last value and drops the others."""

from __future__ import annotations

import json
import re
from typing import Any

# A key that a message may show. Other keys may be texts of a record.
SHORT_KEY = re.compile(r"[\w .-]{1,40}")


class RepeatedKeys(dict[str, Any]):
    """A JSON object in which a key occurs twice. It has the last value of the key, and `pairs` has all values."""

    pairs: list[tuple[str, Any]]
    key: str

    def with_value(self, key: str, value: Any) -> RepeatedKeys:
        """Return a copy with the value of another key."""
        copy = RepeatedKeys({**self, key: value})
        copy.pairs, copy.key = [*self.pairs, (key, value)], self.key
        return copy


class KeyCheck:
    """The `object_pairs_hook` of a JSON decoder. `found` counts the objects with a key that occurs twice."""

    def __init__(self) -> None:
        self.found = 0

    def hook(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object of the pairs, as `RepeatedKeys` if a key occurs twice."""
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        self.found += 1
        keys = [key for key, _ in pairs]
        repeated = RepeatedKeys(value)
        repeated.pairs, repeated.key = pairs, next(key for key in keys if keys.count(key) > 1)
        return repeated


def repeated_key(value: Any) -> str | None:
    """Return the first key that occurs twice in an object inside `value`, or None."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, RepeatedKeys):
            return inner.key
        waiting += inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
    return None


def repeated_key_fault(key: str) -> str:
    """Return the fault of a record in which `key` occurs twice."""
    return f"the key {key!r} occurs twice" if SHORT_KEY.fullmatch(key) else "a key occurs twice"


def as_json_text(value: Any) -> str:
    """Return a value as JSON text, with all values of a key that occurs twice."""
    match value:
        case dict():
            pairs = value.pairs if isinstance(value, RepeatedKeys) else value.items()
            inner = (f"{json.dumps(key, ensure_ascii=False)}: {as_json_text(item)}" for key, item in pairs)
            return f"{{{', '.join(inner)}}}"
        case list():
            return f"[{', '.join(map(as_json_text, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)
