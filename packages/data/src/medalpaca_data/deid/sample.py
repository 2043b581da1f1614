"""`data deid sample`: rows for people to read, drawn so that what they find bounds what is left in all rows."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..ground.errors import UserError
from ..ground.files import write_text
from ..row import Row, read_all_rows
from .check import found_in
from .classes import KINDS

COLUMNS = ("id", "drawn", "found", "text", "leaks", "remark")
BOUND, EXTRA = "bound", "extra"
EACH = 5  # rows of every class found, at least, where there are so many
NONE = "none"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn. `strata`: class (or none) -> (rows of it, drawn for the bound, drawn besides)."""

    out: Path
    rows: int
    strata: Mapping[str, tuple[int, int, int]]


def sample(path: Path, out: Path, *, n: int = 300, seed: int = 0) -> Sample:
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
    quotas = shared(n, {name: len(members) for name, members in strata.items()})
    drawn: list[tuple[Row, str, str]] = []
    told = {}
    for name, members in sorted(strata.items()):
        mixed = draw.sample(members, len(members))
        more = 0 if name == NONE else max(0, min(EACH, len(mixed)) - quotas[name])
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


def shared(n: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """`n` shared in proportion to the sizes, by largest remainders; all of them where there are no more than `n`."""
    of = sum(sizes.values())
    if n >= of:
        return dict(sizes)
    parts = {name: divmod(n * size, of) for name, size in sizes.items()}
    left = n - sum(whole for whole, _ in parts.values())
    first = sorted(parts, key=lambda name: (-parts[name][1], name))[:left]
    return {name: whole + (name in first) for name, (whole, _) in parts.items()}


def as_json(result: Sample) -> dict[str, Any]:
    """The account of the draw."""
    return {
        "out": str(result.out),
        "rows": result.rows,
        "strata": {
            name: {"rows": rows, BOUND: quota, EXTRA: more}
            for name, (rows, quota, more) in result.strata.items()
        },
    }


def show(result: Sample, console: Console) -> None:
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
        for row, found in found_in(rows, placed=True)
    }
    sizes = {kind: sum(kind in found for found in kinds.values()) for kind in KINDS}
    strata: dict[str, list[Row]] = {}
    for row in rows:
        found = kinds.get(id(row))
        name = min(found, key=lambda kind: (sizes[kind], kind)) if found else NONE
        strata.setdefault(name, []).append(row)
    return strata


def _csv(lines: Sequence[Mapping[str, str]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
