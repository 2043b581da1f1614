"""Paired comparison of two runs on one exam: counts, significance tests, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medalpaca_data.core.errors import CheckFailed

from .results import Run, read_run
from .samples import Answer
from .statistics import (
    Interval,
    Stratum,
    detectable_difference,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    wilson,
)


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


Verdict = Literal["better", "worse", "no difference detectable at this n"]

ALPHA = 0.05
LIMITED_NOTE = "only part of the exam was evaluated (--limit or --samples)"
# Number of item ids that an error lists.
MAX_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Paired counts of one exam step, or of all items. The four counts sum to `n`.

    `fixed`: wrong in the base run, right in the tuned run. `broken`: the reverse. `chance`: the accuracy of guessing,
    the mean of 1/k over items with k options. `interval`: 95 % paired bootstrap interval of the difference, resampled
    within steps. `p_holm`: p-value adjusted for the number of steps, or of comparisons with one base; None if not
    adjusted.
    """

    label: str
    both_right: int
    fixed: int
    broken: int
    both_wrong: int
    chance: float
    interval: Interval
    p_holm: float | None = None

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
    def p(self) -> float:
        return mcnemar_exact(self.fixed, self.broken)

    @property
    def verdict(self) -> Verdict:
        """Verdict at 5 % significance, by the adjusted p-value where there is one."""
        if (self.p if self.p_holm is None else self.p_holm) >= ALPHA:
            return "no difference detectable at this n"
        return "better" if self.fixed > self.broken else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two runs on the same exam.

    `pooled` counts all items. `steps` is empty if the items have fewer than two steps. `flips` are the items that only
    one model answers correctly. `name` is the label of the second model. If several models are compared with one
    base, their p-values are adjusted together.
    """

    base: Run
    tuned: Run
    steps: tuple[Row, ...]
    pooled: Row
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]
    name: str = "tuned"

    @property
    def sentence(self) -> str:
        """The verdict as one sentence, with its figures."""
        row = self.pooled
        adjusted = "" if row.p_holm is None else f" (adjusted by Holm {_format_p(row.p_holm)})"
        counts = (
            f"{_format_points(row.difference)} points (95 % interval {format_interval(row.interval)}) "
            f"on {_count_items(row.n)}, {row.fixed} fixed and {row.broken} broken, "
            f"exact McNemar {_format_p(row.p)}{adjusted}"
        )
        if row.verdict != "no difference detectable at this n":
            return f"{self.name.capitalize()} is {row.verdict} than base: {counts}."
        if not row.fixed + row.broken:
            alike = f"both answer the same {row.both_right} of {_count_items(row.n)} correctly"
            return f"Between base and {self.name}, {row.verdict}: {alike}."
        smallest = 100 * detectable_difference(row.n, row.fixed + row.broken)
        return (
            f"Between base and {self.name}, {row.verdict}: {counts}; at this number of changed items the exam "
            f"detects a difference of about {smallest:.1f} points or more (80 % power)."
        )


def _format_p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def format_interval(interval: Interval) -> str:
    """Return an interval of a difference as text in percentage points: "-1.2 to +3.4"."""
    return f"{_format_points(interval.low)} to {_format_points(interval.high)}"


def _format_points(share: float) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _count_items(n: int) -> str:
    return f"{n} item{'' if n == 1 else 's'}"


def compare(base: Run | Path | str, tuned: Run | Path | str, task: str | None = None) -> Comparison:
    """Return the comparison of two runs, given as `Run` objects or as paths of lm-eval results.

    `task` selects one exam if a path has results of several. Raises CheckFailed if exam, task, metric, prompt, items or
    texts of the two differ, or their base models on the hub. For a path, raises as `read_run` does.
    """
    return _compare_runs(
        *(run if isinstance(run, Run) else read_run(Path(run), task) for run in (base, tuned))
    )


def _compare_runs(base: Run, tuned: Run) -> Comparison:
    _check_comparable(base, tuned)
    pairs = [(answer, tuned.answers[item]) for item, answer in base.answers.items()]
    steps = sorted({before.step for before, _ in pairs}, key=lambda step: (step is None, step or 0))
    by_step = {step: [pair for pair in pairs if pair[0].step == step] for step in steps}
    rows = [_make_row(by_step[step][0][0].label, [by_step[step]]) for step in steps]
    adjusted = holm([row.p for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    return Comparison(
        base=base,
        tuned=tuned,
        steps=tuple(rows) if len(rows) > 1 else (),
        pooled=_make_row("All", list(by_step.values())),
        flips=find_flips(pairs),
        notes=tuple(_list_notes(base, tuned)),
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as `exam compare --json` prints it; accuracies are shares of 1, not percent."""
    return {
        "task": comparison.base.task,
        "metric": comparison.base.metric,
        "exam": comparison.base.exam,
        "exam_sha256": comparison.base.exam_sha256,
        "prompt_id": comparison.base.prompt_id,
        "base": _run_json(comparison.base),
        "tuned": _run_json(comparison.tuned),
        "steps": [row_json(row) for row in comparison.steps],
        "all": row_json(comparison.pooled),
        "verdict": comparison.pooled.verdict,
        "sentence": comparison.sentence,
        "notes": list(comparison.notes),
        "fixed": [flip_json(flip) for flip in comparison.flips if flip.fixed],
        "broken": [flip_json(flip) for flip in comparison.flips if not flip.fixed],
    }


