"""Rephrasing in a build: by rules without a model, and the estimate."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from medalpaca_data.build import build
from medalpaca_data.core.records import read_split
from medalpaca_data.explain import explain
from medalpaca_data.recipe import load_recipe

DATA = str(Path(sys.executable).with_name("data"))


def recipe_file(write, **rephrase) -> Path:
    rows = [
        {
            "instruction": "",
            "input": "<b>Metformin</b> is started at {{c1::500 mg}} a day",
            "output": "500 mg",
        },
        {"instruction": "Which drug is first in type 2 diabetes?", "input": "", "output": "Metformin"},
    ]
    write("raw.json", rows)
    source = {"kind": "alpaca", "name": "cards", "path": "raw.json"}
    values = {"name": "t", "sources": [source], "validation": 0}
    values["rephrase"] = {"prompts": {"cards": "flash_card"}, **rephrase}
    return write("recipe.yaml", yaml.safe_dump(values))


def test_without_a_model_rows_are_rephrased_by_rules(write, tmp_path):
    recipe, root = load_recipe(str(recipe_file(write)))
    built = build(recipe, root, tmp_path / "out")
    [source] = built.ledger["sources"]
    assert built.usage is None
    stage = next(s for s in source["stages"] if s["stage"] == "rephrase")
    assert (stage["read"], stage["kept"]) == (2, 2)
    assert sum(stage["changed"].values()) == 2
    for row in read_split(tmp_path / "out", "train"):
        steps = [step.stage for step in explain(tmp_path / "out", row.id).steps]
        assert steps[0] == "raw"


def test_the_estimate_sends_no_request(write):
    file = recipe_file(
        write, endpoints=["http://127.0.0.1:9/v1"], model="none", price={"input": 1, "output": 2}
    )
    done = subprocess.run([DATA, "rephrase", file, "--estimate", "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    estimate = json.loads(done.stdout)
    assert estimate["rows"] == 2
    assert estimate["requests"] >= 1


def test_a_recipe_without_rephrasing_has_no_estimate(write):
    file = write(
        "plain.yaml", yaml.safe_dump({"name": "t", "sources": [{"kind": "alpaca", "path": "x.json"}]})
    )
    done = subprocess.run([DATA, "rephrase", file, "--estimate"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nothing to estimate" in done.stderr
