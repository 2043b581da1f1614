"""De-identification in a build: patient text needs a record, and no output file contains an identifier."""

import io
import json
import re

import pytest
import yaml
from rich.console import Console

from medalpaca_data import show
from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.joined_digits import JOINED
from medalpaca_data.core.records import read_split
from medalpaca_data.recipe import load_recipe

PHONE, MAIL = "(312) 867-5309", "ottilie.quennell@gmail.com"


def built(write, tmp_path, *, out="out", patient_text=True, **keys):
    rows = [
        {
            "instruction": f"Question {n}?",
            "input": f"<br>Call {PHONE} or {MAIL}, note {n}.",
            "output": f"Answer {n}",
        }
        for n in range(20)
    ]
    rows.append({"instruction": f"Broken, call {PHONE}", "input": "x"})
    rows.append({"instruction": "Question?", "input": f"Write to {MAIL}", "output": "nan"})
    rows.append({"instruction": "Question?", "input": "Call (312) 867-53<b>09</b>", "output": "Answer"})
    write("raw.json", rows)
    source = {"kind": "alpaca", "name": "letters", "path": "raw.json", "patient_text": patient_text}
    values = {"name": "t", "sources": [source], "validation": 0, "max_reject_share": 0.2, **keys}
    recipe, root = load_recipe(str(write("recipe.yaml", yaml.safe_dump(values))))
    return build(recipe, root, tmp_path / out)


def test_patient_text_is_refused_without_a_record(write, tmp_path):
    with pytest.raises(UserError, match=r"source letters: patient text, but not de-identified"):
        built(write, tmp_path)
    assert not (tmp_path / "out").exists()
    assert built(write, tmp_path, patient_text=False).ledger["deidentification"] == []


def test_replaced_rows_pass_and_nothing_written_holds_an_identifier(write, tmp_path):
    result = built(write, tmp_path, deidentify={"mode": "replace", "limit": 1000})
    [record] = result.ledger["deidentification"]
    assert (record["source"], record["within_limit"], record["rows_with_hits"]) == ("letters", True, 20)
    assert record["hits"].keys() >= {"phone", "email"}
    assert len(read_split(tmp_path / "out", "train")) == 20
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file() and file.suffix != ".parquet":
            assert PHONE not in file.read_text()
            assert MAIL not in file.read_text()
            # A hash may have these digits.
            assert (
                not re.search(r"(?<![0-9a-f])867(?![0-9a-f])", file.read_text()) or file.name == "ledger.json"
            )
            assert "53|09" not in file.read_text()
    for row in read_split(tmp_path / "out", "train"):
        assert PHONE not in row.text()
        assert MAIL not in row.text()
    reasons = {json.loads(line)["reason"] for line in (tmp_path / "out/rejected/letters.jsonl").open()}
    assert reasons == {"no key 'output'", "no answer", JOINED}
    assert not (tmp_path / "out/changes.parquet").exists()
    assert "a check with measured recall, no guarantee" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (
            {"mode": "replace", "limit": 1000},
            "found and replaced, 0 left in rows that were dropped; limit 1000 per 1,000 rows",
        ),
        ({"mode": "check", "limit": 1000}, "found, in rows that were dropped; limit 1000 per 1,000 rows"),
    ],
)
def test_ledger_card_and_screen_have_the_estimate_of_the_independent_check(write, tmp_path, settings, counts):
    plain = {"instruction": "What helps?", "input": "", "output": "Rest and water."}
    write(
        "raw.json",
        [{**plain, "output": f"Rest and water, for {n} days."} for n in range(40)]
        + [{**plain, "input": f"Call {PHONE}.", "output": f"Dose {n}."} for n in range(3)],
    )
    source = {"kind": "alpaca", "name": "letters", "path": "raw.json", "patient_text": True}
    values = {"name": "t", "sources": [source], "validation": 0, "deidentify": settings}
    recipe, root = load_recipe(str(write("recipe.yaml", yaml.safe_dump(values))))
    result = build(recipe, root, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "ledger.json").read_text())
    assert written["format"] == 5
    [record] = written["deidentification"]
    assert list(record) == [
        "source", "mode", "profile", "rules", "ner", "rows", "rows_with_hits", "hits", "rows_left", "left",
        "limit", "within_limit", "counted_by", "independent_check",
    ]  # fmt: skip
    counted_by = {"replace": "independent check", "check": "same detector"}[settings["mode"]]
    assert (record["within_limit"], record["counted_by"]) == (True, counted_by)
    check = record["independent_check"]
    assert list(check) == [
        "detector", "sha256", "rows", "estimate_per_1000", "upper_95_per_1000", "by_class",
    ]  # fmt: skip
    # No hit in this text: the bound is the rule of three, divided by the recall of the check.
    rows = {"replace": 43, "check": 40}[settings["mode"]]
    assert (check["rows"], check["estimate_per_1000"], check["by_class"]) == (rows, 0, {})
    assert 3000 / rows < check["upper_95_per_1000"] < 3000 / rows / 0.4
    shown = (
        f"checked independently: at most {check['upper_95_per_1000']:,.4g} direct identifiers per 1,000 rows "
        "(95 %), estimate 0"
    )
    assert "passed" not in json.dumps(written)
    [line] = [
        s for s in (tmp_path / "out" / "README.md").read_text().splitlines() if s.startswith("- letters: ")
    ]
    assert line.endswith(f"; {shown}")
    screen = io.StringIO()
    show.show_build(result, Console(file=screen, width=300))
    assert f"de-identification: letters (3 {counts}; {shown})\n" in screen.getvalue()
    assert show.build_as_json(result)["deidentification"] == [record]


def test_more_identifiers_than_the_limit_refuse_the_build(write, tmp_path):
    with pytest.raises(UserError, match=r"source 'letters': 40 identifiers in 20 rows"):
        built(write, tmp_path, deidentify={"mode": "check", "limit": 5})
    assert not (tmp_path / "out").exists()


def test_a_limit_that_the_rows_cannot_prove_names_the_rows_that_could(write, tmp_path):
    with pytest.raises(
        UserError,
        match=r"source 'letters': checked independently: at most .* more than deidentify\.limit=50; 20 rows cannot "
        r"prove this limit, at least 60 are needed",
    ):
        built(write, tmp_path, deidentify={"mode": "replace", "limit": 50})
    assert not (tmp_path / "out").exists()


def test_replacement_without_a_limit_is_refused_with_the_name_of_the_key(write, tmp_path):
    for settings in ({}, {"mode": "replace"}):
        with pytest.raises(
            UserError, match=r"deidentify\.limit has no default with deidentify\.mode=replace"
        ):
            built(write, tmp_path, deidentify=settings)


def test_a_kind_that_is_patient_text_cannot_be_declared_otherwise(write, tmp_path):
    write(
        "icliniq.json",
        [{"instruction": "i", "input": "I have a cough.", "output": "See a doctor about it soon."}],
    )
    source = {"kind": "patient_dialogues", "path": "icliniq.json", "patient_text": False}
    recipe, root = load_recipe(str(write("r.yaml", yaml.safe_dump({"name": "d", "sources": [source]}))))
    with pytest.raises(UserError, match="patient text, but not de-identified"):
        build(recipe, root, tmp_path / "out")
