"""The facts, each with a standard reference, and the sentence forms that ask for them.

The bundled exam `medalpaca_pocket`: every fact once, in words of its own, four options, key positions balanced.

The bundled exam `medalpaca_vignettes`: original questions in the style of Steps 1 to 3 that anybody may be shown.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

import yaml

from ..core.files import sha256_bytes
from .item import LETTERS, POCKET, VIGNETTES, Item, RawExam
from .layouts import read_exam

FACTS, FORMS = "pocket_facts.tsv", "pocket_forms.yaml"


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


OPTIONS = 4
SEED = 2023  # draws the wrong options once and for all: the exam is one exam, whatever the run's seed


def pocket_exam() -> RawExam:
    """The exam as made from the facts; nothing about it is random from run to run."""
    from importlib.resources import files

    facts, forms = load_facts(), load_forms()
    rng = random.Random(SEED)  # noqa: S311 - a fixed draw, nothing secret
    wrong = {
        fact.id: options
        for group in by_relation(facts).values()
        for fact, options in zip(group, draw_wrong_options(group, rng), strict=True)
    }
    items = []
    for n, (fact, place) in enumerate(zip(facts, _balanced_places(len(facts), rng), strict=True)):
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
    """Three wrong options for every fact of one relation.

    Each answer is a wrong option exactly three times as often as it is right, so that a model that merely prefers
    common, or short, answers gains nothing: its expected score is one in four.
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


def _balanced_places(n: int, rng: random.Random) -> list[int]:
    """A place for each key, every place as often as every other (to within one)."""
    places = [i % OPTIONS for i in range(n)]
    rng.shuffle(places)
    return places


FILE = "vignettes.jsonl"


def vignettes() -> RawExam:
    """The exam as it lies in the package. Explanations and references stay in the file: they are not asked."""
    with as_file(files(__package__).joinpath(FILE)) as path:
        return replace(read_exam(path), name=VIGNETTES)
