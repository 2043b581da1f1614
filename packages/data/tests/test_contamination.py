import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalpaca_data.audit import audit
from medalpaca_data.check import check
from medalpaca_data.contamination import coverage
from medalpaca_data.exam import Item, RawExam, judge
from medalpaca_data.row import read_rows

LONG = " ".join(f"word{n}" for n in range(26))


def exam(*stems):
    options = {"A": "x", "B": "y"}
    items = [Item(id=str(n), question=stem, options=options, answer="A") for n, stem in enumerate(stems)]
    return judge(RawExam("x", tuple(items), ""))


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
