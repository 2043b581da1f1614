"""Paired comparison of two runs on one exam: counts, significance tests, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from .clusters import Clusters, make_clusters
from .comparability import check_comparable, list_notes
from .outcome_difference import OutcomeDifference, find_outcome_difference
from .power import detectable_difference
from .results import Run, read_run
from .samples import Answer
from .statistics import Interval, holm, mcnemar_exact, paired_interval, wilson
from .subjects import adjust_subjects, counts_only, items_by_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One item that only one of the two models answers correctly.

    `key`, `base` and `tuned` are option letters, followed by the text where texts were scored. Without a chosen option,
    `base` or `tuned` is the reason, such as "refused".
    """

    item_id: str
    step: int | None
    key: str
    base: str
    tuned: str

    @property
    def fixed(self) -> bool:
        """True if the base model is wrong and the tuned model is right."""
        return self.tuned == self.key


def find_flips(pairs: Iterable[tuple[Answer, Answer]]) -> tuple[Flip, ...]:
    """Return the items of `pairs` (base answer, tuned answer) that only one model answers correctly, in order."""
    return tuple(
        Flip(
            item_id=before.item_id,
            step=before.step,
            key=describe_option(before, before.key),
            base=describe_option(before, before.chosen),
            tuned=describe_option(after, after.chosen),
        )
        for before, after in pairs
        if before.right != after.right
    )


def describe_option(answer: Answer, index: int | None) -> str:
    """Return the letter of option `index`, and its text where texts are scored; for None see `describe_choice`."""
    if index is None:
        return describe_choice(answer)
    letter, text = answer.letters[index], answer.choices[index]
    return letter if text == letter else f"{letter} {text}"


def describe_choice(answer: Answer) -> str:
    """Return the chosen letter, else why there is none: "unparsed", "refused", "truncated", or "no option's letter"."""
    if answer.chosen is not None:
        return answer.letters[answer.chosen]
    return "no option's letter" if answer.outcome == "wrong" else answer.outcome


def flip_json(flip: Flip) -> dict[str, Any]:
    return {
        "item": flip.item_id,
        "step": flip.step,
        "key": flip.key,
        "base": flip.base,
        "tuned": flip.tuned,
    }


NOT_SHOWN: Final = "not shown to differ"
Verdict = Literal["better", "worse", "not shown to differ"]

ALPHA = 0.05


