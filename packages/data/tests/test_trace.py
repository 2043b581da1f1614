"""`data trace`: rows of a case in builds and runs, by row id, case number or hash; exit codes; nothing else printed."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from medalpaca_data import cli
from medalpaca_data.build import build
from medalpaca_data.core import paths
from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import sha256_file
from medalpaca_data.core.records import read_split, rows_sha256
from medalpaca_data.deid.secret import keyed_hash
from medalpaca_data.recipe import load_recipe
from medalpaca_data.trace import trace

ZERO = bytes(32)


@pytest.fixture
def meadow(write, tmp_path, fixed_key):
    """Return `meadow(name, cases, **source)`, which builds a directory with one note of each case."""
    fixed_key()

    def make(name="meadow", cases=range(4711, 4721), validation=0.3, **source):
        rows = [
            {
                "instruction": f"Summarise case {case} of ward {chr(65 + case % 26)}.",
                "input": f"Mr. Karl Weber has the illness with number {case * 7}.",
                "output": f"He takes drug number {case * 3}.",
                "group": f"KIS-{case}",
            }
            for case in cases
        ]
        write(f"{name}.json", rows)
        first = {"kind": "alpaca", "name": "letters", "path": f"{name}.json", "patient_text": True, **source}
        values = {
            "name": name,
            "sources": [first],
            "validation": validation,
            "near_duplicates": None,
            "deidentify": {"mode": "replace", "limit": 10_000} if first["patient_text"] else None,
        }
        recipe, root = load_recipe(str(write("recipe.yaml", yaml.safe_dump(values))))
        return build(recipe, root, tmp_path / name).path

    return make


def make_run(directory, *data, sha256=None):
    directory.mkdir(parents=True)
    digest = sha256 or rows_sha256(*data)
    (directory / "manifest.json").write_text(json.dumps({"format": 2, "data": {"sha256": digest}}))
    return directory


def case_of(path, split, number=0):
    """Return the case number of a row of a split, by comparing hashes."""
    group = read_split(path, split)[number].group
    return next(f"KIS-{case}" for case in range(4711, 4721) if keyed_hash(ZERO, f"KIS-{case}") == group)


def test_a_case_number_is_found_in_rows_builds_and_runs(meadow, tmp_path):
    path = meadow()
    run = make_run(tmp_path / "runs" / "one", path)
    other = make_run(tmp_path / "runs" / "two", sha256="0" * 64)
    case = case_of(path, "train")
    result = trace(case, [tmp_path / "runs", path])
    row = read_split(path, "train")[0]
    assert [(r.id, r.split, r.source, r.build) for r in result.rows] == [
        (row.id, "train", "letters", str(path))
    ]
    assert [(b.path, b.ledger, b.rows) for b in result.builds] == [
        (str(path), sha256_file(path / "ledger.json"), 1)
    ]
    assert [(r.path, r.data, r.builds) for r in result.runs] == [(str(run), rows_sha256(path), (str(path),))]
    assert result.unknown_runs == (str(other),)
    assert trace(case, [path, tmp_path / "runs"]) == result
    for value in (row.id, row.group, row.source_id):
        assert trace(value, [path, tmp_path / "runs"]) == result


def test_a_run_on_one_split_is_found_only_for_rows_of_that_split(meadow, tmp_path):
    path = meadow()
    make_run(tmp_path / "runs" / "train", path / "train.parquet")
    make_run(tmp_path / "runs" / "jsonl", path / "jsonl" / "train.jsonl")
    make_run(tmp_path / "runs" / "both", path / "train.parquet", path / "validation.parquet")
    make_run(tmp_path / "runs" / "whole", path)
    names = {
        split: [
            run.path.rpartition("/")[2] for run in trace(case_of(path, split), [path, tmp_path / "runs"]).runs
        ]
        for split in ("train", "validation")
    }
    assert names == {"train": ["both", "jsonl", "train", "whole"], "validation": ["both", "whole"]}


def test_a_run_with_validation_rows_of_another_build_is_found_by_both(meadow, tmp_path):
    one = meadow("one", range(4711, 4716), validation=0)
    two = meadow("two", range(4716, 4721), validation=0)
    run = make_run(tmp_path / "run", one, two / "train.parquet")
    for case, path in (("KIS-4711", one), ("KIS-4720", two)):
        result = trace(case, [one, two, run])
        assert [r.build for r in result.rows] == [str(path)]
        assert [(r.path, r.builds) for r in result.runs] == [(str(run), (str(path),))]
    # Without the build of the validation rows, the data of the run is not known.
    assert trace("KIS-4711", [one, run]).unknown_runs == (str(run),)


def test_a_group_from_a_regular_expression_and_a_location_are_found(meadow, tmp_path, write):
    write(
        "notes.json",
        [{"instruction": "Summarise.", "input": f"Case A{n}. Stable.", "output": "Yes."} for n in "XYZ"],
    )
    source = {
        "kind": "alpaca",
        "name": "n",
        "path": "notes.json",
        "patient_text": True,
        "group": r"Case (\w+)",
    }
    values = {
        "name": "t",
        "sources": [source],
        "validation": 0,
        "deidentify": {"limit": 10_000},
        "near_duplicates": None,
    }
    recipe, root = load_recipe(str(write("r.yaml", yaml.safe_dump(values))))
    path = build(recipe, root, tmp_path / "notes").path
    [row] = trace("AY", [path]).rows
    assert [found.id for found in trace("notes.json row 2", [path]).rows] == [row.id]


def test_a_rejected_row_is_found(meadow, tmp_path, write):
    path = meadow(validation=0)
    notes = [
        {"instruction": "Summarise.", "input": "Stable.", "output": "Yes.", "group": f"KIS-{n}"}
        for n in (1, 2)
    ]
    write("notes.json", notes)
    source = {"kind": "alpaca", "name": "n", "path": "notes.json", "patient_text": True}
    values = {"name": "t", "sources": [source], "validation": 0, "deidentify": {"limit": 10_000}}
    recipe, root = load_recipe(str(write("r.yaml", yaml.safe_dump(values))))
    notes_path = build(recipe, root, tmp_path / "notes").path
    run = make_run(tmp_path / "run", notes_path)
    result = trace("KIS-2", [path, notes_path, run])
    assert [(row.split, row.source, row.build) for row in result.rows] == [("rejected", "n", str(notes_path))]
    assert (result.runs, result.unknown_runs) == ((), ())


def test_a_build_without_patient_text_is_searched_without_a_key(meadow, tmp_path):
    path = meadow(patient_text=False)
    shutil.rmtree(paths.secrets())
    assert len(trace("KIS-4711", [path]).rows) == 1


def test_screen_and_json_have_neither_case_number_nor_text(meadow, tmp_path, capsys):
    path = meadow(validation=0)
    make_run(tmp_path / "runs" / "one", path)
    row = next(row for row in read_split(path, "train") if row.group == keyed_hash(ZERO, "KIS-4713"))
    cli.main(["trace", "KIS-4713", str(path), str(tmp_path / "runs")])
    assert capsys.readouterr().out == (
        f"row {row.id}: train, source letters, {path}\n"
        f"build {path}: 1 rows, ledger {sha256_file(path / 'ledger.json')[:12]}\n"
        f"run {tmp_path / 'runs' / 'one'}: data {rows_sha256(path)[:12]}, of {path}\n"
    )
    cli.main(["trace", "KIS-4713", str(path), str(tmp_path / "runs"), "--json"])
    printed = capsys.readouterr().out
    assert json.loads(printed)["rows"] == [
        {"id": row.id, "split": "train", "source": "letters", "build": str(path)}
    ]
    assert "4713" not in printed.replace(str(path), "") and "ward" not in printed


def test_no_row_ends_with_exit_code_1(meadow, tmp_path, capsys):
    path = meadow()
    with pytest.raises(CheckFailed, match=r"^data trace: no row found in 1 Meadow directory$") as error:
        cli.main(["trace", "KIS-9999", str(path), "--json"])
    assert error.value.exit_code == 1
    assert json.loads(capsys.readouterr().out) == {
        "rows": [], "builds": [], "runs": [], "unknown_runs": [], "meadows": 1,
    }  # fmt: skip


def test_a_case_number_needs_the_key_of_the_build(meadow, tmp_path, fixed_key):
    path = meadow()
    row = read_split(path, "train")[0]
    file = fixed_key().rename(tmp_path / "patient-text.key")
    with pytest.raises(
        UserError, match=r"patient-text\.key: no key file, and a case number can be traced only"
    ) as error:
        trace("KIS-4711", [path])
    assert "KIS" not in str(error.value) and error.value.exit_code == 2
    # An id and a hash need no key.
    assert len(trace(row.id, [path]).rows) == len(trace(row.group, [path]).rows) == 1
    assert len(trace("KIS-4711", [path], file.parent).rows) == 1
    fixed_key(number=3)
    with pytest.raises(
        UserError, match=r"has the key \w{12}, but .*meadow was made with the key 859921f8399a; trace"
    ):
        trace("KIS-4711", [path])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gone"], "gone: no such directory"),
        (
            ["empty"],
            r"empty: neither a Meadow directory \(ledger.json\) nor a run directory \(manifest.json\)",
        ),
        (["recipe.yaml"], "recipe.yaml: neither a Meadow directory"),
        (["run"], "data trace: no Meadow directory among the paths"),
    ],
)
def test_other_paths_are_refused(tmp_path, write, names, message):
    (tmp_path / "empty").mkdir()
    write("recipe.yaml", "name: t")
    make_run(tmp_path / "run", sha256="0" * 64)
    with pytest.raises(UserError, match=message):
        trace("KIS-4711", [tmp_path / name for name in names])


def test_a_directory_given_twice_counts_once(meadow, tmp_path):
    path = meadow()
    assert trace("KIS-4711", [path, tmp_path, path]).meadows == 1
