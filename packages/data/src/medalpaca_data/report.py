"""What a build shows when it is done: the account per source and stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from .build import Built
from .cost import spent
from .deid.settings import describe
from .ledger import LEDGER

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
        console.print(f"de-identification: {describe(record)}", highlight=False)
    if any(source["published"] is not None for source in built.ledger["sources"]):
        console.print(_parity(built))
        for source in built.ledger["recipe"]["sources"]:
            if source.get("why"):
                console.print(f"{source['name']}: {source['why']}", highlight=False)
    if built.spent:
        spent.show(built.spent, console)
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


def as_json(built: Built) -> dict[str, Any]:
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
        "rephrasing": spent.as_json(built.spent) if built.spent else None,
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
