"""The training row: instruction, input and output, with the origin of the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .case_columns import find_case_column, is_conversation
from .files import is_text, sha256_bytes

# Hexadecimal digits of a row's id. With 64 bits a collision is unlikely below a billion rows.
ID_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instruction row with its origin.

    Attributes:
        instruction, input, output: The texts, without the prompt template.
        id: Hash of the three texts, see `content_id`.
        source: Name of the source in the recipe.
        source_id: In a Meadow directory, the name of the raw file and the record's location or id in it.
        split: Split of the record in its source, such as train or dev; "none" if the source has no splits. None if it
            is not recorded.
        generator: Model and prompt that wrote the text; None if no model was used, or none is recorded.
        group: Key shared by rows that must stay on one side of a split (one disease, thread or abstract).
    """

    instruction: str
    input: str
    output: str
    id: str = ""
    source: str | None = None
    source_id: str | None = None
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None
    split: str | None = None
    generator: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", content_id(self.instruction, self.input, self.output))

    def text(self) -> str:
        """Return the three texts joined by newlines."""
        return "\n".join((self.instruction, self.input, self.output))

    def parts(self) -> tuple[str, str]:
        """Return the question (instruction and input) and the answer, as contamination checks compare them."""
        return f"{self.instruction}\n{self.input}", self.output


FIELDS = tuple(Row.__dataclass_fields__)
TEXTS = ("instruction", "input", "output")
# Splits of a Meadow directory; a source's own split names are others.
SPLITS = ("train", "validation")


def content_id(instruction: str, input: str, output: str) -> str:
    """Return the row's id: the first `ID_LENGTH` hexadecimal digits of the SHA-256 of its three texts."""
    return sha256_bytes("\x1f".join((instruction, input, output)).encode())[:ID_LENGTH]


def parse_row(value: Any) -> Row:
    """Return a row from a mapping with the keys instruction, input and output and, optionally, other fields of `Row`.

    A missing or null input becomes "". The id is computed again, and a number in another field becomes text. Other
    keys are ignored, except for a key with a part of the question, such as `history`. Raises ValueError, with the
    cause, for this key, for a conversation and for any other value.
    """
    if not isinstance(value, Mapping):
        raise ValueError("not an object with the keys instruction, input and output")
    if is_conversation(value):
        raise ValueError(
            "a conversation is not read here; make rows of it with `data build` and a recipe with kind: chat"
        )
    if column := find_case_column(value):
        raise ValueError(
            f"{column!r} can have a part of the question and is not read here; join it with `data build` and "
            "kind: alpaca"
        )
    texts = {}
    for name in TEXTS:
        text = value.get(name)
        if text is None and name == "input":
            text = ""
        if text is None:
            raise ValueError(f"no key {name!r}")
        if not isinstance(text, str):
            raise ValueError(f"{name!r} is {type(text).__name__}, not text")
        if not is_text(text):
            raise ValueError(f"{name!r} is not valid Unicode (half a surrogate pair)")
        texts[name] = text
    if not texts["output"].strip():
        raise ValueError("empty 'output'")
    if not (texts["instruction"].strip() or texts["input"].strip()):
        raise ValueError("'instruction' and 'input' are both empty")
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
            raise ValueError(f"{name!r} is not valid Unicode (half a surrogate pair)")
    return found
