"""The command `data show`: print samples, lengths and removals of a Meadow directory, or write them as an HTML page."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.cli import Command, Commands, add_command, print_json, screen, wrapped
from .core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .dataset_view import DatasetView, Lengths, SourceView

PAGE = "dataset.html"
# Rows per source on the page and of a single source, and rows per source of all sources in a terminal.
MANY, FEW = 20, 3
# Characters of a text that are shown.
MAX_SHOWN = 600
# Characters around a change that are shown.
CONTEXT = 60
BAR_WIDTH = 30


def add_show(commands: Commands[Command]) -> None:
    """Add the command `data show`."""
    command = add_command(
        commands,
        "show",
        "show sample rows of every source, their lengths, and what each stage removed",
        (
            "data show meadow                          3 rows of every source",
            "data show meadow --source medquad         20 rows of one source",
            "data show meadow --html meadow.html       a page for a browser",
        ),
        f"`data build` writes the same page as {PAGE} into its directory. Samples are random; another --seed draws "
        "others.",
    )
    command.add_argument(
        "path", type=Path, metavar="MEADOW", help="Meadow directory, written by `data build`"
    )
    command.add_argument("--source", metavar="NAME", help="show only this source (default: all)")
    command.add_argument(
        "--n",
        type=int,
        metavar="ROWS",
        help=f"number of sample rows per source (default: {FEW}; {MANY} with --source or --html)",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the random samples (default: 0)")
    command.add_argument("--html", type=Path, metavar="FILE", help="write an HTML page instead of text")
    command.add_json()
    command.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> None:
    from .core.files import write_text
    from .dataset_view import view_dataset

    n = args.n if args.n is not None else MANY if args.source or args.html else FEW
    if n < 0:
        raise UserError(f"--n {n}: give a whole number of 0 or more")
    if args.html and args.html.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html {args.html}: the file name must end in .html")
    view = view_dataset(args.path, n=n, source=args.source, seed=args.seed)
    if args.html:
        write_text(args.html, render_page(view))
    if args.json:
        print_json(dataclasses.asdict(view))
    elif args.html:
        screen().print(f"{args.html}: written", soft_wrap=True)
    else:
        print_view(view, screen())


def write_page(directory: Path) -> None:
    """Write the page of a Meadow directory into it."""
    from .core.files import write_text
    from .dataset_view import view_dataset

    write_text(directory / PAGE, render_page(view_dataset(directory, n=MANY)))


def render_page(view: DatasetView) -> str:
    """Return one HTML page without scripts and without external resources. Equal views give equal pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from .dataset_view import bin_labels

    environment = Environment(
        loader=PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": lambda count: f"{count:,}",
        "excerpt": excerpt,
        "difference": lambda change: difference(change["before"], change["after"]),
        "record": record_text,
        "evidence": evidence,
        "shares": shares,
    }
    environment.globals["zip"] = zip
    return environment.get_template("dataset.html.j2").render(view=view, labels=bin_labels())


def excerpt(text: str) -> str:
    r"""Return the first `MAX_SHOWN` characters of a text and the number of the others.

    Characters that are not printable, such as a zero-width space, are shown as escapes such as `\u200b`.
    """
    rest = len(text) - MAX_SHOWN
    return escape(text[:MAX_SHOWN]) + (f" … ({rest:,} more characters)" if rest > 0 else "")


