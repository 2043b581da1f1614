"""The Meadow directory: rows as Parquet and JSON lines, rejects, changes, exam hits, contradictions, ledger, card.

The dataset card of a Meadow directory: every number in it is computed, and taken from the ledger.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .core.errors import UserError, one_line
from .core.files import existing, sha256_file, write_json, write_text
from .core.joined_digits import JOINED
from .core.row import FIELDS
from .deid.settings import NOT_CHECKED
from .ledger import FORMAT, LEDGER, in_current_form, read_ledger
from .shard import Shard, read_account
from .stages.deidentify import Deidentify
from .stages.split import TRAIN, VALIDATION

if TYPE_CHECKING:
    import polars as pl


SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(ledger: Mapping[str, Any]) -> str:
    """The README.md of a Meadow directory, in the hub's layout, so that `datasets.load_dataset(DIR)` just works."""
    rows = sum(ledger["rows"].values())
    # A split without rows would be refused by the hub's readers.
    files = [{"split": split, "path": f"{split}.parquet"} for split, count in ledger["rows"].items() if count]
    head = {
        "pretty_name": ledger["name"],
        "license": "other",  # several; counted below
        **({"language": [language]} if (language := ledger["recipe"]["language"]) else {}),
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["medical", "instruction"],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    contradictions = ledger["contradictions"]
    exams = [f"{exam['name']} ({exam['items']:,} items, {exam['sha256'][:12]})" for exam in ledger["exams"]]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {ledger['name']}",
        "",
        "Instruction rows (`instruction`, `input`, `output`) with their origin, made by `data build`. "
        "Not for clinical use.",
        "",
        "| split | rows |",
        "|---|---:|",
        *(f"| {split} | {count:,} |" for split, count in ledger["rows"].items()),
        "",
        "The same rows lie in `jsonl/`, one object a line.",
        "",
        "## Sources",
        "",
        *_sources(ledger),
        "",
        *(
            [f"Left out by the recipe's `skip`: {', '.join(ledger['skipped'])}.", ""]
            if ledger["skipped"]
            else []
        ),
        *(
            f"- {s['name']}: {'. '.join(x.rstrip('.') for x in (s['attribution'], s['url']) if x)}"
            for s in ledger["sources"]
            if s["attribution"] or s["url"]
        ),
        "",
        "## Licences",
        "",
        "Of the rows as they are here; each row names its own, and whom it is to be credited to "
        f"({ledger['attributions']:,} different credits).",
        "",
        "| licence | rows |",
        "|---|---:|",
        *(f"| {licence} | {count:,} |" for licence, count in ledger["licences"].items()),
        "",
        "## What was done",
        "",
        *_stages(ledger),
        "",
        f"Questions with several answers: {contradictions['questions']:,} ({contradictions['rows']:,} rows). "
        "They are listed in `contradictions.jsonl` and left as they are."
        if contradictions["questions"]
        else "No question has several answers.",
        "",
        *_deidentified(ledger),
        *(
            [f"Kept clear of: {', '.join(exams)}.", ""]
            if exams
            else ["No exam was named that the rows had to be kept clear of.", ""]
        ),
        "Rejected records lie in `rejected/` with file, line and reason; `ledger.json` has the account per stage; "
        "`changes.parquet`, where there is one, has every text that was mended as it stood before.",
        "",
        f"Fingerprint `{ledger['fingerprint']}` (recipe, raw files, exams and code).",
        "",
    ]
    return "\n".join(lines)


def _deidentified(ledger: Mapping[str, Any]) -> list[str]:
    """Return what the detector found and left of patients' identifiers, which no other check confirms."""
    lines = []
    for record in ledger["deidentification"]:
        hits, left = sum(record["hits"].values()), sum(record["left"].values())
        lines.append(
            f"- {record['source']}: {record['mode']}, {hits:,} identifiers in {record['rows_with_hits']:,} of "
            f"{record['rows']:,} rows{f', {left:,} left and their rows dropped' if left else ''}; rules "
            f"`{record['rules'][:12]}`, "
            f"{'with NER' if record['ner'] else 'by patterns alone: bare names may be left'}; {NOT_CHECKED}"
        )
    head = (
        "De-identification (a check with measured recall, no guarantee). The counts are the detector's own:"
    )
    return [head, "", *lines, ""] if lines else []


def _sources(ledger: Mapping[str, Any]) -> list[str]:
    """A line for each source; with what was published of it, in a recipe that says so."""
    parity = any(source["published"] is not None for source in ledger["sources"])
    names = ["source", *(["published"] if parity else []), "read", "kept", "rejected", "licence"]
    lines = [f"| {' | '.join(names)} |", f"|---|{'---:|' * (len(names) - 2)}---|"]
    for s in ledger["sources"]:
        counts = [*([s["published"]] if parity else []), s["read"], s["kept"], s["rejected"]]
        shown = ["-" if count is None else f"{count:,}" for count in counts]
        lines.append(f"| {' | '.join([s['name'], *shown, s['licence'] or 'not stated'])} |")
    return lines


def _stages(ledger: Mapping[str, Any]) -> list[str]:
    """Rows in, rows out and why, for every stage over all sources."""
    names = [stage["stage"] for stage in ledger["sources"][0]["stages"]]
    lines = ["| stage | read | kept | rejected |", "|---|---:|---:|---:|"]
    for name in names:
        found = [
            stage for source in ledger["sources"] for stage in source["stages"] if stage["stage"] == name
        ]
        counts = (sum(stage[column] for stage in found) for column in ("read", "kept", "rejected"))
        lines.append(f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return lines


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
    from .core.files import refuse_directory

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
    from .deid.replace import redact

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
