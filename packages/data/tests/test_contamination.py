import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalpaca_data.audit import audit
from medalpaca_data.check import check
from medalpaca_data.core.records import read_rows
from medalpaca_data.exams.contamination import coverage, hits, words
from medalpaca_data.exams.exam import exclude_unscorable, load_exam
from medalpaca_data.exams.item import Item, RawExam
from medalpaca_data.exams.short_questions import Passage, ShortQuestion

LONG = " ".join(f"word{n}" for n in range(26))
OPTIONS = {"A": "x", "B": "y"}


def exam(*stems, name="x"):
    items = [Item(id=str(n), question=stem, options=OPTIONS, answer="A") for n, stem in enumerate(stems)]
    return exclude_unscorable(RawExam(name, tuple(items), ""))


def shares(stem, text):
    """The definition, word by word: share of the stem's runs in the text, and share of its words in such a run."""
    stem, tokens = words(stem), words(text)
    if len(stem) < 8:
        item = Item(id="", question=" ".join(stem), options=OPTIONS, answer="A")
        found = bool(stem) and ShortQuestion.of(item).is_in(Passage(text, ""))
        return float(found), float(found)
    n = min(13, len(stem))
    known = [tokens[k : k + n] for k in range(len(tokens) - n + 1)]
    starts = [k for k in range(len(stem) - n + 1) if stem[k : k + n] in known]
    inside = {k + more for k in starts for more in range(n)}
    return len(starts) / (len(stem) - n + 1), len(inside) / len(stem)


def test_coverage_is_the_share_of_thirteen_grams():
    half = " ".join(LONG.split()[:19])  # 7 of the stem's 14 runs of 13 words, 19 of its 26 words
    [item] = coverage(exam(LONG), ["something else", f"A case: {half}."])
    assert (item.coverage, item.token_coverage, item.text_index) == (7 / 14, 19 / 26, 1)


def test_case_and_punctuation_do_not_hide_a_copy():
    [item] = coverage(exam(LONG), [LONG.upper().replace(" ", ", ")])
    assert item.coverage == 1.0


def test_the_best_single_text_counts_not_their_sum():
    words = LONG.split()
    [item] = coverage(exam(LONG), [" ".join(words[:13]), " ".join(words[13:])])
    assert item.coverage == pytest.approx(1 / 14)


@pytest.mark.parametrize(
    ("stem", "text", "covered"),
    [
        ("what is the usual cause of acute red eye", "So: what is the usual cause of acute red eye?", 1.0),
        ("what is the usual cause of acute red eye", "what is the usual cause of acute pain", 0.0),
        ("which is true", "which is true of none of these", 0.0),
        ("???", "A line\n\nand an empty one", 0.0),
        ("which is true", "A question.\nWhich is true?\nNone.", 1.0),
    ],
)
def test_short_stems(stem, text, covered):
    [item] = coverage(exam(stem), [text])
    assert item.coverage == covered


@given(
    st.lists(st.sampled_from("abcdef"), min_size=13, max_size=40),
    st.lists(st.sampled_from("abcdef"), max_size=60),
)
def test_shares_stay_shares_and_a_copy_is_whole(stem, text):
    [item] = coverage(exam(" ".join(stem)), [" ".join(text)])
    assert 0 <= item.coverage <= item.token_coverage <= 1 or item.coverage == 0
    [copy] = coverage(exam(" ".join(stem)), [f"before {' '.join(stem)} after"])
    assert copy.coverage == copy.token_coverage == 1.0


