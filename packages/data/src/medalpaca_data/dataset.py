"""The Meadow directory that a build writes: rows, rejected records, changes, ledger and dataset card.

Rows are written as Parquet and JSON Lines. All numbers of the dataset card are taken from the ledger.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .core.errors import UserError, one_line
from .core.files import existing, refuse_directory, sha256_file, write_json, write_text
from .core.row import FIELDS
from .core.typed import check_type, table_errors
from .deid.independent_check import describe_check
from .deid.secret import keyed_hash
from .deid.settings import NOT_CHECKED
from .ledger import FORMATS, LEDGER, in_current_form, read_ledger
from .meadow_files import BUILD_AGAIN, LedgerEntry
from .shard import Shard, escaped, read_account
from .stages.contradictions import contradiction_lines
from .stages.deidentify import Deidentify
from .stages.split import TRAIN, VALIDATION

if TYPE_CHECKING:
    import polars as pl


SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(ledger: Mapping[str, Any]) -> str:
    """Return the dataset card, README.md, in the format of the Hugging Face hub.

    With it, `datasets.load_dataset(DIR)` reads the splits.
    """
    rows = sum(ledger["rows"].values())
    # `datasets` cannot read a split without rows.
    files = [{"split": split, "path": f"{split}.parquet"} for split, count in ledger["rows"].items() if count]
    head = {
        "pretty_name": ledger["name"],
        # Rows have several licences, which are counted below.
        "license": "other",
        **({"language": [language]} if (language := ledger["recipe"]["language"]) else {}),
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["medical", "instruction"],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    contradictions = ledger["contradictions"]
    exams = [
        f"{exam['name']} ({exam['items']:,} items, {exam['too_short']:,} too short to judge, {exam['sha256'][:12]})"
        for exam in ledger["exams"]
    ]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {ledger['name']}",
        "",
        "Instruction rows (`instruction`, `input`, `output`) with their origin, written by `data build`. "
        "Not for clinical use.",
        "",
        "| split | rows |",
        "|---|---:|",
        *(f"| {split} | {count:,} |" for split, count in ledger["rows"].items()),
        "",
        "The directory `jsonl/` has the same rows as JSON lines.",
        "",
        "## Sources",
        "",
        *_sources(ledger),
        "",
        *(
            [f"Sources not read, by `skip` in the recipe: {', '.join(ledger['skipped'])}.", ""]
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
        "Each row has the fields `licence` and `attribution`. "
        f"There are {ledger['attributions']:,} different attributions.",
        "",
        "| licence | rows |",
        "|---|---:|",
        *(f"| {licence} | {count:,} |" for licence, count in ledger["licences"].items()),
        "",
        "## Stages",
        "",
        *_stages(ledger),
        "",
        f"Possible contradictions: questions with several answers: {contradictions['questions']:,} "
        f"(rows: {contradictions['rows']:,}); pairs of similar rows with other words: {contradictions['similar']:,}. "
        "They are listed in `contradictions.jsonl` and were not changed."
        if contradictions["questions"] or contradictions["similar"]
        else "No question has several answers, and no two rows are similar.",
        "",
        *_deidentified(ledger),
        *(
            [f"Decontamination: rows with questions of these exams were rejected: {', '.join(exams)}.", ""]
            if exams
            else ["Decontamination: the recipe names no exam, so rows may contain exam questions.", ""]
        ),
        "The directory `rejected/` has every rejected record with file, line and reason. `ledger.json` has the counts "
        "of every stage. `changes.parquet`, if present, has the original text of every changed row.",
        "",
        *(
            [
                "In rows of patient text, `group` and `source_id` are keyed hashes. `surrogate_spans.parquet`, if "
                "present, has the positions of surrogates.",
                "",
            ]
            if ledger["key_id"]
            else []
        ),
        f"Fingerprint `{ledger['fingerprint']}` (recipe, raw files, exams and code).",
        "",
    ]
    return "\n".join(lines)


def _deidentified(ledger: Mapping[str, Any]) -> list[str]:
    """Return the lines of the card about de-identification; none if the recipe has none."""
    lines = []
    for record in ledger["deidentification"]:
        hits, left = sum(record["hits"].values()), sum(record["left"].values())
        lines.append(
            f"- {record['source']}: {record['mode']}, {hits:,} identifiers in {record['rows_with_hits']:,} of "
            f"{record['rows']:,} rows{f', {left:,} left and their rows dropped' if left else ''}; rules "
            f"`{record['rules'][:12]}`, "
            f"{'with NER' if record['ner'] else 'by patterns alone: bare names may be left'}; "
            f"{describe_check(record['independent_check']) if record['independent_check'] else NOT_CHECKED}"
        )
    head = (
        "De-identification (a check with measured recall, no guarantee). The counts are the detector's own:"
    )
    return [head, "", *lines, ""] if lines else []


def _sources(ledger: Mapping[str, Any]) -> list[str]:
    """Return the lines of a Markdown table with a row per source, and with published counts if the recipe has them."""
    parity = any(source["published"] is not None for source in ledger["sources"])
    names = ["source", *(["published"] if parity else []), "read", "kept", "rejected", "licence"]
    lines = [f"| {' | '.join(names)} |", f"|---|{'---:|' * (len(names) - 2)}---|"]
    for s in ledger["sources"]:
        counts = [*([s["published"]] if parity else []), s["read"], s["kept"], s["rejected"]]
        shown = ["-" if count is None else f"{count:,}" for count in counts]
        lines.append(f"| {' | '.join([s['name'], *shown, s['licence'] or 'not stated'])} |")
    return lines


def _stages(ledger: Mapping[str, Any]) -> list[str]:
    """Return the lines of a Markdown table with a row per stage, summed over all sources."""
    names = [stage["stage"] for stage in ledger["sources"][0]["stages"]]
    lines = ["| stage | read | kept | rejected |", "|---|---:|---:|---:|"]
    for name in names:
        found = [
            stage for source in ledger["sources"] for stage in source["stages"] if stage["stage"] == name
        ]
        counts = (sum(stage[column] for stage in found) for column in ("read", "kept", "rejected"))
        lines.append(f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return lines


# Rows of a Parquet row group, fixed so that equal rows give equal bytes.
ROW_GROUP = 50_000
CHANGES, HITS, CONTRADICTIONS = "changes.parquet", "exam_hits.jsonl", "contradictions.jsonl"
SPANS = "surrogate_spans.parquet"
# (name of the stage, its shards), in order.
Trail = Sequence[tuple[str, Sequence[Shard]]]


def account(shard: Shard) -> dict[str, Any]:
    """Return the counts (`account.json`) of a shard. Raises RuntimeError if the shard is not complete."""
    found = read_account(shard)
    if found is None:
        raise RuntimeError(f"{shard.account}: a stage wrote no counts")
    return found


def check_out(out: Path, *, replace: bool) -> None:
    """Raise UserError if the directory `out` cannot be written; `replace` allows one that is not empty."""
    refuse_directory(out, replace=replace)


def write(
    folder: Path,
    trail: Trail,
    sides: Sequence[pl.Series],
    contradictions: Sequence[Mapping[str, Any]],
    private: Collection[str] = (),
    secret: bytes | None = None,
) -> dict[str, Any]:
    """Write all files of a Meadow directory except ledger and card; return counts of rows and the hashes of the files.

    `sides` has a Boolean series for each shard of the last stage, true for rows of the validation split. For the
    sources named in `private`, changes are not written, and rejects of the stages before de-identification are written
    without their record, with the hash of file and location under the key `secret`.
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
            row_group_size=ROW_GROUP,
            maintain_order=True,
            statistics=False,
        )
        rows_of.sink_ndjson(folder / "jsonl" / f"{split}.jsonl", maintain_order=True)
    shutil.rmtree(parts)
    _gather_rejects(folder / "rejected", trail, private, secret)
    _gather_changes(folder / CHANGES, trail, private)
    _gather_spans(folder / SPANS, trail)
    hits = [line for _, shards in trail for shard in shards for line in read_lines(shard.extra)]
    if hits:
        write_text(folder / HITS, "".join(hits))
    if contradictions:
        with (folder / CONTRADICTIONS).open("w", encoding="utf-8") as file:
            file.writelines(contradiction_lines(contradictions, last))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "rows": {split: sum(count[split] for count in counts.values()) for split in (TRAIN, VALIDATION)},
        "sources": counts,
        "licences": dict(sorted(licences.items())),
        "attributions": len(people),
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
    }


