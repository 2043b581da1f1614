"""Results, filters and leaderboard equal those of lm-eval and `exam compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalpaca_data.exams.exam import Exam, load_exam
from medalpaca_demo.models import Pair, check_pair
from medalpaca_demo.results import KIND_LABELS, Filter, Results, filter_items, list_items, load_results
from medalpaca_demo.tabs.browse import as_csv, controls, filter_name, table
from medalpaca_demo.tabs.leaderboard import leaderboard, summary_text
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.results import read_run


@pytest.fixture(scope="module")
def exam(exam_file: Path) -> Exam:
    return load_exam(exam_file)


@pytest.fixture(scope="module")
def checked(pair: tuple[Path, Path]) -> Pair:
    return check_pair(*pair)


@pytest.fixture(scope="module")
def results(examined: tuple[Path, Path], exam: Exam, checked: Pair) -> Results:
    return load_results(*examined, exam, "letter", checked)


def test_fixed_and_broken_equal_exam_compare(
    examined: tuple[Path, Path], exam: Exam, results: Results
) -> None:
    assert results.error == ""
    assert results.notes == ()
    flips = compare(*(read_run(path) for path in examined)).flips
    listed = list_items(exam.items, results)
    for kind, fixed in (("fixed", True), ("broken", False)):
        found = {line.item.id for line in filter_items(listed, Filter(kind=kind))}  # type: ignore[arg-type]
        assert found == {flip.item_id for flip in flips if flip.fixed is fixed}
        assert found
    counts = {kind: len(filter_items(listed, Filter(kind=kind))) for kind in KIND_LABELS}
    assert counts["fixed"] + counts["broken"] + counts["wrong"] + counts["right"] == counts["all"] == 30
    assert counts["disagree"] >= counts["fixed"] + counts["broken"]
    assert counts["unread"] == 0


def test_probabilities_are_the_softmax_of_the_logged_numbers(
    examined: tuple[Path, Path], exam: Exam, results: Results
) -> None:
    from math import exp

    (samples,) = examined[1].rglob("samples_*.jsonl")
    for record in map(json.loads, samples.read_text().splitlines()):
        values = [float(response[0]) for response in record["filtered_resps"]]
        total = sum(map(exp, values))
        seen = results.tuned[record["doc"]["item_id"]]
        assert seen.shares == pytest.approx([exp(value) / total for value in values])


def test_order_step_subject_and_search(exam: Exam, results: Results) -> None:
    listed = list_items(exam.items, results)
    gains = [line.gain for line in filter_items(listed, Filter(order="up"))]
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    assert [line.gain for line in filter_items(listed, Filter(order="down"))] == gains[::-1]
    found = filter_items(listed, Filter(step="3", subject="Nutrition"))
    assert found
    assert {(line.item.step, line.item.subject) for line in found} == {(3, "Nutrition")}
    assert [line.item.id for line in filter_items(listed, Filter(search="CASE-07"))] == ["case-07"]
    assert [line.item.id for line in filter_items(listed, Filter(search="rash remedy c12"))] == ["case-12"]
    assert filter_items(listed, Filter(search="nothing of the sort")) == []


def test_items_without_an_answer_come_last(exam: Exam, results: Results) -> None:
    part = Results({k: v for k, v in results.base.items() if k != "case-01"}, results.tuned)
    listed = list_items(exam.items, part)
    assert [line.item.id for line in filter_items(listed, Filter(kind="unread"))] == ["case-01"]
    assert filter_items(listed, Filter(order="down"))[-1].item.id == "case-01"


def test_invalid_form_fields_are_ignored() -> None:
    updated = Filter(page=3).update({"kind": "<b>", "order": "x", "step": "9", "other": "y"})
    assert updated == Filter(step="9")


def test_an_empty_list_gives_the_reason(exam: Exam, results: Results) -> None:
    listed = list_items(exam.items, results)
    assert "No question matches" in table(listed, Filter(search="zzz"))
    assert "have an answer of both models to all 30 questions" in table(listed, Filter(kind="unread"))
    agree = Results(results.base, results.base)
    assert "The models agree on all 30 questions." in table(
        list_items(exam.items, agree), Filter(kind="disagree")
    )
    assert "Tuning broke none of all 30" in table(list_items(exam.items, agree), Filter(kind="broken"))


def test_long_lists_are_paged(exam: Exam, results: Results) -> None:
    listed = list_items(exam.items, results) * 4
    first, last = table(listed, Filter()), table(listed, Filter(page=99))
    assert "page 1 of 3" in first
    assert first.count("<tr data-item") == 50
    assert "page 3 of 3" in last
    assert last.count("<tr data-item") == 20


def test_the_csv_contains_no_exam_text(exam: Exam, results: Results) -> None:
    saved = as_csv(list_items(exam.items, results))
    assert saved.count("\n") == 31
    assert "rash" not in saved
    assert "remedy" not in saved


def test_a_formula_in_an_id_is_text_in_the_csv(exam: Exam) -> None:
    from dataclasses import replace

    item = replace(exam.items[0], id="=cmd|' /C calc'!A0", subject="@SUM(1)", step=None)
    assert as_csv(list_items((item,), Results())) == (
        "id,step,subject,key,base,tuned,p_key_base,p_key_tuned\n'=cmd|' /C calc'!A0,,'@SUM(1),A,,,,\n"
    )


def test_filter_names() -> None:
    assert filter_name(Filter()) == ""
    assert filter_name(Filter(kind="broken", step="2", search="rash")) == 'broken by tuning, Step 2, "rash"'
    assert 'value="broken" checked' in controls((), Filter(kind="broken"))


def test_results_that_do_not_fit_are_refused(
    examined: tuple[Path, Path], exam: Exam, checked: Pair, tmp_path: Path
) -> None:
    from dataclasses import replace

    other = replace(exam, sha256="f" * 64)
    assert "results of another exam" in load_results(*examined, other, "letter", checked).error
    assert "results of another prompt" in load_results(*examined, exam, "text", checked).error
    assert "no such" in load_results(tmp_path / "none", examined[1], exam, "letter", checked).error
    other_adapter = replace(checked, adapter_sha256="f" * 64)
    (note,) = load_results(*examined, exam, "letter", other_adapter).notes
    assert "of other weights" in note


def test_the_leaderboard_equals_exam_compare(results: Results) -> None:
    assert results.comparison is not None
    row = results.comparison.pooled
    shown = leaderboard(results.comparison, ("a <note>",))
    assert f"it fixed {row.fixed} and broke {row.broken}" in summary_text(row)
    assert f"{100 * row.base_right / row.n:.1f} %" in shown
    assert f"{100 * row.base_interval.low:.1f} to {100 * row.base_interval.high:.1f}" in shown
    assert shown.count("Holm ") == 3
    assert "a &lt;note&gt;." in shown
    assert shown.count("too few questions") == 3
    subjects = results.comparison.subjects
    assert [(one.label, one.n, one.p_holm) for one in subjects] == [
        ("Cardiology", 10, None),
        ("Neurology", 10, None),
        ("Nutrition", 10, None),
    ]
    assert sum(one.tuned_right for one in subjects) == row.tuned_right
    # Counts only: no percentage of a subject, and no p-value.
    counts = shown[shown.index("By subject") :]
    assert (counts.count(" %</td>"), counts.count("Holm ")) == (0, 0)


def test_a_subject_with_thirty_questions_has_interval_and_adjusted_p(results: Results) -> None:
    from dataclasses import replace

    assert results.comparison is not None
    large = replace(
        results.comparison.pooled,
        label="<Heart>",
        fixed=20,
        broken=4,
        both_right=10,
        both_wrong=6,
        p_holm=0.0077,
    )
    shown = leaderboard(replace(results.comparison, subjects=(large,)), ())
    assert 'data-value="&lt;Heart&gt;"' in shown
    # (20 - 4) / 40; 2 * (C(24,0) + ... + C(24,4)) / 2^24 = 2 * 12951 / 16777216.
    assert "+40 points<small>+" in shown
    assert "0.0015<small>Holm 0.0077</small>" in shown
    assert "interval unadjusted" in shown


@pytest.mark.parametrize(
    ("fixed", "broken", "expected"),
    [
        (
            40,
            5,
            "35 more correctly than base: it fixed 40 and broke 5 (p < 0.0001). This is more than chance",
        ),
        (5, 40, "35 fewer correctly than base"),
        (3, 3, "as many correctly as base: it fixed 3 and broke 3 (p = 1.0000). This can be chance"),
    ],
)
def test_summary_text(results: Results, fixed: int, broken: int, expected: str) -> None:
    from dataclasses import replace

    assert results.comparison is not None
    row = replace(
        results.comparison.pooled, fixed=fixed, broken=broken, both_right=10, both_wrong=90 - fixed - broken
    )
    assert expected in summary_text(row)
