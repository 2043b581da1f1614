"""Cleaning stage: remove markup residue and count what was removed; drop rows without a usable answer.

Only unambiguous residue is removed: `<br>`, `[[a|b]]` and `&nbsp;`, but not `p<0.05`, `CD4 < 200` or Greek letters.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from ..clean_text import NEEDS_CLEANING, clean_text, find_row_fault
from ..core.joined_digits import JOINED, JoinedDigits
from ..core.row import TEXTS, content_id
from ..executor import Stage, StageResult
from ..shard import Drop, Shard

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


# Columns of the table of changed texts.
CHANGE_COLUMNS = ("id", "source_id", "was", "stage", "field", "before")


class Clean(Stage):
    """Remove markup residue from the three texts; drop rows without a usable answer or with digits that would join."""

    name: ClassVar[str] = "clean"

    def __init__(self, language: str | None = None) -> None:
        self._english = language == "en"

    def settings(self) -> Any:
        return self._english

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        import polars as pl

        needs_cleaning = pl.any_horizontal(pl.col(name).str.contains(NEEDS_CLEANING) for name in TEXTS)
        texts: dict[str, list[str]] = {name: table[name].to_list() for name in TEXTS}
        ids, source_ids = table["id"].to_list(), table["source_id"]
        counts: Counter[str] = Counter()
        changes: list[dict[str, Any]] = []
        drops: dict[int, Drop] = {}
        for n in table.select(needs_cleaning.arg_true()).to_series().to_list():
            before = {name: texts[name][n] for name in TEXTS}
            after: dict[str, str] = {}
            row_counts: Counter[str] = Counter()
            try:
                for name, text in before.items():
                    after[name], changed = clean_text(text)
                    row_counts.update(changed)
            except JoinedDigits as error:
                # The row is rejected with its original texts.
                drops[n] = Drop(reason=JOINED, evidence={"field": name, "digits": error.digits})
                continue
            counts.update(row_counts)
            if after == before:
                continue
            for name in TEXTS:
                texts[name][n] = after[name]
            old, ids[n] = ids[n], content_id(*after.values())
            changes += [
                {
                    "id": ids[n],
                    "source_id": source_ids[n],
                    "was": old,
                    "stage": self.name,
                    "field": name,
                    "before": before[name],
                }
                for name in TEXTS
                if after[name] != before[name]
            ]
        columns = {**texts, "id": ids}
        cleaned = table.with_columns(
            *(pl.Series(name, values, dtype=pl.String) for name, values in columns.items())
        )
        for n, parts in enumerate(zip(*texts.values(), strict=True)):
            if n not in drops and (reason := find_row_fault(*parts, english=self._english)):
                drops[n] = Drop(reason=reason)
        changed_texts = pl.DataFrame(changes, schema=dict.fromkeys(CHANGE_COLUMNS, pl.String))
        return StageResult(frame=cleaned, drops=drops, changes=changed_texts, counts=counts)
