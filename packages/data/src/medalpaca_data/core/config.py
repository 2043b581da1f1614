"""Recipes: typed, frozen, from YAML and `key=value`; an unknown key is refused with the nearest valid one."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UserError, nearest
from .files import read_text
from .offline import masked_address


class Config(BaseModel):
    """Base of every recipe: its fields are the only keys there are, and it never changes once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


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
        if _as_typed(values, overrides, cls, error):
            return load_config(cls, values, where=where)
        raise UserError(f"{where}: {_explain(cls, error)}") from None


def _as_typed(values: Any, overrides: Sequence[str], cls: type[BaseModel], error: ValidationError) -> bool:
    """Put back, letter for letter, what was typed for a key that wants text and looked like a number (out=2024)."""
    typed = dict(text.partition("=")[::2] for text in overrides)
    changed = False
    for problem in error.errors():
        key = ".".join(_follow(cls, problem["loc"])[0])
        if problem["type"] == "string_type" and key in typed:
            _set(values, key, typed[key], f"{key}={typed[key]}")
            changed = True
    return changed


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


def _override(values: Any, text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UserError(f"{masked_address(repr(text))}: an override is written key=value")
    try:
        value = yaml.safe_load(raw) if raw else None
    except yaml.YAMLError:
        value = raw
    # Text is taken as typed: YAML would end it at a blank and a hash, which are good in a path.
    _set(values, key, _number(raw) if isinstance(value, str) else value, text)


def _set(values: Any, key: str, value: Any, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        place = _place(values, parent, text)
        inner = values[place] if isinstance(values, list) else values.get(place)
        # Copied, so that nobody's mapping is changed; what is no container is replaced, and judged by the model.
        inner = list(inner) if isinstance(inner, list) else dict(inner) if isinstance(inner, Mapping) else {}
        values[place] = inner
        values = inner
    values[_place(values, last, text)] = value


def _place(values: Any, part: str, text: str) -> Any:
    """`part` as a key of a mapping, or as a number in a list."""
    if not isinstance(values, list):
        return part
    if not part.isdigit() or int(part) >= len(values):
        raise UserError(f"{text!r}: {part!r} is not a place in a list of {len(values)}")
    return int(part)


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
    path, known = _follow(cls, first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        guess = nearest(path[-1], known)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(sorted(known))}"
        return f"unknown key {key!r}; {hint}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    # A key that was put where the name of its variable belongs is not to be read by others.
    hidden = isinstance(first["input"], Mapping) or path[-1:] == ["api_key_env"]
    shown = "" if hidden else f" (got {masked_address(repr(first['input']))})"
    return f"key {key!r}: {message}{shown}" if key else message


def _follow(cls: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The path that a user wrote for pydantic's `loc`, and the keys that are valid where it ends.

    `loc` also names the member of a union that was tried, by its tag; a user never writes that.
    """
    path: list[str] = []
    models: list[type[BaseModel]] = [cls]
    known = list(cls.model_fields)
    for part in loc:
        tagged = [
            model for model in models if part in [field.default for field in model.model_fields.values()]
        ]
        # A tag may also be a field's name, but of the many models of a union only its tag comes next.
        named = any(part in model.model_fields for model in models)
        if isinstance(part, str) and tagged and (len(models) > 1 or not named):
            models = tagged
            known = [name for model in models for name in model.model_fields]
            continue
        path.append(str(part))
        if isinstance(part, str):
            known = [name for model in models for name in model.model_fields]
            fields = [model.model_fields[part] for model in models if part in model.model_fields]
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return path, known


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]
