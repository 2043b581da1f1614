"""Recipes: typed, frozen, from YAML and `key=value`; an unknown key is refused with the nearest valid one."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .ground.errors import UserError, nearest
from .ground.files import read_text


class Config(BaseModel):
    """Base of every recipe: its fields are the only keys there are, and it never changes once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


ConfigT = TypeVar("ConfigT", bound=Config)


def load_config(
    cls: type[ConfigT],
    source: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    where: str | None = None,
) -> ConfigT:
    """A `cls` from a YAML file or a mapping, with `key=value` overrides (dotted keys reach inside).

    Raises UserError, one line, for a missing file, broken YAML, an unknown key (the nearest valid one is named)
    or a value of the wrong type.
    """
    where = where or (str(source) if isinstance(source, Path) else "recipe")
    values = _read_yaml(source) if isinstance(source, Path) else dict(source)
    for text in overrides:
        _override(values, text)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(cls, error)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values")
    return values


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UserError(f"{text!r}: an override is written key=value")
    try:
        value = yaml.safe_load(raw) if raw else None
    except yaml.YAMLError:
        value = raw
    if isinstance(value, str):
        value = _number(value)
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[parent]
    values[last] = value


def _number(text: str) -> str | float:
    """YAML 1.1 reads 2e-4 as a string, because it wants a dot in it; nobody who types it does."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """The first problem in plain words. Unknown keys come first: they often cause the others."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(cls, first["loc"][:-1])
        unknown = str(first["loc"][-1])
        guess = nearest(unknown, known)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(sorted(known))}"
        return f"unknown key {key!r}; {hint}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], Mapping) else f" (got {first['input']!r})"
    return f"key {key!r}: {message}{shown}" if key else message


def _fields_at(cls: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The field names of the model that `path` leads to from `cls`."""
    for part in path:
        if isinstance(part, int):
            continue
        field = cls.model_fields.get(part)
        found = _model_in(field.annotation) if field else None
        if found is None:
            return []
        cls = found
    return list(cls.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_args(annotation):
        for inner in typing.get_args(annotation):
            if found := _model_in(inner):
                return found
    return None
