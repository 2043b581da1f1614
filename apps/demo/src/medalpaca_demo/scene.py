"""What every tab is given: who is compared, on what, by which engine, and what the examination found."""

from __future__ import annotations

from dataclasses import dataclass

from medalpaca_data.exams.asked import ask
from medalpaca_data.exams.exam import Exam
from medalpaca_data.exams.item import Item

from .engine import Engine
from .load import Pair
from .passes.request import Request, Scoring
from .results import Results
from .visits import Visits


@dataclass(frozen=True, slots=True)
class Scene:
    """One pair on one exam."""

    engine: Engine
    pair: Pair
    exam: Exam
    scoring: Scoring
    results: Results
    visits: Visits
    max_new_tokens: int
    recorded: str = ""  # what an audit log keeps, in words; empty where there is none

    @property
    def items(self) -> tuple[Item, ...]:
        """The questions, in the exam's order."""
        return self.exam.items

    def request(self, item: Item, max_new_tokens: int | None = None) -> Request:
        """The item as training and examination ask it. With 0 tokens it is rated and nothing is written."""
        question = ask(item, self.scoring)
        tokens = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        return Request(
            prompt=question.prompt, choices=question.choices, scoring=self.scoring, max_new_tokens=tokens
        )
