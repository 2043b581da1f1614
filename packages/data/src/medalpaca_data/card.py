"""The dataset card of a Meadow directory: every number in it is computed, and taken from the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .deid.settings import NOT_CHECKED

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
