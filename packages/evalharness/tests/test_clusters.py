"""Groups of items: exact sign flips, design effect, and the commands on an exam with groups and subjects."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.exams.exam import load_exam
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.clusters import (
    agree_with_test,
    design_effect,
    make_clusters,
    mean_variance,
    sign_flip,
)
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.statistics import Interval, paired_interval, student_t, t_quantile
from medalpaca_evalharness.subjects import adjust_subjects


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 7))
def test_groups_of_one_item_give_exact_mcnemar(fixed, broken, factor):
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    sums = [factor] * fixed + [-factor] * broken + [0] * 5
    assert sign_flip(sums) == pytest.approx(expected, rel=1e-9)
    assert make_clusters([None] * (fixed + broken), [1] * fixed + [-1] * broken) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-6, 6), max_size=9))
def test_sign_flips_against_all_assignments_of_signs(sums):
    observed = abs(sum(sums))
    flips = list(product((1, -1), repeat=len(sums)))
    extreme = sum(
        abs(sum(sign * value for sign, value in zip(signs, sums, strict=True))) >= observed for signs in flips
    )
    assert sign_flip(sums) == pytest.approx(extreme / len(flips), rel=1e-12)


def test_sign_flips_by_hand():
    # 3 and -1: the totals of the four assignments are 4, 2, -2, -4; all are at least 2 from 0.
    assert sign_flip([3, -1]) == 1.0
    # 1, 2, 3: only +6 and -6 of eight are as extreme. Multiplication by the number of runs changes nothing.
    assert sign_flip([1, 2, 3]) == sign_flip([5, 10, 15]) == 0.25
    assert sign_flip([]) == sign_flip([0, 0]) == 1.0
    # 4,000 groups: the convolution is exact far below any sampled p-value.
    assert 0 < sign_flip([1, 2] * 100) < 1e-50


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 29, 100, 999])
def test_student_t_against_scipy(df):
    for value in (0.0, 0.3, 1.0, 2.5, 12.0):
        assert student_t(value, df) == pytest.approx(1 - 2 * t.sf(value, df), abs=1e-12)
    assert t_quantile(0.95, df) == pytest.approx(t.ppf(0.975, df), rel=1e-9)


def test_design_effect_by_hand():
    # Groups of two items that agree: the variance doubles, times G / (G - 1) = 4 / 3.
    labels, values = [0, 0, 1, 1, 2, 2, 3, 3], [1, 1, -1, -1, 1, 1, -1, -1]
    assert mean_variance(labels, values) == pytest.approx(4 / 3 * 16 / 64)
    assert design_effect(labels, values) == pytest.approx(2 * 4 / 3)
    # Groups whose items cancel out do not make the interval narrower.
    assert design_effect(labels, [1, -1] * 4) == 1.0
    # Without changed items it is not estimable, so groups count as one item each.
    assert design_effect(labels, [0] * 8) == 2.0
    found = make_clusters(["a", "a", "b", "b", "c", None], [1, 1, 1, 0, 0, -1])
    assert found is not None
    assert (found.groups, found.largest, found.approximate) == (4, 2, True)
    # Sums 2, 1, 0, -1: |total| is 2 or more in 6 of 8 assignments of three signs.
    assert found.p == 0.75
    assert found.interval.low < paired_interval(6, 3, 1).low


def test_the_interval_agrees_with_the_test():
    assert agree_with_test(Interval(0.1, 0.2), 0.0625, 1) == (0.0, 0.2)
    assert agree_with_test(Interval(-0.1, 0.2), 0.03, 1) == (0.0, 0.2)
    assert agree_with_test(Interval(-0.3, 0.1), 0.03, -1) == (-0.3, 0.0)
    assert agree_with_test(Interval(-0.3, -0.1), 0.03, -1) == (-0.3, -0.1)


def test_holm_counts_only_subjects_with_enough_items():
    class Row:
        def __init__(self, n, p):
            self.n, self.p = n, p

    assert adjust_subjects([Row(30, 0.01), Row(29, 0.001), Row(40, 0.04)]) == [0.02, None, 0.04]


@pytest.fixture
def grouped(tmp_path):
    """An exam of 40 items: 20 vignettes of two questions, one subject of 30 items, one of 8, two items without."""
    file = tmp_path / "grouped.jsonl"
    subjects = ["Heart"] * 30 + ["Skin"] * 8 + [None] * 2
    rows = [
        {"id": f"q{i}", "question": f"Which {i}?", "options": ["x", "y", "z"], "answer": "ABC"[i % 3]}
        | {"subject": subjects[i], "group": f"v{i // 2}"}
        for i in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_an_exam_with_groups_and_subjects(run, grouped, tmp_path, capsys):
    assert [item.group for item in load_exam(grouped).items[:3]] == ["v0", "v0", "v1"]

    def wrong(doc):
        return (doc["gold"] + 1) % 3

    def better(doc):
        # The first six vignettes are fixed.
        return doc["gold"] if int(doc["item_id"][1:]) < 12 else wrong(doc)

    base = run("base", wrong, grouped, "medalpaca_exam")
    tuned = run("tuned", better, grouped, "medalpaca_exam")
    found = compare(read_run(base), read_run(tuned))
    # Twelve fixed items are six groups: 2 / 2^6, not 2 / 2^12.
    assert (found.pooled.p, found.pooled.p_mcnemar) == (0.03125, 2 / 2**12)
    assert (
        "sign flips of 20 groups p = 0.0312 (exact McNemar, which ignores groups, p = 0.0005)"
        in found.sentence
    )
    assert "with fewer than 30 groups, the interval is approximate" in found.sentence
    assert [(row.label, row.n, row.fixed, row.p_holm) for row in found.subjects] == [
        ("Heart", 30, 12, 0.03125),
        ("Skin", 8, 0, None),
        ("no subject", 2, 0, None),
    ]
    assert main(["compare", str(base), str(tuned), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["all"]["p"], shown["all"]["groups"]["groups"]) == (0.03125, 20)
    assert shown["subjects"][1] | {"n": 8} == shown["subjects"][1]
    assert (shown["subjects"][1]["p"], shown["subjects"][1]["difference_interval"]) == (None, None)
    assert main(["compare", str(base), str(tuned)]) == 0
    text = capsys.readouterr().out
    assert "interval unadjusted" in " ".join(text.split())
    assert "in tuned / items: Skin 0, 0 / 8; no subject 0, 0 / 2" in " ".join(text.split())
    assert main(["show", str(tuned)]) == 0
    assert "right / items: Skin 0 / 8; no subject 0 / 2" in capsys.readouterr().out
    out = tmp_path / "report.html"
    assert main(["report", str(base), str(tuned), "--out", str(out)]) == 0
    assert "Items share groups: " not in out.read_text()
    assert "it is approximate" in out.read_text()
    assert verify(out, Locations()).problems == []
    report = json.loads(out.with_suffix(".json").read_text())
    report["comparisons"][0]["all"]["groups"]["p"] = 0.5
    out.with_suffix(".json").write_text(json.dumps(report))
    assert (
        "all.groups.p: 0.03125 in the file, 0.5 in report.json"
        in verify(out.with_suffix(".json"), Locations()).problems[0]
    )


def test_runs_with_other_groups_are_not_compared(run, grouped, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(grouped.read_text().replace('"v1"', '"v0"'))
    runs = [read_run(run(file.stem, lambda doc: 0, file, "medalpaca_exam")) for file in (grouped, other)]
    assert runs[0].exam_sha256 == runs[1].exam_sha256
    with pytest.raises(CheckFailed, match="different groups of 2 items"):
        compare(*runs)