def escape(text: str) -> str:
    r"""Return a text with its characters that are not printable as escapes such as `\u200b`."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def difference(before: str, after: str) -> tuple[str, str]:
    """Return the parts of two texts that differ, with `CONTEXT` characters on either side."""
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    end = next((n for n in range(shorter - start) if before[-1 - n] != after[-1 - n]), shorter - start)
    return _part(before, start, end), _part(after, start, end)


def _part(text: str, start: int, end: int) -> str:
    """Return `text` without its first `start` and last `end` characters, but with `CONTEXT` characters of them."""
    first, last = max(start - CONTEXT, 0), min(len(text) - end + CONTEXT, len(text))
    shown = excerpt(text[first:last])
    return f"{'… ' if first else ''}{shown}{' …' if last < len(text) else ''}"


def record_text(record: Any) -> str:
    """Return the text of a rejected record: the texts of a row, or the raw record as JSON."""
    if record is None:
        return "(record of patient text, not kept)"
    if isinstance(record, str):
        return excerpt(record)
    if isinstance(record, Mapping) and isinstance(record.get("output"), str):
        question = "\n".join(str(record[key]) for key in ("instruction", "input") if record.get(key))
        return excerpt(f"{question}\n→ {record['output']}")
    return excerpt(json.dumps(record, ensure_ascii=False))


def evidence(entry: Mapping[str, Any]) -> str:
    """Return the additional keys of a line of a reject file as text, such as "kept 3f2a9c417be0d852"."""
    known = {"file", "place", "stage", "reason", "record", "by_rule"}
    return ", ".join(f"{key} {value}" for key, value in entry.items() if key not in known)


def shares(lengths: Lengths) -> list[float]:
    """Return the counts of a histogram as shares (0 to 1) of its largest count."""
    largest = max(lengths.counts) or 1
    return [count / largest for count in lengths.counts]


def print_view(view: DatasetView, console: Console) -> None:
    """Print the content of a Meadow directory, source by source."""
    rows = ", ".join(f"{count:,} {split}" for split, count in view.rows.items())
    console.print(f"{view.name}: {rows} rows", style="bold", highlight=False)
    for source in view.sources:
        _print_source(source, console)
    if view.contradicting:
        console.print(f"\npossible contradictions: {view.contradicting:,}", style="bold", highlight=False)
        for entry in view.contradictions:
            places = "; ".join(place or "no location" for place in entry["places"])
            _print_block(f"{entry.get('kind', 'same question')}, {places}", "", console)
            for text in entry.get("texts", ()):
                _print_block("", record_text(text), console)
        _print_rest(view.contradicting - len(view.contradictions), "contradictions.jsonl", console)
    if view.hits:
        console.print(f"\nmatches with exam questions: {view.hits:,}", style="bold", highlight=False)
        for entry in view.exam_hits:
            fate = ", removed" if entry["dropped"] else ""
            text = f"{entry['exam']} item {entry['item']}, coverage {entry['coverage']:.0%}, row {entry['row']}{fate}"
            _print_block("", text, console)
        _print_rest(view.hits - len(view.exam_hits), "exam_hits.jsonl", console)


def _print_source(source: SourceView, console: Console) -> None:
    console.print(f"\nsource {source.name}", style="bold underline", highlight=False)
    patient = "; patient text" if source.patient_text else ""
    console.print(f"{source.read:,} records read, {source.kept:,} rows kept{patient}", highlight=False)
    if source.unread:
        from .sources.columns import show_columns

        columns = show_columns(source.unread, source.unread_reasons)
        console.print(f"columns that were not read, with their values: {columns}", highlight=False)
    console.print(_histogram(source))
    for removed in source.removed:
        console.print(f"\n{removed.stage} removed {removed.count:,}: {removed.reason}", highlight=False)
        for entry in removed.examples:
            details = f" ({evidence(entry)})" if evidence(entry) else ""
            _print_block(
                f"{entry['file']} {entry['place']}{details}".strip(), record_text(entry["record"]), console
            )
    for changed in source.changed:
        kinds = ", ".join(f"{kind} ({count:,})" for kind, count in changed.kinds.items())
        console.print(f"\n{changed.stage} changed: {kinds}", highlight=False)
        for change in changed.examples:
            before, after = difference(change["before"], change["after"])
            _print_block(f"{change['field']} of row {change['id']}, before", before, console)
            _print_block("in the final row", after, console)
    for row in source.samples:
        console.print(
            f"\nrow {row['id']} ({row['split']}), {row['source_id'] or 'no location'}", style="bold"
        )
        for name in ("instruction", "input", "output"):
            if row[name]:
                _print_block(name, excerpt(row[name]), console)


def _histogram(source: SourceView) -> Table:
    """Return a table with one line per bin: counts and bars of the words of question and answer."""
    from rich.bar import Bar
    from rich.table import Table

    from .dataset_view import bin_labels

    table = Table(box=None, padding=(0, 1))
    table.add_column("words", no_wrap=True)
    for lengths in source.lengths:
        table.add_column(lengths.part, justify="right", no_wrap=True)
        table.add_column("", width=BAR_WIDTH // 2)
    bars = [shares(lengths) for lengths in source.lengths]
    for n, label in enumerate(bin_labels()):
        cells = [
            cell
            for lengths, bar in zip(source.lengths, bars, strict=True)
            for cell in (f"{lengths.counts[n]:,}", Bar(1, 0, bar[n]))
        ]
        table.add_row(label, *cells)
    return table


def _print_block(head: str, text: str, console: Console) -> None:
    if head:
        console.print(
            wrapped(f"  {head}:", console.width, hang=4), highlight=False, soft_wrap=True, style="dim"
        )
    for line in text.splitlines():
        console.print(wrapped(f"    {line}", console.width, hang=4), highlight=False, soft_wrap=True)


def _print_rest(count: int, file: str, console: Console) -> None:
    if count > 0:
        console.print(f"    and {count:,} more in {file}", highlight=False)
