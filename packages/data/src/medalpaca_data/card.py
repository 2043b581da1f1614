"""The dataset card of a Meadow directory: every number in it is computed from the ledger."""

from __future__ import annotations

from typing import Any

import yaml


def card(ledger: dict[str, Any]) -> str:
    """The README.md of a Meadow directory, in the hub's layout."""
    files = [{"split": split, "path": f"{split}.parquet"} for split in ledger["rows"]]
    head = {"pretty_name": ledger["name"], "configs": [{"config_name": "default", "data_files": files}]}
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
        "## Sources",
        "",
        "| source | read | kept | rejected | licence |",
        "|---|---:|---:|---:|---|",
        *(
            f"| {s['name']} | {s['read']:,} | {s['kept']:,} | {s['rejected']:,} | {s['licence'] or 'not stated'} |"
            for s in ledger["sources"]
        ),
        "",
        *(
            f"- {s['name']}: {'. '.join(x for x in (s['attribution'], s['url']) if x)}"
            for s in ledger["sources"]
            if s["attribution"] or s["url"]
        ),
        "",
        "Rejected records lie in `rejected/` with file, line and reason; `ledger.json` has the account per stage.",
        "",
        f"Fingerprint `{ledger['fingerprint']}` (recipe, raw files and code).",
        "",
    ]
    return "\n".join(lines)
