"""Comparison of several runs of base with several runs of tuned: training seeds, or repeated generations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any

from medalpaca_data.core.errors import CheckFailed, UserError

from .clusters import MIN_GROUPS, label_groups
from .comparability import SAMPLED_NOTE, check_comparable, list_notes
from .comparison import (
    ALPHA,
    NOT_SHOWN,
    Verdict,
    count_items,
    decide,
    format_interval,
    format_p,
    format_points,
    run_json,
)
from .results import Run
from .run_variance import MAX_RUNS, MIN_RUNS, RunFigures, run_figures
from .statistics import holm
from .subjects import adjust_subjects, counts_only, items_by_subject

SIDES = ("base", "tuned")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsRow:
    """Figures of one exam step, of one subject, or of all items; `p_holm` as in `comparison.Row`."""

    label: str
    figures: RunFigures
    chance: float
    p_holm: float | None = None

    @property
    def n(self) -> int:
        return self.figures.n

    @property
    def p(self) -> float:
        return self.figures.p

    @property
    def verdict(self) -> Verdict:
        """Verdict at 5 % significance, by the adjusted p-value where there is one."""
        return decide(self.p, self.p_holm, self.figures.difference)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralRuns:
    """Comparison of all runs of `base` with all runs of `tuned`; rows and notes as in `comparison.Comparison`."""

    base: tuple[Run, ...]
    tuned: tuple[Run, ...]
    steps: tuple[RunsRow, ...]
    subjects: tuple[RunsRow, ...]
    pooled: RunsRow
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The verdict with its figures, and how many runs would be needed, as sentences."""
        row, found = self.pooled, self.pooled.figures
        start = (
            f"Base and tuned are {NOT_SHOWN}"
            if row.verdict == NOT_SHOWN
            else f"Tuned is {row.verdict} than base"
        )
        what = "items" if found.run_variance is None else "items and runs"
        counts = f"{count_items(len(self.base), 'run')} of base and {len(self.tuned)} of tuned"
        return (
            f"{start}: {format_points(found.difference)} points (95 % interval of {what} "
            f"{format_interval(found.interval)}) on {count_items(row.n)}, {counts}; {format_p(row.p)}, sign flips of "
            f"{describe_units(found)} {format_p(found.p_items)}. {describe_variance(found)}"
        )


def describe_units(found: RunFigures) -> str:
    """Return what the sign-flip test flips: "items", or the number of groups."""
    if found.groups is None:
        return "items"
    few = ", too few for more than an approximate interval" if found.groups < MIN_GROUPS else ""
    return f"{count_items(found.groups, 'group')}{few}"


def describe_variance(found: RunFigures) -> str:
    """Return the split of the variance as sentences, or why it cannot be split, and how many runs would be needed."""
    items = f"{100 * sqrt(found.item_variance):.1f}"
    if found.run_variance is None:
        few = " and ".join(
            f"{name} has {count_items(side.runs, 'run')}"
            for name, side in zip(SIDES, found.sides, strict=True)
            if side.variance is None
        )
        return (
            f"Run variance not estimable: {few}, {MIN_RUNS} are needed. Interval and p hold for these runs only; "
            f"standard error from items {items} points."
        )
    text = f"Standard error: {items} points from items, {100 * sqrt(found.run_variance):.1f} from runs."
    if found.p < ALPHA or not found.difference:
        return text
    needed = found.runs_needed()
    if needed is None:
        return (
            f"{text} With these items, no number of runs up to {MAX_RUNS:,} would show a difference of this size with "
            "80 % power."
        )
    return f"{text} About {needed} runs of each side would show a difference of this size with 80 % power."


def compare_several(base: Sequence[Run], tuned: Sequence[Run]) -> SeveralRuns:
    """Return the comparison of all runs of both sides, item by item, with the outcomes averaged over the runs.

    Raises UserError if a side has no run or a run is given twice. Raises CheckFailed if two runs are not comparable, or
    if two runs of a side are the same model with the same answers.
    """
    check_distinct(base, tuned)
    for name, runs in (("base", base), ("tuned", tuned)):
        for i, run in enumerate(runs, 1):
            try:
                check_comparable(base[0], run)
            except CheckFailed as error:
                raise CheckFailed(f"{name} run {i} ({run.file}): {error}") from None
    answers = base[0].answers.values()
    labels = {answer.item_id: answer.label for answer in answers}
    steps = sorted({answer.step for answer in answers}, key=lambda step: (step is None, step or 0))
    members = [[answer.item_id for answer in answers if answer.step == step] for step in steps]
    step_rows = [runs_row(labels[ids[0]], base, tuned, ids) for ids in members] if len(steps) > 1 else []
    subjects = [runs_row(name, base, tuned, ids) for name, ids in items_by_subject(answers).items()]
    return SeveralRuns(
        base=tuple(base),
        tuned=tuple(tuned),
        steps=_with_holm(step_rows, holm([row.p for row in step_rows])),
        subjects=_with_holm(subjects, adjust_subjects(subjects)),
        pooled=runs_row("All", base, tuned, list(base[0].answers)),
        notes=tuple(_notes(base, tuned)),
    )


