"""The bundled exams, and the medical facts from which the pocket exam and its flash cards are made.

`medalpaca_pocket` has one question per fact, with four options and balanced positions of the correct one.
`medalpaca_vignettes` has original questions in the style of USMLE Steps 1 to 3.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

from ..core.files import sha256_bytes
from .item import LETTERS, POCKET, Item, RawExam

FACTS, FORMS = "pocket_facts.tsv", "pocket_forms.yaml"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: `relation` (antidote) of `entity` (heroin overdose) is `answer` (naloxone), with its reference.

    `subject` and `step` (USMLE Step 1 to 3) are those of its exam question.
    """

    relation: str
    subject: str
    step: int
    entity: str
    answer: str
    reference: str

    @property
    def id(self) -> str:
        """Return the id of the fact, relation/entity."""
        return f"{self.relation}/{self.entity}"


@dataclass(frozen=True, slots=True)
class Forms:
    """Sentence forms of a relation: `cards` for flash cards, `exam` for exam questions.

    The two have no five consecutive words in common. `answer` is the kind of answer, such as "drug".
    """

    answer: str
    cards: tuple[str, ...]
    exam: tuple[str, ...]


def load_facts() -> tuple[Fact, ...]:
    """Return all facts, in the order of the file."""
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
    """Return the sentence forms of every relation, by its name."""
    text = files(__package__).joinpath(FORMS).read_text(encoding="utf-8")
    return {
        relation: Forms(form["answer"], tuple(form["cards"]), tuple(form["exam"]))
        for relation, form in yaml.safe_load(text).items()
    }


def by_relation(facts: Sequence[Fact]) -> dict[str, list[Fact]]:
    """Return the facts of each relation, by its name; the order of the facts is kept."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.relation, []).append(fact)
    return groups


def sentence(form: str, entity: str) -> str:
    """Return the sentence form with `entity` inserted and a capital first letter."""
    text = form.format(entity=entity)
    return text[:1].upper() + text[1:]


def shuffled_answers(group: Sequence[Fact], rng: random.Random) -> dict[str, str]:
    """Return a random answer by fact id, drawn from the answers of `group`, the facts of one relation.

    Each answer occurs as often as it is correct. It may be the correct one of its fact.
    """
    deck = [fact.answer for fact in group]
    rng.shuffle(deck)
    return {fact.id: answer for fact, answer in zip(group, deck, strict=True)}


OPTIONS = 4
# Draws the wrong options. The exam does not depend on the seed of a run.
SEED = 2023


def pocket_exam() -> RawExam:
    """Return the exam `medalpaca_pocket`; it is the same in every run."""
    facts, forms = load_facts(), load_forms()
    rng = random.Random(SEED)  # noqa: S311
    wrong = {
        fact.id: options
        for group in by_relation(facts).values()
        for fact, options in zip(group, draw_wrong_options(group, rng), strict=True)
    }
    items = []
    for n, (fact, place) in enumerate(zip(facts, _balanced_positions(len(facts), rng), strict=True)):
        texts = list(wrong[fact.id])
        texts.insert(place, fact.answer)
        exam_forms = forms[fact.relation].exam
        items.append(
            Item(
                id=f"pocket-{n + 1:03d}",
                step=fact.step,
                subject=fact.subject,
                question=sentence(exam_forms[n % len(exam_forms)], fact.entity),
                options=dict(zip(LETTERS, texts, strict=False)),
                answer=LETTERS[place],
            )
        )
    source = b"".join(files(__package__).joinpath(name).read_bytes() for name in (FACTS, FORMS))
    return RawExam(POCKET, tuple(items), sha256_bytes(source))


def draw_wrong_options(group: Sequence[Fact], rng: random.Random) -> list[list[str]]:
    """Return three different wrong options for every fact of `group`, the facts of one relation.

    Each answer is a wrong option exactly three times as often as it is correct. Thus a model that prefers common or
    short answers has an expected accuracy of 1/4.
    """
    keys = [fact.answer for fact in group]
    drawn: list[list[str]] = [[] for _ in keys]
    for _ in range(OPTIONS - 1):
        deck = list(keys)
        rng.shuffle(deck)
        taken = [{key, *options} for key, options in zip(keys, drawn, strict=True)]
        while clashes := [i for i, answer in enumerate(deck) if answer in taken[i]]:
            i, j = rng.choice(clashes), rng.randrange(len(deck))
            deck[i], deck[j] = deck[j], deck[i]
        for options, answer in zip(drawn, deck, strict=True):
            options.append(answer)
    return drawn


def _balanced_positions(n: int, rng: random.Random) -> list[int]:
    """Return a position of the correct option per item; all positions are equally frequent, within one."""
    places = [i % OPTIONS for i in range(n)]
    rng.shuffle(places)
    return places
