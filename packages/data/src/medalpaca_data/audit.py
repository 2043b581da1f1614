"""`data audit`: do a published file's labels agree with the corpus it was made from?

The published PubMed-causal part of Medical Meadow has every label wrong; this is how one finds out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .ground.errors import UserError
from .row import read_rows
from .sources.pubmed_causal import Encoding, read_classes

# What a label text says, told by the words in it; more telling words first.
PHRASES = (
    ("no ", "no relationship"),
    ("conditional", "conditional causal"),
    ("correlat", "correlational"),
    ("caus", "direct causal"),
)


@dataclass(frozen=True, slots=True)
class Audit:
    """Published labels against upstream's, joined by sentence."""

    rows: int
    unmatched: int
    agree: int
    confusion: Counter[tuple[str, str]]  # (upstream class, published class)


def audit(published: Path, upstream: Path, encoding: Encoding | None = None) -> Audit:
    """Join `published` (Alpaca rows) to `upstream` (its CSV) by sentence and compare the classes."""
    classes = read_classes(upstream, encoding)
    unmatched = agree = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for n, row in enumerate(read_rows(published), 1):
        said = _class_of(row.output)
        if said is None:
            raise UserError(f"{published} row {n}: 'output' is no label of a causal relationship")
        truth = classes.get(row.input.strip())
        if truth is None:
            unmatched += 1
            continue
        agree += said in truth
        confusion["/".join(sorted(truth)), said] += 1
    return Audit(sum(confusion.values()) + unmatched, unmatched, agree, confusion)


def as_json(result: Audit) -> dict[str, Any]:
    """The counts, for scripts."""
    return {
        "rows": result.rows,
        "unmatched": result.unmatched,
        "agree": result.agree,
        "confusion": [
            {"upstream": truth, "published": said, "rows": count}
            for (truth, said), count in sorted(result.confusion.items())
        ],
    }


def show(result: Audit, console: Console) -> None:
    """Which class was published as which."""
    table = Table(title="Upstream class, and what was published", title_justify="left")
    for name in ("upstream", "published"):
        table.add_column(name)
    table.add_column("rows", justify="right")
    for (truth, said), count in result.confusion.most_common():
        table.add_row(truth, said, f"{count:,}")
    console.print(table)
    console.print(
        f"{result.agree:,} of {result.rows:,} labels agree with upstream "
        f"({result.unmatched:,} sentences not found there)."
    )


def _class_of(text: str) -> str | None:
    lowered = text.lower()
    return next((name for word, name in PHRASES if f" {word}" in f" {lowered}"), None)
