"""Review of de-identification by people: the commands `data deid check`, `data deid sample` and `data deid bound`.

- check: count the identifiers of each class in a file or Meadow directory.
- sample: write a random sample of rows for people to read.
- bound: from the leaks that they marked, compute how many rows may still contain an identifier.
"""

from __future__ import annotations

import json
import math
import random
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.errors import UserError
from ..core.files import write_text
from ..core.records import read_all_rows, read_records
from ..core.row import TEXTS, Row
from ..core.untrusted import csv_text
from .find import Tagger, find_identifiers, prefilter, rules_sha256
from .rules import KINDS, Span
from .settings import NOT_CHECKED


@dataclass(frozen=True, slots=True)
class Example:
    """Location and shape of one hit: id of the row, field, first character in it; the text is not kept."""

    row: str
    field: str
    start: int
    kind: str
    rule: str
    shape: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Counts of identifiers (`hits`) and of rows with them, by kind, in one file or directory.

    `ner` is the version of the NER model, None without one.
    """

    path: Path
    rows: int
    rows_with_hits: int
    hits: Counter[str]
    rows_by_kind: Counter[str]
    examples: tuple[Example, ...]
    ner: str | None


def check(path: Path, *, show: int = 0, ner: str = "") -> CheckResult:
    """Find identifiers in all rows of `path`; keep the shapes of up to `show` hits of each kind.

    `ner` also uses a model, "presidio" or a directory. Raises UserError if it is not usable.
    """
    tagger: Any = None
    if ner:
        from .ner import load_tagger

        tagger = load_tagger(ner)
    rows = read_all_rows(path)
    hits: Counter[str] = Counter()
    rows_by_kind: Counter[str] = Counter()
    examples: list[Example] = []
    rows_with_hits = 0
    for row, found in find_in_rows(rows, tagger):
        kinds = [span.kind for spans in found for span in spans]
        rows_with_hits += bool(kinds)
        rows_by_kind.update(set(kinds))
        for name, spans in zip(TEXTS, found, strict=True):
            for span in spans:
                hits[span.kind] += 1
                if hits[span.kind] <= show:
                    text = getattr(row, name)[span.start : span.end]
                    examples.append(Example(row.id, name, span.start, span.kind, span.rule, shape(text)))
    return CheckResult(
        path, len(rows), rows_with_hits, hits, rows_by_kind, tuple(examples), tagger and tagger.version
    )


def find_in_rows(
    rows: Sequence[Row], tagger: Tagger | None = None, *, include_surrogates: bool = False
) -> Iterator[tuple[Row, list[list[Span]]]]:
    """Yield (row, identifiers in each of its texts) for every row that may have some; with `tagger`, for all rows."""
    texts = [[getattr(row, name) for row in rows] for name in TEXTS]
    candidates = range(len(rows)) if tagger else sorted({n for column in texts for n in prefilter(column)})
    for n in candidates:
        yield (
            rows[n],
            find_identifiers([column[n] for column in texts], tagger, include_surrogates=include_surrogates),
        )


def shape(text: str) -> str:
    """Return the text with X for capitals, x for other letters and 9 for digits; other characters are unchanged."""
    return "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else " " if c.isspace() else c
        for c in text
    )


def check_as_json(result: CheckResult) -> dict[str, Any]:
    """Return the result of `data deid check` as a JSON object: version of the rules, counts by kind, and examples."""
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
        "examples": [asdict(example) for example in result.examples],
    }


def show_check(result: CheckResult, console: Console) -> None:
    """Print the counts of each class, the shapes of the examples, and what the result means."""
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
        examples = Table(title="Examples: location and shape", title_justify="left")
        for name in ("row", "field", "at", "kind: rule", "shape"):
            examples.add_column(name, no_wrap=name in ("row", "field", "at"), overflow="fold")
        for e in sorted(result.examples, key=lambda e: list(KINDS).index(e.kind)):
            examples.add_row(e.row, e.field, str(e.start), f"{e.kind}: {e.rule}", e.shape)
        console.print(examples)
    console.print(
        f"{result.rows_with_hits:,} of {result.rows:,} rows contain a possible identifier (rules "
        f"{rules_sha256()[:12]}, NER: {result.ner or 'none'}). The rules do not find names and towns without context; "
        "NER finds some of them. Have people read a sample of the rows (`data deid sample`). `data build` uses the "
        f"same detector: its result is {NOT_CHECKED}.",
        highlight=False,
    )


def _per_1000(hits: int, rows: int) -> float:
    return round(hits * 1000 / rows, 3) if rows else 0.0


COLUMNS = ("id", "drawn", "found", "text", "leaks", "remark")
BOUND, EXTRA = "bound", "extra"
# The sample has at least this many rows of each stratum with identifiers, or all of a smaller one.
MIN_ROWS_PER_CLASS = 5
NO_CLASS = "none"


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that was written to `out`.

    `strata` maps a kind (or "none") to three numbers: rows, rows drawn for the bound, and rows drawn in addition.
    """

    out: Path
    rows: int
    strata: Mapping[str, tuple[int, int, int]]