def write_papers(folder: Path, ledger: Mapping[str, Any]) -> None:
    """Write ledger.json and the dataset card. They are written last because they describe the other files."""
    write_json(folder / LEDGER, ledger)
    write_text(folder / "README.md", card(ledger))


def _gather_rejects(folder: Path, trail: Trail, private: Collection[str], secret: bytes | None) -> None:
    """Write one file per source that has rejects, with these in the order of the stages."""
    # Sources that have not been de-identified at the current stage.
    raw = set(private)
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
                        whole.writelines(_without_record(line, secret) for line in part)
                    else:
                        shutil.copyfileobj(part, whole, 1 << 20)


def _without_record(line: bytes, secret: bytes | None) -> bytes:
    """Return the line of a reject without its record: no rule finds every identifier in the columns of a raw file."""
    entry = json.loads(line)
    place = f"{escaped(entry['file'])} {entry['place']}"
    shown = {key: entry[key] for key in ("stage", "reason", "by_rule") if key in entry}
    hashed = keyed_hash(secret, place) if secret else ""
    return (json.dumps({"file": hashed, "place": "", **shown, "record": None}) + "\n").encode()


def _gather_spans(file: Path, trail: Trail) -> None:
    """Write the positions of surrogates in the rows that were kept, in the order of the rows."""
    import polars as pl

    shards = next((shards for name, shards in trail if name == Deidentify.name), ())
    kept = {shard.key: shard for shard in trail[-1][1]}
    found = [
        pl.scan_parquet(shard.spans, glob=False).join(
            pl.scan_parquet(kept[shard.key].rows, glob=False).select("id"),
            on="id",
            how="semi",
            maintain_order="left",
        )
        for shard in shards
        if shard.spans.is_file()
    ]
    if found:
        pl.concat(found).sink_parquet(
            file, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True, statistics=False
        )


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
            file, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True, statistics=False
        )


def read_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a text file; nothing without the file."""
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            yield from lines


def require_meadow(directory: Path) -> dict[str, Any]:
    """Return the ledger of a Meadow directory, converted to the current format.

    Raises UserError if the directory does not exist, or has no ledger or one of an unknown format.
    """
    ledger = read_ledger(existing(directory, "directory"))
    if ledger is None:
        raise UserError(
            f"{directory}: no {LEDGER}, so it is not a Meadow directory (written by `data build`)"
        )
    current = in_current_form(ledger)
    if current is None:
        raise UserError(
            f"{directory / LEDGER}: unknown format {ledger.get('format')!r}; allowed: {', '.join(map(str, FORMATS))}; "
            "build the directory again"
        )
    check_type(LedgerEntry, current, str(directory / LEDGER), BUILD_AGAIN)
    return current


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Convert errors of the block for missing or damaged files of a Meadow directory to a UserError."""
    with table_errors(f"{directory}: damaged; build it again"):
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert polars errors and OSErrors of the block to a UserError: `path` cannot be written."""
    import polars as pl

    try:
        yield
    except UserError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: cannot be written ({one_line(error)[:200]})") from None
