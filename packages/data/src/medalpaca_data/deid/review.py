"""`data deid check`: how many identifiers of each class stand in a file or Meadow directory.

`data deid sample`: rows for people to read, drawn so that what they find bounds what is left in all rows.

`data deid bound`: from what people found in a sample, how many rows may still hold an identifier.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.errors import UserError
from ..core.files import write_text
from ..core.records import read_all_rows, read_records
from ..core.row import TEXTS, Row
from .find import Tagger, find_identifiers, prefilter, rules_sha256
from .rules import KINDS, Span
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
class CheckResult:
    """Hits of all classes in the rows of one place."""

    path: Path
    rows: int
    rows_with_hits: int
    hits: Counter[str]
    rows_by_kind: Counter[str]
    examples: tuple[Example, ...]
    ner: str | None


def check(path: Path, *, show: int = 0, ner: bool = False) -> CheckResult:
    """Look through all rows of `path`; keep the shape of up to `show` hits a class."""
    tagger: Any = None
    if ner:
        from .ner import NerTagger

        tagger = NerTagger()
    rows = read_all_rows(path)
    hits: Counter[str] = Counter()
    rows_by_kind: Counter[str] = Counter()
    examples: list[Example] = []
    touched = 0
    for row, found in find_in_rows(rows, tagger):
        kinds = [span.kind for spans in found for span in spans]
        touched += bool(kinds)
        rows_by_kind.update(set(kinds))
        for name, spans in zip(TEXTS, found, strict=True):
            for span in spans:
                hits[span.kind] += 1
                if hits[span.kind] <= show:
                    text = getattr(row, name)[span.start : span.end]
                    examples.append(Example(row.id, name, span.start, span.kind, span.rule, shape(text)))
    return CheckResult(
        path, len(rows), touched, hits, rows_by_kind, tuple(examples), tagger and tagger.version
    )


def find_in_rows(
    rows: Sequence[Row], tagger: Tagger | None = None, *, placed: bool = False
) -> Iterator[tuple[Row, list[list[Span]]]]:
    """(row, identifiers in each of its texts) of every row that may hold some."""
    texts = [[getattr(row, name) for row in rows] for name in TEXTS]
    places = range(len(rows)) if tagger else sorted({n for column in texts for n in prefilter(column)})
    for n in places:
        yield rows[n], find_identifiers([column[n] for column in texts], tagger, placed=placed)


def shape(text: str) -> str:
    """X for a capital, x for another letter, 9 for a digit: enough to see what a hit is, and not whose."""
    return "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else " " if c.isspace() else c
        for c in text
    )


def check_as_json(result: CheckResult) -> dict[str, Any]:
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


def show_check(result: CheckResult, console: Console) -> None:
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


COLUMNS = ("id", "drawn", "found", "text", "leaks", "remark")
BOUND, EXTRA = "bound", "extra"
MIN_ROWS_PER_CLASS = 5  # rows of every class found, at least, where there are so many
NO_CLASS = "none"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn. `strata`: class (or none) -> (rows of it, drawn for the bound, drawn besides)."""

    out: Path
    rows: int
    strata: Mapping[str, tuple[int, int, int]]


def draw_sample(path: Path, out: Path, *, n: int = 300, seed: int = 0) -> Sample:
    """Write `n` rows of `path`, and some more of rare classes, to `out` (.csv or .jsonl) with an empty `leaks` column.

    A row's stratum is the rarest class that was found in it (surrogates count), or none. The `n` are shared out in
    proportion, so that the bound of a simple draw holds for them; the others (`drawn` = extra) do not enter it.
    The same rows, n and seed give the same file. It is written for its owner's eyes only. Raises UserError.
    """
    if out.suffix not in (".csv", ".jsonl"):
        raise UserError(f"{out}: a .csv or .jsonl file is written for review")
    if out.exists():
        raise UserError(
            f"{out}: is there already, perhaps with marks in it; choose another out= or remove it first"
        )
    if n < 1:
        raise UserError(f"n={n}: a sample of at least one row was expected")
    rows = read_all_rows(path)
    strata = _strata(rows)
    draw = random.Random(seed)  # noqa: S311 - a repeatable draw, not a secret
    quotas = allocate(n, {name: len(members) for name, members in strata.items()})
    drawn: list[tuple[Row, str, str]] = []
    told = {}
    for name, members in sorted(strata.items()):
        mixed = draw.sample(members, len(members))
        more = 0 if name == NO_CLASS else max(0, min(MIN_ROWS_PER_CLASS, len(mixed)) - quotas[name])
        drawn += [(row, BOUND, name) for row in mixed[: quotas[name]]]
        drawn += [(row, EXTRA, name) for row in mixed[quotas[name] : quotas[name] + more]]
        told[name] = (len(members), quotas[name], more)
    draw.shuffle(drawn)
    lines = [
        dict(zip(COLUMNS, (row.id, how, name, row.text(), "", ""), strict=True)) for row, how, name in drawn
    ]
    write_text(
        out,
        _csv(lines)
        if out.suffix == ".csv"
        else "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
    )
    out.chmod(0o600)
    return Sample(out, len(rows), told)


