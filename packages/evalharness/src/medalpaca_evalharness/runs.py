"""Comparison of several runs with the first one, with p-values adjusted for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medalpaca_data.core.errors import CheckFailed, UserError

from .comparison import Comparison, Row, compare
from .results import Run
from .statistics import holm


@dataclass(frozen=True, slots=True)
class Family:
    """Runs by label (see `side_names`), and one comparison with the first run for each other run."""

    runs: Mapping[str, Run]
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Run:
        """The base run, or the only run."""
        return next(iter(self.runs.values()))


def compare_runs(runs: Sequence[Run]) -> Family:
    """Compare every run with the first and return the family; a single run has no comparisons.

    With several comparisons, the p-values over all items are adjusted for the number of comparisons. Those of the
    exam steps are adjusted for all steps of all comparisons. The method is that of Holm. Raises CheckFailed if a run is
    not comparable, and UserError without runs.
    """
    if not runs:
        raise UserError("no results given; pass at least one RESULT")
    names = side_names(len(runs))
    comparisons = []
    for name, run in zip(names[1:], runs[1:], strict=True):
        try:
            comparisons.append(replace(compare(runs[0], run), name=name))
        except CheckFailed as error:
            raise CheckFailed(f"{name} ({run.file}): {error}" if len(runs) > 2 else str(error)) from None
    if len(comparisons) > 1:
        steps = iter(holm([row.p for one in comparisons for row in one.steps]))
        pooled = iter(holm([one.pooled.p for one in comparisons]))
        comparisons = [
            replace(
                one,
                steps=tuple(_adjusted(row, next(steps)) for row in one.steps),
                pooled=_adjusted(one.pooled, next(pooled)),
            )
            for one in comparisons
        ]
    return Family(dict(zip(names, runs, strict=True)), tuple(comparisons))


def side_names(n: int) -> tuple[str, ...]:
    """Return the labels of `n` models: "model"; "base" and "tuned"; or "base", "model 2", "model 3", ..."""
    if n == 1:
        return ("model",)
    return ("base", "tuned") if n == 2 else ("base", *(f"model {i}" for i in range(2, n + 1)))


def _adjusted(row: Row, p: float) -> Row:
    return replace(row, p_holm=p)
