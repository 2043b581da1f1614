"""Identifiers out of any JSON value: for rejected records of patient text, which no stage has gone through."""

from __future__ import annotations

from typing import Any

from .find import find
from .replace import masked


def redact(value: Any) -> Any:
    """The same value with `[KIND]` in every identifier's place, in all its strings; keys and numbers stay."""
    match value:
        case str():
            return masked([value], find([value]))[0]
        case dict():
            return {key: redact(inner) for key, inner in value.items()}
        case list() | tuple():
            return [redact(inner) for inner in value]
        case _:
            return value