def allocate(n: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """`n` shared in proportion to the sizes, by largest remainders; all of them where there are no more than `n`."""
    of = sum(sizes.values())
    if n >= of:
        return dict(sizes)
    parts = {name: divmod(n * size, of) for name, size in sizes.items()}
    left = n - sum(whole for whole, _ in parts.values())
    first = sorted(parts, key=lambda name: (-parts[name][1], name))[:left]
    return {name: whole + (name in first) for name, (whole, _) in parts.items()}


def sample_as_json(result: Sample) -> dict[str, Any]:
    """The account of the draw."""
    return {
        "out": str(result.out),
        "rows": result.rows,
        "strata": {
            name: {"rows": rows, BOUND: quota, EXTRA: more}
            for name, (rows, quota, more) in result.strata.items()
        },
    }


def show_sample(result: Sample, console: Console) -> None:
    """What was drawn, and what to do with it."""
    for name, (rows, quota, more) in result.strata.items():
        title = KINDS[name][1] if name in KINDS else "nothing found"
        console.print(
            f"{title}: {quota} of {rows:,} rows{f', {more} more for a closer look' if more else ''}"
        )
    console.print(
        "Read every text of the sample and write into `leaks` how many identifiers of a real person it still holds "
        "(0 for none); then have the bound computed. It holds the rows' texts: keep it as you keep them.",
        highlight=False,
    )
    console.print(f"data deid bound {shlex.quote(str(result.out))}", soft_wrap=True, highlight=False)


def _strata(rows: Sequence[Row]) -> dict[str, list[Row]]:
    kinds = {
        id(row): {span.kind for spans in found for span in spans}
        for row, found in find_in_rows(rows, placed=True)
    }
    sizes = {kind: sum(kind in found for found in kinds.values()) for kind in KINDS}
    strata: dict[str, list[Row]] = {}
    for row in rows:
        found = kinds.get(id(row))
        name = min(found, key=lambda kind: (sizes[kind], kind)) if found else NO_CLASS
        strata.setdefault(name, []).append(row)
    return strata


def _csv(lines: Sequence[Mapping[str, str]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LeakBound:
    """`upper`: with 95 % confidence no larger share of the rows holds a leak. Rows drawn besides are only counted."""

    path: Path
    rows: int  # of the proportional draw
    leaking: int  # of them, rows with a leak
    leaks: int  # in them
    upper: float
    extra_rows: int
    extra_leaking: int


def leak_bound(path: Path) -> LeakBound:
    """The bound from a sample file in which every row's `leaks` is filled in. Raises UserError where one is not."""
    marks: dict[str, list[int]] = {BOUND: [], EXTRA: []}
    for place, record in read_records(path):
        if isinstance(record, UserError):
            raise record
        if not isinstance(record, dict) or "leaks" not in record or record.get("drawn") not in marks:
            raise UserError(f"{path} {place}: no row of a review sample; make one with `data deid sample`")
        text = str(record["leaks"] if record["leaks"] is not None else "").strip()
        if not text.isascii() or not text.isdigit():
            raise UserError(f"{path} {place}: leaks is {text!r}; write how many were found, 0 for none")
        marks[record["drawn"]].append(int(text))
    drawn, extra = marks[BOUND], marks[EXTRA]
    if not drawn:
        raise UserError(f"{path}: no rows that a bound could be computed from")
    leaking = sum(mark > 0 for mark in drawn)
    return LeakBound(
        path,
        len(drawn),
        leaking,
        sum(drawn),
        upper_bound(leaking, len(drawn)),
        len(extra),
        sum(mark > 0 for mark in extra),
    )


def upper_bound(hits: int, of: int, level: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound of a share (Clopper and Pearson 1934): the largest one under which so few hits
    still come with probability 1 - level. It also holds for a proportional draw from strata of unlike shares, which
    Hoeffding (1956) showed to vary less than a simple one.
    """
    if not 0 <= hits <= of or of < 1:
        raise ValueError(f"{hits} of {of}")
    if hits == of:
        return 1.0
    low, high = hits / of, 1.0
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _binomial_cdf(hits, of, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _binomial_cdf(hits: int, of: int, share: float) -> float:
    """P(X <= hits) of a binomial, summed by logarithms so that large samples do not underflow."""
    if share >= 1:
        return 0.0
    odds, term = math.log(share) - math.log1p(-share), of * math.log1p(-share)
    terms = [term]
    for k in range(1, hits + 1):
        term += math.log(of - k + 1) - math.log(k) + odds
        terms.append(term)
    largest = max(terms)
    return math.exp(largest) * math.fsum(math.exp(t - largest) for t in terms)


def leak_bound_as_json(result: LeakBound) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "path": str(result.path),
        "rows": result.rows,
        "rows_with_leaks": result.leaking,
        "leaks": result.leaks,
        "level": CONFIDENCE,
        "upper_bound_rows_with_leaks_per_1000": result.upper * 1000,
        "extra": {"rows": result.extra_rows, "rows_with_leaks": result.extra_leaking},
    }


def show_leak_bound(result: LeakBound, console: Console) -> None:
    """The bound in a sentence."""
    console.print(
        f"{result.leaking} of {result.rows} reviewed rows held a leak ({result.leaks} leaks): with "
        f"95 % confidence at most "
        f"{result.upper * 1000:.1f} of 1,000 rows do (Clopper-Pearson, one-sided). It rests on what the readers saw.",
        highlight=False,
    )
    if result.extra_rows:
        console.print(
            f"Of {result.extra_rows} rows of rare classes read besides, {result.extra_leaking} held a leak; "
            "they do not enter the bound.",
            highlight=False,
        )
