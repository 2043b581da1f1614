"""Several runs of one exam: each compared to the first, with one error rate for all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medalpaca_data.core.errors import CheckFailed, UserError

from .comparison import Comparison, Row, compare
from .results import Run
from .statistics import holm


@dataclass(frozen=True, slots=True)
class Family:
    """Runs by the names that a report gives them. The first is the base; there is one comparison per other run."""

    runs: Mapping[str, Run]
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Run:
        """The base, or the only run there is."""
        return next(iter(self.runs.values()))


def compare_runs(runs: Sequence[Run]) -> Family:
    """Compare every run to the first. Raises CheckFailed when one may not be compared, UserError without runs.

    With several comparisons, the p-values of the whole exam are adjusted for their number, and those of the
    steps for all steps of all comparisons (Holm).
    """
    if not runs:
        raise UserError("no results named")
    names = side_names(len(runs))
    found = []
    for name, run in zip(names[1:], runs[1:], strict=True):
        try:
            found.append(replace(compare(runs[0], run), name=name))
        except CheckFailed as error:
            raise CheckFailed(f"{name} ({run.file}): {error}" if len(runs) > 2 else str(error)) from None
    if len(found) > 1:
        steps = iter(holm([row.p for one in found for row in one.steps]))
        pooled = iter(holm([one.pooled.p for one in found]))
        found = [
            replace(
                one,
                steps=tuple(_adjusted(row, next(steps)) for row in one.steps),
                pooled=_adjusted(one.pooled, next(pooled)),
            )
            for one in found
        ]
    return Family(dict(zip(names, runs, strict=True)), tuple(found))


def side_names(n: int) -> tuple[str, ...]:
    """What `n` examined models are called: one is the model, two are base and tuned, more are numbered."""
    if n == 1:
        return ("model",)
    return ("base", "tuned") if n == 2 else ("base", *(f"model {i}" for i in range(2, n + 1)))


def _adjusted(row: Row, p: float) -> Row:
    return replace(row, p_holm=p)
