"""Clearance for training: by the ledger, by a statement in the recipe, by a check of the rows, or by an override."""

from __future__ import annotations

import json

import pytest

from medalpaca_data.build import build
from medalpaca_data.clearance import LIMIT, NotCleared, clear
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import read_all_rows
from medalpaca_data.core.row import Row
from medalpaca_data.ledger import changed_since
from medalpaca_data.recipe import Recipe

CLEAN = [Row(instruction=f"What treats disease {n}?", input="", output=f"drug {n}") for n in range(40)]
LETTER = Row(
    instruction="Summarise.",
    input="Patient: Mr. Karl Weber, phone (312) 867-5309, MRN 00482913.",
    output="Cough.",
)


@pytest.fixture
def meadow(tmp_path):
    """Return `meadow(kind, rows, deidentify, **keys)`, which builds a directory from one source."""

    def make(kind="alpaca", rows=CLEAN, deidentify=None, **keys):
        lines = [{"instruction": r.instruction, "input": r.input, "output": r.output} for r in rows]
        if kind == "chat":
            lines = [
                {
                    "messages": [
                        {"role": "user", "content": r.text()},
                        {"role": "assistant", "content": r.output},
                    ]
                }
                for r in rows
            ]
        (tmp_path / "rows.json").write_text(json.dumps(lines))
        source = {"kind": kind, "name": "letters", "path": "rows.json", **keys}
        recipe = Recipe.model_validate({"name": "m", "sources": [source], "deidentify": deidentify})
        return build(recipe, tmp_path, tmp_path / "meadow").path

    return make


def cleared_by(path, **stated):
    return clear(path, read_all_rows(path), **stated)


def as_format_2(path, *, passed=True):
    """Rewrite the ledger of a directory in format 2."""
    file = path / "ledger.json"
    ledger = json.loads(file.read_text())
    keys = (
        "source", "mode", "rules", "ner", "rows", "rows_with_hits", "hits", "rows_left", "left", "limit",
    )  # fmt: skip
    records = [
        {**{key: record[key] for key in keys}, "passed": passed} for record in ledger["deidentification"]
    ]
    file.write_text(json.dumps(ledger | {"format": 2, "deidentification": records}, indent=2))
    return path


NOTE = (
    "ledger of format 2, now 5; changed since: a de-identification record no longer counts as passed; its counts are "
    "the detector's own, and they are not independently checked; group and source_id of patient text are keyed hashes, "
    "surrogates depend on a key that is not in the ledger, and deidentify.limit applies to the upper 95 % bound of an "
    "independent check, without a default with deidentify.mode=replace; a number is kept as it is or its row is "
    "rejected, columns with the case are joined to the question and unread columns are listed, near-duplicates that "
    "differ in a content word are kept, and short exam questions are also found inside lines"
)


def test_a_file_without_identifiers_is_checked_and_cleared(tmp_path):
    cleared = clear(tmp_path / "rows.json", CLEAN)
    assert cleared.basis == "checked"
    assert cleared.evidence["checked"]["rows"] == len(CLEAN)
    assert "0 identifiers in 40 rows of rows.json, not independently checked" in cleared.statement
    assert cleared.evidence["checked"]["independent_check"] is None


def test_a_refusal_names_counts_and_classes_but_no_identifier(tmp_path):
    with pytest.raises(NotCleared, match=r"rows\.json: \d+ possible identifiers in 41 rows") as refused:
        clear(tmp_path / "rows.json", [*CLEAN, LETTER])
    message = str(refused.value)
    assert all(kind in message for kind in ("name", "phone", "mrn", "patient_text=no", "data build"))
    assert not any(secret in message for secret in ("Karl", "Weber", "5309", "00482913"))


def test_the_limit_of_a_search_is_its_own(tmp_path):
    """One telephone number in a thousand rows is accepted, two are refused."""
    one = Row(instruction="Call?", input="", output="Call (312) 867-5309.")
    two = Row(instruction="Call whom?", input="", output="Call (312) 867-5310.")
    many = [Row(instruction=f"Q{n}?", input="", output=f"drug {n}") for n in range(999)]
    assert LIMIT == 1.0
    assert clear(tmp_path / "f.json", [*many, one]).evidence["checked"]["hits"] == {"phone": 1}
    with pytest.raises(NotCleared, match="phone 2"):
        clear(tmp_path / "f.json", [*many, one, two])


def test_text_that_is_stated_not_to_be_patients_text(tmp_path):
    cleared = clear(tmp_path / "rows.json", [LETTER], patient_text=False)
    assert cleared.basis == "declared"
    assert "declared in the recipe" in cleared.statement


def test_text_that_is_stated_to_be_patients_text_needs_a_record(tmp_path):
    with pytest.raises(NotCleared, match="marked as patient text"):
        clear(tmp_path / "rows.json", CLEAN, patient_text=True)


def test_an_override_records_the_person_and_the_refusal(tmp_path):
    cleared = clear(tmp_path / "rows.json", [LETTER], accepted="J. Doe:\nIRB 12")
    assert cleared.as_json()["accepted_by"] == "J. Doe: IRB 12"
    assert cleared.basis == "accepted"
    assert "accepted by J. Doe: IRB 12, against: " in cleared.statement
    assert "Weber" not in cleared.statement


