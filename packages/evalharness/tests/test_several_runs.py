"""Several runs of a side: split of the variance, interval, p-value, coverage, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.results import read_run
from medalpaca_evalharness.run_variance import SideVariance, run_figures, run_freedom
from medalpaca_evalharness.several_runs import compare_several
from medalpaca_evalharness.statistics import mcnemar_exact, paired_interval


def runs_of(*texts: str) -> np.ndarray:
    """One row per run; 1 is a right answer."""
    return np.array([[int(digit) for digit in text] for text in texts], dtype=float)


def test_the_split_of_the_variance_by_hand():
    base = runs_of("10000000")
    tuned = runs_of("11100000", "11000000", "11110000")
    found = run_figures(base, tuned, fixed_base=True)
    # Accuracies 3/8, 2/8, 4/8: variance 1/64 of one run, 1/192 of their mean.
    assert found.tuned == (0.375, 0.25, 0.5)
    assert found.difference == pytest.approx(0.25)
    assert found.run_variance == pytest.approx(1 / 192)
    assert found.sides == (
        SideVariance(runs=1, fixed=True, variance=0.0),
        SideVariance(runs=3, fixed=False, variance=pytest.approx(1 / 64)),
    )
    # Mean differences 0, 1, 2/3, 1/3, 0, ...: sum of squares 14/9 - 8/16 = 19/18, / 7 / 8. Interaction: residual sum of
    # squares = total 24 * 3/8 * 5/8 = 45/8, less runs 8 * 2/64 = 1/4, less items 3 * (1 + 1 + 4/9 + 1/9 - 8 * 9/64).
    interaction = (45 / 8 - 1 / 4 - 3 * (2 + 5 / 9 - 9 / 8)) / (2 * 7) / 24
    assert found.item_variance == pytest.approx(19 / 18 / 7 / 8 - interaction)
    # Sums of the averaged outcomes times 3: 3, 2, 1. Only +6 and -6 of eight are as extreme.
    assert found.p_items == 0.25
    assert found.p == max(found.p_items, found.p_runs)
    assert found.interval.low <= 0 < found.interval.high


def test_runs_without_any_variance_give_the_ordinary_comparison():
    base = np.repeat(runs_of("1" * 20 + "0" * 40), 5, axis=0)
    tuned = np.repeat(runs_of("0" * 3 + "1" * 32 + "0" * 25), 5, axis=0)
    found = run_figures(base, tuned)
    assert found.run_variance == pytest.approx(0, abs=1e-30)
    assert found.p_items == pytest.approx(mcnemar_exact(15, 3))
    # The variance of the mean has n - 1 where Tango's has n.
    assert found.interval == pytest.approx(paired_interval(60, 15, 3), abs=0.004)


def test_without_item_variance_the_interval_is_that_of_student_t():
    # Every item is right in base and has one right answer in five runs; run r is right on block r, of unequal size.
    sizes = (30, 50, 20, 60, 40)
    tuned = np.zeros((5, 200))
    start = 0
    for run, size in enumerate(sizes):
        tuned[run, start : start + size] = 1
        start += size
    found = run_figures(np.ones((1, 200)), tuned, fixed_base=True)
    assert found.item_variance == 0
    half = t.ppf(0.975, 4) * np.std(np.array(sizes) / 200, ddof=1) / np.sqrt(5)
    assert found.interval == pytest.approx((-0.8 - half, -0.8 + half), abs=1e-3)


def test_degrees_of_freedom_against_welch():
    one, other = (SideVariance(runs=5, fixed=False, variance=value) for value in (0.01, 0.01))
    assert run_freedom((one, other)) == 8
    assert run_freedom((SideVariance(runs=1, fixed=True, variance=0.0), one)) == 4


def test_two_runs_have_no_run_variance_and_a_large_difference_needs_few_runs():
    rng = np.random.default_rng(3)
    base, tuned = (rng.random((2, 400)) < 0.5).astype(float), (rng.random((6, 400)) < 0.55).astype(float)
    few = run_figures(base, tuned)
    assert (few.run_variance, few.p_runs, few.runs_needed()) == (None, None, None)
    assert few.p == few.p_items
    large = run_figures(
        (rng.random((4, 400)) < 0.3).astype(float), (rng.random((4, 400)) < 0.8).astype(float)
    )
    assert large.runs_needed() == 3
    assert large.p < 1e-4


def simulate(runs: int, n: int, run_sd: float, shift: float, fixed_base: bool, samples: int) -> float:
    """Return the share of intervals that hold the true difference: a Rasch model with items, runs and answers drawn."""
    rng = np.random.default_rng([runs, n, round(10 * run_sd), round(10 * shift), fixed_base])

    def chances(ability, count):
        drawn = rng.normal(0, run_sd, (count, 1)) if count > 1 else 0.0
        return expit(1.7 * (ability + drawn))

    many = 400_000
    ability, gain = rng.normal(0.4, 1.5, many), rng.normal(shift, 1.0, many)
    noise = rng.normal(0, run_sd, (2, many))
    if fixed_base:
        noise[0] = 0
    truth = (expit(1.7 * (ability + gain + noise[1])) - expit(1.7 * (ability + noise[0]))).mean()
    hits = 0
    for _ in range(samples):
        ability, gain = rng.normal(0.4, 1.5, n), rng.normal(shift, 1.0, n)
        base, tuned = (
            (rng.random((count, n)) < chances(level, count)).astype(float)
            for level, count in ((ability, 1 if fixed_base else runs), (ability + gain, runs))
        )
        low, high = run_figures(base, tuned, fixed_base=fixed_base).interval
        hits += low <= truth <= high
    return hits / samples


def test_coverage_of_one_cell():
    assert simulate(5, 60, 0.3, 0.5, False, 150) >= 0.9


@pytest.mark.real("runs_coverage")
@pytest.mark.parametrize("fixed_base", [False, True])
@pytest.mark.parametrize("runs", [5, 10])
def test_coverage(runs, fixed_base):
    shares = [
        simulate(runs, n, run_sd, shift, fixed_base, 2000)
        for n in (40, 120, 324)
        for run_sd in (0.0, 0.1, 0.3)
        for shift in (0.0, 0.5)
    ]
    assert min(shares) >= 0.93


def always_b(doc):
    return 1


@pytest.fixture
def seeds(evaluate, answering, save, write_exam, tmp_path) -> tuple[list[Path], list[Path]]:
    """A base model that answers B, and three seeds that are right on all items, all but one, and all but two."""
    exam = str(write_exam())

    def make(name, choose):
        return save(
            evaluate(answering(choose), "medalpaca_usmle", {"exam": exam}), tmp_path / "results" / name
        )

    def seed(number):
        wrong = [f"step1-{i}" for i in range(1, number + 1)]
        return lambda doc: (doc["gold"] + 1) % 4 if doc["item_id"] in wrong else doc["gold"]

    return [make("base", always_b)], [make(f"seed{i}", seed(i)) for i in range(3)]


def test_commands(seeds, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    base, tuned = ([str(path) for path in side] for side in seeds)
    sides = ["--base", *base, "--tuned", *tuned]
    assert main(["compare", *sides, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["all"]["tuned_accuracies"] == pytest.approx([1, 11 / 12, 10 / 12])
    assert (found["all"]["base_accuracy"], found["verdict"]) == (0.25, "better")
    assert [row["n"] for row in found["steps"]] == [4, 3, 5]
    assert main(["compare", *sides]) == 0
    table = capsys.readouterr().out
    assert all(
        len(line) <= 80 for line in table[table.index("SE items") : table.index("Tuned is")].splitlines()
    )
    assert "1 run of base and 3 of tuned" in table
    out = tmp_path / "report.html"
    assert main(["report", *sides, "--out", str(out)]) == 0
    page = out.read_text()
    assert "3 runs of tuned against 1 of base on exam" in page
    assert "Tuned is better than base" in page
    report = json.loads(out.with_suffix(".json").read_text())
    assert (report["format"], list(report["sides"])) == (
        "medalpaca exam report 5",
        ["base", "tuned 1", "tuned 2", "tuned 3"],
    )
    assert verify(out, Locations()).problems == []
    report["several_runs"]["all"]["run_variance"] = 0.0
    out.with_suffix(".json").write_text(json.dumps(report))
    assert (
        "several_runs.all.run_variance: None in the file, 0.0 in report.json"
        in verify(out.with_suffix(".json"), Locations()).problems[0]
    )
    # One run of each side is the ordinary comparison; two runs have no run variance.
    assert main(["compare", "--base", base[0], "--tuned", tuned[0]]) == 0
    assert "exact McNemar" in capsys.readouterr().out
    assert main(["compare", "--base", base[0], "--tuned", *tuned[:2]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Run variance not estimable: base has 1 run and tuned has 2 runs, 3 are needed." in shown
    for arguments, message in (
        ([base[0], "--base", base[0], "--tuned", *tuned], "by position, or with --base and --tuned"),
        (["--tuned", *tuned], "--tuned without --base"),
        ([base[0]], "1 result given"),
        (["--base", base[0], "--tuned", tuned[0], tuned[0]], "given 2 times"),
        ([*sides, "--items"], "--items: not available for several runs"),
    ):
        with pytest.raises(UserError, match=message):
            main(["compare", *arguments])


def test_a_repeated_run_is_refused(seeds, tmp_path):
    (base,), (tuned, *_) = seeds
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tuned.rglob("*"):
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckFailed, match="the same weights and the same answers"):
        compare_several([read_run(base)], [read_run(tuned), read_run(copy)])
