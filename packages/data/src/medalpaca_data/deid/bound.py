"""`data deid bound`: from what people found in a sample, how many rows may still hold an identifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..ground.errors import UserError
from ..row import read_records
from .sample import BOUND, EXTRA

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Bound:
    """`upper`: with 95 % confidence no larger share of the rows holds a leak. Rows drawn besides are only counted."""

    path: Path
    rows: int  # of the proportional draw
    leaking: int  # of them, rows with a leak
    leaks: int  # in them
    upper: float
    extra_rows: int
    extra_leaking: int


def bound(path: Path) -> Bound:
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
    return Bound(
        path,
        len(drawn),
        leaking,
        sum(drawn),
        upper(leaking, len(drawn)),
        len(extra),
        sum(mark > 0 for mark in extra),
    )


def upper(hits: int, of: int, level: float = LEVEL) -> float:
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
        if _at_most(hits, of, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, of: int, share: float) -> float:
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


def as_json(result: Bound) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "path": str(result.path),
        "rows": result.rows,
        "rows_with_leaks": result.leaking,
        "leaks": result.leaks,
        "level": LEVEL,
        "upper_bound_rows_with_leaks_per_1000": result.upper * 1000,
        "extra": {"rows": result.extra_rows, "rows_with_leaks": result.extra_leaking},
    }


def show(result: Bound, console: Console) -> None:
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
