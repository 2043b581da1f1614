"""Terminal output of `data sources` and `data build`, and the progress bars of builds and downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

from .build import Built
from .core.errors import UserError, nearest
from .core.records import describe_guess
from .cost import show_usage, usage_as_json
from .deid.settings import describe_record
from .ledger import LEDGER
from .sources import Source
from .sources.base import BaseSource, SourceInfo
from .sources.columns import show_columns

# Terminal columns from which the table of sources also has the file format.
WIDE = 110


def kinds() -> dict[str, type[BaseSource]]:
    """Return the class of every source by its kind."""
    classes: tuple[type[BaseSource], ...] = get_args(Source)
    return {str(cls.model_fields["kind"].default): cls for cls in sorted(classes, key=_kind)}


def _kind(cls: type[BaseSource]) -> str:
    return str(cls.model_fields["kind"].default)


def about(kind: str) -> SourceInfo:
    """Return the description of a kind of source. Raises UserError for an unknown kind."""
    known = kinds()
    if kind not in known:
        guess = nearest(kind, known)
        hint = f"did you mean {guess!r}?" if guess else "run `data sources` for the list"
        raise UserError(f"no source {kind!r}; {hint}")
    return known[kind].about


def sources_as_json(kind: str | None = None) -> Any:
    """Return the result of `data sources` as a JSON object: the descriptions of all kinds of source, by kind.

    With `kind`, return the description of this one, and its recipe keys with their defaults.
    """
    import dataclasses

    listed = {name: dataclasses.asdict(about(name)) for name in kinds()}
    return (
        listed
        if kind is None
        else {"kind": kind, **dataclasses.asdict(about(kind)), "settings": _settings(kind)}
    )


def show_sources(console: Console) -> None:
    """Print a table of all sources."""
    is_wide = console.width >= WIDE
    table = Table(show_lines=True)
    table.add_column("source", no_wrap=True)
    if is_wide:
        table.add_column("format", ratio=2, overflow="fold")
    table.add_column("licence", ratio=1, overflow="fold")
    table.add_column("default", justify="center", no_wrap=True)
    table.add_column("rows", ratio=1, overflow="fold")
    for name in kinds():
        source = about(name)
        cells = (source.licence, "yes" if source.default else "off", source.rows)
        table.add_row(name, *((source.format,) if is_wide else ()), *cells)
    console.print(table)
    console.print(
        "Run `data sources NAME` for the download, the file format and the recipe keys of one source.",
        highlight=False,
    )


def show_source(kind: str, console: Console) -> None:
    """Print where to download a kind of source, its licence and its recipe keys.

    Raises UserError for an unknown kind.
    """
    source = about(kind)
    values = {
        "what": source.title,
        "format": source.format,
        "get it": source.get,
        "put it": "any directory; the path in the recipe is relative to the recipe file",
        "licence": source.licence,
        "size": source.size,
        "rows": source.rows,
        "default": "in the recipe medical_meadow" if source.default else "off",
        "note": source.remark,
        "patient text": "yes: training needs a de-identification record" if source.patient_text else "no",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(ratio=1, overflow="fold")
    for key, text in values.items():
        if text:
            grid.add_row(key, text)
    console.print(kind, style="bold")
    console.print(grid)
    settings = Table(title="Keys of an entry under sources: in a recipe", title_justify="left")
    settings.add_column("key", no_wrap=True)
    settings.add_column("default", ratio=1, overflow="fold")
    for key, default in _settings(kind).items():
        settings.add_row(key, default)
    console.print(settings)


def _settings(kind: str) -> dict[str, str]:
    """Return, by recipe key, its default as JSON or "required", and its allowed values if they are few."""
    import json

    fields = kinds()[kind].model_fields
    settings = {}
    for key in ("kind", *(key for key in fields if key != "kind")):
        default = fields[key].get_default(call_default_factory=True)
        text = "required" if fields[key].is_required() else json.dumps(default, default=str)
        choices = _choices(fields[key].annotation)
        settings[key] = f"{text} ({choices})" if choices else text
    return settings


def _choices(annotation: Any) -> str:
    """Return the allowed values of a setting whose type has a `Literal`, as text, else an empty string."""
    inner = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Literal:
            return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else ""
        case origin:
            choices = next(filter(None, map(_choices, inner)), "")
            prefix = "keys: " if origin is dict else "each " if origin in (tuple, list) else ""
            return prefix + choices if choices else ""


# Place of `describe_guess` in the description of a file.
GUESSED = " (guessed)"
# Reasons that are printed per stage; the ledger has all.
MAX_REASONS = 3


def show_build(built: Built, console: Console) -> None:
    """Print the ledger as a table, the most frequent reasons, and the paths of the results."""
    table = Table()
    table.add_column("source", overflow="fold")
    table.add_column("stage", no_wrap=True)
    for name in ("read", "kept", "rejected"):
        table.add_column(name, justify="right", no_wrap=True)
    reason_lines = []
    for source in built.ledger["sources"]:
        stages = source["stages"]
        shown = stages[:1] + [stage for stage in stages[1:] if stage["rejected"] or stage.get("changed")]
        for n, stage in enumerate(shown):
            name = "" if n else source["name"]
            numbers = (f"{stage[column]:,}" for column in ("read", "kept", "rejected"))
            table.add_row(name, stage["stage"], *numbers, end_section=n == len(shown) - 1)
            if reasons := _reasons(stage["reasons"], stage.get("changed") or {}):
                reason_lines.append(f"{source['name']}, {stage['stage']}: {reasons}")
    console.print(table)
    for line in reason_lines:
        console.print(line, highlight=False)
    for source in built.ledger["sources"]:
        for line in _file_notes(source):
            console.print(line, highlight=False, markup=False)
    for record in built.ledger["deidentification"]:
        console.print(f"de-identification: {describe_record(record)}", highlight=False)
    if built.key:
        console.print(
            f"{built.key}: key of patient text (ID {built.ledger['key_id']}). Back it up and keep it private: a "
            "repeated build and withdrawal (`data trace`) need it.",
            highlight=False,
            soft_wrap=True,
        )
    if any(source["published"] is not None for source in built.ledger["sources"]):
        console.print(_parity(built))
        for source in built.ledger["recipe"]["sources"]:
            if source.get("why"):
                console.print(f"{source['name']}: {source['why']}", highlight=False)
    if built.usage:
        show_usage(built.usage, console)
    if built.seconds:
        slowest = sorted(built.seconds.items(), key=lambda entry: -entry[1])
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in slowest if seconds >= 0.05)
        console.print(f"seconds: {sum(built.seconds.values()):.1f}{f' ({parts})' if parts else ''}")
    for name in built.ledger["skipped"]:
        console.print(f"not read, by skip in the recipe: {name}")
    if any(built.ledger["contradictions"].values()):
        counts = built.ledger["contradictions"]
        console.print(
            f"contradictions: questions with several answers: {counts['questions']:,} (rows: {counts['rows']:,}), "
            f"pairs of similar rows that differ in words: {counts['similar']:,}; see contradictions.jsonl"
        )
    for source in built.ledger["sources"]:
        if unread := source.get("unread_columns"):
            console.print(
                f"columns not read of {source['name']}: {show_columns(unread, source.get('unread_reasons', {}))}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    counts = ", ".join(f"{count:,} {split}" for split, count in built.ledger["rows"].items())
    if built.reused:
        console.print(f"{built.path}: up to date ({counts} rows); not built again.", soft_wrap=True)
    else:
        console.print(f"{built.path}: {counts} rows; rejected records are in rejected/.", soft_wrap=True)


def _file_notes(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each unusual encoding, delimiter or sheet of a source's files, and one for what is left out."""
    kinds: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    filled = 0
    for file in source["files"]:
        for entry in (file, *file.get("members", ())):
            filled += entry.get("filled_cells", 0)
            found = [
                f"{key} {_shown(entry[key])}{GUESSED if key == 'encoding' and entry.get('guessed') else ''}"
                for key in ("encoding", "delimiter", "sheet")
                if key in entry
            ]
            if found:
                kind = ", ".join(found)
                kinds.setdefault(kind, []).append(entry["name"])
                samples.setdefault(kind, entry.get("samples", []))
    for kind, names in kinds.items():
        count = len(names)
        files = f"{count:,} files with " if count > 1 else f"1 file ({names[0]}) with "
        files = "" if count == len(source["files"]) == 1 else files
        yield f"{source['name']}: {files}{kind.replace(GUESSED, f' {describe_guess(samples[kind])}')}"
    if filled:
        yield f"{source['name']}: {filled:,} cells filled from merged ranges"
    reasons: dict[str, list[str]] = {}
    for entry in source.get("left_out", ()):
        reasons.setdefault(entry["reason"], []).append(entry["name"])
    for reason, names in reasons.items():
        more = f" and {len(names) - 3:,} more (see ledger.json)" if len(names) > 3 else ""
        yield f"{source['name']}, not read: {len(names):,} with the reason {reason!r}: {', '.join(names[:3])}{more}"


