"""Difference of two models in how often an answer was found: unparsed, refused and truncated completions.

An item without an answer counts as wrong. If one model has more of them, a difference in format looks like a
difference in knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .answer_extraction import OUTCOMES
from .samples import Answer
from .statistics import Interval, mcnemar_exact, paired_interval

# Outcomes without an answer.
WITHOUT_ANSWER = tuple(name for name in OUTCOMES if name not in ("correct", "wrong"))
ALPHA = 0.05
# Shares that differ by this many points, and by this many items, are reported without a significant test.
MIN_SHARE, MIN_ITEMS = 0.02, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeDifference:
    """Items without an answer, by model, and what they leave open.

    `base` and `tuned` have the number of items by outcome without an answer; `n` is the number of all items. `lowest`
    and `highest` are the differences in accuracy (tuned minus base, shares of 1) in the two extreme cases: the missing
    answers of base are all right and those of tuned all wrong, and the reverse. `selected`, `fixed` and `broken` count
    the items that both models answered, `difference`, `interval` and `p` are the figures on them.
    """

    n: int
    base: dict[str, int]
    tuned: dict[str, int]
    lowest: float
    highest: float
    selected: int
    fixed: int
    broken: int

    @property
    def difference(self) -> float | None:
        """Accuracy of tuned minus base on the items that both answered; None without such items."""
        return (self.fixed - self.broken) / self.selected if self.selected else None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of `difference`; None without such items."""
        return paired_interval(self.selected, self.fixed, self.broken) if self.selected else None

    @property
    def p(self) -> float:
        return mcnemar_exact(self.fixed, self.broken)

    def sentence(self, name: str) -> str:
        """Return the difference and both extreme cases as text; `name` is the label of the second model."""
        sides = " and ".join(
            f"{sum(counts.values())} of {self.n} answers of {side}{_kinds(counts)}"
            for side, counts in (("base", self.base), (name, self.tuned))
        )
        return (
            f"The models differ in how often an answer was found: missing are {sides}. Depending on these answers, "
            f"the difference is between {100 * self.lowest:+.1f} and {100 * self.highest:+.1f} points. "
            f"{self._selected()}"
        )

    def _selected(self) -> str:
        if self.difference is None:
            return "No item was answered by both."
        return (
            f"Selected items, the {self.selected} that both answered: {100 * self.difference:+.1f} points, "
            f"{self.fixed} fixed and {self.broken} broken, p = {self.p:.4f}."
        )

    def as_json(self) -> dict[str, Any]:
        """Return counts and figures as JSON values; differences are shares of 1."""
        return asdict(self) | {
            "difference": self.difference,
            "interval": list(self.interval) if self.interval else None,
            "p": self.p,
        }


def find_outcome_difference(pairs: Sequence[tuple[Answer, Answer]]) -> OutcomeDifference | None:
    """Return the difference if the models differ in an outcome without an answer, or in all of them together.

    They differ if the exact McNemar test is significant at 5 %, or if the shares differ by 2 points or more and by at
    least 3 items. `pairs` are the answers of base and tuned to each item.
    """
    kinds = [(kind,) for kind in WITHOUT_ANSWER] + [WITHOUT_ANSWER]
    if not any(_differ(pairs, kind) for kind in kinds):
        return None
    both = [pair for pair in pairs if not any(answer.outcome in WITHOUT_ANSWER for answer in pair)]
    right = [sum(answer.right for answer in side) for side in zip(*pairs, strict=True)]
    missing = [_count(side) for side in zip(*pairs, strict=True)]
    base_missing, tuned_missing = (sum(counts.values()) for counts in missing)
    observed = right[1] - right[0]
    return OutcomeDifference(
        n=len(pairs),
        base=missing[0],
        tuned=missing[1],
        lowest=(observed - base_missing) / len(pairs),
        highest=(observed + tuned_missing) / len(pairs),
        selected=len(both),
        fixed=sum(after.right and not before.right for before, after in both),
        broken=sum(before.right and not after.right for before, after in both),
    )


def _differ(pairs: Sequence[tuple[Answer, Answer]], kinds: Sequence[str]) -> bool:
    found = [(before.outcome in kinds, after.outcome in kinds) for before, after in pairs]
    only_base, only_tuned = found.count((True, False)), found.count((False, True))
    change = abs(only_tuned - only_base)
    return mcnemar_exact(only_base, only_tuned) < ALPHA or (
        change >= MIN_ITEMS and change >= MIN_SHARE * len(pairs)
    )


def _count(answers: Sequence[Answer]) -> dict[str, int]:
    return {kind: sum(answer.outcome == kind for answer in answers) for kind in WITHOUT_ANSWER}


def _kinds(counts: dict[str, int]) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f" ({found})" if found else ""
