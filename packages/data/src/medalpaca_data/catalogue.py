"""`data sources`: what can be built from, and how to come by it."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from rich.console import Console
from rich.table import Table

from .ground.errors import UserError, nearest
from .sources import Source
from .sources.base import About, BaseSource

ROOMY = 110  # columns


def kinds() -> dict[str, type[BaseSource]]:
    """kind -> class of every source."""
    classes: tuple[type[BaseSource], ...] = get_args(Source)
    return {str(cls.model_fields["kind"].default): cls for cls in sorted(classes, key=_kind)}


def _kind(cls: type[BaseSource]) -> str:
    return str(cls.model_fields["kind"].default)


def about(kind: str) -> About:
    """What is known of a kind of source. Raises UserError, naming the nearest, for one that does not exist."""
    known = kinds()
    if kind not in known:
        guess = nearest(kind, known)
        hint = f"did you mean {guess!r}?" if guess else "`data sources` lists them"
        raise UserError(f"no source {kind!r}; {hint}")
    return known[kind].about


def as_json(kind: str | None = None) -> Any:
    """One source, or all of them, for scripts."""
    import dataclasses

    listed = {name: dataclasses.asdict(about(name)) for name in kinds()}
    return (
        listed
        if kind is None
        else {"kind": kind, **dataclasses.asdict(about(kind)), "settings": _settings(kind)}
    )


def show(console: Console) -> None:
    """All sources in a table; their formats only where there is room for them."""
    roomy = console.width >= ROOMY
    table = Table(show_lines=True)
    table.add_column("source", no_wrap=True)
    if roomy:
        table.add_column("format", ratio=2, overflow="fold")
    table.add_column("licence", ratio=1, overflow="fold")
    table.add_column("default", justify="center", no_wrap=True)
    table.add_column("rows", ratio=1, overflow="fold")
    for name in kinds():
        one = about(name)
        told = (one.licence, "yes" if one.default else "off", one.rows)
        table.add_row(name, *((one.format,) if roomy else ()), *told)
    console.print(table)
    console.print(
        "`data sources NAME` says where to get a source, its format, and how a recipe names it.",
        highlight=False,
    )


def show_one(kind: str, console: Console) -> None:
    """Where to get a source, where to put it, and its settings."""
    one = about(kind)
    told = {
        "what": one.title,
        "format": one.format,
        "get it": one.get,
        "put it": "anywhere; name it in the recipe, relative to the recipe's own directory",
        "licence": one.licence,
        "size": one.size,
        "rows": one.rows,
        "default": "in medical_meadow" if one.default else "off",
        "note": one.remark,
        "patient text": "yes: training on it demands a de-identification record"
        if one.patient_text
        else "no",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(ratio=1, overflow="fold")
    for key, text in told.items():
        if text:
            grid.add_row(key, text)
    console.print(kind, style="bold")
    console.print(grid)
    settings = Table(title="In a recipe, under sources:", title_justify="left")
    settings.add_column("key", no_wrap=True)
    settings.add_column("default", ratio=1, overflow="fold")
    for key, default in _settings(kind).items():
        settings.add_row(key, default)
    console.print(settings)


def _settings(kind: str) -> dict[str, str]:
    """key -> default, as YAML would write it, and `required` where there is none; then the choices, if they are few."""
    import json

    fields = kinds()[kind].model_fields
    told = {}
    for key in ("kind", *(key for key in fields if key != "kind")):
        default = fields[key].get_default(call_default_factory=True)
        said = "required" if fields[key].is_required() else json.dumps(default, default=str)
        choices = _choices(fields[key].annotation)
        told[key] = f"{said} ({choices})" if choices else said
    return told


def _choices(annotation: Any) -> str:
    """What a setting can be where it is one of a list, else ""."""
    inner = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Literal:
            return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else ""
        case origin:
            found = next(filter(None, map(_choices, inner)), "")
            within = "keys: " if origin is dict else "each " if origin in (tuple, list) else ""
            return within + found if found else ""
