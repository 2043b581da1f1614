"""`exam show`: one result per step and over all items, with what became of every item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..answer.scoring import OUTCOMES
from ..statistics.paired import Interval, wilson
from .run import Run
from .sample import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One step, or all items. `outcomes` sum to `n`."""

    label: str
    outcomes: Mapping[str, int]
    chance: float  # mean of 1/k over the items

    @property
    def n(self) -> int:
        return sum(self.outcomes.values())

    @property
    def right(self) -> int:
        return self.outcomes["correct"]

    @property
    def answered(self) -> int:
        """Items with an answer, right or wrong."""
        return self.right + self.outcomes["wrong"]

    @property
    def interval(self) -> Interval:
        """Of the share that is right among all items."""
        return wilson(self.right, self.n)


def summary(run: Run) -> tuple[Part, ...]:
    """One part per step where there are several, and all items last."""
    answers = list(run.answers.values())
    steps = sorted({answer.step for answer in answers}, key=lambda step: (step is None, step or 0))
    by_step = [[answer for answer in answers if answer.step == step] for step in steps]
    parts = [some(members[0].label, members) for members in by_step]
    return (*(parts if len(parts) > 1 else ()), some("All", answers))


def as_json(run: Run, parts: Sequence[Part]) -> dict[str, Any]:
    """For programs; shares of 1."""
    return {
        "task": run.task,
        "metric": run.metric,
        "exam": run.exam,
        "exam_sha256": run.exam_sha256,
        "prompt_id": run.prompt_id,
        "model": run.model,
        "parts": [part_json(part) for part in parts],
    }


def part_json(part: Part) -> dict[str, Any]:
    """One step, or some items, for programs."""
    return {
        "label": part.label,
        "n": part.n,
        "accuracy": part.right / part.n,
        "interval": list(part.interval),
        "chance": part.chance,
        **part.outcomes,
        "accuracy_of_answered": part.right / part.answered if part.answered else None,
    }


def as_text(run: Run, parts: Sequence[Part]) -> str:
    """A table for the terminal, within 80 columns."""
    heading = f"{'':8}{'n':>5}{'right %':>8}{'95 %':>11}{'chance':>7}"
    heading += "".join(f"{name:>{len(name) + 1}}" for name in OUTCOMES[2:]) + f"{'of answered':>12}"
    lines = [
        run.model,
        f"{run.task} by {run.metric}, exam {run.exam} {run.exam_sha256[:12]}, prompt {run.prompt_id}",
        heading,
    ]
    for part in parts:
        low, high = part.interval
        line = f"{part.label:8}{part.n:>5}{100 * part.right / part.n:>8.1f}"
        line += f"{f'{100 * low:.1f}-{100 * high:.1f}':>11}{100 * part.chance:>7.1f}"
        line += "".join(f"{part.outcomes[name]:>{len(name) + 1}}" for name in OUTCOMES[2:])
        share = f"{100 * part.right / part.answered:.1f}" if part.answered else "-"
        lines.append(f"{line}{share:>12}")
    lines.append("Right: of all items, with Wilson interval; what is no answer counts as wrong.")
    return "\n".join(lines)


def some(label: str, answers: Sequence[Answer]) -> Part:
    """What became of some items. Raises ZeroDivisionError without any."""
    counts = Counter(answer.outcome for answer in answers)
    return Part(
        label=label,
        outcomes={name: counts[name] for name in OUTCOMES},
        chance=sum(1 / answer.options for answer in answers) / len(answers),
    )