def _run_json(run: Run) -> dict[str, Any]:
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
        "p_mcnemar_exact": row.p,
        "p_holm": row.p_holm,
        "verdict": row.verdict,
        "detectable_difference": detectable_difference(row.n, row.fixed + row.broken),
        "chance": row.chance,
    }


def _make_row(label: str, strata: Sequence[Sequence[tuple[Answer, Answer]]]) -> Row:
    pairs = [pair for stratum in strata for pair in stratum]
    outcomes = [(before.right, after.right) for before, after in pairs]
    return Row(
        label=label,
        both_right=outcomes.count((True, True)),
        fixed=outcomes.count((False, True)),
        broken=outcomes.count((True, False)),
        both_wrong=outcomes.count((False, False)),
        chance=sum(1 / before.options for before, _ in pairs) / len(pairs),
        interval=paired_bootstrap(
            Stratum(
                len(stratum),
                sum(after.right and not before.right for before, after in stratum),
                sum(before.right and not after.right for before, after in stratum),
            )
            for stratum in strata
        ),
    )


def _check_comparable(base: Run, tuned: Run) -> None:
    if base.exam_sha256 != tuned.exam_sha256:
        raise CheckFailed(
            f"different exams: base ran exam {base.exam} ({base.exam_sha256[:12]}), "
            f"tuned {tuned.exam} ({tuned.exam_sha256[:12]}); evaluate both on the same exam"
        )
    if base.task != tuned.task or base.metric != tuned.metric:
        raise CheckFailed(
            f"different tasks: base ran {base.task} ({base.metric}), tuned {tuned.task} ({tuned.metric}); "
            "choose the same task with --task"
        )
    if base.prompt_id != tuned.prompt_id:
        raise CheckFailed(
            f"different prompts: base ran with prompt {base.prompt_id}, tuned with {tuned.prompt_id}; "
            "evaluate both with the same version of this package"
        )
    if base.answers.keys() != tuned.answers.keys():
        only = [
            f"{len(ids)} only in {side} ({_list_ids(ids)})"
            for side, ids in (
                ("base", base.answers.keys() - tuned.answers.keys()),
                ("tuned", tuned.answers.keys() - base.answers.keys()),
            )
            if ids
        ]
        raise CheckFailed(
            f"different item sets: {', '.join(only)}; evaluate both models on the same steps, without --limit"
        )
    changed = [
        item for item, answer in base.answers.items() if answer.input_hash != tuned.answers[item].input_hash
    ]
    if changed:
        raise CheckFailed(
            f"different texts shown for {len(changed)} items ({_list_ids(changed)}); use --apply_chat_template "
            "for both models or for neither, with the same tokenizer="
            + (" and the same --gen_kwargs" if base.generated else "")
        )

    if tuned.adapter and not _same_base(base, tuned) and _is_hub_id(base.base) and _is_hub_id(tuned.base):
        raise CheckFailed(
            f"different bases: base ran {base.base}, the adapter of tuned ran on {tuned.base}; "
            "evaluate the adapter and its own base model"
        )


def _same_base(base: Run, tuned: Run) -> bool:
    """Return whether both runs have the same base model: by SHA-256 if both have one, else by name."""
    if base.base_sha256 and tuned.base_sha256:
        return base.base_sha256 == tuned.base_sha256
    return (base.base or "").removesuffix("@main") == (tuned.base or "").removesuffix("@main")


def _is_hub_id(name: str | None) -> bool:
    return name is not None and name.count("/") == 1 and not name.startswith((".", "~", "/"))


def _list_ids(ids: Iterable[str]) -> str:
    shown = sorted(ids)
    return ", ".join(shown[:MAX_LISTED]) + (", ..." if len(shown) > MAX_LISTED else "")


def _list_notes(base: Run, tuned: Run) -> list[str]:
    """Return the notes that limit the verdict, such as different settings of the two runs."""
    notes = []
    if base.limited or tuned.limited:
        notes.append(LIMITED_NOTE)
    if base.sampled or tuned.sampled:
        notes.append(
            "answers were drawn at random; the test does not account for the variation between seeds"
        )
    if base.cached or tuned.cached:
        notes.append(
            "a run used --use_cache, whose entries do not name the model; make sure that the two runs shared no cache"
        )
    same_base = _same_base(base, tuned)
    adapters = [(run.adapter_sha256 or run.adapter) for run in (base, tuned)]
    if same_base and base.base and adapters[0] == adapters[1]:
        notes.append("both runs evaluated the same weights")
    elif tuned.adapter and not same_base:
        notes.append("the base model of the tuned run is not the model of the base run")
    if base.setup and tuned.setup and (differing := _describe_differences(base.setup, tuned.setup)):
        notes.append(f"the two runs have different settings (base / tuned): {differing}")
    return notes


def _describe_differences(base: Mapping[str, str], tuned: Mapping[str, str]) -> str:
    keys = [key for key in sorted(base.keys() | tuned.keys()) if base.get(key) != tuned.get(key)]
    return ", ".join(f"{key} {base.get(key, 'not set')} / {tuned.get(key, 'not set')}" for key in keys)
