"""`exam verify` finds what was changed, and says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed
from medalpaca_evalharness.report.verify import Places, differences, verify

Edit = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def made(pair, tmp_path) -> Path:
    """A report beside the results that it is of."""
    from medalpaca_evalharness.cli import main

    base, tuned = pair()
    out = tmp_path / "results" / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    return out


def problems(report: Path, **places: Any) -> str:
    return "\n".join(verify(report, Places(**places)).problems)


def test_a_report_holds(made):
    for file in (made, made.with_suffix(".json")):
        found = verify(file, Places())
        assert found.problems == []
        assert "every figure, computed again from the samples" in found.checked


def test_report_and_results_can_move_together_or_be_named(made, tmp_path):
    moved = shutil.move(made.parent, tmp_path / "elsewhere")
    assert problems(Path(moved) / made.name) == ""
    alone = shutil.copy(Path(moved) / made.name, tmp_path / "alone.html")
    assert "base: its results are not at" in problems(Path(alone))
    assert problems(Path(alone), results=[Path(moved) / "base", Path(moved) / "tuned"]) == ""


def edited_sample(rows: list[dict[str, Any]]) -> None:
    rows[0]["filtered_resps"][1][0] = "-3.5"


def swapped_key(rows: list[dict[str, Any]]) -> None:
    rows[1]["doc"]["gold"] = 3
    rows[1]["target"] = "3"


def changed_prompt(rows: list[dict[str, Any]]) -> None:
    for arguments in rows[2]["arguments"].values():
        arguments["arg_0"] += " Think."


def missing_item(rows: list[dict[str, Any]]) -> None:
    del rows[3]


def doubled_item(rows: list[dict[str, Any]]) -> None:
    rows.append(rows[0])


def another_adapter(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["doc"]["adapter_sha256"] = "f" * 64


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited_sample, "tuned: item step1-1: its sample is not the one that the report was made with"),
        (edited_sample, "item step1-1: its log-likelihoods changed since it was logged"),
        (swapped_key, "tuned: item step1-2: its key is D, the report was made with A"),
        (changed_prompt, "tuned: item step1-3: its prompt is not the one that the report was made with"),
        (missing_item, "tuned: item step1-4 is missing in the samples"),
        (doubled_item, "tuned: item step1-1 is 2 times in the samples"),
        (another_adapter, "its samples name 2 different values of adapter_sha256"),
    ],
)
def test_a_changed_sample_is_found(made, edit, said):
    file = next((made.parent / "tuned").rglob("samples_*step1*"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    edit(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = problems(made)
    assert said in found
    assert f"tuned: {file.name} is not the file that the report was made from (SHA-256)" in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda r: r["sides"]["tuned"].update(adapter_sha256="a" * 64),
            "sides.tuned.adapter_sha256: the report says 'aaaa",
        ),
        (
            lambda r: r["comparisons"][0]["all"].update(fixed=10),
            "comparisons[0].all.fixed: the report says 10, the samples give 9",
        ),
        (
            lambda r: r["comparisons"][0].update(verdict="worse"),
            "comparisons[0].verdict: the report says 'worse'",
        ),
        (
            lambda r: r["sides"]["tuned"]["calibration"].update(ece=0.5),
            "sides.tuned.calibration.ece: the report says 0.5",
        ),
        (lambda r: r["exam"].update(sha256="0" * 64), "exam.sha256: the report says '0000"),
        (lambda r: r["items"][1].update(key="D"), "items[1].key: the report says 'D', the samples give 'A'"),
        (lambda r: r["items"].pop(), "item step3-5 is not in the report"),
        (lambda r: r["limits"].pop(), "limits: the report has 3 entries, the samples give 4"),
    ],
)
def test_a_changed_report_is_found(made, change, said):
    file = made.with_suffix(".json")
    report = json.loads(file.read_text())
    change(report)
    file.write_text(json.dumps(report))
    assert said in problems(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["files"].update(base=[]), "names no files of base"),
        (lambda r: r.pop("items"), "no list of items"),
        (lambda r: r["items"][0].pop("key"), "an entry of items lacks 'key'"),
        (lambda r: r.update(rows=3), "rows is not a path"),
        (lambda r: r["comparisons"][0].pop("sentence"), "lacks a part"),
        (lambda r: r["exam"].update(filter=3), "exam.filter is not a text"),
        (lambda r: r["files"]["base"][0].update(path=3), "lacks a part|lacks its path or hash"),
        (lambda r: r["items"][0].update(item=[]), "an entry of items lacks 'item'"),
        (lambda r: r["items"][0]["answers"].pop("tuned"), "item step1-1 lacks the answer of tuned"),
        (lambda r: r.update(stress_at=[3]), "stress_at is not a list of paths"),
        (lambda r: r.update(stress_at=["x"]), "stress_at does not name the file of every stress result"),
    ],
)
def test_a_damaged_report_is_refused(made, change, said):
    from medalpaca_data.core.errors import UserError

    file = made.with_suffix(".json")
    report = json.loads(file.read_text())
    change(report)
    file.write_text(json.dumps(report))
    with pytest.raises(UserError, match=said):
        verify(file, Places())


def test_an_edited_page_is_found(made, capsys):
    from medalpaca_data.core.errors import CheckFailed
    from medalpaca_evalharness.cli import main

    made.write_text(made.read_text().replace("+75.0<small>", "+85.0<small>"))
    assert "the page does not show what its own data say" in problems(made)
    with pytest.raises(CheckFailed, match="1 thing does not match"):
        main(["verify", str(made)])
    assert "does not match: the page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.html", "<p>hello", "no exam report in it"),
        ("a.json", "[]", "not an exam report"),
        ("a.json", '{"format": "medalpaca exam report 2"}', "lacks a part"),
    ],
)
def test_what_is_no_report(tmp_path, name, content, said):
    from medalpaca_data.core.errors import UserError

    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UserError, match=said):
        verify(file, Places())


def test_weights_are_hashed_on_request(pair, tiny, adapter, tmp_path):
    from medalpaca_evalharness.cli import main

    copy = shutil.copytree(adapter, tmp_path / "adapter")
    base, tuned = pair(base={"pretrained": str(tiny)}, tuned={"pretrained": str(tiny), "peft": str(copy)})
    out = tmp_path / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    assert problems(out, weights=True) == ""
    config = copy / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 99}))
    assert "adapter: its weights are" in problems(out, weights=True)
    shutil.rmtree(copy)
    assert "adapter: no longer there" in problems(out, weights=True)


def test_numbers_may_differ_in_their_last_bits():
    assert list(differences({"a": [0.1 + 0.2]}, {"a": [0.3]})) == []
    assert list(differences({"a": 1}, {"a": True})) == ["a: the report says 1, the samples give True"]
    assert list(differences({"a": 1}, {"b": 1})) == [
        "a: only in the report",
        "b: only in what the samples give",
    ]


def test_for_scripts(made, capsys):
    from medalpaca_evalharness.cli import main

    capsys.readouterr()
    assert main(["verify", str(made), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["report"], told["matches"], told["problems"]) == (str(made), True, [])
    assert told["checked"]
    next((made.parent / "tuned").rglob("samples_*.jsonl")).unlink()
    with pytest.raises(CheckFailed):
        main(["verify", str(made), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["matches"] is False
    assert any("is missing" in problem for problem in told["problems"])
