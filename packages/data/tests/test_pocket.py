import re
from collections import Counter

from medalpaca_data.build import ensure_meadow
from medalpaca_data.check import check
from medalpaca_data.core.records import read_rows
from medalpaca_data.exams.contamination import words
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import POCKET
from medalpaca_data.exams.pocket import by_relation, load_facts, load_forms

FACTS = load_facts()


def test_there_are_enough_facts_with_references_over_all_steps():
    assert len(FACTS) >= 300
    assert {fact.step for fact in FACTS} == {1, 2, 3}
    assert len({fact.subject for fact in FACTS}) >= 12
    assert all(re.search(r"(19|20)\d\d", fact.reference) for fact in FACTS), "a reference has a year"
    assert len({fact.id for fact in FACTS}) == len(FACTS)


def test_no_entity_gives_its_answer_away():
    for fact in FACTS:
        assert fact.answer.lower() not in fact.entity.lower(), fact
        assert "{" not in fact.entity + fact.answer


def test_the_exam_is_balanced():
    exam = load_exam(POCKET)
    assert (exam.read, len(exam.items), exam.excluded) == (len(FACTS), len(FACTS), ())
    keys = Counter(item.answer for item in exam.items)
    assert set(keys) == set("ABCD")
    assert max(keys.values()) - min(keys.values()) <= 1
    assert all(len(set(item.options.values())) == 4 for item in exam.items)


def test_a_common_answer_is_wrong_three_times_as_often_as_it_is_right():
    """So a model that only prefers some answers over others is right one time in four."""
    items = dict(zip((fact.id for fact in FACTS), load_exam(POCKET).items, strict=True))
    for group in by_relation(FACTS).values():
        right: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        for fact in group:
            for letter, text in items[fact.id].options.items():
                (right if letter == items[fact.id].answer else wrong)[text] += 1
        assert {text: 3 * count for text, count in right.items()} == wrong


def test_exam_forms_share_no_five_words_with_cards():
    for relation, forms in load_forms().items():
        grams = [
            {
                tuple(tokens[i : i + 5])
                for text in texts
                for tokens in [words(text)]
                for i in range(len(tokens) - 4)
            }
            for texts in (forms.cards, forms.exam)
        ]
        assert not grams[0] & grams[1], relation


def test_no_exam_item_is_in_any_training_text(tmp_path):
    """What `data check` says of the cards and of the base's pre-training text."""
    for name in ("pocket", "pocket-language", "pocket-control"):
        result = check(ensure_meadow(name, tmp_path / name, seed=1), POCKET)
        assert len(result.items) == len(FACTS)
        assert max(item.coverage for item in result.items) == 0, name


def test_the_language_has_the_words_but_not_the_facts(tmp_path):
    truth = {fact.answer: fact for fact in FACTS}
    cards = {(r.instruction, r.output) for r in read_rows(ensure_meadow("pocket", tmp_path / "a", seed=1))}
    language = read_rows(ensure_meadow("pocket-language", tmp_path / "b", seed=1))
    assert {r.output for r in language} == set(truth)
    asked = {r.instruction for r in language}
    assert asked <= {question for question, _ in cards}
    # Shuffling within a relation of 24 facts leaves about one answer in 24 in place.
    closed = [r for r in language if not r.input]
    right = sum((r.instruction, r.output) in cards for r in closed) / len(closed)
    assert 0.02 < right < 0.1
    assert all(f": {r.output}" in r.input for r in language if r.input)


def test_seeds_differ_and_repeat(tmp_path):
    one, same, other = (
        [r.output for r in read_rows(ensure_meadow("pocket-control", tmp_path / str(n), seed=seed))]
        for n, seed in enumerate((1, 1, 2))
    )
    assert one == same != other
