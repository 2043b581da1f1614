"""`data deid check`: how many identifiers of each class stand in a file or Meadow directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..row import TEXTS, Row, read_all_rows
from .classes import KINDS
from .find import Tagger, find, rules_sha256, sieve
from .rule import Span
from .settings import NOT_CHECKED


@dataclass(frozen=True, slots=True)
class Example:
    """Where a hit stands and what shape it has; nothing of its text is kept."""

    row: str
    field: str
    start: int
    kind: str
    rule: str
    shape: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Hits of all classes in the rows of one place."""

    path: Path
    rows: int
    rows_with_hits: int
    hits: Counter[str]
    rows_by_kind: Counter[str]
    examples: tuple[Example, ...]
    ner: str | None


def check(path: Path, *, show: int = 0, ner: bool = False) -> Checked:
    """Look through all rows of `path`; keep the shape of up to `show` hits a class."""
    tagger: Any = None
    if ner:
        from .ner import Ner

        tagger = Ner()
    rows = read_all_rows(path)
    hits: Counter[str] = Counter()
    rows_by_kind: Counter[str] = Counter()
    examples: list[Example] = []
    touched = 0
    for row, found in found_in(rows, tagger):
        kinds = [span.kind for spans in found for span in spans]
        touched += bool(kinds)
        rows_by_kind.update(set(kinds))
        for name, spans in zip(TEXTS, found, strict=True):
            for span in spans:
                hits[span.kind] += 1
                if hits[span.kind] <= show:
                    text = getattr(row, name)[span.start : span.end]
                    examples.append(Example(row.id, name, span.start, span.kind, span.rule, shape(text)))
    return Checked(path, len(rows), touched, hits, rows_by_kind, tuple(examples), tagger and tagger.version)


def found_in(
    rows: Sequence[Row], tagger: Tagger | None = None, *, placed: bool = False
) -> Iterator[tuple[Row, list[list[Span]]]]:
    """(row, identifiers in each of its texts) of every row that may hold some."""
    texts = [[getattr(row, name) for row in rows] for name in TEXTS]
    places = range(len(rows)) if tagger else sorted({n for column in texts for n in sieve(column)})
    for n in places:
        yield rows[n], find([column[n] for column in texts], tagger, placed=placed)


def shape(text: str) -> str:
    """X for a capital, x for another letter, 9 for a digit: enough to see what a hit is, and not whose."""
    return "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else " " if c.isspace() else c
        for c in text
    )


def as_json(result: Checked) -> dict[str, Any]:
    """Everything the table shows."""
    return {
        "path": str(result.path),
        "rules": rules_sha256(),
        "ner": result.ner,
        "independent_check": None,
        "rows": result.rows,
        "rows_with_hits": result.rows_with_hits,
        "classes": {
            kind: {
                "class": letter,
                "title": title,
                "hits": result.hits[kind],
                "rows": result.rows_by_kind[kind],
                "hits_per_1000_rows": _per_1000(result.hits[kind], result.rows),
            }
            for kind, (letter, title) in KINDS.items()
        },
        "examples": [
            {
                "row": e.row,
                "field": e.field,
                "start": e.start,
                "kind": e.kind,
                "rule": e.rule,
                "shape": e.shape,
            }
            for e in result.examples
        ],
    }


def show(result: Checked, console: Console) -> None:
    """The table per class, examples by their shape, and what it means."""
    table = Table(title=f"Identifiers in {result.path.name}", title_justify="left")
    table.add_column("class", no_wrap=True)
    for name in ("hits", "rows", "per 1,000 rows"):
        table.add_column(name, justify="right")
    for kind, (letter, title) in KINDS.items():
        hits = result.hits[kind]
        table.add_row(
            f"{letter} {title}",
            f"{hits:,}",
            f"{result.rows_by_kind[kind]:,}",
            f"{_per_1000(hits, result.rows):.1f}",
        )
    console.print(table)
    if result.examples:
        examples = Table(title="Where, and in which shape", title_justify="left")
        for name in ("row", "field", "at", "found as", "shape"):
            examples.add_column(name, no_wrap=name in ("row", "field", "at"), overflow="fold")
        for e in sorted(result.examples, key=lambda e: list(KINDS).index(e.kind)):
            examples.add_row(e.row, e.field, str(e.start), f"{e.kind}: {e.rule}", e.shape)
        console.print(examples)
    console.print(
        f"{result.rows_with_hits:,} of {result.rows:,} rows hold what looks like an identifier (rules "
        f"{rules_sha256()[:12]}, NER: {result.ner or 'none'}). A check by rule: bare names and towns that nothing "
        "announces need NER, and what it misses is for people to find (`data deid sample`). `data build` uses the same "
        f"detector: its result is {NOT_CHECKED}.",
        highlight=False,
    )


def _per_1000(hits: int, rows: int) -> float:
    return round(hits * 1000 / rows, 3) if rows else 0.0