def draw_sample(path: Path, out: Path, *, n: int = 300, seed: int = 0) -> Sample:
    """Write `n` random rows of `path`, and more of rare kinds, to `out` with an empty `leaks` column.

    The stratum of a row is the rarest kind found in it (surrogates count), or none. The `n` rows are allocated to the
    strata in proportion, so that the bound of a simple random sample holds for them. Additional rows (`drawn` =
    extra) do not enter the bound. The same rows, n and seed give the same file, whose mode is 0600.
    Raises UserError if `out` exists or is neither .csv nor .jsonl, or if n < 1.
    """
    if out.suffix not in (".csv", ".jsonl"):
        raise UserError(f"out={out}: the name must end in .csv or .jsonl")
    if out.exists():
        raise UserError(f"out={out}: exists and may contain a review; choose another name or remove the file")
    if n < 1:
        raise UserError(f"n={n} is not allowed; use 1 or more")
    rows = read_all_rows(path)
    strata = _strata(rows)
    draw = random.Random(seed)  # noqa: S311 - a repeatable draw, not a secret
    quotas = allocate(n, {name: len(members) for name, members in strata.items()})
    drawn: list[tuple[Row, str, str]] = []
    counts = {}
    for name, members in sorted(strata.items()):
        shuffled = draw.sample(members, len(members))
        more = 0 if name == NO_CLASS else max(0, min(MIN_ROWS_PER_CLASS, len(shuffled)) - quotas[name])
        drawn += [(row, BOUND, name) for row in shuffled[: quotas[name]]]
        drawn += [(row, EXTRA, name) for row in shuffled[quotas[name] : quotas[name] + more]]
        counts[name] = (len(members), quotas[name], more)
    draw.shuffle(drawn)
    lines = [
        dict(zip(COLUMNS, (row.id, how, name, row.text(), "", ""), strict=True)) for row, how, name in drawn
    ]
    write_text(
        out,
        csv_text(COLUMNS, [[line[name] for name in COLUMNS] for line in lines])
        if out.suffix == ".csv"
        else "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
    )
    out.chmod(0o600)
    return Sample(out, len(rows), counts)


