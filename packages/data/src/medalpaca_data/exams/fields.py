"""The setting `fields:`, the columns of an exam by their meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

from ..core.errors import UserError
from ..core.typed import parse_yaml
from .item import LETTERS

EXAMPLE = "example: {question: Q, options: [A, B, C], answer: K}"


class ExamFields(BaseModel):
    """The columns of an exam by their meaning, the value of `fields:`.

    `options` names one column per option, in their order, or one column with all options. `context` names columns with
    the case. `answer_base` is the number of the first option where answers are numbers; with "text", every answer is
    the text of an option.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    options: str | tuple[str, ...]
    answer: str
    context: str | tuple[str, ...] = ()
    id: str | None = None
    step: str | None = None
    subject: str | None = None
    group: str | None = None
    image: str | None = None
    answer_base: Literal[0, 1, "text"] | None = None

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return value
        if not 2 <= len(value) <= len(LETTERS):
            raise ValueError(f"{len(value)} columns; allowed: one column, or 2 to {len(LETTERS)}")
        if not in_order(value):
            raise ValueError(
                f"the option columns {', '.join(value)} are not in the order of their letters or numbers"
            )
        return value

    @property
    def columns(self) -> tuple[str, ...]:
        """All named columns."""
        named = (
            self.question,
            self.options,
            self.answer,
            self.context,
            self.id,
            self.step,
            self.subject,
            self.group,
            self.image,
        )
        groups = ((name,) if isinstance(name, str) else name or () for name in named)
        return tuple(column for group in groups for column in group)


def in_order(names: Sequence[str]) -> bool:
    """Return whether the letters or numbers in the names of option columns follow each other from the first option on.

    They are the rest of the names without their common beginning and end, as B in "Opt B". Other names are in order.
    """
    marks = _marks([" ".join(name.split()).casefold() for name in names])
    if all(re.fullmatch("[a-z]", mark) for mark in marks):
        expected = [letter.lower() for letter in LETTERS[: len(marks)]]
        return marks == expected if "a" in marks else marks == sorted(marks)
    if all(re.fullmatch(r"\d{1,3}", mark) for mark in marks):
        first = int(marks[0])
        return [int(mark) for mark in marks] == list(range(first, first + len(marks)))
    return True


def _marks(names: list[str]) -> list[str]:
    """Return the names without their common beginning and end; digits are not divided."""
    start = _common_length(names)
    rest = [name[start:] for name in names]
    end = _common_length([name[::-1] for name in rest])
    return [name[: len(name) - end].strip() for name in rest]


def _common_length(names: list[str]) -> int:
    """Return the length of the common beginning of names, without digits at its end."""
    alike = takewhile(lambda characters: len(set(characters)) == 1, zip(*names, strict=False))
    return len("".join(characters[0] for characters in alike).rstrip("0123456789"))


def parse_fields(value: Any, where: str) -> ExamFields:
    """Return `fields:` from a mapping or from its text in YAML or JSON. Raises UserError if it is not valid."""
    if isinstance(value, str):
        try:
            value = parse_yaml(value, where)
        except UserError:
            raise UserError(f"{where}: not valid YAML or JSON; {EXAMPLE}") from None
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected names of columns; {EXAMPLE}")
    try:
        return ExamFields.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        raise UserError(
            f"{where}: {key}: {_fault(key, first)}; allowed: {', '.join(ExamFields.model_fields)}"
        ) from None


def _fault(key: str, error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "this key is needed"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "literal_error":
            return f"found {error['input']!r}; allowed: 0, 1, text"
    return f"found {error['input']!r}; it must be the name of a column" + (
        " or a list of names" if key in ("options", "context") else ""
    )
