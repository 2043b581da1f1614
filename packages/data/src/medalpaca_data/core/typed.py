"""Values from files: check their types, parse YAML, and convert failures of Rust libraries to UserError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from .errors import UserError, one_line


def check_type(kind: Any, value: Any, where: str, remedy: str) -> Any:
    """Return `value` as it is if it has the type `kind`, such as a model of pydantic; no value is converted.

    A model allows other keys than its own. Raises UserError with `where`, the key, and `remedy`.
    """
    try:
        _adapter(kind).validate_python(value, strict=True)
    except (ValidationError, RecursionError) as error:
        raise UserError(f"{where}: {_first_fault(error)}; {remedy}") from None
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first_fault(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "values are nested too deeply"
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    return f"key {key!r}: {first['msg']}" if key else first["msg"]


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text. Raises UserError, with the line, if it is not valid or nested too deeply."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
    except RecursionError:
        raise UserError(f"{where}: not valid YAML (nested too deeply)") from None
    except (ValueError, OverflowError, TypeError, AttributeError, IndexError) as error:
        # A date that does not exist, a number with too many digits, or another value that PyYAML cannot convert.
        raise UserError(f"{where}: not valid YAML ({one_line(error)[:100]})") from None


@contextmanager
def table_errors(message: str) -> Iterator[None]:
    """Raise UserError with `message` and the cause if polars fails in the block, also if it panics.

    A panic of a Rust library is a BaseException, so that `except Exception` does not catch it.
    """
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{message} ({one_line(error)[:200]})") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{message} (damaged; {one_line(error)[:200]})") from None
