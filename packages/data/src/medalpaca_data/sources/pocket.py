"""The embedded flash cards. `language` shuffles the answers: the sentences and words of the cards without the facts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..pocket.facts import cards, load_facts, shuffled_answers
from ..row import Row
from .base import BaseSource, Reject


class Pocket(BaseSource):
    """Every fact in every card form; the last form of each relation is held out for validation."""

    kind: Literal["pocket"] = "pocket"
    name: str = "pocket"
    licence: str | None = "Apache-2.0"
    attribution: str | None = "MedAlpaca pocket facts"
    answers: Literal["true", "shuffled"] = "true"
    draws: int = Field(default=1, ge=1)  # how many times the answers are shuffled anew
    seed: int = 0  # of the shuffling

    def files(self, root: Path) -> list[Path]:
        return []

    def records(self, root: Path) -> Iterator[Row | Reject]:
        facts = load_facts()
        rng = random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        for draw in range(self.draws):
            if self.answers == "shuffled":
                answers = shuffled_answers(facts, rng)
            else:
                answers = {fact.id: fact.answer for fact in facts}
            for fact, form, question, answer in cards(facts, answers):
                yield Row(
                    instruction=question,
                    input="",
                    output=answer,
                    source=self.name,
                    source_id=f"{fact.id}#{form}" + (f"@{draw}" if self.draws > 1 else ""),
                    licence=self.licence,
                    attribution=f"{fact.reference}" if self.answers == "true" else self.attribution,
                    split="train",
                    group=f"{self.name}:{fact.relation}:form{form}",
                )