@st.composite
def questions_and_texts(draw):
    """Questions of every length, and texts from pieces of them."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vocabulary = ["a", "Bé", "ß", "which", "x²", "c_1"][: rng.randint(1, 6)]

    def some(low, high):
        return [rng.choice(vocabulary) for _ in range(rng.randint(low, high))]

    stems = [some(1, rng.choice([3, 9, 14, 40])) for _ in range(rng.randint(1, 6))]
    texts = []
    for _ in range(draw(st.integers(0, 8))):
        tokens = []
        for _ in range(rng.randint(0, 4)):
            stem = rng.choice(stems)
            start = rng.choice([0, rng.randrange(len(stem))])
            tokens += [*some(0, 3), rng.choice(["\n", "\r\n", "\x0b", "\u2028", ","]), *stem[start:]]
            tokens += [rng.choice(["\n", ".", "\x85"])]
        texts.append(" ".join(tokens))
    return [" ".join(stem) for stem in stems], texts


@given(questions_and_texts(), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=300, deadline=None)
def test_hits_are_what_the_definition_says(case, floor):
    stems, texts = case
    half = len(stems) // 2
    exams = [exam(*part, name=name) for name, part in (("one", stems[:half]), ("two", stems[half:])) if part]
    expected = [
        (t, which.name, item.id, *shares(item.question, text))
        for t, text in enumerate(texts)
        for which in exams
        for item in which.items
    ]
    found = [(h.row, h.exam.name, h.item_id, h.coverage, h.token_coverage) for h in hits(exams, texts, floor)]
    assert found == [entry for entry in expected if entry[3] >= floor and entry[3]]


@given(questions_and_texts())
@settings(deadline=None)
def test_coverage_is_the_first_best_hit(case):
    stems, texts = case
    for item, found in zip(exam(*stems).items, coverage(exam(*stems), iter(texts)), strict=True):
        best = max(range(len(texts)), key=lambda t: shares(item.question, texts[t])[0], default=None)
        share = shares(item.question, texts[best]) if best is not None else (0.0, 0.0)
        assert (found.coverage, found.token_coverage) == share
        assert found.text_index == (best if share[0] else None)


def test_every_exam_is_told_apart_and_every_row_named():
    exams = [exam(LONG, name="first"), exam("other words entirely, " * 5, LONG, name="second")]
    found = [(h.exam.name, h.item_id, h.row) for h in hits(exams, ["none", LONG, f"again {LONG}"], 0.5)]
    assert found == [(name, item, row) for row in (1, 2) for name, item in (("first", "0"), ("second", "1"))]
    assert list(hits([], ["anything"], 0.5)) == list(hits(exams, [], 0.5)) == []


def test_many_texts_are_gone_through_once():
    texts = (LONG if n in (7, 4321) else f"filler {n} " * 60 for n in range(5000))
    assert [hit.row for hit in hits([exam(LONG)], texts, 1.0)] == [7, 4321]


def test_the_known_leak_in_the_real_file(real):
    result = check(
        real / "medical_meadow_original" / "medical_meadow_mmmlu.json",
        str(real / "usmle_sample" / "medalpaca_format"),
    )
    counts = {step: (result.count(0.5, step), result.count(0.8, step)) for step in (1, 2, 3)}
    assert counts == {1: (0, 0), 2: (0, 0), 3: (37, 34)}
    assert (result.count(0.5, 3, tokens=True), result.count(0.8, 3, tokens=True)) == (37, 36)
    # Item by item the same as the note's own list.
    note = json.loads((real / "contamination_usmle_in_medical_meadow_mmmlu.json").read_text())
    listed = {f"step{entry['step']}-{entry['no']}" for entry in note}
    assert {item.item_id for item in result.items if item.coverage >= 0.5} == listed


def test_every_label_of_the_published_causal_file_is_wrong(real):
    published = real / "medical_meadow_original" / "medical_meadow_pubmed_causal.json"
    for upstream in ("pubmed_causal_language_use.csv", "annotated_pubmed.csv"):
        result = audit(published, real / "pubmed_causal" / upstream)
        assert (result.rows, result.unmatched, result.agree) == (2446, 0, 0)


def test_real_patient_information_has_no_exam_item_in_it(real):
    path = real / "wikidoc_patient_info" / "medical_meadow_small.json"
    result = check(path, str(real / "usmle_sample" / "medalpaca_format"))
    assert len(read_rows(path)) == 5942
    assert not [item for item in result.items if item.coverage]


def test_hits_of_the_known_leak(real):
    place = real / "usmle_sample" / "medalpaca_format"
    texts = [row.text() for row in read_rows(real / "medical_meadow_original" / "medical_meadow_mmmlu.json")]
    usmle = load_exam(place, images="keep")
    found = list(hits([usmle], texts, 0.5))
    assert {hit.item_id for hit in found} == {i.item_id for i in coverage(usmle, texts) if i.coverage >= 0.5}
    assert len({hit.item_id for hit in found}) == 37
    questions = {item.id: item.question for item in usmle.items}
    assert all(
        (hit.coverage, hit.token_coverage) == shares(questions[hit.item_id], texts[hit.row]) for hit in found
    )


@pytest.mark.parametrize(
    ("question", "found"),
    [
        # Eight words are an n-gram, which is also searched in the answer of a row.
        ("which organ makes the insulin of the body", 1.0),
        # Seven words are a short question, which is searched in the question of a row only.
        ("which organ makes the insulin of man", 0.0),
    ],
)
def test_eight_words_are_the_shortest_n_gram(question, found):
    item = Item(id="q", question=question, options={"A": "pancreas", "B": "liver"}, answer="A")
    exam = exclude_unscorable(RawExam("exam", (item,), ""))
    [covered] = coverage(exam, [("Something else?", f"They wrote {question} there without a mark")])
    assert covered.coverage == found


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            "<p>Which <b>vitamin</b> is lack<i>ing</i> in the scurvy of <br>sailors?</p>",
            "Which vitamin is lacking in the scurvy of sailors?",
        ),
        (
            "Which vitamin is lacking in the scurvy of sailors?",
            "<b>Which</b> vitamin is <i>lacking</i> in the <a href='x'>scurvy</a> of&nbsp;sailors?",
        ),
        (
            "How many platelets, 10<sup>9</sup>/L or more, are a normal count?",
            "How many platelets, 10^9/L or more, are a normal count?",
        ),
        (
            "Is a CD4 count <200 and a load >50 per mm a reason to treat?",
            "Is a CD4 count <200 and a load >50 per mm a reason to treat?",
        ),
    ],
)
def test_markup_does_not_hide_a_question(question, text):
    item = Item(id="q", question=question, options={"A": "1", "B": "2"}, answer="A")
    exam = exclude_unscorable(RawExam("exam", (item,), ""))
    assert coverage(exam, [text])[0].coverage == 1
    # The exam and its hash keep the question as it is written.
    assert exam.items[0].question == question