def test_a_directory_marked_as_patients_text_with_a_record_passes(meadow):
    path = meadow(rows=[*CLEAN, LETTER], patient_text=True, deidentify={"mode": "replace", "limit": 1000})
    cleared = cleared_by(path)
    assert cleared.basis == "ledger"
    [record] = cleared.evidence["records"]
    assert (record["within_limit"], record["counted_by"]) == (True, "independent check")
    upper = record["independent_check"]["upper_95_per_1000"]
    assert record["independent_check"]["estimate_per_1000"] == 0
    assert "passed" not in json.dumps(cleared.as_json())
    assert cleared.statement == (
        "1 source according to the ledger, 1 with patient text or dialogue, de-identified: letters (3 found and "
        "replaced, 0 left in rows that were dropped; limit 1000 per 1,000 rows; checked independently: at most "
        f"{upper:.4g} direct identifiers per 1,000 rows (95 %), estimate 0)"
    )
    assert (cleared.evidence["ledger_format"], cleared.notes) == (5, ())


def test_an_older_ledger_is_read_and_the_changed_rule_is_named(meadow):
    path = meadow(
        rows=[*CLEAN, LETTER],
        patient_text=True,
        deidentify={"mode": "replace", "limit": 1000, "profile": "precise"},
    )
    fresh = cleared_by(path)
    older = cleared_by(as_format_2(path))
    assert older.notes == (f"{path}: {NOTE}",)
    assert older.statement.endswith("limit 1000 per 1,000 rows; not independently checked)")
    [old], [new] = older.evidence["records"], fresh.evidence["records"]
    assert old == {**new, "counted_by": "same detector", "independent_check": None}
    assert older.evidence == {**fresh.evidence, "ledger_format": 2, "records": [old]}
    assert changed_since(older.as_json()) == (NOTE,)
    assert changed_since(fresh.as_json()) == ()


def test_an_older_ledger_without_a_passing_record_is_refused(meadow):
    path = as_format_2(meadow(patient_text=True, deidentify={"mode": "replace", "limit": 1000}), passed=False)
    with pytest.raises(
        NotCleared, match=r"source letters: the ledger has more identifiers than deidentify\.limit"
    ):
        cleared_by(path)
    accepted = cleared_by(path, accepted="J. Doe: test")
    assert (accepted.basis, accepted.notes) == ("accepted", (f"{path}: {NOTE}",))


def test_the_manifest_of_an_older_run_names_no_format():
    """The manifest of such a run contains the record of a ledger of format 2."""
    older = {"basis": "ledger", "said": "1 source by its ledger", "records": [{"passed": True}]}
    assert changed_since(older) == (NOTE,)
    assert changed_since({"basis": "checked", "validation": older}) == (NOTE,)
    assert changed_since({**older, "validation": older}) == (NOTE,)
    for unconcerned in ({}, {"basis": "checked"}, {"basis": "declared"}, {"basis": "accepted"}):
        assert changed_since(unconcerned) == ()


@pytest.mark.parametrize(("written", "shown"), [(1, "1"), (6, "6"), ("2", "'2'"), (None, "None")])
def test_other_formats_are_refused(meadow, written, shown):
    path = meadow()
    ledger = json.loads((path / "ledger.json").read_text())
    (path / "ledger.json").write_text(json.dumps(ledger | {"format": written}))
    with pytest.raises(UserError, match=rf"ledger\.json: unknown format {shown}; allowed: 2, 3, 4, 5; build"):
        cleared_by(path, accepted="J. Doe: test")


@pytest.mark.parametrize("change", ["removed", "failed"])
def test_a_directory_marked_as_patients_text_without_a_passing_record_is_refused(meadow, change):
    path = meadow(patient_text=True, deidentify={"mode": "replace", "limit": 1000})
    ledger = json.loads((path / "ledger.json").read_text())
    if change == "removed":
        ledger["deidentification"] = []
    else:
        ledger["deidentification"][0]["within_limit"] = False
    (path / "ledger.json").write_text(json.dumps(ledger))
    # A statement does not override the ledger.
    for stated in (None, False):
        with pytest.raises(NotCleared, match="source letters"):
            cleared_by(path, patient_text=stated)
    assert cleared_by(path, accepted="J. Doe: test").basis == "accepted"


def test_dialogues_need_a_record_even_if_not_marked_as_patient_text(meadow):
    with pytest.raises(NotCleared, match="source letters: patient text or dialogue"):
        cleared_by(meadow("chat"))


def test_a_generic_file_in_a_directory_is_checked_like_a_single_file(meadow):
    path = meadow(rows=[*CLEAN, LETTER])
    with pytest.raises(NotCleared, match="possible identifiers"):
        cleared_by(path)
    assert "no patient text in letters" in cleared_by(path, patient_text=False).statement


def test_a_ledger_with_other_rows_is_refused(meadow, tmp_path):
    path = meadow(patient_text=True, deidentify={"mode": "check"})
    import polars as pl

    pl.concat([pl.read_parquet(path / "train.parquet")] * 2).write_parquet(path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet: the file was changed after the build"):
        cleared_by(path, accepted="J. Doe: test")


def test_the_built_in_cards_are_cleared_by_their_ledger(tmp_path):
    from medalpaca_data.build import ensure_meadow

    assert cleared_by(ensure_meadow("pocket", tmp_path / "m", 0)).basis == "ledger"
