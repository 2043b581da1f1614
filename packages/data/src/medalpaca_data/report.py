"""What a build shows when it is done: the account per source and stage."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .build import Built


def show_build(built: Built, console: Console) -> None:
    """The ledger as a table, and where everything lies."""
    table = Table()
    for name in ("source", "stage"):
        table.add_column(name)
    for name in ("read", "kept", "rejected"):
        table.add_column(name, justify="right")
    table.add_column("reasons")
    for source in built.ledger["sources"]:
        for n, stage in enumerate(source["stages"]):
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in stage["reasons"].items())
            table.add_row(
                "" if n else source["name"],
                stage["stage"],
                *(f"{stage[column]:,}" for column in ("read", "kept", "rejected")),
                reasons,
            )
    console.print(table)
    counts = ", ".join(f"{count:,} {split}" for split, count in built.ledger["rows"].items())
    if built.reused:
        console.print(f"{built.path}: up to date ({counts} rows); nothing was built again.", soft_wrap=True)
    else:
        console.print(f"{built.path}: {counts} rows; every rejected record is in rejected/.", soft_wrap=True)
