"""Comparison of several runs with the first one, with p-values adjusted for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medalpaca_data.core.errors import CheckFailed, UserError

from .comparison import Comparison, Row, compare
from .results import Run
from .several_runs import SeveralRuns, compare_several
from .statistics import holm
from .subjects import adjust_subjects


@dataclass(frozen=True, slots=True)
class Family:
    """Runs by label (see `side_names`), and one comparison with the first run for each other run.

    With `several`, the runs of two sides are compared as a whole, and there are no other comparisons.
    """

    runs: Mapping[str, Run]
    comparisons: tuple[Comparison, ...]
    several: SeveralRuns | None = None

    @property
    def first(self) -> Run:
        """The base run, or the only run."""
        return next(iter(self.runs.values()))


def compare_runs(runs: Sequence[Run]) -> Family:
    """Compare every run with the first and return the family; a single run has no comparisons.

    With several comparisons, the p-values over all items are adjusted for the number of comparisons. Those of the
    exam steps and of the subjects are adjusted for all steps, and all subjects, of all comparisons. The method is that
    of Holm. Raises CheckFailed if a run is not comparable, and UserError without runs.
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
        subjects = iter(adjust_subjects([row for one in comparisons for row in one.subjects]))
        comparisons = [
            replace(
                one,
                steps=tuple(_adjusted(row, next(steps)) for row in one.steps),
                pooled=_adjusted(one.pooled, next(pooled)),
                subjects=tuple(_adjusted(row, next(subjects)) for row in one.subjects),
            )
            for one in comparisons
        ]
    return Family(dict(zip(names, runs, strict=True)), tuple(comparisons))


def compare_sides(base: Sequence[Run], tuned: Sequence[Run]) -> Family:
    """Compare all runs of base with all runs of tuned; one run of each is an ordinary comparison.

    The labels are "base", or "base 1", "base 2", ... if there are several; those of tuned likewise. Raises as
    `several_runs.compare_several` does.
    """
    if len(base) == len(tuned) == 1:
        return compare_runs([*base, *tuned])
    compared = compare_several(base, tuned)
    labelled = {
        name if len(side) == 1 else f"{name} {i}": run
        for name, side in (("base", base), ("tuned", tuned))
        for i, run in enumerate(side, 1)
    }
    return Family(labelled, (), compared)


def side_names(n: int) -> tuple[str, ...]:
    """Return the labels of `n` models: "model"; "base" and "tuned"; or "base", "model 2", "model 3", ..."""
    if n == 1:
        return ("model",)
    return ("base", "tuned") if n == 2 else ("base", *(f"model {i}" for i in range(2, n + 1)))


def _adjusted(row: Row, p: float | None) -> Row:
    return replace(row, p_holm=p)
