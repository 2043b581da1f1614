"""Read stage: write the rows of a source as shards, with its rejects, notes on files and counts of other records."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import is_text, read_json, write_json
from ..core.records import FileNote
from ..core.row import Row
from ..executor import OnProgress, no_progress
from ..shard import ROWS, Shard, escaped, frame, is_whole, place_of, read_account, rejected_line, write_shard
from ..sources.answer_rules import Repair
from ..sources.base import BaseSource, Context, Record, Reject
from ..sources.columns import ColumnSource, Unread

STAGE = "read"
DONE_FILE = "done.json"
# Records between two calls of `on_progress`.
PROGRESS_INTERVAL = 1000


def read_source(
    source: BaseSource, root: Path, seed: int, folder: Path, on_progress: OnProgress = no_progress
) -> tuple[list[Shard], float]:
    """Read the raw files of `source`, write its shards to `folder`, and return them with the seconds that it took.

    A shard has at most `ROWS` rows and rejects together. There is at least one shard, which may be empty. If `folder`
    has the complete shards of an earlier call, nothing is read, and the time is 0.0. `on_progress` is called after
    every `PROGRESS_INTERVAL` records and at the end.
    """
    start = time.monotonic()
    if done := _finished_shards(source, folder):
        return done, 0.0
    folder.mkdir(parents=True, exist_ok=True)
    # A `source_id` starts with the file name, which ends at the first space, so spaces in the name are escaped.
    names = source.file_names(root).values()
    escaped_names = {name: escaped(name) for name in names if " " in name}
    shards: list[Shard] = []
    unread: Unread | None = None
    if isinstance(source, ColumnSource):
        unread = Unread()
        source = source.counting(unread)
    builder = _ShardBuilder()
    seen = 0
    for record in source.records(root, seed):
        builder.add(_with_escaped_name(record, escaped_names) if escaped_names else record)
        seen += 1
        if seen % PROGRESS_INTERVAL == 0:
            on_progress(f"read {source.name}", seen, None)
        if builder.size == ROWS:
            shards.append(builder.write(Shard(folder, source.name, len(shards))))
            builder = _ShardBuilder()
    shards.append(builder.write(Shard(folder, source.name, len(shards)), unread))
    on_progress(f"read {source.name}", seen, seen)
    write_json(folder / DONE_FILE, {"shards": len(shards)})
    return shards, time.monotonic() - start


def _finished_shards(source: BaseSource, folder: Path) -> list[Shard]:
    """Return the shards of a source that was read completely, or [] if any of them is missing or damaged."""
    try:
        count = read_json(folder / DONE_FILE)["shards"]
    except (UserError, KeyError, TypeError):
        return []
    shards = [Shard(folder, source.name, n) for n in range(count)]
    return shards if all(map(is_whole, shards)) else []


def count_broken(shards: Sequence[Shard]) -> tuple[int, tuple[str, str, str] | None]:
    """Return the number of broken records, and the first of them as (file, location, reason); None if there is none.

    A broken record is a reject that no rule excludes.
    """
    accounts = [read_account(shard) or {} for shard in shards]
    firsts = [account["first_bad"] for account in accounts if account.get("first_bad")]
    return sum(account.get("bad", 0) for account in accounts), tuple(firsts[0]) if firsts else None


def _with_escaped_name(record: Record, names: Mapping[str, str]) -> Record:
    """Return a row with the file name at the start of its `source_id` escaped, and any other record unchanged.

    `names` maps file names with spaces to their escaped form.
    """
    if isinstance(record, Row) and record.source_id:
        for name, escaped_name in names.items():
            if record.source_id.startswith(name):
                return dataclasses.replace(record, source_id=escaped_name + record.source_id[len(name) :])
    return record


class _ShardBuilder:
    """Builder of one shard: collects its records, then writes all its files."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._rejected: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._context: Counter[str] = Counter()
        self._repairs: Counter[str] = Counter()
        self._notes: list[dict[str, Any]] = []
        self._bad = 0
        self._first_bad: list[str] | None = None

    @property
    def size(self) -> int:
        return len(self.rows) + len(self._rejected)

    def add(self, record: Record) -> None:
        match record:
            case Row() if not is_text(record.text()):
                file, location = place_of(record.source_id)
                reason = "not valid Unicode (half a surrogate pair)"
                self.add(Reject(file, location, reason, dataclasses.asdict(record)))
            case Row():
                self.rows.append(record)
            case Context():
                self._context[record.kind] += 1
            case Repair():
                self._repairs[record.kind] += 1
            case FileNote():
                self._notes.append(record.as_json())
            case Reject():
                self._reasons[record.reason] += 1
                more: dict[str, Any] = {**record.evidence, **({"by_rule": True} if record.by_rule else {})}
                line = rejected_line(
                    record.file, record.location, STAGE, record.reason, record.record, **more
                )
                self._rejected.append(line)
                if not record.by_rule:
                    self._bad += 1
                    self._first_bad = self._first_bad or [record.file, record.location, record.reason]

    def write(self, shard: Shard, unread: Unread | None = None) -> Shard:
        """Write the shard. The last one of a source also has its unread columns, None if they are not counted."""
        write_shard(
            shard,
            read=self.size,
            kept=frame(self.rows),
            rejected=self._rejected,
            reasons=self._reasons,
            counts=self._repairs,
            context=dict(sorted(self._context.items())),
            bad=self._bad,
            first_bad=self._first_bad,
            notes=self._notes,
            unread=None if unread is None else dict(unread),
            unread_reasons={} if unread is None else unread.reasons,
        )
        return shard
