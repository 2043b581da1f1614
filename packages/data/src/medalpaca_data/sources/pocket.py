"""The embedded flash cards; and, with shuffled answers, the cards' language without their facts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..core.row import Row
from ..exams.pocket import Fact, by_relation, load_facts, load_forms, sentence, shuffled_answers
from .base import About, BaseSource, Name, Record


class Pocket(BaseSource):
    """Every fact in the card forms of its relation.

    `answers: shuffled` deals the answers of a relation anew for every row, `exchanged` once and for all. With `notes`,
    the answer stands in the row's input, among that many facts: what such rows teach is to look up, not to know.
    """

    about: ClassVar[About] = About(
        title="the embedded flash cards, for the quickstart and for tests",
        format="none: it comes with the package",
        get="nothing to get",
        licence="Apache-2.0",
        size="0",
        rows="6,528 (408 facts, 16 forms each)",
        default=False,
        remark="teaches a pocket model, not medicine",
    )

    kind: Literal["pocket"] = "pocket"
    name: Name = "pocket"
    licence: str | None = "Apache-2.0"
    attribution: str | None = "MedAlpaca pocket facts"
    answers: Literal["true", "shuffled", "exchanged"] = "true"
    forms: int | None = Field(default=None, ge=1)  # forms drawn for each fact; None: all
    notes: int = Field(default=0, ge=0)  # facts in the input, the one asked for among them

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
        noted = [fact, *rng.sample(others, self.notes - 1)]
        rng.shuffle(noted)
        return "; ".join(f"{one.entity}: {answers[one.id]}" for one in noted)
