"""The bundled exam `medalpaca_pocket`: every fact once, in words of its own, four options, key positions balanced."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..ground.files import sha256_bytes
from ..pocket.facts import FACTS, FORMS, Fact, by_relation, load_facts, load_forms, sentence
from .item import LETTERS, POCKET, Item, RawExam

OPTIONS = 4
SEED = 2023  # draws the wrong options once and for all: the exam is one exam, whatever the run's seed


def pocket_exam() -> RawExam:
    """The exam as made from the facts; nothing about it is random from run to run."""
    from importlib.resources import files

    from .. import pocket as facts_folder

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
    source = b"".join(files(facts_folder).joinpath(name).read_bytes() for name in (FACTS, FORMS))
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
