"""Typed, immutable configurations, read from YAML files and `key=value` overrides."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UserError, nearest
from .files import read_text
from .offline import masked_address
from .typed import parse_yaml


class Config(BaseModel):
    """Base class of recipes and of their sections.

    Unknown keys and infinite numbers are errors. Instances are immutable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


def load_config(
    cls: type[ConfigT],
    source: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    where: str | None = None,
) -> ConfigT:
    """Return a `cls` from a YAML file or a mapping, with `key=value` overrides.

    A dotted key such as `lora.r=8` sets a nested value, and a number selects an item of a list. `key=` sets null. An
    empty file has no keys. `where` replaces the path in error messages.
    Raises UserError for a missing file, invalid YAML, and an override without "=". Also for an unknown key (with the
    most similar valid key), a missing key, and a value that is not allowed.
    """
    where = where or (str(source) if isinstance(source, Path) else "recipe")
    values = _read_yaml(source) if isinstance(source, Path) else dict(source)
    for text in overrides:
        _override(values, text)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        if _restore_text(values, overrides, cls, error):
            return load_config(cls, values, where=where)
        raise UserError(f"{where}: {_explain(cls, error)}") from None


def _restore_text(
    values: Any, overrides: Sequence[str], cls: type[BaseModel], error: ValidationError
) -> bool:
    """Set overrides of text keys that YAML parsed as another type (out=2024) to the text; return whether one was."""
    typed = dict(text.partition("=")[::2] for text in overrides)
    changed = False
    for problem in error.errors():
        key = ".".join(_follow(cls, problem["loc"])[0])
        if problem["type"] == "string_type" and key in typed:
            _set(values, key, typed[key], f"{key}={typed[key]}")
            changed = True
    return changed


def _read_yaml(path: Path) -> dict[str, Any]:
    values = parse_yaml(read_text(path), str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: the file must contain a mapping of keys to values")
    return values


def _override(values: Any, text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UserError(f"{masked_address(repr(text))}: write an override as key=value")
    try:
        value = parse_yaml(raw, key) if raw else None
    except UserError:
        value = raw
    # Text is used as given: YAML would end it at " #", which is valid in a path.
    _set(values, key, _number(raw) if isinstance(value, str) else value, text)


def _set(values: Any, key: str, value: Any, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        index = _index(values, parent, text)
        inner = values[index] if isinstance(values, list) else values.get(index)
        # Copied, so that the caller's mapping does not change. A scalar is replaced and rejected by validation.
        inner = list(inner) if isinstance(inner, list) else dict(inner) if isinstance(inner, Mapping) else {}
        values[index] = inner
        values = inner
    values[_index(values, last, text)] = value


def _index(values: Any, part: str, text: str) -> Any:
    if not isinstance(values, list):
        return part
    if not part.isdigit() or int(part) >= len(values):
        raise UserError(
            f"{text!r}: {part!r} is not an index of a list of {len(values)} items; allowed: 0 to {len(values) - 1}"
        )
    return int(part)


def _number(text: str) -> str | float:
    """Return the number in a text such as 2e-4, which YAML 1.1 reads as a string; return any other text unchanged."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """Return the message of the first problem; unknown keys come first, since they often cause the others."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    path, known = _follow(cls, first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        guess = nearest(path[-1], [*known, *_nested_keys(cls)] if len(path) == 1 else known)
        hint = f"did you mean {guess!r}?" if guess else f"allowed: {', '.join(sorted(known))}"
        return f"unknown key {key!r}; {hint}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    if first["type"] == "model_type":
        inner = [name for name in _nested_keys(cls) if name.startswith(f"{key}.")]
        return f"key {key!r} is a group of keys; set them one by one{': ' if inner else ''}{', '.join(inner)}"
    message = first["msg"].removeprefix("Value error, ")
    # Users may write a secret where the name of its environment variable belongs; it must not be printed.
    hidden = isinstance(first["input"], Mapping) or path[-1:] == ["api_key_env"]
    shown = "" if hidden else f" (got {masked_address(repr(first['input']))})"
    return f"key {key!r}: {message}{shown}" if key else message


def _nested_keys(cls: type[BaseModel]) -> list[str]:
    return [
        f"{name}.{inner}"
        for name, field in cls.model_fields.items()
        for model in _models_in(field.annotation)
        for inner in model.model_fields
    ]


def _follow(cls: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Return the key path as the user wrote it for pydantic's `loc`, and the valid keys for its last part.

    `loc` also contains the tag of a union member, which is not part of the user's path.
    """
    path: list[str] = []
    models: list[type[BaseModel]] = [cls]
    known = list(cls.model_fields)
    for part in loc:
        tagged = [
            model for model in models if part in [field.default for field in model.model_fields.values()]
        ]
        # A tag can also be the name of a field; after a union, pydantic always adds the tag first.
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
