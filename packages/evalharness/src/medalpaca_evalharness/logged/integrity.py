"""Whether a run's samples are what lm-eval logged, by the hashes that it wrote beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medalpaca_data.ground.errors import CheckFailed
from medalpaca_data.ground.files import read_json, sha256_bytes

from .run import Run
from .sample import HASHES, broken_hashes, records

SHOWN = 10


def changed_samples(run: Run) -> Iterator[str]:
    """What was changed after the run, item by item; and whether samples were added, removed or reordered."""
    results = read_json(run.file)
    hashes = results.get("task_hashes") or {}
    for samples in run.samples:
        logged = ""
        for line, record in records(samples):
            try:
                broken = broken_hashes(record)
                logged += "".join(record[name] for name in HASHES)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield f"{samples} line {line}: not a logged sample ({error!r})"
                continue
            if broken:
                what = " and ".join(broken)
                yield f"{samples.name}: item {_item(record)}: {what} changed since it was logged"
        task = samples.name.removeprefix("samples_")
        named = next((name for name in hashes if task.startswith(f"{name}_20")), None)
        if named and sha256_bytes(logged.encode()) != hashes[named]:
            yield f"{samples.name}: its samples are not those that lm-eval hashed as {named}"


def refuse_changed(run: Run) -> None:
    """Raises CheckFailed, one line, when any sample was changed."""
    found = list(changed_samples(run))
    if found:
        more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
        raise CheckFailed("; ".join(found[:SHOWN]) + more)


def _item(record: dict[str, Any]) -> str:
    return str(record["doc"].get("item_id", "without an id"))
