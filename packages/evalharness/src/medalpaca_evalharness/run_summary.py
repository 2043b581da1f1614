"""Outcomes of one run by exam step and subject: the table of `exam show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .answer_extraction import OUTCOMES
from .results import Run
from .samples import Answer
from .sent_prompt import describe_sent_prompt
from .statistics import Interval, wilson
from .subjects import MIN_ITEMS, counts_only, items_by_subject, split_small


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSummary:
    """Number of items per outcome (see `OUTCOMES`), of one exam step or of all items.

    `chance` is the accuracy of guessing: the mean of 1/k over items with k options.
    """

    label: str
    outcomes: Mapping[str, int]
    chance: float

    @property
    def n(self) -> int:
        return sum(self.outcomes.values())

    @property
    def right(self) -> int:
        return self.outcomes["correct"]

    @property
    def answered(self) -> int:
        """Number of items with an answer, right or wrong."""
        return self.right + self.outcomes["wrong"]

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the share of right answers among all items."""
        return wilson(self.right, self.n)


def summarize_run(run: Run) -> tuple[ItemSummary, ...]:
    """Return one summary per exam step if there are several, and one of all items last."""
    answers = list(run.answers.values())
    steps = sorted({answer.step for answer in answers}, key=lambda step: (step is None, step or 0))
    by_step = [[answer for answer in answers if answer.step == step] for step in steps]
    summaries = [summarize_items(members[0].label, members) for members in by_step]
    return (*(summaries if len(summaries) > 1 else ()), summarize_items("All", answers))


def summarize_subjects(run: Run) -> tuple[ItemSummary, ...]:
    """Return one summary per subject, sorted; empty if there are fewer than two subjects."""
    found = items_by_subject(run.answers.values()).items()
    return tuple(summarize_items(name, [run.answers[item] for item in items]) for name, items in found)


def as_json(run: Run, parts: Sequence[ItemSummary]) -> dict[str, Any]:
    """Return a run and its summaries as `exam show --json` prints them; accuracies are shares of 1, not percent."""
    return {
        "task": run.task,
        "metric": run.metric,
        "exam": run.exam,
        "exam_sha256": run.exam_sha256,
        "prompt_id": run.prompt_id,
        "sent_prompt_id": run.sent_prompt_id,
        "num_fewshot": run.sent.num_fewshot,
        "fewshot_sha256": run.sent.fewshot_sha256,
        "model": run.model,
        "parts": [summary_json(part) for part in parts],
        "subjects": [subject_json(part) for part in summarize_subjects(run)],
    }


def subject_json(part: ItemSummary) -> dict[str, Any]:
    """Return `summary_json` of a subject; one with fewer than `subjects.MIN_ITEMS` items has its counts only."""
    return counts_only(summary_json(part), ("label", "n", *OUTCOMES))


def summary_json(part: ItemSummary) -> dict[str, Any]:
    """Return a summary as JSON; accuracies are shares of 1, `accuracy_of_answered` is None if no item has an answer."""
    return {
        "label": part.label,
        "n": part.n,
        "accuracy": part.right / part.n,
        "interval": list(part.interval),
        "chance": part.chance,
        **part.outcomes,
        "accuracy_of_answered": part.right / part.answered if part.answered else None,
    }


def as_text(run: Run, parts: Sequence[ItemSummary]) -> str:
    """Return the table of `exam show`; its rows have at most 80 columns."""
    large, small = split_small(summarize_subjects(run))
    width = max(8, *(len(part.label) + 1 for part in large)) if large else 8
    heading = f"{'':{width}}{'n':>5}{'right %':>8}{'95 %':>11}{'chance':>7}"
    heading += "".join(f"{name:>{len(name) + 1}}" for name in OUTCOMES[2:]) + f"{'of answered':>12}"
    lines = [
        run.model,
        f"{run.task} by {run.metric}, exam {run.exam} {run.exam_sha256[:12]}, prompt {run.sent_prompt_id}",
        *describe_sent_prompt(run.sent),
        heading,
    ]
    for part in (*parts, *large):
        low, high = part.interval
        line = f"{part.label:{width}}{part.n:>5}{100 * part.right / part.n:>8.1f}"
        line += f"{f'{100 * low:.1f}-{100 * high:.1f}':>11}{100 * part.chance:>7.1f}"
        line += "".join(f"{part.outcomes[name]:>{len(name) + 1}}" for name in OUTCOMES[2:])
        share = f"{100 * part.right / part.answered:.1f}" if part.answered else "-"
        lines.append(f"{line}{share:>12}")
    if small:
        counts = "; ".join(f"{part.label} {part.right} / {part.n}" for part in small)
        lines.append(f"Subjects with fewer than {MIN_ITEMS} items, right / items: {counts}")
    lines.append("Right: share of all items, with Wilson interval. No answer counts as wrong.")
    return "\n".join(lines)


def summarize_items(label: str, answers: Sequence[Answer]) -> ItemSummary:
    """Return the number of `answers` per outcome. Raises ZeroDivisionError without answers."""
    counts = Counter(answer.outcome for answer in answers)
    return ItemSummary(
        label=label,
        outcomes={name: counts[name] for name in OUTCOMES},
        chance=sum(1 / answer.options for answer in answers) / len(answers),
    )
