"""A sitting: a block of questions that a person answers before seeing what the models chose. Kept by nobody."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from medalpaca_data.exams.item import Item

from ..passes.request import ARMS, Arm

BLOCKS = (10, 20, 40)
SECONDS_PER_QUESTION = 90  # what the licensing examinations give
GRACE = 2.0  # seconds that an answer may take on its way here


@dataclass(frozen=True, slots=True)
class Sitting:
    """`order` holds indexes into the exam, `answers` what was picked. Times are a monotonic clock's seconds."""

    order: tuple[int, ...]
    began: float
    limit: float | None = None
    at: int = 0
    answers: Mapping[int, str] = field(default_factory=dict)
    ended: float | None = None

    @property
    def index(self) -> int:
        """The question in front of the person."""
        return self.order[self.at]

    @property
    def open(self) -> int:
        """How many are not answered yet."""
        return len(self.order) - len(self.answers)

    def left(self, now: float) -> float | None:
        """Seconds left; None without a limit."""
        return None if self.limit is None else max(0.0, self.began + self.limit - now)

    def pick(self, letter: str, now: float) -> Sitting:
        """Answer, or answer otherwise. After the end nothing changes."""
        if self.ended is not None or self.over(now):
            return self.end(now)
        return replace(self, answers={**self.answers, self.index: letter})

    def move(self, by: int) -> Sitting:
        """Some questions on or back, within the block."""
        return replace(self, at=min(max(0, self.at + by), len(self.order) - 1))

    def over(self, now: float) -> bool:
        """Whether time is up."""
        return self.limit is not None and now > self.began + self.limit + GRACE

    def end(self, now: float) -> Sitting:
        """Hand in."""
        return self if self.ended is not None else replace(self, ended=now)


def sit(items: Sequence[Item], size: int, step: str, timed: bool, now: float, seed: int) -> Sitting:
    """A block drawn at random from the exam, or from one step of it; all there are when they are fewer."""
    pool = [index for index, item in enumerate(items) if not step or str(item.step) == step]
    order = tuple(random.Random(seed).sample(pool, min(size, len(pool))))  # noqa: S311
    return Sitting(order, now, SECONDS_PER_QUESTION * len(order) if timed else None)


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the end page: how many were right, of how many."""

    name: str
    n: int
    you: int
    models: Mapping[Arm, int]


def scores(sitting: Sitting, items: Sequence[Item], chosen: Mapping[Arm, Mapping[int, str]]) -> list[Score]:
    """The block, then each of its subjects. A question left open counts as wrong, for person and model alike."""
    groups: dict[str, list[int]] = {"All": list(sitting.order)}
    for index in sitting.order:
        if subject := items[index].subject:
            groups.setdefault(subject, []).append(index)

    def right(letters: Mapping[int, str], those: list[int]) -> int:
        return sum(letters.get(index) == items[index].answer for index in those)

    return [
        Score(
            name, len(those), right(sitting.answers, those), {arm: right(chosen[arm], those) for arm in ARMS}
        )
        for name, those in groups.items()
    ]


def as_json(
    sitting: Sitting, items: Sequence[Item], exam_sha256: str, chosen: Mapping[Arm, Mapping[int, str]]
) -> str:
    """The sitting for keeping: ids and letters, none of the exam's text and no name."""
    return json.dumps(
        {
            "exam_sha256": exam_sha256,
            "seconds": round((sitting.ended or sitting.began) - sitting.began, 1),
            "limit_seconds": sitting.limit,
            "answers": [
                {"id": items[index].id, "key": items[index].answer, "you": sitting.answers.get(index)}
                | {arm: chosen[arm].get(index) for arm in ARMS}
                for index in sitting.order
            ],
        },
        indent=1,
    )
