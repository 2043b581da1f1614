"""`data explain` and `data diff` over small builds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import sha256_file
from medalpaca_data.core.records import read_split
from medalpaca_data.core.row import content_id
from medalpaca_data.diff import diff
from medalpaca_data.explain import explain
from medalpaca_data.recipe import load_recipe

DATA = str(Path(sys.executable).with_name("data"))
LONG = "The left ventricle pumps blood into the aorta and the right one into the lungs, and both beat as one heart."


@pytest.fixture
def meadow(write, tmp_path, row):
    """A build with one row of every fate."""

    def _meadow(out: str = "out", extra=(), **keys) -> Path:
        stem = (
            "Which vessel brings blood back from the lungs to the left side of the heart in a healthy adult?"
        )
        options = {"A": "vein", "B": "artery"}
        write("exam.jsonl", [{"id": "q7", "question": stem, "options": options, "answer": "A"}])
        rows = [
            row(0, input=f"{LONG}<br>More.", group="heart"),
            row(0, input=f"{LONG} The more!", group="heart"),
            row(1, input=stem),
            row(2),
            row(2),
            {**row(2), "output": "Another"},
            *extra,
        ]
        write("raw.json", rows)
        recipe_file = tmp_path / "recipe.yaml"
        source = {"kind": "alpaca", "path": "raw.json", "licence": "CC0"}
        values = {"name": "t", "sources": [source], "validation": 0, "exams": ["exam.jsonl"], **keys}
        recipe_file.write_text(yaml.safe_dump(values))
        recipe, root = load_recipe(str(recipe_file))
        return build(recipe, root, tmp_path / out).path

    return _meadow


def told(life) -> dict[str, str]:
    return {step.stage: step.text for step in life.steps}


def test_a_kept_rows_life(meadow, tmp_path):
    directory = meadow()
    first = read_split(directory, "train")[0]
    life = explain(directory, first.id)
    steps = told(life)
    assert life.where == "train"
    assert steps["raw"].splitlines()[0] == "raw.json row 1"
    assert sha256_file(tmp_path / "raw.json") in steps["raw"]
    assert "licence: CC0" in steps["raw"]
    assert f"input before: {LONG}<br>More." in steps["clean"]
    assert "raw.json row 2" in steps["near duplicates"]
    assert steps["split"] == "train, with all rows of group 'heart'"
    assert life.row["input"] == f"{LONG}\nMore."


def test_a_row_without_changes_is_as_read(meadow):
    row = next(row for row in read_split(meadow(), "train") if row.instruction == "Question 2?")
    assert told(explain(meadow("again"), row.id))["read"] == "as read from the record"


def test_the_id_before_cleaning_leads_to_the_same_row(meadow, row):
    directory = meadow()
    before = content_id("Question 0?", f"{LONG}<br>More.", "Answer 0")
    assert explain(directory, before).row["id"] == read_split(directory, "train")[0].id


def test_a_dropped_rows_life_ends_where_it_was_dropped(meadow):
    directory = meadow()
    rejects = [json.loads(line) for line in (directory / "rejected/alpaca.jsonl").read_text().splitlines()]
    held = next(entry["record"]["id"] for entry in rejects if entry["stage"] == "exam questions")
    life = explain(directory, held)
    assert life.where == "exam questions"
    assert life.steps[-1].text.startswith("rejected: contains a question of exam (exam exam")
    assert "item q7, coverage 1.0" in life.steps[-1].text


def test_a_contradiction_is_told(meadow):
    directory = meadow()
    one, other = (r for r in read_split(directory, "train") if r.instruction == "Question 2?")
    assert (
        explain(directory, one.id).steps[-1].text == f"the same question has another answer in row {other.id}"
    )


def test_an_unknown_row_and_a_wrong_directory(meadow, tmp_path):
    with pytest.raises(UserError, match=r"no kept or rejected row 'ffff'"):
        explain(meadow(), "ffff")
    with pytest.raises(UserError, match="not a Meadow directory"):
        explain(tmp_path, "ffff")


def test_what_changed_between_two_builds(meadow, row, write, tmp_path):
    one = meadow("one", extra=[row(n) for n in range(10, 20)])
    changed = [{**row(10), "output": "Mended"}, *(row(n) for n in range(11, 19)), row(30)]
    two = meadow("two", extra=changed, near_duplicates=None, max_coverage=1.0, seed=3, validation=0.3)
    found = diff(one, two)
    assert {key for key, _, _ in found.settings} == {"near_duplicates", "max_coverage", "seed", "validation"}
    [(name, before, after)] = found.files
    assert (name, before != after, found.code) == ("alpaca: raw.json", True, False)
    [source] = found.sources
    # Row 10 has another answer, 19 is gone where 30 stands, and the near duplicate is kept now.
    assert (source.before, source.after, source.same) == (13, 14, 11)
    assert (source.changed, source.went, source.came) == (2, 0, 1)
    assert set(found.moved) == {"train to validation"}


def test_two_equal_builds_do_not_differ(meadow):
    one, two = meadow("one"), meadow("two")
    found = diff(one, two)
    assert (found.settings, found.files, found.code, dict(found.moved)) == ((), (), False, {})
    assert all(s.same == s.before == s.after for s in found.sources)


def test_the_commands(meadow):
    directory = meadow()
    first = read_split(directory, "train")[0]
    shown = subprocess.run([DATA, "explain", directory, first.id], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"row {first.id}: train" in shown.stdout
    assert shown.stdout.rstrip().endswith("output\nAnswer 0")
    as_json = subprocess.run(
        [DATA, "explain", directory, first.id, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(as_json.stdout)["row"]["id"] == first.id
    other = meadow("other", near_duplicates=None)
    shown = subprocess.run([DATA, "diff", directory, other], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "near_duplicates" in shown.stdout
    assert (
        json.loads(
            subprocess.run(
                [DATA, "diff", directory, other, "--json"], capture_output=True, text=True, check=True
            ).stdout
        )["sources"][0]["came"]
        == 1
    )


def test_sources_are_listed_and_told():
    listed = subprocess.run([DATA, "sources"], capture_output=True, text=True)
    assert (listed.returncode, listed.stderr) == (0, "")
    for kind in ("anki", "stack_exchange", "wikidoc", "cord19", "pubmedqa", "medquad", "chatdoctor"):
        assert kind in listed.stdout
    one = subprocess.run([DATA, "sources", "stack_exchange"], capture_output=True, text=True, check=True)
    assert "CC BY-SA" in one.stdout
    assert "min_score" in one.stdout
    wrong = subprocess.run([DATA, "sources", "stackexchange"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'stack_exchange'" in wrong.stderr


def test_a_damaged_directory_is_said(meadow):
    directory = meadow()
    (directory / "train.parquet").write_bytes(b"junk")
    with pytest.raises(UserError, match="damaged"):
        explain(directory, "ffff")
    with pytest.raises(UserError, match="damaged"):
        diff(directory, directory)
    (directory / "ledger.json").write_text("{}")
    with pytest.raises(UserError, match=r"ledger\.json: unknown format None; allowed: 2, 3, 4"):
        explain(directory, "ffff")


def test_a_ledger_of_format_2_is_read(meadow):
    directory = meadow()
    ledger = json.loads((directory / "ledger.json").read_text())
    (directory / "ledger.json").write_text(json.dumps(ledger | {"format": 2}))
    assert explain(directory, read_split(directory, "train")[0].id).where == "train"
    assert diff(directory, directory).code is False


def test_only_its_own_mending_is_told(write, tmp_path, row):
    write("raw.json", [row(1, input="one two"), row(1, input="one two  ")])
    recipe_file = write(
        "recipe.yaml", yaml.safe_dump({"name": "t", "sources": [{"kind": "alpaca", "path": "raw.json"}]})
    )
    recipe, root = load_recipe(str(recipe_file), ["validation=0"])
    directory = build(recipe, root, tmp_path / "out").path
    [kept] = read_split(directory, "train")
    assert "clean" not in told(explain(directory, kept.id))


def test_invisible_characters_are_escapes(meadow, capsys):
    from rich.console import Console

    from medalpaca_data.explain import as_json, show

    text = "Take 5\u00a0mg\u2028of hydro\u00adxychloroquine\u200b.\u202e"
    path = meadow(extra=[{"instruction": "Dose?", "input": "Adult.", "output": text}])
    row_id = content_id("Dose?", "Adult.", text)
    show(explain(path, row_id), Console(width=200))
    shown = capsys.readouterr().out
    assert r"output before: Take 5\xa0mg\u2028of hydro\xadxychloroquine\u200b.\u202e" in shown
    printed = subprocess.run([DATA, "explain", path, row_id, "--json"], capture_output=True, text=True)
    assert r"Take 5\u00a0mg\u2028of hydro\u00adxychloroquine\u200b.\u202e" in printed.stdout
    assert json.loads(printed.stdout) == json.loads(json.dumps(as_json(explain(path, row_id))))
