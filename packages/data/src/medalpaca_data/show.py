"""`data sources`: what can be built from, and how to come by it.

What a build shows when it is done: the account per source and stage.

What a build or a download shows while it works: a bar for each stage or file, with rate and time left.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, get_args, get_origin

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from . import cost
from .build import Built
from .core.errors import UserError, nearest
from .deid.settings import describe_record
from .ledger import LEDGER
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


def sources_as_json(kind: str | None = None) -> Any:
    """One source, or all of them, for scripts."""
    import dataclasses

    listed = {name: dataclasses.asdict(about(name)) for name in kinds()}
    return (
        listed
        if kind is None
        else {"kind": kind, **dataclasses.asdict(about(kind)), "settings": _settings(kind)}
    )


def show_sources(console: Console) -> None:
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


def show_source(kind: str, console: Console) -> None:
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


SHOWN = 3  # reasons a stage lists; the ledger has them all


def show_build(built: Built, console: Console) -> None:
    """The ledger as a table, what went and why, and where everything lies."""
    table = Table()
    table.add_column("source", overflow="fold")
    table.add_column("stage", no_wrap=True)
    for name in ("read", "kept", "rejected"):
        table.add_column(name, justify="right", no_wrap=True)
    why = []
    for source in built.ledger["sources"]:
        stages = source["stages"]
        told = stages[:1] + [stage for stage in stages[1:] if stage["rejected"] or stage.get("changed")]
        for n, stage in enumerate(told):
            name = "" if n else source["name"]
            numbers = (f"{stage[column]:,}" for column in ("read", "kept", "rejected"))
            table.add_row(name, stage["stage"], *numbers, end_section=n == len(told) - 1)
            if reasons := _reasons(stage["reasons"], stage.get("changed") or {}):
                why.append(f"{source['name']}, {stage['stage']}: {reasons}")
    console.print(table)
    for line in why:
        console.print(line, highlight=False)
    for record in built.ledger["deidentification"]:
        console.print(f"de-identification: {describe_record(record)}", highlight=False)
    if any(source["published"] is not None for source in built.ledger["sources"]):
        console.print(_parity(built))
        for source in built.ledger["recipe"]["sources"]:
            if source.get("why"):
                console.print(f"{source['name']}: {source['why']}", highlight=False)
    if built.usage:
        cost.show_usage(built.usage, console)
    if built.seconds:
        slowest = sorted(built.seconds.items(), key=lambda entry: -entry[1])
        told = ", ".join(f"{what} {seconds:.1f}" for what, seconds in slowest if seconds >= 0.05)
        console.print(f"seconds: {sum(built.seconds.values()):.1f}{f' ({told})' if told else ''}")
    for name in built.ledger["skipped"]:
        console.print(f"left out by skip: {name}")
    if built.ledger["contradictions"]["questions"]:
        counts = built.ledger["contradictions"]
        console.print(
            f"{counts['questions']:,} questions have several answers ({counts['rows']:,} rows): contradictions.jsonl"
        )
    counts = ", ".join(f"{count:,} {split}" for split, count in built.ledger["rows"].items())
    if built.reused:
        console.print(f"{built.path}: up to date ({counts} rows); nothing was built again.", soft_wrap=True)
    else:
        console.print(f"{built.path}: {counts} rows; every rejected record is in rejected/.", soft_wrap=True)


def build_as_json(built: Built) -> dict[str, Any]:
    """What became of how many rows, for scripts; the whole account is in the ledger."""
    return {
        "path": str(built.path),
        "ledger": str(built.path / LEDGER),
        "reused": built.reused,
        "rows": built.ledger["rows"],
        "sources": [
            {
                "name": source["name"],
                **{key: source[key] for key in ("read", "kept", "rejected")},
                "reasons": {
                    stage["stage"]: stage["reasons"] for stage in source["stages"] if stage["reasons"]
                },
            }
            for source in built.ledger["sources"]
        ],
        "deidentification": built.ledger["deidentification"],
        "rephrasing": cost.usage_as_json(built.usage) if built.usage else None,
        "seconds": dict(built.seconds),
    }


def _parity(built: Built) -> Table:
    """What was published of each part beside what is here: as read, before any row is dropped as a repeat, and kept."""
    table = Table(title="Beside the published mix", title_justify="left")
    table.add_column("part", overflow="fold")
    for name in ("published", "read as rows", "kept", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    sums = [0, 0, 0]
    for source in built.ledger["sources"]:
        counts = [source["published"] or 0, source["stages"][0]["kept"], source["kept"]]
        sums = [total + count for total, count in zip(sums, counts, strict=True)]
        seconds = built.seconds.get(f"read {source['name']}")
        table.add_row(
            source["name"],
            *(f"{count:,}" for count in counts),
            "" if seconds is None else f"{seconds:.1f}",
        )
    table.add_section()
    table.add_row("together", *(f"{count:,}" for count in sums), "")
    return table


def _reasons(reasons: Mapping[str, int], changed: Mapping[str, int]) -> str:
    most = sorted(reasons.items(), key=lambda entry: -entry[1])
    told = [f"{reason} ({count:,})" for reason, count in most[:SHOWN]]
    if len(most) > SHOWN:
        told.append(f"{len(most) - SHOWN} other reasons ({sum(count for _, count in most[SHOWN:]):,})")
    if changed:
        told.append("mended: " + ", ".join(f"{what} ({count:,})" for what, count in changed.items()))
    return ", ".join(told)


class Watched:
    """`with Watched(console) as watched`: `watched.tell` is what `build` and, with its `columns`, `fetch` tell."""

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._progress = Progress(*(columns or building()), console=console, transient=True)
        self._seen = console.is_terminal
        self._tasks: dict[str, TaskID] = {}

    def tell(self, what: str, done: int, of: int | None) -> None:
        """`done` of `of` (None: nobody knows) of what is being done."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=of)
        self._progress.update(self._tasks[what], completed=done, total=of)

    def __enter__(self) -> Watched:
        if self._seen:  # elsewhere rich would leave an empty line of it
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._seen:
            self._progress.stop()


def building() -> tuple[ProgressColumn, ...]:
    """Columns for the stages of a build."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description:<24}", table_column=Column(overflow="fold")),
        BarColumn(bar_width=None),  # what is left of the line
        _Amount(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def downloading() -> tuple[ProgressColumn, ...]:
    """Columns for files that are fetched, in bytes."""
    return (
        TextColumn("{task.description}", table_column=Column(overflow="fold")),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )


class _Amount(ProgressColumn):
    """Records and their rate, or parts done."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.description.startswith("read"):
            rate = f" ({task.speed:,.0f}/s)" if task.speed else ""
            return Text(f"{task.completed:,.0f} records{rate}" if task.completed else "")
        return Text(f"{task.completed:,.0f} of {task.total:,.0f} parts")
