"""Test reports with stress results: matched to the models by hash, and recomputed by `exam verify`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.stress.run import StressConfig, run_stress


@pytest.fixture
def made(evaluate, save, write_exam, tiny, adapter, tmp_path) -> SimpleNamespace:
    """Evaluate a tiny base model and its adapter, with a stress result."""
    exam = write_exam()
    root = tmp_path / "results"
    for name, tuned in (("base", {}), ("tuned", {"peft": str(adapter)})):
        models = {"pretrained": str(tiny)} | tuned
        metadata = {"exam": str(exam)} | models
        found = evaluate("medalpaca", "medalpaca_usmle", metadata, model_args=models, device="cpu")
        save(found, root / name)
    run_stress(
        StressConfig(base=str(tiny), tuned=str(adapter), exam=str(exam), out=root / "stress", device="cpu")
    )
    return SimpleNamespace(
        root=root, exam=exam, out=root / "report.html", stress=root / "stress" / "stress.json"
    )


def report(made: SimpleNamespace, *arguments: object) -> dict[str, Any]:
    sides = [str(made.root / name) for name in ("base", "tuned")]
    assert main(["report", *sides, "--out", str(made.out), *map(str, arguments)]) == 0
    found: dict[str, Any] = json.loads(made.out.with_suffix(".json").read_text())
    return found


def problems(report: Path, **places: Any) -> str:
    return "\n".join(verify(report, Locations(**places)).problems)


def test_a_report_with_stress(made, tiny, adapter, tmp_path, capsys):
    data = report(made, "--stress", made.root / "stress")
    (one,) = data["stress"]
    stated = json.loads(made.stress.read_text())
    assert one["sides"] == stated["figures"]["sides"]
    assert one["difference"] == stated["figures"]["difference"]
    # Two code paths score the same published items with the same model.
    assert one["answered_otherwise"] == {"base": 0, "tuned": 0}
    for name, side in one["sides"].items():
        assert side["published"]["count"] == data["sides"][name]["scores"][-1]["correct"]
    html = made.out.read_text()
    for message in (
        "robust: correct in every order",
        "position bias",
        "memorisation gap",
        "none of the above",
    ):
        assert message in html
    assert "Not tested: robustness" not in html
    assert not any(line.startswith("robustness") for line in data["not_tested"])
    found = verify(made.out, Locations())
    assert found.problems == []
    assert any("its items, keys and prompts from the exam" in line for line in found.checked)

    # One edited score: the file is another, and every figure that it enters is.
    text = made.stress.read_text()
    edited = json.loads(text)
    edited["items"][0]["scores"]["tuned"][0] = [0.0, *edited["items"][0]["scores"]["tuned"][0][1:]]
    made.stress.write_text(json.dumps(edited))
    assert "stress.json changed: its SHA-256 differs" in problems(made.out)
    edited = json.loads(text)
    edited["items"][0]["key"] = (edited["items"][0]["key"] + 1) % 4
    made.stress.write_text(json.dumps(edited))
    found = problems(made.out)
    assert "item step1-1: correct option, orders or texts differ from the exam" in found
    assert "in the file" in found
    edited = json.loads(text)
    edited["figures"]["sides"]["tuned"]["orders"]["robust"]["count"] += 1
    made.stress.write_text(json.dumps(edited))
    assert "figures.sides.tuned.orders.robust.count" in problems(made.out)
    with pytest.raises(CheckFailed, match=r"stress\.json: figures\.sides\.tuned\.orders\.robust\.count"):
        report(made, "--stress", made.stress)
    made.stress.write_text(text)
    assert problems(made.out) == ""

    # An edited report.
    file = made.out.with_suffix(".json")
    written = file.read_text()
    data["stress"][0]["sides"]["tuned"]["orders"]["memorisation_gap"]["value"] = 0.5
    file.write_text(json.dumps(data))
    assert "memorisation_gap.value: 0.5 in the file" in problems(file)
    # The page is as it was, but the JSON beside it is not.
    assert "report.json does not hold the report of report.html: stress[0]" in problems(made.out)
    file.write_text(written)

    # Moved, named, gone.
    moved = shutil.move(made.stress, tmp_path / "moved.json")
    assert "moved.json" not in problems(made.out)
    assert "stress.json" in problems(made.out)
    assert problems(made.out, stress=[Path(moved)]) == ""
    assert main(["verify", str(made.out), "--stress", str(moved)]) == 0


def test_stress_of_another_model_or_exam_is_refused(made, tiny, adapter, tmp_path):
    text = made.stress.read_text()
    for change, message in (
        (
            lambda r: r["sides"]["tuned"].update(adapter_sha256="f" * 64),
            "its tuned .* is none of the reported models",
        ),
        (
            lambda r: r["sides"]["base"].update(base_sha256="f" * 64),
            "its base .* is none of the reported models",
        ),
        (lambda r: r.update(exam_sha256="0" * 64), "holds exam exam 000000000000, but the results hold exam"),
    ):
        edited = json.loads(text)
        change(edited)
        made.stress.write_text(json.dumps(edited))
        with pytest.raises(CheckFailed, match=message):
            report(made, "--stress", made.stress)
    made.stress.write_text(text)
    with pytest.raises(CheckFailed, match="2 results hold the model base"):
        report(made, "--stress", made.stress, made.root / "stress")
    with pytest.raises(UserError, match="not a result of `exam stress`"):
        report(made, "--stress", next(made.root.rglob("results_*.json")))


def test_where_options_are_not_shown(made, evaluate, save, tiny):
    metadata = {"pretrained": str(tiny)}
    found = evaluate("medalpaca", "medalpaca_pocket", metadata, model_args=metadata, device="cpu", limit=24)
    place = save(found, made.root / "pocket")
    asked = StressConfig(
        base=str(tiny), exam="medalpaca_pocket", out=made.root / "short", device="cpu", limit=24
    )
    run_stress(asked)
    out = made.root / "pocket.html"
    assert main(["report", str(place), "--out", str(out), "--stress", str(made.root / "short")]) == 0
    data = json.loads(out.with_suffix(".json").read_text())
    (one,) = data["stress"]
    assert one["answered_otherwise"] == {"model": 0}
    assert one["sides"]["model"]["orders"] is None
    assert any(line.startswith("other orders of the options") for line in data["not_tested"])
    html = out.read_text()
    assert "in every cyclic order" not in html
    assert "Not tested with other orders of the options: 24 items" in html
    assert f"covers only 24 of the exam's {one['exam_items']} items" in html
    assert problems(out) == ""


def test_one_side_only(made, tiny, tmp_path):
    shutil.rmtree(made.stress.parent)
    run_stress(StressConfig(base=str(tiny), exam=str(made.exam), out=made.stress.parent, device="cpu"))
    data = report(made, "--stress", made.stress)
    assert list(data["stress"][0]["sides"]) == ["base"]
    assert any(line.startswith("robustness of tuned: other orders") for line in data["not_tested"])
    assert problems(made.out) == ""
    data = report(made)
    assert any(line.startswith("robustness: other orders") for line in data["not_tested"])
    assert "Not tested: robustness" in made.out.read_text()


@pytest.mark.browser
@pytest.mark.slow
def test_in_a_browser(made, browse):
    report(made, "--stress", made.stress)
    for width, scheme in ((390, "light"), (1100, "dark")):
        seen = browse(made.out, width, scheme)
        assert seen.plots == 4
        assert "memorisation gap, points" in seen.text
