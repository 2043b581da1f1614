"""The flash cards of the package, for the quickstart: facts as questions and answers, also with shuffled answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..core.row import Row
from ..exams.pocket import Fact, by_relation, load_facts, load_forms, sentence, shuffled_answers
from .base import BaseSource, Name, Record, SourceInfo


class Pocket(BaseSource):
    """The facts on the bundled flash cards: a row for each fact and each question form of its relation.

    `answers: shuffled` permutes the answers within a relation anew for every row, and `exchanged` once for all rows.
    Both teach the language of the cards without the facts. With `forms: N`, N forms are drawn for each fact (default:
    all). With `notes: N`, the input lists N facts of the relation in random order, among them the one with the answer.
    Such rows teach to look up, not to remember.
    """

    about: ClassVar[SourceInfo] = SourceInfo(
        title="the bundled flash cards, for the quickstart and for tests",
        format="none: part of the package",
        get="no file needed",
        licence="Apache-2.0",
        size="0",
        rows="6,528 (408 facts, 16 forms each)",
        default=False,
        remark="for the small pocket model of the quickstart; not for medical training",
    )

    kind: Literal["pocket"] = "pocket"
    name: Name = "pocket"
    licence: str | None = "Apache-2.0"
    attribution: str | None = "MedAlpaca pocket facts"
    answers: Literal["true", "shuffled", "exchanged"] = "true"
    forms: int | None = Field(default=None, ge=1)
    notes: int = Field(default=0, ge=0)

    def files(self, root: Path) -> list[Path]:
        return []

    def records(self, root: Path, seed: int = 0) -> Iterator[Record]:
        facts, forms = load_facts(), load_forms()
        groups = by_relation(facts)
        rng = random.Random(f"{seed}:{self.name}")  # noqa: S311 - reproducible, not secret
        answers = {fact.id: fact.answer for fact in facts}
        if self.answers == "exchanged":
            answers = {
                key: text for group in groups.values() for key, text in shuffled_answers(group, rng).items()
            }
        for fact in facts:
            cards = forms[fact.relation].cards
            numbers = range(len(cards)) if self.forms is None else rng.sample(range(len(cards)), self.forms)
            for number in numbers:
                if self.answers == "shuffled":
                    answers = shuffled_answers(groups[fact.relation], rng)
                yield Row(
                    instruction=sentence(cards[number], fact.entity),
                    input=self._notes(fact, groups[fact.relation], answers, rng),
                    output=answers[fact.id],
                    source=self.name,
                    source_id=f"{fact.id}#{number}",
                    licence=self.licence,
                    attribution=fact.reference if self.answers == "true" else self.attribution,
                    split="train",
                    group=f"{self.name}:{fact.relation}:{number}",
                )

    def _notes(self, fact: Fact, group: list[Fact], answers: dict[str, str], rng: random.Random) -> str:
        if not self.notes:
            return ""
        others = [other for other in group if other.id != fact.id]
        noted_facts = [fact, *rng.sample(others, self.notes - 1)]
        rng.shuffle(noted_facts)
        return "; ".join(f"{one.entity}: {answers[one.id]}" for one in noted_facts)