def _shown(value: str) -> str:
    return "tab" if value == "\t" else repr(value) if len(value) == 1 else value


def build_as_json(built: Built) -> dict[str, Any]:
    """Return the result of `data build` as a JSON object.

    It holds the paths, the rows by split, and the seconds by stage. By source, it holds the records read, kept and
    rejected, and the unread columns. It also holds whether an earlier build was reused, the de-identification, its key,
    and the use of the rephrasing model. The ledger has all details.
    """
    return {
        "path": str(built.path),
        "ledger": str(built.path / LEDGER),
        "reused": built.reused,
        "rows": built.ledger["rows"],
        "sources": [
            {
                "name": source["name"],
                **{key: source[key] for key in ("read", "kept", "rejected")},
                **({"unread_columns": unread} if (unread := source.get("unread_columns")) else {}),
                **({"unread_reasons": why} if (why := source.get("unread_reasons")) else {}),
                "reasons": {
                    stage["stage"]: stage["reasons"] for stage in source["stages"] if stage["reasons"]
                },
            }
            for source in built.ledger["sources"]
        ],
        "deidentification": built.ledger["deidentification"],
        "key": {"path": str(built.key), "id": built.ledger["key_id"]} if built.key else None,
        "rephrasing": usage_as_json(built.usage) if built.usage else None,
        "seconds": dict(built.seconds),
    }


