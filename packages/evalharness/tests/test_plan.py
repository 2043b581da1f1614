"""Test the plan of a comparison: its file, its hash in the logged documents, and the answers that follow."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.report.verify import Locations, verify


@pytest.fixture
def exam(write_exam) -> Path:
    return write_exam(steps={1: 30})


@pytest.fixture
def plan(exam, tmp_path) -> Path:
    out = tmp_path / "plan.json"
    command = ["plan", "--margin", "10", "--task", "medalpaca_exam", "--exam", str(exam), "--out", str(out)]
    assert main(command) == 0
    return out


@pytest.fixture
def results(exam, evaluate, answering, save, tmp_path):
    """Return a function that evaluates base and tuned, both all right, with the plan hash of each in --metadata."""

    def make(*hashes: str | None, limit: int | None = None) -> list[str]:
        paths = []
        for name, value in zip(("base", "tuned"), hashes, strict=True):
            metadata: dict[str, Any] = {"exam": str(exam)} | ({"plan_sha256": value} if value else {})
            model = answering(lambda doc: doc["gold"])
            found = evaluate(model, "medalpaca_exam", metadata, limit=limit)
            paths.append(str(save(found, tmp_path / name)))
        return paths

    return make


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", *arguments, "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)["margin"]
    return value


def test_the_plan_names_exam_metric_margin_and_tests(capsys, exam, plan):
    value = json.loads(plan.read_text())
    assert {name: value[name] for name in ("margin", "tests", "alpha", "items", "metric", "task")} == {
        "margin": 10, "tests": ["noninferiority", "equivalence"], "alpha": 0.025, "items": 30, "metric": "acc",
        "task": "medalpaca_exam",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert sha256(plan.read_bytes()).hexdigest() in printed
    assert str(exam) in printed
    with pytest.raises(UserError, match=r"plan.json: already exists"):
        main(["plan", "--margin", "3", "--task", "medalpaca_exam", "--exam", str(exam), "--out", str(plan)])


def test_a_plan_in_both_results_was_made_before_the_run(plan, results, capsys, tmp_path):
    digest = sha256(plan.read_bytes()).hexdigest()
    base, tuned = results(digest, digest)
    answer = compared(capsys, base, tuned, "--plan", str(plan))["answers"]["tuned"]
    assert answer["timing"] == "planned before the run"
    # 30 items without a change: 0.9 to the power of 30 is 0.0424.
    assert answer["p_not_worse"] == pytest.approx(0.9**30)
    assert answer["answer"] == "cannot tell"
    assert answer["sentence"].startswith(
        "Planned before the run: cannot tell whether tuned is worse than base by more than 10 points"
    )
    assert re.search(r"; about 35 items would be needed \(80 % power", answer["sentence"])
    # The plan may be formatted in another way; its content counts.
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(plan.read_text())))
    assert (
        compared(capsys, base, tuned, "--plan", str(other))["answers"]["tuned"]["timing"] == answer["timing"]
    )
    afterwards = compared(capsys, base, tuned, "--margin", "10")["answers"]["tuned"]
    assert afterwards["timing"] == "given afterwards"
    assert "the results were made under a plan" in afterwards["sentence"]


@pytest.mark.parametrize(
    ("hashes", "limit", "reason"),
    [
        ((None, None), None, "the results hold no hash of a plan"),
        ((None, "same"), None, "the results hold the hash of another plan: "),
        (("0" * 64, "0" * 64), None, "the results hold the hash of another plan: 000000000000"),
        (("same", "same"), 20, "the plan is for 30 items, 20 were compared"),
    ],
)
def test_otherwise_it_was_given_afterwards(plan, results, capsys, hashes, limit, reason):
    digest = sha256(plan.read_bytes()).hexdigest()
    paths = results(*(digest if value == "same" else value for value in hashes), limit=limit)
    answer = compared(capsys, *paths, "--plan", str(plan))["answers"]["tuned"]
    assert (answer["timing"], answer["reason"].startswith(reason)) == ("given afterwards", True)
    assert answer["sentence"].startswith(f"Given afterwards ({reason}")


def test_a_plan_of_another_task_is_refused(plan, results, tmp_path):
    paths = results(None, None)
    value = json.loads(plan.read_text()) | {"task": "medalpaca_usmle"}
    plan.write_text(json.dumps(value))
    with pytest.raises(
        CheckFailed, match="--plan: task is medalpaca_usmle in the plan, medalpaca_exam in the res"
    ):
        main(["compare", *paths, "--plan", str(plan)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": 0}, "margin is 0: Input should be greater than 0"),
        ({"tests": ["superiority"]}, "tests.0 is 'superiority'"),
        ({"format": "medalpaca exam plan 9"}, "not a plan in the format"),
        ({"more": 1}, "more is 1: Extra inputs"),
    ],
)
def test_a_faulty_plan_is_refused_in_one_line(plan, change, message):
    plan.write_text(json.dumps(json.loads(plan.read_text()) | change))
    with pytest.raises(UserError, match=message) as raised:
        main(["compare", "base", "tuned", "--plan", str(plan)])
    assert "\n" not in str(raised.value)


def test_a_hash_that_is_none_is_refused(results):
    with pytest.raises(UserError, match=r"'plan_sha256' is 'plan.json'; expected the 64 digits"):
        results("plan.json", None)


def test_the_report_holds_the_answer_and_verify_computes_it_again(plan, results, tmp_path, capsys):
    digest = sha256(plan.read_bytes()).hexdigest()
    out = tmp_path / "report.html"
    assert main(["report", *results(digest, digest), "--out", str(out), "--plan", str(plan)]) == 0
    assert "Planned before the run: cannot tell whether" in out.read_text()
    data = out.with_suffix(".json")
    assert verify(data, Locations()).problems == []
    value = json.loads(data.read_text())
    value["margin"]["answers"]["tuned"]["answer"] = "equivalent"
    data.write_text(json.dumps(value))
    assert any("margin.answers.tuned.answer" in line for line in verify(data, Locations()).problems)
    value["margin"]["criterion"]["margin"] = 20
    data.write_text(json.dumps(value))
    assert any("timing" in line for line in verify(data, Locations()).problems)
