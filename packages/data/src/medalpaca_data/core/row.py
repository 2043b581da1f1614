"""The row: one instruction, its input and answer, and where they come from. And the strict way to read rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .files import is_text, sha256_bytes

ID_LENGTH = 16  # hex digits: 64 bits, no collision to be expected below a billion rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instruction row with its provenance. Texts are as a model sees them, whole and unwrapped."""

    instruction: str
    input: str
    output: str
    id: str = ""
    source: str | None = None
    source_id: str | None = None
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None
    split: str | None = None  # of the source: train, dev, test, none
    generator: str | None = None  # None: no model wrote any of it
    group: str | None = None  # what a split must not cut through: disease, thread, abstract

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", content_id(self.instruction, self.input, self.output))

    def text(self) -> str:
        """Everything a model would see of it, for contamination checks."""
        return "\n".join((self.instruction, self.input, self.output))


FIELDS = tuple(field.name for field in dataclasses.fields(Row))
TEXTS = ("instruction", "input", "output")
SPLITS = ("train", "validation")  # of a Meadow directory


def content_id(instruction: str, input: str, output: str) -> str:
    """The row's id: a hash of its three texts, so that the same row has the same id wherever it is built."""
    return sha256_bytes("\x1f".join((instruction, input, output)).encode())[:ID_LENGTH]


def parse_row(value: Any) -> Row:
    """A row from a mapping in Alpaca's fields (and, if there, ours). Raises ValueError that says what is wrong."""
    if not isinstance(value, Mapping):
        raise ValueError("not an object with instruction, input and output")
    texts = {}
    for name in TEXTS:
        text = value.get(name)
        if text is None and name == "input":
            text = ""
        if text is None:
            raise ValueError(f"no {name!r}")
        if not isinstance(text, str):
            raise ValueError(f"{name!r} is {type(text).__name__}, not text")
        if not is_text(text):
            raise ValueError(f"{name!r} holds half a surrogate pair, which is no text")
        texts[name] = text
    if not texts["output"].strip():
        raise ValueError("empty 'output'")
    if not (texts["instruction"].strip() or texts["input"].strip()):
        raise ValueError("neither 'instruction' nor 'input' says anything")
    return Row(**texts, **_provenance(value))


def _provenance(value: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name in FIELDS:
        given = None if name in TEXTS or name == "id" else value.get(name)
        if given is None or given == "":
            continue
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise ValueError(f"{name!r} is {type(given).__name__}, not text")
        found[name] = str(given)
        if not is_text(found[name]):
            raise ValueError(f"{name!r} holds half a surrogate pair, which is no text")
    return found