def _parity(built: Built) -> Table:
    """Return a table of published rows beside rows read and rows kept, per source."""
    table = Table(title="Comparison with the published data", title_justify="left")
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
    table.add_row("total", *(f"{count:,}" for count in sums), "")
    return table


def _reasons(reasons: Mapping[str, int], changed: Mapping[str, int]) -> str:
    most = sorted(reasons.items(), key=lambda entry: -entry[1])
    parts = [f"{reason} ({count:,})" for reason, count in most[:MAX_REASONS]]
    if len(most) > MAX_REASONS:
        rest = sum(count for _, count in most[MAX_REASONS:])
        parts.append(f"{len(most) - MAX_REASONS} other reasons ({rest:,})")
    if changed:
        parts.append("changed: " + ", ".join(f"{kind} ({count:,})" for kind, count in changed.items()))
    return ", ".join(parts)


class ProgressBars:
    """Context manager that shows a progress bar per task, and nothing if the console is no terminal.

    `update` is the `on_progress` callback. `columns` are the parts of a bar (default: `build_columns()`).
    """

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._progress = Progress(*(columns or build_columns()), console=console, transient=True)
        self._is_visible = console.is_terminal
        self._tasks: dict[str, TaskID] = {}

    def update(self, task: str, done: int, total: int | None) -> None:
        """Show `done` of `total` units of a task; `total` is None if it is unknown."""
        if task not in self._tasks:
            self._tasks[task] = self._progress.add_task(task, total=total)
        self._progress.update(self._tasks[task], completed=done, total=total)

    def __enter__(self) -> ProgressBars:
        # Without a terminal, rich would print an empty line.
        if self._is_visible:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_visible:
            self._progress.stop()


def build_columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of the progress bars of a build."""
    return (
        SpinnerColumn(),
        TextColumn("{task.description:<24}", table_column=Column(overflow="fold")),
        BarColumn(bar_width=None),
        _Amount(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def download_columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of the progress bars of downloads, in bytes."""
    return (
        TextColumn("{task.description}", table_column=Column(overflow="fold")),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )


class _Amount(ProgressColumn):
    """Column with the number of records and their rate while sources are read, else with the number of parts done."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.description.startswith("read"):
            rate = f" ({task.speed:,.0f}/s)" if task.speed else ""
            return Text(f"{task.completed:,.0f} records{rate}" if task.completed else "")
        return Text(f"{task.completed:,.0f} of {task.total:,.0f} parts")
