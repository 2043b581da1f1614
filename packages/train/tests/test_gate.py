"""The de-identification gate of `train`: checked before a model is loaded; recorded in card and manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.build import build
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_split
from medalpaca_data.recipe import Recipe
from medalpaca_data.trace import trace
from medalpaca_train.cli import main

LETTER = {
    "instruction": "Summarise.",
    "input": "Mr. Karl Weber, MRN 00482913, phone (312) 867-5309",
    "output": "A.",
}


@pytest.fixture
def letters(data: Path) -> Path:
    data.write_text(json.dumps([*json.loads(data.read_text()), LETTER]))
    return data


def test_identifiers_are_refused_before_a_model_is_loaded(letters: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="possible identifiers in 33 rows") as refused:
        main(["lora", "model=/no/such/model", f"data={letters}", f"out={tmp_path / 'run'}"])
    assert "Weber" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_validation_file_is_checked(letters: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.json"
    clean.write_text(json.dumps(json.loads(letters.read_text())[:-1]))
    words = [
        "lora",
        "model=/no/such/model",
        f"data={clean}",
        f"validation={letters}",
        f"out={tmp_path / 'run'}",
    ]
    with pytest.raises(UserError, match=r"rows\.json: .*possible identifiers"):
        main(words)


@pytest.mark.parametrize(
    ("stated", "basis", "message"),
    [
        (
            {"patient_text": False},
            "declared",
            "declared in the recipe: rows.json has no patient text",
        ),
        ({"accept_patient_text": "J. Doe: IRB 12"}, "accepted", "accepted by J. Doe: IRB 12, against: "),
    ],
)
def test_statement_and_override_are_in_card_and_manifest(
    letters: Path,
    run_training: Callable[..., tuple[Path, str]],
    stated: dict[str, Any],
    basis: str,
    message: str,
) -> None:
    run, screen = run_training(max_steps=1, **stated)
    record = json.loads((run / "manifest.json").read_text())["patient_text"]
    assert record["basis"] == basis
    card = (run / "README.md").read_text()
    assert all(message in text for text in (record["said"], card, screen))
    assert "Weber" not in card + screen + json.dumps(record)


@pytest.fixture
def meadow(letters: Path, tmp_path: Path) -> Path:
    """A Meadow directory of patients' text, de-identified."""
    source = {"kind": "alpaca", "name": "letters", "path": letters.name, "patient_text": True}
    recipe = Recipe.model_validate({"name": "m", "sources": [source], "deidentify": {"limit": 1000}})
    return build(recipe, letters.parent, tmp_path / "meadow").path


@pytest.mark.parametrize("written", [2, 5])
def test_the_independent_check_of_a_ledger_is_shown_and_an_older_ledger_is_read(
    meadow: Path, run_training: Callable[..., tuple[Path, str]], written: int
) -> None:
    check = json.loads((meadow / "ledger.json").read_text())["deidentification"][0]["independent_check"]
    shown = (
        f"checked independently: at most {check['upper_95_per_1000']:,.4g} direct identifiers per 1,000 rows (95 %), "
        "estimate 0"
    )
    if written == 2:
        shown, check = "not independently checked", None
        ledger = json.loads((meadow / "ledger.json").read_text())
        [record] = ledger["deidentification"]
        for key in ("within_limit", "counted_by", "independent_check"):
            del record[key]
        (meadow / "ledger.json").write_text(
            json.dumps(ledger | {"format": 2, "deidentification": [{**record, "passed": True}]})
        )
    run, screen = run_training(data=str(meadow), validation=0, max_steps=1)
    receipt = json.loads((run / "manifest.json").read_text())
    # The run is found by a row that it was trained on: `data trace` computes the hash of the data as `train` does.
    traced = trace(read_split(meadow, "train")[0].id, [run, meadow])
    assert [found.path for found in traced.runs] == [str(run)]
    said = receipt["patient_text"]["said"]
    assert said == (
        "1 source according to the ledger, 1 with patient text or dialogue, de-identified: letters (3 found and "
        "replaced, 0 left in rows that were dropped; limit 1000 per 1,000 rows; "
        f"{shown})"
    )
    assert f"Patients' text: {said}." in (run / "README.md").read_text()
    assert f"patients' text: {said}" in " ".join(screen.split())
    assert receipt["patient_text"]["ledger_format"] == written
    [record] = receipt["patient_text"]["records"]
    assert (record["within_limit"], record["independent_check"], "passed" in record) == (True, check, False)
    note = (
        f"note: {meadow}: ledger of format 2, now 5; changed since: a de-identification record no longer counts as "
        "passed; its counts are the detector's own, and they are not independently checked; group and source_id of "
        "patient text are keyed hashes, surrogates depend on a key that is not in the ledger, and deidentify.limit "
        "applies to the upper 95 % bound of an independent check, without a default with deidentify.mode=replace; a "
        "number is kept as it is or its row is rejected, columns with the case are joined to the question and unread "
        "columns are listed, near-duplicates that differ in a content word are kept, and short exam questions are "
        "also found inside lines"
    )
    assert (note in " ".join(screen.split())) is (written == 2)


def test_checked_file_may_be_declared_later(
    run_training: Callable[..., tuple[Path, str]],
) -> None:
    run, screen = run_training(max_steps=1)
    assert json.loads((run / "manifest.json").read_text())["patient_text"]["basis"] == "checked"
    checked = "0 identifiers in 32 rows of rows.json, not independently checked"
    assert all(checked in " ".join(text.split()) for text in (screen, (run / "README.md").read_text()))
    # A statement about the same rows does not make another recipe.
    assert "nothing to do" in run_training(max_steps=1, patient_text=False)[1]


def test_yes_and_no_on_the_command_line() -> None:
    from medalpaca_train.recipe import read_recipe

    words = ["model=m", "data=d"]
    assert read_recipe("lora", words)[1].patient_text is None
    assert read_recipe("lora", [*words, "patient_text=no"])[1].patient_text is False
    assert read_recipe("lora", [*words, "patient_text=yes"])[1].patient_text is True
    # An override without a name is no override.
    assert read_recipe("lora", [*words, "accept_patient_text="])[1].accept_patient_text is None
