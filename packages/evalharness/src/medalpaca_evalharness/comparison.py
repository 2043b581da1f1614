"""Base against tuned, item by item: whether two runs may be compared, the counts, and the verdict.

The items on which tuning changed right to wrong or wrong to right, with both answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from medalpaca_data.core.errors import CheckFailed

from .results import Run
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
    """One item that both sides answered, one of them rightly. Letters, with the text where texts were compared."""

    item_id: str
    step: int | None
    key: str
    base: str
    tuned: str

    @property
    def fixed(self) -> bool:
        """Wrong before, right after."""
        return self.tuned == self.key


def find_flips(pairs: Iterable[tuple[Answer, Answer]]) -> tuple[Flip, ...]:
    """All flipped items, in the order of the exam."""
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
    """An option as it was compared: its letter, and its text where the task compares texts. Without one, why."""
    if index is None:
        return describe_choice(answer)
    letter, text = answer.letters[index], answer.choices[index]
    return letter if text == letter else f"{letter} {text}"


def describe_choice(answer: Answer) -> str:
    """The letter that was answered, or why there is none of this item's."""
    if answer.chosen is not None:
        return answer.letters[answer.chosen]
    return "no option's letter" if answer.outcome == "wrong" else answer.outcome


def flip_json(flip: Flip) -> dict[str, Any]:
    """For programs."""
    return {
        "item": flip.item_id,
        "step": flip.step,
        "key": flip.key,
        "base": flip.base,
        "tuned": flip.tuned,
    }


Verdict = Literal["better", "worse", "no difference detectable at this n"]

ALPHA = 0.05
LIMITED_NOTE = "only part of the exam was asked (--limit or --samples)"
MAX_LISTED = 5  # item ids named in a refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step, or all items. The four counts sum to `n`."""

    label: str
    both_right: int
    fixed: int  # wrong before, right after
    broken: int  # right before, wrong after
    both_wrong: int
    chance: float  # mean of 1/k over the items: what guessing gets
    interval: Interval  # of the difference: paired bootstrap, within steps
    p_holm: float | None = None  # p adjusted for what else was looked at: steps, or other models

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
        """Tuned minus base, as a share of 1."""
        return (self.fixed - self.broken) / self.n

    @property
    def p(self) -> float:
        return mcnemar_exact(self.fixed, self.broken)

    @property
    def verdict(self) -> Verdict:
        """Of a step, by the adjusted p-value."""
        if (self.p if self.p_holm is None else self.p_holm) >= ALPHA:
            return "no difference detectable at this n"
        return "better" if self.fixed > self.broken else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the same exam. `steps` is empty when the exam has none, or only one.

    Of a family of comparisons, `name` says which model is meant, and p-values are adjusted for all of them.
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
        """The verdict, with the numbers it rests on."""
        row = self.pooled
        adjusted = "" if row.p_holm is None else f" (adjusted by Holm {_format_p(row.p_holm)})"
        counts = (
            f"{_format_points(row.difference)} points (95 % interval {format_interval(row.interval)}) on {_count_items(row.n)}, "
            f"{row.fixed} fixed and {row.broken} broken, exact McNemar {_format_p(row.p)}{adjusted}"
        )
        if row.verdict != "no difference detectable at this n":
            return f"{self.name.capitalize()} is {row.verdict} than base: {counts}."
        if not row.fixed + row.broken:
            alike = f"they have the same {row.both_right} of {_count_items(row.n)} right"
            return f"Between base and {self.name}, {row.verdict}: {alike}."
        smallest = 100 * detectable_difference(row.n, row.fixed + row.broken)
        return (
            f"Between base and {self.name}, {row.verdict}: {counts}; with this much disagreement the exam shows "
            f"differences from about {smallest:.1f} points on (80 % power)."
        )


def _format_p(value: float) -> str:
    return f"p = {value:.4f}" if value >= 0.0001 else "p < 0.0001"


def format_interval(interval: Interval) -> str:
    """An interval of a difference, in points."""
    return f"{_format_points(interval.low)} to {_format_points(interval.high)}"


def _format_points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # never -0.0


def _count_items(n: int) -> str:
    return f"{n} item{'' if n == 1 else 's'}"


def compare(base: Run, tuned: Run) -> Comparison:
    """Compare two runs. Raises CheckFailed, saying which, when exam, prompt, items or metric differ."""
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
    """All of it for programs; shares of 1, not percent."""
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
    """A row of counts with everything computed from it."""
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
            f"different exams: base was asked {base.exam} ({base.exam_sha256[:12]}), "
            f"tuned {tuned.exam} ({tuned.exam_sha256[:12]})"
        )
    if base.task != tuned.task or base.metric != tuned.metric:
        raise CheckFailed(
            f"different tasks: base ran {base.task} ({base.metric}), tuned {tuned.task} ({tuned.metric})"
        )
    if base.prompt_id != tuned.prompt_id:
        raise CheckFailed(
            f"different prompts: base was asked with {base.prompt_id}, tuned with {tuned.prompt_id}"
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
            f"different item sets: {', '.join(only)}; ask both sides the same steps, without --limit"
        )
    changed = [item for item, answer in base.answers.items() if answer.asked != tuned.answers[item].asked]
    if changed:
        raise CheckFailed(
            f"different texts shown for {len(changed)} items ({_list_ids(changed)}): use --apply_chat_template "
            "on both sides or on neither, with the same tokenizer="
            + (" and the same --gen_kwargs" if base.generated else "")
        )

    if tuned.adapter and not _same_base(base, tuned) and _is_hub_id(base.base) and _is_hub_id(tuned.base):
        raise CheckFailed(f"different bases: base ran {base.base}, the tuned side's adapter on {tuned.base}")


def _same_base(base: Run, tuned: Run) -> bool:
    """By hash where both have one, else by name."""
    if base.base_sha256 and tuned.base_sha256:
        return base.base_sha256 == tuned.base_sha256
    return (base.base or "").removesuffix("@main") == (tuned.base or "").removesuffix("@main")


def _is_hub_id(name: str | None) -> bool:
    return name is not None and name.count("/") == 1 and not name.startswith((".", "~", "/"))


def _list_ids(ids: Iterable[str]) -> str:
    shown = sorted(ids)
    return ", ".join(shown[:MAX_LISTED]) + (", ..." if len(shown) > MAX_LISTED else "")


def _list_notes(base: Run, tuned: Run) -> list[str]:
    """What a reader should know before believing the verdict."""
    notes = []
    if base.limited or tuned.limited:
        notes.append(LIMITED_NOTE)
    if base.sampled or tuned.sampled:
        notes.append(
            "answers were drawn at random: another seed gives others, which the test does not know of"
        )
    if base.cached or tuned.cached:
        notes.append("a run used --use_cache, whose entries name no model: be sure that the two shared none")
    same_base = _same_base(base, tuned)
    adapters = [(run.adapter_sha256 or run.adapter) for run in (base, tuned)]
    if same_base and base.base and adapters[0] == adapters[1]:
        notes.append("both runs examined the same weights")
    elif tuned.adapter and not same_base:
        notes.append("the tuned side's base is not the base side's model")
    if base.setup and tuned.setup and (differing := _describe_differences(base.setup, tuned.setup)):
        notes.append(f"the sides were run differently (base / tuned): {differing}")
    return notes


def _describe_differences(base: Mapping[str, str], tuned: Mapping[str, str]) -> str:
    keys = [key for key in sorted(base.keys() | tuned.keys()) if base.get(key) != tuned.get(key)]
    return ", ".join(f"{key} {base.get(key, 'not given')} / {tuned.get(key, 'not given')}" for key in keys)
