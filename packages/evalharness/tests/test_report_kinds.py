"""Test reports on one model and on several: their figures add up, and `exam verify` accepts them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.comparison import compare
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.statistics import mcnemar_exact

# Number of items that a model knows, from the first; it answers B to the others.
KNOWN = (0, 60, 2, 75)


@pytest.fixture
def runs(run) -> Callable[..., list[Path]]:
    """Save runs of models that know the first `known` items of an exam with 30, 30 and 20 items."""
    serial = itertools.count()

    def make(exam: Path, known: tuple[int, ...] = KNOWN, **options: Any) -> list[Path]:
        def chooser(n: int) -> Callable[[dict[str, Any]], int]:
            def choose(doc: dict[str, Any]) -> int:
                step, number = map(int, re.findall(r"\d+", doc["item_id"]))
                return doc["gold"] if 30 * (step - 1) + number <= n else 1

            return choose

        return [run(f"run{next(serial)}", chooser(n), exam, **options) for n in known]

    return make


@pytest.fixture
def exam(write_exam) -> Path:
    return write_exam(steps={1: 30, 2: 30, 3: 20})


def report(tmp_path: Path, *arguments: object) -> tuple[Path, dict[str, Any], str]:
    """Run `exam report` and return the page, its data and its HTML."""
    out = tmp_path / "results" / "report.html"
    assert main(["report", *map(str, arguments), "--out", str(out)]) == 0
    return out, json.loads(out.with_suffix(".json").read_text()), out.read_text()


def shown(html: str) -> str:
    """Return the visible text of a page."""
    body = html.partition("<main>")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("&nbsp;", " ")


def test_one_model(runs, exam, tmp_path):
    out, data, html = report(tmp_path, *runs(exam, (60,)))
    assert list(data["sides"]) == ["model"]
    assert data["comparisons"] == []
    found = data["sides"]["model"]["scores"]
    assert [part["label"] for part in found] == ["Step 1", "Step 2", "Step 3", "All"]
    assert [part["n"] for part in found] == [30, 30, 20, 80]
    # 60 known, and of the other 20 those whose key is B.
    right = found[-1]["correct"]
    assert right == 60 + sum(entry["key"] == "B" for entry in data["items"] if entry["step"] == 3)
    text = shown(html)
    assert f"{100 * right / 80:.1f} % correct {right} of 80 items, 95 % interval" in text
    assert "the score is above that" in text
    for absent in ("Items that changed", "McNemar", "base correct", "The verdict holds", "tuned"):
        assert absent not in text.replace("of a tuned model", "")
    assert verify(out, Locations()).problems == []
    assert main(["verify", str(out)]) == 0


def test_one_model_that_guesses(runs, exam, tmp_path):
    _, data, html = report(tmp_path, *runs(exam, (0,)))
    part = data["sides"]["model"]["scores"][-1]
    assert part["interval"][0] <= part["chance"] <= part["interval"][1]
    assert "the score cannot be distinguished from guessing" in shown(html)


def test_several_models_are_a_family(runs, exam, tmp_path):
    places = runs(exam)
    out, data, html = report(tmp_path, *places)
    assert list(data["sides"]) == ["base", "model 2", "model 3", "model 4"]
    plain = [compare(read_run(places[0]), read_run(other)) for other in places[1:]]
    alls = [one["all"] for one in data["comparisons"]]
    assert [row["p_mcnemar_exact"] for row in alls] == [one.pooled.p for one in plain]
    expected = multipletests([one.pooled.p for one in plain], method="holm")[1]
    assert [row["p_holm"] for row in alls] == pytest.approx(list(expected), abs=1e-10)
    steps = [row for one in data["comparisons"] for row in one["steps"]]
    expected = multipletests([row["p_mcnemar_exact"] for row in steps], method="holm")[1]
    assert len(steps) == 9
    assert [row["p_holm"] for row in steps] == pytest.approx(list(expected), abs=1e-10)
    assert [one["verdict"] for one in data["comparisons"]] == [
        "better",
        "not shown to differ",
        "better",
    ]
    text = shown(html)
    assert "Model 2 is better than base" in text
    assert "Model 3: not shown to differ" in text
    assert "(adjusted by Holm p " in text
    assert "Tuned" not in text
    assert verify(out, Locations()).problems == []
    assert verify(out, Locations(results=places)).problems == []
    turned = "\n".join(verify(out, Locations(results=[places[0], *places[:0:-1]])).problems)
    assert "model 2: item" in turned
    with pytest.raises(UserError, match="has 4 results, 2 were given"):
        verify(out, Locations(results=places[:2]))


def test_holm_adjustment_changes_a_verdict(runs, exam, tmp_path):
    # 6 fixed and none broken: p = 2/2^6 = 0.031, which is better alone; of three such comparisons none is.
    base, *_ = runs(exam, (0,))
    wrong = [item for item, answer in read_run(base).answers.items() if not answer.right]
    n = 1 + list(read_run(base).answers).index(wrong[5])
    places = runs(exam, (0, n, n, n))
    assert mcnemar_exact(6, 0) == 0.03125
    assert compare(read_run(places[0]), read_run(places[1])).pooled.verdict == "better"
    _, data, _ = report(tmp_path, *places)
    assert {one["all"]["p_holm"] for one in data["comparisons"]} == {3 * 0.03125}
    assert {one["verdict"] for one in data["comparisons"]} == {"not shown to differ"}
    for one in data["comparisons"]:
        assert "adjusted by Holm p = 0.0938; interval unadjusted" in one["sentence"]
        # The power is that of a single comparison.
        assert one["sentence"].endswith("(80 % power, without the adjustment for several comparisons).")


def test_another_exam_among_several_is_named(runs, exam, write_exam, tmp_path):
    other = runs(write_exam("other", texts=" (other)", steps={1: 30, 2: 30, 3: 20}), (7,))
    with pytest.raises(CheckFailed, match=r"model 3 \(.*run0.*\): different exams"):
        report(tmp_path, *runs(exam, (0, 5)), *other)


def test_two_runs_of_one_model(runs, exam, tmp_path):
    places = runs(exam, (40, 40))
    _, data, html = report(tmp_path, *places)
    (one,) = data["comparisons"]
    assert one["verdict"] == "not shown to differ"
    assert (one["all"]["fixed"], one["all"]["broken"], one["all"]["p_mcnemar_exact"]) == (0, 0, 1.0)
    text = shown(html)
    assert "Not shown to differ" in text
    assert "Base and tuned are correct on the same" in text
    assert "is better" not in text


def test_every_item_of_the_exam_is_accounted_for(runs, exam, tmp_path):
    for step, number, options in ((1, 3, {}), (2, 2, {"A": "x"}), (3, 1, {"A": "x", "B": " "})):
        file = exam / f"step{step}.json"
        items = json.loads(file.read_text())
        items[number]["options"] = options
        file.write_text(json.dumps(items))
    out, data, html = report(tmp_path, *runs(exam, (60, 10)))
    found = data["left_out"]
    assert (found["read"], found["scored"]) == (80, 77)
    assert found["read"] == found["scored"] + len(found["excluded"]) + found["elsewhere"] + len(
        found["unasked"]
    )
    assert {entry["item"]: entry["reason"] for entry in found["excluded"]} == {
        "step1-4": "no options",
        "step2-3": "1 option(s), 2 to 26 can be scored",
        "step3-2": "empty options",
    }
    text = shown(html)
    assert "items in the exam's files 80" in text
    assert "No options: step1-4" in text
    assert verify(out, Locations()).problems == []
    # Without the exam, everything else can be verified.
    exam.rename(tmp_path / "moved")
    again = verify(out, Locations())
    assert again.problems == []
    assert [line.partition(" (")[0] for line in again.unchecked] == ["which items of the exam have no score"]


def test_parts_of_an_exam(runs, exam, tmp_path):
    places = runs(exam, (60, 10))
    _, data, html = report(tmp_path, *places, "--task", "medalpaca_usmle_step2")
    assert (data["left_out"]["scored"], data["left_out"]["elsewhere"]) == (30, 50)
    assert "in steps or parts that this task does not include 50" in shown(html)
    places = runs(exam, (60, 10), limit=7)
    _, data, html = report(tmp_path, *places)
    assert (data["left_out"]["scored"], len(data["left_out"]["unasked"])) == (21, 59)
    assert "only part of the exam was evaluated" in shown(html)
    _, _, html = report(tmp_path, places[0])
    assert "only part of the exam was evaluated" in shown(html)


def test_an_exam_that_is_gone(runs, exam, tmp_path):
    places = runs(exam, (60, 10))
    exam.rename(tmp_path / "moved")
    out, data, html = report(tmp_path, *places)
    assert data["left_out"] is None
    assert "files were not found" in shown(html)
    assert verify(out, Locations()).problems == []
    _, data, _ = report(tmp_path, *places, "--exam", tmp_path / "moved")
    assert data["left_out"]["read"] == 80


def test_full_and_clean_score_of_one_and_of_several(runs, exam, tmp_path):
    # The stems have fewer than eight words: covered by a line that is the question.
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"instruction": f"Case {i}: which one?", "input": "", "output": "x"}) + "\n"
            for i in (0, 1, 79)
        )
    )
    places = runs(exam)
    for chosen in (places[:1], places):
        out, data, html = report(tmp_path, *chosen, "--meadow", rows)
        found = data["contamination"]
        assert [entry["item"] for entry in found["covered"]] == ["step1-1", "step1-2", "step3-20"]
        for side in found["sides"].values():
            assert [side[name]["n"] for name in ("full", "clean", "covered")] == [80, 77, 3]
            assert side["full"]["correct"] == side["clean"]["correct"] + side["covered"]["correct"]
        assert len(found["comparisons"]) == len(chosen) - 1
        for one in found["comparisons"]:
            for count in ("both_right", "fixed", "broken", "both_wrong"):
                assert one["full"][count] == one["clean"][count] + one["covered"][count]
        assert "3 of 80 items are covered" in shown(html)
        assert verify(out, Locations()).problems == []


@pytest.mark.slow
def test_a_report_that_lacks_something_is_no_traceback(runs, exam, tmp_path):
    out, data, _ = report(tmp_path, *runs(exam, KNOWN[:2]))
    file = out.with_suffix(".json")
    data["items"] = data["items"][:2]

    def spots(value: Any, path: tuple[Any, ...] = ()) -> Any:
        """Every place in the data; of a list, the first entry stands for all."""
        inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
        for key, one in inner:
            yield (*path, key)
            if isinstance(one, dict | list):
                yield from spots(one, (*path, key))

    for *path, last in list(spots(data)):
        for broken in (None, "x", 7, []):
            edited = json.loads(json.dumps(data))
            place = edited
            for key in path:
                place = place[key]
            place[last] = broken
            if broken is None and isinstance(place, dict):
                del place[last]
            file.write_text(json.dumps(edited))
            try:
                assert verify(file, Locations()).problems
            except UserError as error:
                assert "\n" not in str(error)


def test_one_item_is_one_item(run, write_exam, tmp_path):
    exam = write_exam(steps={1: 1})
    places = [
        run(name, choose, exam, "medalpaca_usmle_step1")
        for name, choose in (("a", lambda doc: 0), ("b", lambda doc: doc["gold"]))
    ]
    for chosen in (places[:1], places):
        _, _, html = report(tmp_path, *chosen)
        text = shown(html)
        assert re.search(r"\b1 items\b", text) is None
        assert "1 item" in text


@pytest.mark.parametrize("known", [(0, 80), (80, 0), (0, 1), (0, 0)])
def test_no_p_value_is_zero(runs, exam, tmp_path, known):
    _, _, html = report(tmp_path, *runs(exam, known))
    text = shown(html)
    assert re.search(r"\b0\.0000\b", text) is None
    assert "-0.0" not in text
    assert "\N{MINUS SIGN}0.0" not in text
    assert "nan" not in text.split("Exam, models and files")[0].lower()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("models", [1, 4])
def test_in_a_browser(runs, exam, tmp_path, browse, models):
    out, _, _ = report(tmp_path, *runs(exam, KNOWN[:models]))
    for width, scheme in ((390, "light"), (1100, "dark")):
        seen = browse(out, width, scheme)
        assert seen.plots == 1 + models
        assert ("Model 4 is better than base" in seen.text) == (models == 4)