def allocate(n: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Allocate `n` in proportion to the sizes by largest remainders; return the sizes if their sum is at most `n`."""
    total = sum(sizes.values())
    if n >= total:
        return dict(sizes)
    parts = {name: divmod(n * size, total) for name, size in sizes.items()}
    unallocated = n - sum(quotient for quotient, _ in parts.values())
    largest = sorted(parts, key=lambda name: (-parts[name][1], name))[:unallocated]
    return {name: quotient + (name in largest) for name, (quotient, _) in parts.items()}


def sample_as_json(result: Sample) -> dict[str, Any]:
    """Return the result of `data deid sample` as a JSON object: file, rows, and numbers of each stratum."""
    return {
        "out": str(result.out),
        "rows": result.rows,
        "strata": {
            name: {"rows": rows, BOUND: quota, EXTRA: more}
            for name, (rows, quota, more) in result.strata.items()
        },
    }


def show_sample(result: Sample, console: Console) -> None:
    """Print what was drawn and what to do next."""
    for name, (rows, quota, more) in result.strata.items():
        title = KINDS[name][1] if name in KINDS else "rows without a hit"
        console.print(f"{title}: {quota} of {rows:,} rows{f', {more} additional' if more else ''}")
    console.print(
        "Read every text in the file. Write into `leaks` how many identifiers of a real person it still contains "
        "(0 for none). Then compute the bound with the command below. The file contains the texts of the rows: protect "
        "it as you protect the rows.",
        highlight=False,
    )
    console.print(f"data deid bound {shlex.quote(str(result.out))}", soft_wrap=True, highlight=False)


def _strata(rows: Sequence[Row]) -> dict[str, list[Row]]:
    kinds = {
        id(row): {span.kind for spans in found for span in spans}
        for row, found in find_in_rows(rows, include_surrogates=True)
    }
    sizes = {kind: sum(kind in found for found in kinds.values()) for kind in KINDS}
    strata: dict[str, list[Row]] = {}
    for row in rows:
        found = kinds.get(id(row))
        name = min(found, key=lambda kind: (sizes[kind], kind)) if found else NO_CLASS
        strata.setdefault(name, []).append(row)
    return strata


CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LeakBound:
    """An upper bound for the share of rows with a leak, at 95 % confidence, from a reviewed sample.

    `upper` is this bound, 0 to 1.
    """

    path: Path
    # Of the proportional sample.
    rows: int
    rows_with_leaks: int
    leaks: int
    upper: float
    # Of the additional rows of rare kinds, which do not enter the bound.
    extra_rows: int
    extra_rows_with_leaks: int


def leak_bound(path: Path) -> LeakBound:
    """Return the bound from a reviewed sample file. Raises UserError unless `leaks` is a number in every row."""
    marks: dict[str, list[int]] = {BOUND: [], EXTRA: []}
    for location, record in read_records(path):
        if isinstance(record, UserError):
            raise record
        if not isinstance(record, dict) or "leaks" not in record or record.get("drawn") not in marks:
            raise UserError(
                f"{path} {location}: not a row of a review sample; write a sample with `data deid sample`"
            )
        text = str(record["leaks"] if record["leaks"] is not None else "").strip()
        if not text.isascii() or not text.isdigit():
            raise UserError(f"{path} {location}: leaks is {text!r}; write the number of leaks, 0 for none")
        marks[record["drawn"]].append(int(text))
    drawn, extra = marks[BOUND], marks[EXTRA]
    if not drawn:
        raise UserError(
            f"{path}: no row with drawn = {BOUND!r}, which the bound needs; write a sample with `data deid sample`"
        )
    rows_with_leaks = sum(mark > 0 for mark in drawn)
    return LeakBound(
        path,
        len(drawn),
        rows_with_leaks,
        sum(drawn),
        upper_bound(rows_with_leaks, len(drawn)),
        len(extra),
        sum(mark > 0 for mark in extra),
    )


def upper_bound(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided upper bound for a share, given `hits` in `n` draws (Clopper and Pearson 1934).

    It is the share at which `hits` or fewer have a probability of 1 - confidence; 1 if hits == n. The bound also holds
    for a proportional stratified sample, whose count varies less than that of a simple one (Hoeffding 1956).
    Raises ValueError unless 0 <= hits <= n and n >= 1.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"hits is {hits} and n is {n}; allowed: 0 <= hits <= n, n >= 1")
    if hits == n:
        return 1.0
    low, high = hits / n, 1.0
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _binomial_cdf(hits, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _binomial_cdf(hits: int, n: int, share: float) -> float:
    """Return P(X <= hits) of a binomial distribution, summed by logarithms so that large samples do not underflow."""
    if share >= 1:
        return 0.0
    odds, term = math.log(share) - math.log1p(-share), n * math.log1p(-share)
    terms = [term]
    for k in range(1, hits + 1):
        term += math.log(n - k + 1) - math.log(k) + odds
        terms.append(term)
    largest = max(terms)
    return math.exp(largest) * math.fsum(math.exp(t - largest) for t in terms)


def leak_bound_as_json(result: LeakBound) -> dict[str, Any]:
    """Return the result of `data deid bound` as a JSON object; the bound is the number of rows in 1,000."""
    return {
        "path": str(result.path),
        "rows": result.rows,
        "rows_with_leaks": result.rows_with_leaks,
        "leaks": result.leaks,
        "level": CONFIDENCE,
        "upper_bound_rows_with_leaks_per_1000": result.upper * 1000,
        "extra": {"rows": result.extra_rows, "rows_with_leaks": result.extra_rows_with_leaks},
    }


def show_leak_bound(result: LeakBound, console: Console) -> None:
    """Print the bound in one sentence, and the additional rows in another."""
    console.print(
        f"{result.rows_with_leaks} of {result.rows} reviewed rows contain a leak ({result.leaks} leaks). With 95 % "
        f"confidence, at most {result.upper * 1000:.1f} of 1,000 rows contain one (Clopper-Pearson, one-sided), "
        "provided that the readers found every leak in the sample.",
        highlight=False,
    )
    if result.extra_rows:
        console.print(
            f"Of {result.extra_rows} additional rows of rare classes, {result.extra_rows_with_leaks} contain a leak; "
            "they do not enter the bound.",
            highlight=False,
        )
