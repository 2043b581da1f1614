"""Blind votes: which side holds which model, what was voted, and what the votes can show."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medalpaca_evalharness.statistics.paired import mcnemar_exact

from ..passes.request import ARMS, Arm

Choice = Literal["left", "right", "same", "poor"]
CHOICES: dict[Choice, str] = {"left": "Left", "right": "Right", "same": "Same", "poor": "Both poor"}


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote. `left` is the arm that stood on the left; `seconds` from the first words to the vote."""

    item_id: str
    left: Arm
    choice: Choice
    seconds: float

    @property
    def winner(self) -> Arm | None:
        """The arm that was preferred, if one was."""
        match self.choice:
            case "left":
                return self.left
            case "right":
                return other(self.left)
            case _:
                return None


def other(arm: Arm) -> Arm:
    """The arm on the other side."""
    return ARMS[1 - ARMS.index(arm)]


def left_arm(seed: int, item_id: str) -> Arm:
    """Which model stands on the left for this question: a coin per question, the same when it is shown again."""
    return random.Random(f"{seed} {item_id}").choice(ARMS)  # noqa: S311


def cast_choice(value: str) -> Choice:
    """A vote from the page. Raises ValueError for anything else."""
    for known in CHOICES:
        if value == known:
            return known
    raise ValueError(value)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes add up to. A second vote on a question replaces the first."""

    base: int
    tuned: int
    same: int
    poor: int

    @property
    def n(self) -> int:
        """All votes."""
        return self.base + self.tuned + self.same + self.poor

    @property
    def p(self) -> float:
        """Exact sign test, two-sided: votes for neither say nothing about which is better, and stay out."""
        return mcnemar_exact(self.tuned, self.base)


def tally(votes: Sequence[Vote]) -> Tally:
    """Count the last vote on each question."""
    last = {vote.item_id: vote for vote in votes}.values()
    return Tally(
        base=sum(vote.winner == "base" for vote in last),
        tuned=sum(vote.winner == "tuned" for vote in last),
        same=sum(vote.choice == "same" for vote in last),
        poor=sum(vote.choice == "poor" for vote in last),
    )


def as_jsonl(votes: Sequence[Vote], exam_sha256: str) -> str:
    """One vote a line: ids and sides, no text and no name."""
    return "".join(
        json.dumps(
            {
                "exam_sha256": exam_sha256,
                "id": vote.item_id,
                "left": vote.left,
                "right": other(vote.left),
                "vote": vote.choice,
                "winner": vote.winner,
                "seconds": round(vote.seconds, 1),
            }
        )
        + "\n"
        for vote in votes
    )
