"""Decontamination stages: drop training rows that contain exam questions.

`Decontaminate` compares rows with the exams that the recipe names, by shared 13-word sequences. `RemoveTestQuestions`
compares them with the published test sets of which the package contains hashed questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..exams.exam import Exam
from ..executor import Stage, StageResult
from ..shard import Drop, Shard

if TYPE_CHECKING:
    import polars as pl


# Smallest coverage (share of the 13-word sequences of an exam question that a row contains) that is reported. A smaller
# `max_coverage` of the recipe lowers it.
MIN_REPORTED_COVERAGE = 0.2


class Decontaminate(Stage):
    """Drop rows that contain at least the share `max_coverage` of the 13-word sequences of an exam question.

    A question of 8 to 12 words is one sequence; a shorter one has the rule of `ShortQuestion.is_in`. Every pair of row
    and question with a coverage of at least `MIN_REPORTED_COVERAGE` is reported, whether the row is dropped or not.
    """

    name: ClassVar[str] = "exam questions"

    def __init__(self, exams: Sequence[Exam], max_coverage: float) -> None:
        self._exams, self._max_coverage = exams, max_coverage

    def settings(self) -> Any:
        return [self._max_coverage, MIN_REPORTED_COVERAGE, [[exam.name, exam.sha256] for exam in self._exams]]

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        from ..exams.contamination import hits

        rows = zip(table["instruction"], table["input"], table["output"], strict=True)
        exam_hits = list(
            hits(
                self._exams,
                ((f"{instruction}\n{context}", output) for instruction, context, output in rows),
                min(MIN_REPORTED_COVERAGE, self._max_coverage),
            )
        )
        drops: dict[int, Drop] = {}
        extra = []
        for hit in exam_hits:
            entry = {
                "exam": hit.exam.name,
                "exam_sha256": hit.exam.sha256,
                "item": hit.item_id,
                "coverage": round(hit.coverage, 4),
                "token_coverage": round(hit.token_coverage, 4),
            }
            dropped = hit.coverage >= self._max_coverage
            extra.append({**entry, "row": table["id"][hit.row], "dropped": dropped})
            worst = drops.get(hit.row)
            if dropped and (worst is None or worst.evidence["coverage"] < entry["coverage"]):
                drops[hit.row] = Drop(reason=f"contains a question of {hit.exam.name}", evidence=entry)
        return StageResult(frame=table, drops=drops, extra=extra)


class RemoveTestQuestions(Stage):
    """Drop rows that contain a question of a published test set.

    The questions are known only as hashes, in the package file `known_questions.bin`.
    """

    name: ClassVar[str] = "test questions"

    def apply(self, table: pl.DataFrame, shard: Shard, folder: Path) -> StageResult:
        from ..exams.known_questions import KnownQuestions

        parts = zip(table["instruction"], table["input"], table["output"], strict=True)
        found = KnownQuestions.load().find("\n".join(texts) for texts in parts)
        splits = table["split"]
        # A row that its source declares as dev may contain a question of a published dev set. It goes to the validation
        # split and is not trained on.
        matches = [(n, name) for n, name in found if not (splits[n] == "dev" and name.endswith(" dev"))]
        drops = {n: Drop(reason=f"contains a test question of {name}") for n, name in matches}
        return StageResult(frame=table, drops=drops)
