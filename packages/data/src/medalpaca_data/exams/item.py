"""The exam item, an exam before exclusion of items, and the conversion of record values to item fields."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import UserError
from ..core.files import is_text, sha256_bytes

LETTERS = string.ascii_uppercase
# Names of the bundled exams.
POCKET = "medalpaca_pocket"
VIGNETTES = "medalpaca_vignettes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One single-best-answer question.

    `options` maps letters to texts in the order in which they are shown; `answer` is the letter of the correct one.
    `step` is the USMLE Step, None if there is none. `subject` of a MedQA item is its part, "step1" or "step2&3".
    `image` is the name or URL of a picture. An item that was just read may be unscorable, for instance without options.
    """

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    step: int | None = None
    subject: str | None = None
    image: str | None = None

    @property
    def chance(self) -> float:
        """Return the expected accuracy of guessing: 1 / number of options."""
        return 1 / len(self.options)


@dataclass(frozen=True, slots=True)
class RawExam:
    """All items of an exam file or directory, before exclusion of those that cannot be scored.

    `source_sha256` is the hash of the files, `images` the ids of items whose question needs a picture.
    """

    name: str
    items: tuple[Item, ...]
    source_sha256: str
    images: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


class InvalidRecords:
    """Collector of (location, reason) of invalid records in `listed`; if that is None, the first one is raised."""

    def __init__(self, listed: list[tuple[str, str]] | None) -> None:
        self.listed = listed

    def add(self, error: UserError, location: str) -> None:
        """Collect or raise `error`."""
        if self.listed is None:
            raise error from None
        self.listed.append((location, str(error).removeprefix(location).lstrip(": ")))


def content_item_id(question: str, options: Iterable[str]) -> str:
    """Return an id computed from question and options, for layouts that have no ids."""
    return f"item-{sha256_bytes(chr(31).join((question, *options)).encode())[:12]}"


def required_value(record: Any, name: str, where: str) -> Any:
    """Return `record[name]`. Raises UserError with the location `where` if it is missing or null."""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: not an object with keys")
    if record.get(name) is None:
        raise UserError(f"{where}: no key {name!r}; found: {', '.join(map(str, record)) or 'none'}")
    return record[name]


def required_text(record: Any, name: str, where: str) -> str:
    """Return the text `record[name]`. Raises UserError if it is missing, null, or not text that UTF-8 can encode."""
    value = required_value(record, name, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return encodable_text(value, name, where)


def lettered_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are named A, B, ..., without empty ones at the end; {} if there are none."""
    options = {letter: record[letter] for letter in LETTERS if letter in record}
    while options and not str(options[last := next(reversed(options))] or "").strip():
        del options[last]
    return options


def optional_text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return the text or number `record[name]` as text, or None if it is missing or empty.

    Raises UserError for another type.
    """
    value = record.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: {name!r} is {type(value).__name__}, not text")
    return encodable_text(str(value), name, where)


def option_texts(value: Any, where: str) -> dict[str, str]:
    """Return the texts of options by letter, from an object or a list; null gives an empty text.

    Raises UserError for another type and for a list of more than 26 options.
    """
    if isinstance(value, list):
        if len(value) > len(LETTERS):
            raise UserError(f"{where}: {len(value)} options; allowed: at most {len(LETTERS)}")
        value = dict(zip(LETTERS, value, strict=False))
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: 'options' is {type(value).__name__}; allowed: an object or a list")
    texts = {str(letter): "" if text is None else str(text) for letter, text in value.items()}
    return {letter: encodable_text(text, f"option {letter}", where) for letter, text in texts.items()}


def encodable_text(text: str, name: str, where: str) -> str:
    """Return `text`. Raises UserError if UTF-8 cannot encode it."""
    if not is_text(text):
        raise UserError(f"{where}: {name!r} is not valid Unicode (half a surrogate pair)")
    return text


def step_number(value: Any, where: str) -> int | None:
    """Return a step as a number, or None if it is null or empty. Raises UserError if it is no number."""
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: 'step' is {value!r}, not a number") from None