def decide(p: float, p_holm: float | None, difference: float) -> Verdict:
    """Return the verdict at 5 % significance, by the adjusted p-value where there is one."""
    if (p if p_holm is None else p_holm) >= ALPHA:
        return NOT_SHOWN
    return "better" if difference > 0 else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Paired counts of one exam step, or of all items. The four counts sum to `n`.

    `fixed`: wrong in the base run, right in the tuned run. `broken`: the reverse. `chance`: the accuracy of guessing,
    the mean of 1/k over items with k options. `p_holm`: p-value adjusted for the number of steps, or of comparisons
    with one base; None if not adjusted. `clusters`: the figures by groups of items, None if no group has two items.
    """

    label: str
    both_right: int
    fixed: int
    broken: int
    both_wrong: int
    chance: float
    p_holm: float | None = None
    clusters: Clusters | None = None

    @property
    def n(self) -> int:
        return self.both_right + self.fixed + self.broken + self.both_wrong

    @property
    def base_right(self) -> int:
        return self.both_right + self.broken

    @property
    def tuned_right(self) -> int:
        return self.both_right + self.fixed

    @property
    def base_interval(self) -> Interval:
        return wilson(self.base_right, self.n)

    @property
    def tuned_interval(self) -> Interval:
        return wilson(self.tuned_right, self.n)

    @property
    def difference(self) -> float:
        """Accuracy of tuned minus base, as a share of 1."""
        return (self.fixed - self.broken) / self.n

    @property
    def interval(self) -> Interval:
        """95 % interval of the difference, not adjusted for several comparisons: that of `clusters` or Tango's."""
        return self.clusters.interval if self.clusters else paired_interval(self.n, self.fixed, self.broken)

    @property
    def p(self) -> float:
        """The p-value of the verdict: by sign flips of group sums if items have groups, else exact McNemar."""
        return self.clusters.p if self.clusters else self.p_mcnemar

    @property
    def p_mcnemar(self) -> float:
        """Exact McNemar p-value, which takes items as independent."""
        return mcnemar_exact(self.fixed, self.broken)

    @property
    def verdict(self) -> Verdict:
        """Verdict at 5 % significance, by the adjusted p-value where there is one."""
        return decide(self.p, self.p_holm, self.difference)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two runs on the same exam.

    `pooled` counts all items. `steps` is empty if the items have fewer than two steps, `subjects` if they have fewer
    than two subjects; the p-values of subjects with `subjects.MIN_ITEMS` items are adjusted for their number. `flips`
    are the items that only one model answers correctly. `outcome_difference` is set if the models differ in how often
    an answer was found. `name` is the label of the second model. If several models are compared with one base, their
    p-values are adjusted together.
    """

    base: Run
    tuned: Run
    steps: tuple[Row, ...]
    pooled: Row
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]
    outcome_difference: OutcomeDifference | None = None
    subjects: tuple[Row, ...] = ()
    name: str = "tuned"

    @property
    def sentence(self) -> str:
        """The verdict with its figures, as one sentence, or two if the models differ in how often they answer."""
        gap = self.outcome_difference
        return f"{self._verdict_sentence()} {gap.sentence(self.name)}" if gap else self._verdict_sentence()

    def _verdict_sentence(self) -> str:
        row = self.pooled
        adjusted = (
            "" if row.p_holm is None else f" (adjusted by Holm {format_p(row.p_holm)}; interval unadjusted)"
        )
        counts = (
            f"{format_points(row.difference)} points (95 % interval {format_interval(row.interval)}) "
            f"on {count_items(row.n)}, {row.fixed} fixed and {row.broken} broken, "
            f"{describe_test(row)}{adjusted}"
        )
        if row.verdict != NOT_SHOWN:
            return f"{self.name.capitalize()} is {row.verdict} than base: {counts}."
        start = f"Base and {self.name} are {NOT_SHOWN}"
        if not row.fixed + row.broken:
            return f"{start}: both answer the same {row.both_right} of {count_items(row.n)} correctly."
        return f"{start}: {counts}" + ("." if row.clusters else f"; {describe_detectable(row)}.")


def describe_test(row: Row) -> str:
    """Return the test of `row` with its p-value; with groups, also McNemar's p and what limits the interval."""
    if row.clusters is None:
        return f"exact McNemar {format_p(row.p)}"
    few = "; with fewer than 30 groups, the interval is approximate" if row.clusters.approximate else ""
    return (
        f"sign flips of {row.clusters.groups} groups {format_p(row.p)} (exact McNemar, which ignores groups, "
        f"{format_p(row.p_mcnemar)}){few}"
    )


def describe_detectable(row: Row) -> str:
    """Return what the exact test can detect with the changed items of `row`, as a clause without a full stop.

    The power is that of a single comparison, so it is marked where the p-value is adjusted for several.
    """
    level = "" if row.p_holm is None else ", without the adjustment for several comparisons"
    changed = row.fixed + row.broken
    smallest = detectable_difference(row.n, changed)
    if smallest is None:
        return f"with only {count_items(changed, 'changed item')}, the exact test can never be significant"
    return (
        f"with {count_items(changed, 'changed item')}, the exact test detects a difference of about "
        f"{100 * smallest:.1f} points or more (80 % power{level})"
    )


def format_p(value: float) -> str:
    """Return a p-value as text with four decimals: "p = 0.0312", "p < 0.0001"."""
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def format_interval(interval: Interval) -> str:
    """Return an interval of a difference as text in percentage points: "-1.2 to +3.4"."""
    return f"{format_bound(interval.low)} to {format_bound(interval.high)}"


def format_bound(share: float) -> str:
    """Return a bound of an interval as text in percentage points.

    A bound other than 0 that would be rounded to 0.0 has more digits, so that the text shows whether 0 is excluded.
    """
    text = format_points(share)
    return f"{100 * share:+.1g}" if share and float(text) == 0 else text


