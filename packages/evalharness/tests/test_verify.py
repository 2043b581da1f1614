"""Test `exam verify`: every change of samples, report, page or weights is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.report.page import read_page
from medalpaca_evalharness.report.verify import Locations, verify
from medalpaca_evalharness.stress.figures import find_differences


@pytest.fixture
def make_report(run, write_exam, tmp_path) -> Callable[[int], Path]:
    """Create a report on one to three models: one answers B, one knows the key, one answers A."""
    choosers = [lambda doc: 1, lambda doc: doc["gold"], lambda doc: 0]

    def make(models: int) -> Path:
        exam, root = write_exam(), tmp_path / "results"
        # A single model is the one that knows the key; with more, the last run is the tampered one.
        chosen = choosers[1:2] if models == 1 else choosers[:models]
        runs = [str(run(f"run{number}", choose, exam)) for number, choose in enumerate(chosen)]
        assert main(["report", *runs, "--out", str(root / "report.html")]) == 0
        return root / "report.html"

    return make


@pytest.fixture
def made(make_report) -> Path:
    """Create a report on two models, beside their results."""
    return make_report(2)


def problems(report: Path, **places: Any) -> str:
    return "\n".join(verify(report, Locations(**places)).problems)


def test_a_report_is_valid(made):
    for file in (made, made.with_suffix(".json")):
        found = verify(file, Locations())
        assert found.problems == []
        assert "every figure, recomputed from the samples" in found.checked


def test_report_and_results_can_move_together_or_be_named(made, tmp_path):
    moved = shutil.move(made.parent, tmp_path / "elsewhere")
    assert problems(Path(moved) / made.name) == ""
    alone = shutil.copy(Path(moved) / made.name, tmp_path / "alone.html")
    assert "base: no results at" in problems(Path(alone))
    assert problems(Path(alone), results=[Path(moved) / "run0", Path(moved) / "run1"]) == ""


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


@pytest.mark.parametrize("models", [1, 2, 3])
def test_a_changed_sample_is_found(make_report, models):
    report = make_report(models)
    side = ("model", "tuned", "model 3")[models - 1]
    file = next((report.parent / f"run{models - 1}").rglob("samples_*step1*"))
    text = file.read_text()
    for edit, message in (
        (edited_sample, f"{side}: item step1-1: its sample differs from the one in the report"),
        (edited_sample, "item step1-1: its log-likelihoods changed since"),
        (swapped_key, f"{side}: item step1-2: its key is D in the samples, A in the report"),
        (changed_prompt, f"{side}: item step1-3: its prompt differs from the one in the report"),
        (missing_item, f"{side}: item step1-4 is missing in the samples"),
        (doubled_item, f"{side}: item step1-1 is in the samples 2 times"),
        (another_adapter, "2 different values of adapter_sha256"),
    ):
        rows = [json.loads(line) for line in text.splitlines()]
        edit(rows)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = problems(report)
        assert message in found
        assert f"{side}: {file.name} changed: its SHA-256 differs" in found
    file.write_text(text)
    assert problems(report) == ""


CHANGED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda r: r["sides"]["tuned"].update(adapter_sha256="a" * 64), "sides.tuned.adapter_sha256: 'aaaa"),
    (lambda r: r["comparisons"][0]["all"].update(fixed=10), "comparisons[0].all.fixed: 10 in the file, 9 recomputed"),
    (lambda r: r["comparisons"][0].update(verdict="worse"), "comparisons[0].verdict: 'worse'"),
    (lambda r: r["sides"]["tuned"]["calibration"].update(ece=0.5), "sides.tuned.calibration.ece: 0.5"),
    (lambda r: r["exam"].update(sha256="0" * 64), "exam.sha256: '0000"),
    (lambda r: r["items"][1].update(key="D"), "items[1].key: 'D' in the file, 'A' recomputed"),
    (lambda r: r["items"].pop(), "item step3-5 is not in the report"),
    (lambda r: r["limits"].pop(), "limits: 3 entries in the file, 4 recomputed"),
]  # fmt: skip
DAMAGED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda r: r["files"].update(base=[]), "files.base is empty"),
    (lambda r: r.pop("items"), "items is missing"),
    (lambda r: r["items"][0].pop("key"), "an entry of items lacks 'key'"),
    (lambda r: r.update(rows=3), "rows is not a path"),
    (lambda r: r["comparisons"][0].pop("sentence"), "lacks a part"),
    (lambda r: r["exam"].update(filter=3), "exam.filter is not a text"),
    (lambda r: r["files"]["base"][0].update(path=3), "lacks a part|lacks its path"),
    (lambda r: r["items"][0].update(item=[]), "an entry of items lacks 'item'"),
    (lambda r: r["items"][0]["answers"].pop("tuned"), "item step1-1 lacks the answer of tuned"),
    (lambda r: r.update(stress_at=[3]), "stress_at is not a list of paths"),
    (lambda r: r.update(stress_at=["x"]), "stress_at does not name one file for every"),
]


def test_a_changed_report_is_found_and_a_damaged_one_refused(made, subtests):
    file = made.with_suffix(".json")
    text = file.read_text()

    def write(change: Callable[[dict[str, Any]], object]) -> None:
        report = json.loads(text)
        change(report)
        file.write_text(json.dumps(report))

    for change, message in CHANGED:
        write(change)
        with subtests.test(message):
            assert message in problems(file)
    for change, message in DAMAGED:
        write(change)
        with subtests.test(message), pytest.raises(UserError, match=message):
            verify(file, Locations())


def test_an_edited_page_is_found(made, capsys):
    made.write_text(made.read_text().replace("+75.0<small>", "+85.0<small>"))
    assert "the page does not show its own data" in problems(made)
    with pytest.raises(CheckFailed, match=r"report\.html: 1 mismatch"):
        main(["verify", str(made)])
    assert "does not match: the page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.html", "<p>hello", "contains no exam report"),
        ("a.json", "[]", "not an exam report"),
        ("a.json", '{"format": "medalpaca exam report 3"}', "lacks a part"),
        ("a.json", '{"format": "medalpaca exam report 1"}', "has the format 'medalpaca exam report 1'"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        verify(file, Locations())


def test_weights_are_hashed_on_request(pair, tiny, adapter, tmp_path):
    copy = shutil.copytree(adapter, tmp_path / "adapter")
    base, tuned = pair(base={"pretrained": str(tiny)}, tuned={"pretrained": str(tiny), "peft": str(copy)})
    out = tmp_path / "report.html"
    main(["report", str(base), str(tuned), "--out", str(out)])
    assert problems(out, weights=True) == ""
    config = copy / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 99}))
    assert "adapter: the SHA-256 of its weights is" in problems(out, weights=True)
    shutil.rmtree(copy)
    assert "adapter: no such directory" in problems(out, weights=True)


def test_numbers_may_differ_in_their_last_bits():
    assert list(find_differences({"a": [0.1 + 0.2]}, {"a": [0.3]})) == []
    assert list(find_differences({"a": 1}, {"a": True})) == ["a: 1 in the file, True recomputed"]
    assert list(find_differences({"a": 1}, {"b": 1})) == [
        "a: in the file, but not recomputed",
        "b: missing in the file, but recomputed",
    ]


def test_json_output(made, capsys):
    capsys.readouterr()
    assert main(["verify", str(made), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["report"], printed["matches"], printed["problems"]) == (str(made), True, [])
    assert printed["checked"]
    next((made.parent / "run1").rglob("samples_*.jsonl")).unlink()
    with pytest.raises(CheckFailed):
        main(["verify", str(made), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["matches"] is False
    assert any("is missing" in problem for problem in printed["problems"])


# Reports of the formats 2 and 3 about the same results of an exam of four items, each written by the code of its time.
OLDER = Path(__file__).with_name("older_reports")


@pytest.fixture(params=[2, 3])
def older(request, tmp_path):
    """A copy of the folder, and the name of the report of one older format in it."""
    return Path(shutil.copytree(OLDER, tmp_path / "older")) / f"format_{request.param}.html"


def test_a_report_of_an_older_format_is_verified_without_its_sentences(older, capsys):
    not_compared = f"page and sentences not compared: written by format {older.stem[-1]}"
    found = verify(older, Locations())
    assert found.problems == []
    assert found.unchecked == [not_compared]
    assert "every figure, recomputed from the samples" in found.checked
    assert main(["verify", str(older)]) == 0
    assert not_compared in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["comparisons"][0]["all"].update(fixed=1), "comparisons[0].all.fixed: 1 in the file, 3 recomputed"),
        # The bootstrap interval of 3 fixed of 4 items is 0.25 to 1.
        (
            lambda r: r["comparisons"][0]["all"].update(difference_interval=[0.0, 1.0]),
            "comparisons[0].all.difference_interval[0]: 0.0 in the file, 0.25 recomputed",
        ),
        (lambda r: r["power"].update(unpaired=0.5), "power.unpaired: 0.5 in the file, 0.97"),
        (lambda r: r["sides"]["base"]["scores"][-1].update(correct=2), "sides.base.scores[0].correct: 2 in the file"),
        (lambda r: r["left_out"].update(read=6), "left_out.read: 6 in the file, 5 recomputed"),
        (lambda r: r["left_out"]["excluded"][0].update(item="step1-9"), "left_out.excluded[0].item: 'step1-9'"),
        (lambda r: r["comparisons"][0].update(verdict="better"), "comparisons[0].verdict: 'better' in the file"),
        (lambda r: r["comparisons"][0].update(sentence="Tuned is better than base."), None),
        (lambda r: r["limits"].clear(), None),
    ],
)  # fmt: skip
def test_changed_figures_of_an_older_format_are_found_and_sentences_are_not_compared(older, change, message):
    report = read_page(older.read_text(), "report.html")
    change(report)
    edited = older.with_name("edited.json")
    edited.write_text(json.dumps(report))
    found = problems(edited)
    assert (message in found) if message else found == ""


def test_a_changed_sample_of_a_report_of_an_older_format_is_found(older):
    file = next((older.parent / "tuned").glob("samples_*"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    found = problems(older)
    assert "tuned: item step1-1 is missing in the samples" in found
    assert f"tuned: {file.name} changed: its SHA-256 differs" in found


def test_an_exam_whose_columns_the_metadata_name(evaluate, answering, save, tmp_path, capsys):
    """Report and verification read the sheet as the run did, or the same exam as `exam import` wrote it."""
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        "ID,Text,O1,O2,Key\n" + "".join(f"{n},Which is {n}?,x{n},y{n},{'AB'[n % 2]}\n" for n in range(8))
    )
    fields = {"id": "ID", "question": "Text", "options": ["O1", "O2"], "answer": "Key"}
    metadata = {"exam": str(sheet), "fields": fields}
    runs = [
        str(save(evaluate(answering(choose), "medalpaca_exam", metadata), tmp_path / name))
        for name, choose in (("base", lambda doc: 0), ("tuned", lambda doc: doc["gold"]))
    ]
    report = tmp_path / "report.html"
    assert main(["report", *runs, "--out", str(report)]) == 0
    assert verify(report, Locations()).problems == []
    assert (
        main(["import", str(sheet), "--fields", json.dumps(fields), "--out", str(tmp_path / "e.jsonl")]) == 0
    )
    moved = sheet.rename(tmp_path / "moved.csv")
    assert verify(report, Locations(exam=str(moved))).problems == []
    (problem,) = verify(report, Locations(exam=str(tmp_path / "e.jsonl"))).problems
    assert problem.startswith("left_out.source_sha256")
    moved.write_text(moved.read_text().replace("y7", "z7"))
    assert any("moved.csv: exam" in line for line in verify(report, Locations(exam=str(moved))).unchecked)
