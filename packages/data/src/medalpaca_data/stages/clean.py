"""Cleaning stage: repair the encoding of rows, remove markup residue, and drop rows that cannot be used for training.

Changes are counted by kind, and the original of every changed text is recorded. Only unambiguous residue is removed:
`<br>`, `[[a|b]]` and `&nbsp;`, but not `p<0.05`, `CD4 < 200` or Greek letters. A row whose numbers, signs or units
cleaning would change is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from ..clean_text import NEEDS_CLEANING, clean_text, find_row_fault
from ..core.joined_digits import JoinedDigits
from ..core.numbers import ChangedNumbers
from ..core.row import TEXTS, content_id
from ..core.unclear_text import UnclearText
from ..executor import Stage, StageResult
from ..shard import Drop, Shard

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


# Columns of the table of changed texts, with one line per changed field: `was` is the id of the row before the change,
# `before` the text before it.
CHANGE_COLUMNS = ("id", "source_id", "was", "stage", "field", "before")


class Clean(Stage):
    """Remove markup residue from the three texts of each row, and give changed rows a new id.

    A row is dropped if a removal would join two numbers or change a number, its sign or its unit, if a text is unclear
    (broken encoding, struck-through text, an invisible hyphen before a number), or if `find_row_fault` finds a fault:
    no answer, no question, a prompt template, an answer that speaks as an AI model, or an answer that is cut off.
    `language` is the language of the recipe, None if it sets none; "en" enables another check for answers that are cut
    off. `wikis` are the names of the sources with text of a wiki: only in their rows, templates such as
    {{convert|5|mg}} and categories are markup.
    """

    name: ClassVar[str] = "clean"

    def __init__(self, language: str | None = None, wikis: Collection[str] = ()) -> None:
        self._english = language == "en"
        self._wikis = frozenset(wikis)

    def settings(self) -> Any:
        return [self._english, sorted(self._wikis)]

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
                    after[name], changed = clean_text(text, wiki=shard.source in self._wikis)
                    row_counts.update(changed)
            except (JoinedDigits, ChangedNumbers, UnclearText) as error:
                # The reject file gets the row with its original texts.
                drops[n] = Drop(reason=str(error), evidence={"field": name, **error.evidence})
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
