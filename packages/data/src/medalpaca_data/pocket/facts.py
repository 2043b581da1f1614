"""The facts, each with a standard reference, and the sentence forms that ask for them."""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

FACTS, FORMS = "facts.tsv", "forms.yaml"


@dataclass(frozen=True, slots=True)
class Fact:
    """`entity` stands in `relation` to `answer`: (antidote, heroin overdose, naloxone)."""

    relation: str
    subject: str
    step: int
    entity: str
    answer: str
    reference: str

    @property
    def id(self) -> str:
        """Stable as long as the fact's entity is."""
        return f"{self.relation}/{self.entity}"


@dataclass(frozen=True, slots=True)
class Forms:
    """How a relation is asked about: `cards` for teaching, `exam` for examining, no five words in common."""

    answer: str  # the kind of answer, in words
    cards: tuple[str, ...]
    exam: tuple[str, ...]


def load_facts() -> tuple[Fact, ...]:
    """All facts, in file order."""
    lines = files(__package__).joinpath(FACTS).read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple(
        Fact(
            relation=row["relation"],
            subject=row["subject"],
            step=int(row["step"]),
            entity=row["entity"],
            answer=row["answer"],
            reference=row["reference"],
        )
        for row in rows
    )


def load_forms() -> Mapping[str, Forms]:
    """relation -> its sentence forms."""
    text = files(__package__).joinpath(FORMS).read_text(encoding="utf-8")
    return {
        relation: Forms(form["answer"], tuple(form["cards"]), tuple(form["exam"]))
        for relation, form in yaml.safe_load(text).items()
    }


def by_relation(facts: Sequence[Fact]) -> dict[str, list[Fact]]:
    """Facts grouped by relation, in order."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.relation, []).append(fact)
    return groups


def sentence(form: str, entity: str) -> str:
    """The form with its entity, beginning with a capital."""
    text = form.format(entity=entity)
    return text[:1].upper() + text[1:]


def shuffled_answers(group: Sequence[Fact], rng: random.Random) -> dict[str, str]:
    """fact id -> an answer of its relation, each given out as often as it is right."""
    deck = [fact.answer for fact in group]
    rng.shuffle(deck)
    return {fact.id: answer for fact, answer in zip(group, deck, strict=True)}