def check_distinct(base: Sequence[Run], tuned: Sequence[Run]) -> None:
    """Raise UserError or CheckFailed unless every run is given once, and the runs of a side differ."""
    if not base or not tuned:
        raise UserError("--base and --tuned: give at least one result for each")
    files = [run.file.resolve() for run in (*base, *tuned)]
    for file in files:
        if files.count(file) > 1:
            raise UserError(f"{file}: given {files.count(file)} times; give each run once")
    for name, runs in (("base", base), ("tuned", tuned)):
        for i, run in enumerate(runs):
            for other in runs[:i]:
                if _is_repeated(other, run):
                    raise CheckFailed(
                        f"--{name}: {other.file} and {run.file} have the same weights and the same answers, so "
                        "they are not two runs; give training seeds, or generations with different --seed"
                    )


def _is_repeated(one: Run, other: Run) -> bool:
    weights = [
        (run.base_sha256 or run.base, run.adapter_sha256 or run.adapter, run.setup.get("model"))
        for run in (one, other)
    ]
    return (
        weights[0] == weights[1]
        and one.answers.keys() == other.answers.keys()
        and all(answer.sha256 == other.answers[item].sha256 for item, answer in one.answers.items())
    )


def runs_row(label: str, base: Sequence[Run], tuned: Sequence[Run], items: Sequence[str]) -> RunsRow:
    """Return the figures of the items with these ids. Raises ZeroDivisionError without items."""
    import numpy as np

    outcomes = [
        np.array([[run.answers[item].right for item in items] for run in side], dtype=float)
        for side in (base, tuned)
    ]
    answers = [base[0].answers[item] for item in items]
    return RunsRow(
        label=label,
        figures=run_figures(
            outcomes[0],
            outcomes[1],
            label_groups([answer.group for answer in answers]),
            fixed_base=is_fixed(base),
        ),
        chance=sum(1 / answer.options for answer in answers) / len(answers),
    )


def is_fixed(base: Sequence[Run]) -> bool:
    """Return whether base has no variance between runs: one run of a named model without adapter, answers not drawn."""
    return len(base) == 1 and base[0].base is not None and base[0].adapter is None and not base[0].sampled


def _with_holm(rows: Iterable[RunsRow], adjusted: Iterable[float | None]) -> tuple[RunsRow, ...]:
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True))


def _notes(base: Sequence[Run], tuned: Sequence[Run]) -> list[str]:
    """Return the notes of all pairs of runs, each once."""
    notes = dict.fromkeys(note for one in base for other in tuned for note in list_notes(one, other))
    if all(len(side) >= MIN_RUNS for side in (base, tuned)) or is_fixed(base):
        notes.pop(SAMPLED_NOTE, None)
    if is_fixed(base):
        notes["base has one run without adapter and without random answers: it counts as fixed"] = None
    adapters = {(run.base_sha256 or run.base, run.adapter_sha256 or run.adapter) for run in tuned}
    if len(tuned) > 1 and len(adapters) == 1 and tuned[0].base:
        notes["all runs of tuned have the same weights: run variance is that of answers, not of training"] = (
            None
        )
    return list(notes)


def as_json(compared: SeveralRuns) -> dict[str, Any]:
    """Return the comparison as `exam compare --json` prints it; accuracies are shares of 1, not percent."""
    first = compared.base[0]
    sides = {"base": compared.base, "tuned": compared.tuned}
    return {
        "task": first.task,
        "metric": first.metric,
        "exam": first.exam,
        "exam_sha256": first.exam_sha256,
        "prompt_id": first.prompt_id,
        **{side: [run_json(run) for run in runs] for side, runs in sides.items()},
        **figures_json(compared),
    }


def figures_json(compared: SeveralRuns) -> dict[str, Any]:
    """Return figures, verdict and notes as JSON, without the files of the runs."""
    return {
        "steps": [row_json(row) for row in compared.steps],
        "subjects": [_subject_json(row) for row in compared.subjects],
        "all": row_json(compared.pooled),
        "verdict": compared.pooled.verdict,
        "sentence": compared.sentence,
        "notes": list(compared.notes),
    }


def row_json(row: RunsRow) -> dict[str, Any]:
    """Return the figures of a row as JSON; accuracies are shares of 1, variances squares of them."""
    found = row.figures
    return {
        "label": row.label,
        "n": row.n,
        "base_accuracies": list(found.base),
        "tuned_accuracies": list(found.tuned),
        "base_accuracy": sum(found.base) / len(found.base),
        "tuned_accuracy": sum(found.tuned) / len(found.tuned),
        "difference": found.difference,
        "difference_interval": list(found.interval),
        "item_variance": found.item_variance,
        "run_variance": found.run_variance,
        "sides": {name: asdict(side) for name, side in zip(SIDES, found.sides, strict=True)},
        "runs_needed": found.runs_needed(),
        "groups": found.groups,
        "p": row.p,
        "p_items": found.p_items,
        "p_runs": found.p_runs,
        "p_holm": row.p_holm,
        "verdict": row.verdict,
        "chance": row.chance,
    }


def _subject_json(row: RunsRow) -> dict[str, Any]:
    return counts_only(row_json(row), ("label", "n", "base_accuracies", "tuned_accuracies"))
