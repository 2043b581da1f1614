"""The Meadow directory: rows as Parquet and JSON lines, rejects, changes, exam hits, contradictions, ledger, card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .card import card
from .deleted import JOINED
from .ground.errors import UserError, one_line
from .ground.files import existing, sha256_file, write_json, write_text
from .ledger import FORMAT, LEDGER, in_current_form, read_ledger
from .row import FIELDS
from .shard import Shard, read_account
from .stages.deidentify import Deidentify
from .stages.split import TRAIN, VALIDATION

if TYPE_CHECKING:
    import polars as pl

GROUP = 50_000  # rows in a row group: a set size, so that equal rows give equal bytes
CHANGES, HITS, CONTRADICTIONS = "changes.parquet", "exam_hits.jsonl", "contradictions.jsonl"
Trail = Sequence[tuple[str, Sequence[Shard]]]


def account(shard: Shard) -> dict[str, Any]:
    """The account of a shard that is done."""
    found = read_account(shard)
    if found is None:
        raise RuntimeError(f"{shard.account}: a stage left no account")
    return found


def check_out(out: Path, *, replace: bool) -> None:
    """Refuse a place that could not be built into, before any work is done."""
    from .ground.files import refuse_directory

    refuse_directory(out, replace=replace)


def write(
    folder: Path,
    trail: Trail,
    sides: Sequence[pl.Series],
    contradictions: Sequence[Mapping[str, Any]],
    private: Collection[str] = (),
) -> dict[str, Any]:
    """Write all but ledger and card; what was written, counted from the rows themselves.

    Of `private` sources, what was rejected or mended before de-identification is written without identifiers, or not.
    """
    import polars as pl

    (folder / "rejected").mkdir()
    (folder / "jsonl").mkdir()
    last = trail[-1][1]
    parts = folder / ".parts"
    parts.mkdir()
    counts: dict[str, dict[str, int]] = {}
    licences: dict[str, int] = {}
    people: set[str] = set()
    for shard, side in zip(last, sides, strict=True):
        table = shard.read().select(FIELDS)
        for split, rows in ((TRAIN, table.filter(~side)), (VALIDATION, table.filter(side))):
            rows.write_parquet(parts / f"{split}-{len(list(parts.iterdir())):06}.parquet")
            here = counts.setdefault(shard.source, {TRAIN: 0, VALIDATION: 0})
            here[split] += rows.height
        for licence, count in table.group_by("licence").len().iter_rows():
            licences[licence or "not stated"] = licences.get(licence or "not stated", 0) + count
        people.update(table["attribution"].drop_nulls().unique())
    for split in (TRAIN, VALIDATION):
        rows_of = pl.scan_parquet(sorted(parts.glob(f"{split}-*.parquet")), glob=False)
        rows_of.sink_parquet(
            folder / f"{split}.parquet",
            compression="zstd",
            row_group_size=GROUP,
            maintain_order=True,
            statistics=False,
        )
        rows_of.sink_ndjson(folder / "jsonl" / f"{split}.jsonl", maintain_order=True)
    shutil.rmtree(parts)
    _gather_rejects(folder / "rejected", trail, private)
    _gather_changes(folder / CHANGES, trail, private)
    hits = [line for _, shards in trail for shard in shards for line in _lines(shard.extra)]
    if hits:
        write_text(folder / HITS, "".join(hits))
    if contradictions:
        write_text(folder / CONTRADICTIONS, "".join(json.dumps(entry) + "\n" for entry in contradictions))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "rows": {split: sum(count[split] for count in counts.values()) for split in (TRAIN, VALIDATION)},
        "sources": counts,
        "licences": dict(sorted(licences.items())),
        "attributions": len(people),
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
    }


def write_papers(folder: Path, ledger: Mapping[str, Any]) -> None:
    """Ledger and card, which are written last because they say what the rest is."""
    write_json(folder / LEDGER, ledger)
    write_text(folder / "README.md", card(ledger))


def _gather_rejects(folder: Path, trail: Trail, private: Collection[str]) -> None:
    """One file a source, its rejects in the order of the stages."""
    raw = set(private)  # sources whose identifiers no stage has looked for yet
    for name, shards in trail:
        if name == Deidentify.name:
            raw.clear()
        for shard in shards:
            if shard.rejected.stat().st_size:
                with (
                    shard.rejected.open("rb") as part,
                    (folder / f"{shard.source}.jsonl").open("ab") as whole,
                ):
                    if shard.source in raw:
                        whole.writelines(map(_redacted, part))
                    else:
                        shutil.copyfileobj(part, whole, 1 << 20)


def _redacted(line: bytes) -> bytes:
    from .deid.redact import redact

    entry = json.loads(line)
    # A telephone number with markup inside is not found; the record can be looked up by file and place.
    if entry["reason"] == JOINED:
        entry = {name: entry[name] for name in ("file", "place", "stage", "reason")} | {"record": None}
    return (json.dumps({**entry, "record": redact(entry["record"])}) + "\n").encode()


def _gather_changes(file: Path, trail: Trail, private: Collection[str]) -> None:
    import polars as pl

    found = [
        shard.changes
        for _, shards in trail
        for shard in shards
        if shard.changes.is_file() and shard.source not in private
    ]
    if found:
        pl.scan_parquet(found, glob=False).sink_parquet(
            file, compression="zstd", row_group_size=GROUP, maintain_order=True, statistics=False
        )


def _lines(file: Path) -> Iterable[str]:
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            yield from lines


def require_meadow(directory: Path) -> dict[str, Any]:
    """Return the ledger of a Meadow directory, an older one in the current form.

    Raises UserError when no build of ours made the directory, and for a format that cannot be read.
    """
    ledger = read_ledger(existing(directory, "directory"))
    if ledger is None:
        raise UserError(f"{directory}: no {LEDGER}, so this is not a Meadow directory (made by `data build`)")
    current = in_current_form(ledger)
    if current is None:
        raise UserError(
            f"{directory / LEDGER}: format {ledger.get('format')!r} cannot be read, only {FORMAT - 1} and {FORMAT}; "
            "build the directory again"
        )
    return current


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Say of a Meadow directory that it is damaged, where a library would say how it stumbled."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(f"{directory}: damaged ({one_line(error)[:200]}); build it again") from None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say where it was that nothing more could be written."""
    import polars as pl

    try:
        yield
    except UserError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{place}: cannot be written ({one_line(error)[:200]})") from None
