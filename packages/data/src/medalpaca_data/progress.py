"""What a build or a download shows while it works: a bar for each stage or file, with rate and time left."""

from __future__ import annotations

from types import TracebackType

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
from rich.table import Column
from rich.text import Text


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
