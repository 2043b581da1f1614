"""Cleaning: what a format left behind is taken out and counted; what is no answer at all is dropped.

Only what is certain is touched: `p<0.05`, `CD4 < 200` and Greek letters are text; `<br>`, `[[a|b]]` and `&nbsp;` not.
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


CHANGE_COLUMNS = ("id", "source_id", "was", "stage", "field", "before")  # columns of what was changed


class Clean(Stage):
    """Removes markup residue from the three texts; drops rows without a usable answer or with digits it would join."""

    name: ClassVar[str] = "clean"

    def __init__(self, language: str | None = None) -> None:
        self._english = language == "en"

    def settings(self) -> Any:
        return self._english

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        import polars as pl

        suspect = pl.any_horizontal(pl.col(name).str.contains(NEEDS_CLEANING) for name in TEXTS)
        texts: dict[str, list[str]] = {name: table[name].to_list() for name in TEXTS}
        ids, places = table["id"].to_list(), table["source_id"]
        counts: Counter[str] = Counter()
        changes: list[dict[str, Any]] = []
        drops: dict[int, Drop] = {}
        for n in table.select(suspect.arg_true()).to_series().to_list():
            before = {name: texts[name][n] for name in TEXTS}
            after: dict[str, str] = {}
            did: Counter[str] = Counter()
            try:
                for name, text in before.items():
                    after[name], done = clean_text(text)
                    did.update(done)
            except JoinedDigits as error:
                # The row is rejected as it was read, with what stood between the digits.
                drops[n] = Drop(reason=JOINED, evidence={"field": name, "digits": error.digits})
                continue
            counts.update(did)
            if after == before:
                continue
            for name in TEXTS:
                texts[name][n] = after[name]
            old, ids[n] = ids[n], content_id(*after.values())
            changes += [
                {
                    "id": ids[n],
                    "source_id": places[n],
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
        listed = pl.DataFrame(changes, schema=dict.fromkeys(CHANGE_COLUMNS, pl.String))
        return StageResult(frame=cleaned, drops=drops, changes=listed, counts=counts)