def format_points(share: float) -> str:
    """Return a difference of shares as text in percentage points with its sign: "+3.4"."""
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def count_items(n: int, noun: str = "item") -> str:
    """Return a number with its noun, in the plural unless it is 1: "3 items"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def compare(base: Run | Path | str, tuned: Run | Path | str, task: str | None = None) -> Comparison:
    """Return the comparison of two runs, given as `Run` objects or as paths of lm-eval results.

    `task` selects one exam if a path has results of several. Raises CheckFailed if exam, task, metric, prompt, items or
    texts of the two differ, or their base models on the hub. For a path, raises as `read_run` does.
    """
    return _compare_runs(
        *(run if isinstance(run, Run) else read_run(Path(run), task) for run in (base, tuned))
    )


def _compare_runs(base: Run, tuned: Run) -> Comparison:
    check_comparable(base, tuned)
    pairs = [(answer, tuned.answers[item]) for item, answer in base.answers.items()]
    steps = sorted({before.step for before, _ in pairs}, key=lambda step: (step is None, step or 0))
    by_step = {step: [pair for pair in pairs if pair[0].step == step] for step in steps}
    rows = [_make_row(by_step[step][0][0].label, by_step[step]) for step in steps]
    adjusted = holm([row.p for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    return Comparison(
        base=base,
        tuned=tuned,
        steps=tuple(rows) if len(rows) > 1 else (),
        pooled=_make_row("All", pairs),
        flips=find_flips(pairs),
        notes=tuple(list_notes(base, tuned)),
        outcome_difference=find_outcome_difference(pairs) if base.generated else None,
        subjects=_subject_rows(base, tuned),
    )


def _subject_rows(base: Run, tuned: Run) -> tuple[Row, ...]:
    rows = [
        _make_row(subject, [(base.answers[item], tuned.answers[item]) for item in items])
        for subject, items in items_by_subject(base.answers.values()).items()
    ]
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, adjust_subjects(rows), strict=True))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as `exam compare --json` prints it; accuracies are shares of 1, not percent."""
    return {
        "task": comparison.base.task,
        "metric": comparison.base.metric,
        "exam": comparison.base.exam,
        "exam_sha256": comparison.base.exam_sha256,
        "prompt_id": comparison.base.prompt_id,
        "base": run_json(comparison.base),
        "tuned": run_json(comparison.tuned),
        "steps": [row_json(row) for row in comparison.steps],
        "subjects": [subject_json(row) for row in comparison.subjects],
        "all": row_json(comparison.pooled),
        "verdict": comparison.pooled.verdict,
        "sentence": comparison.sentence,
        "outcome_difference": gap.as_json() if (gap := comparison.outcome_difference) else None,
        "notes": list(comparison.notes),
        "fixed": [flip_json(flip) for flip in comparison.flips if flip.fixed],
        "broken": [flip_json(flip) for flip in comparison.flips if not flip.fixed],
    }


def run_json(run: Run) -> dict[str, Any]:
    """Return the file of a run, and the names and hashes of its models, as JSON."""
    names = ("base", "base_sha256", "adapter", "adapter_sha256")
    return {"file": str(run.file)} | {name: getattr(run, name) for name in names}


def row_json(row: Row) -> dict[str, Any]:
    """Return the counts of a row and the figures computed from them as JSON; accuracies are shares of 1."""
    return {
        "label": row.label,
        "n": row.n,
        "base_accuracy": row.base_right / row.n,
        "base_interval": list(row.base_interval),
        "tuned_accuracy": row.tuned_right / row.n,
        "tuned_interval": list(row.tuned_interval),
        "both_right": row.both_right,
        "fixed": row.fixed,
        "broken": row.broken,
        "both_wrong": row.both_wrong,
        "difference": row.difference,
        "difference_interval": list(row.interval),
        "p": row.p,
        "p_mcnemar_exact": row.p_mcnemar,
        "p_holm": row.p_holm,
        "verdict": row.verdict,
        "detectable_difference": detectable_difference(row.n, row.fixed + row.broken),
        "chance": row.chance,
        "groups": row.clusters.as_json() if row.clusters else None,
    }


def subject_json(row: Row) -> dict[str, Any]:
    """Return `row_json` of a subject; one with fewer than `subjects.MIN_ITEMS` items has its counts only."""
    return counts_only(row_json(row), ("label", "n", "both_right", "fixed", "broken", "both_wrong"))


def _make_row(label: str, pairs: Sequence[tuple[Answer, Answer]]) -> Row:
    outcomes = [(before.right, after.right) for before, after in pairs]
    return Row(
        label=label,
        both_right=outcomes.count((True, True)),
        fixed=outcomes.count((False, True)),
        broken=outcomes.count((True, False)),
        both_wrong=outcomes.count((False, False)),
        clusters=make_clusters(
            [before.group for before, _ in pairs], [after - before for before, after in outcomes]
        ),
        chance=sum(1 / before.options for before, _ in pairs) / len(pairs),
    )
