"""A report's list of items against the samples: which are missing, doubled, new, or not what they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import UserError
from medalpaca_data.ground.files import sha256_bytes, sha256_json

from ..logged.sample import records


def changed_items(
    items: Sequence[dict[str, Any]], side: str, samples: Sequence[Path], chosen: str
) -> Iterator[str]:
    """Compare without judging: works on samples that are too damaged to be scored.

    Where items are logged once per filter, only those of the filter `chosen` stand in a report.
    """
    stated = {entry["item"]: entry for entry in items}
    for item, times in Counter(entry["item"] for entry in items).items():
        if times > 1:
            yield f"item {item} is {times} times in the report"
    seen: Counter[str] = Counter()
    for file in samples:
        try:
            for line, record in records(file):
                item = _item(record)
                if item is None:
                    yield f"{file.name} line {line}: no logged sample"
                    continue
                if record.get("filter", chosen) != chosen:
                    continue
                seen[item] += 1
                if item not in stated:
                    yield f"item {item} is not in the report"
                elif sha256_json(record) != stated[item]["answers"][side]["sample_sha256"]:
                    yield f"item {item}: {_what(record, stated[item])}"
        except UserError as error:
            yield str(error)
    for item, times in seen.items():
        if times > 1:
            yield f"item {item} is {times} times in the samples"
    for item in stated:
        if item not in seen:
            yield f"item {item} is missing in the samples"


def _item(record: Any) -> str | None:
    doc = record.get("doc") if isinstance(record, dict) else None
    return str(doc["item_id"]) if isinstance(doc, dict) and "item_id" in doc else None


def _what(record: dict[str, Any], stated: dict[str, Any]) -> str:
    """What of a changed sample changed, as far as the report can tell."""
    try:
        doc = record["doc"]
        key = doc["letters"][int(doc["gold"])]
        shown = sha256_bytes(record["arguments"]["gen_args_0"]["arg_0"].encode())
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        return "its sample is damaged"
    if key != stated["key"]:
        return f"its key is {key}, the report was made with {stated['key']}"
    if shown != stated["prompt_sha256"] or record.get("prompt_hash") != stated["prompt_sha256"]:
        return "its prompt is not the one that the report was made with"
    return "its sample is not the one that the report was made with"
