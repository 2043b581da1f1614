"""What commands print fits a terminal of 80 columns: nothing cut off, nothing wider. In a pipe nothing is wrapped."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from medalpaca_data.cli import main as data
from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.show import ProgressBars
from medalpaca_evalharness.cli import main as exam
from medalpaca_evalharness.stress.progress import StressProgress as Examined
from medalpaca_train.canary import print_result as show_canary
from medalpaca_train.canary import summarize
from medalpaca_train.progress import progress_meter
from medalpaca_train.recipe import CanaryTest
from medalpaca_train.run import print_summary

NAMES = ("medical_meadow_wikidoc_patient_information", "stack_exchange_health_questions", "cards")
STEM = "A patient has these " + " ".join(f"sign{n}" for n in range(24)) + " and which disease is it?"
WHY = "upstream has been taken down, so that these are the rows which the archive had kept of it"
RECIPE = {
    "name": "a_recipe_with_a_long_name",
    "validation": 0.2,
    "max_reject_share": 0.2,
    "skip": ["left_out_for_a_reason"],
    "sources": [
        *({"kind": "alpaca", "name": name, "path": f"{name}.json", "published": 123_456} for name in NAMES),
        {"kind": "refused", "name": "medical_meadow_mmlu_test", "published": 3_787, "why": WHY},
        {"kind": "alpaca", "name": "left_out_for_a_reason", "path": "cards.json"},
    ],
}
PRICE = {"input": 0.5, "output": 1.5}
REPHRASE = {
    "prompts": {NAMES[0]: "general"},
    "endpoints": ["http://127.0.0.1:9/v1"],
    "model": "a/model",
    "price": PRICE,
    "store": "answers.sqlite",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, recipes, two builds that differ, an exam, labels, a marked sample."""
    made = tmp_path_factory.mktemp("f")
    for name in NAMES:
        rows = [
            {
                "instruction": f"What is {name} number {n % 9}?",
                "input": "",
                "output": f"Mr John Smith, born 1.2.1950, MRN 123456{n}, john.smith{n}@example.org, has answer {n}. "
                * (n != 3),
            }
            for n in range(12)
        ]
        (made / f"{name}.json").write_text(
            json.dumps([*rows, {"instruction": STEM, "input": "", "output": name}])
        )
    (made / "recipe.yaml").write_text(json.dumps(RECIPE))
    (made / "asked.yaml").write_text(json.dumps(RECIPE | {"rephrase": REPHRASE}))
    item = {"question": STEM, "options": ["a", "b"], "answer": "A"}
    ids = ["an_identifier_of_an_item_by_one_who_likes_long_names_0001", "q2"]
    (made / "exam.jsonl").write_text("".join(json.dumps(item | {"id": name}) + "\n" for name in ids))
    broken = [item | {"id": f"{n}-of-the-items", "options": []} for n in range(40)]
    (made / "broken.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in [item | {"id": "q"}, *broken])
    )
    advice = [
        {"instruction": "i", "input": f"Sentence {n}.", "output": "This is no advice"} for n in range(3)
    ]
    (made / "advice.json").write_text(json.dumps(advice))
    (made / "upstream.csv").write_text("sentence,label\n" + "".join(f"Sentence {n}.,2\n" for n in range(3)))
    notes = [
        {"text": "Mrs. Quillon slept.", "spans": [[5, 12, "bare"]], "style": "a style with a long name" * n}
        for n in range(1, 5)
    ]
    (made / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes * 300))
    return made


@pytest.fixture(scope="module")
def builds(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    data(["build", "recipe.yaml", "out=meadow"])
    data(["build", "recipe.yaml", "out=other", "validation=0", f"skip=[{NAMES[0]}]", "language=en"])
    data(["deid", "sample", "meadow", "out=review.csv", "n=20"])
    read = (folder / "review.csv").read_text()
    (folder / "review.csv").write_text(read.replace(",,\n", ",0,\n").replace(",,\r\n", ",0,\r\n"))
    patch.undo()
    return folder


COMMANDS = {
    "build": ["data", "build", "recipe.yaml", "out=meadow"],
    "sources": ["data", "sources"],
    "one source": ["data", "sources", "cord19"],
    "diff": ["data", "diff", "meadow", "other"],
    "check": ["data", "check", "meadow", "--exam", "exam.jsonl"],
    "check without hits": ["data", "check", "meadow", "--exam", "medalpaca_pocket"],
    "audit": ["data", "audit", "advice.json", "upstream.csv"],
    "rephrase": ["data", "rephrase", "asked.yaml", "--estimate"],
    "deid check": ["data", "deid", "check", "meadow", "--show", "3"],
    "deid sample": ["data", "deid", "sample", "meadow", "out=another.csv"],
    "deid bound": ["data", "deid", "bound", "review.csv"],
    "deid evaluate": ["data", "deid", "evaluate", "notes.jsonl", "--missed", "3"],
    "inspect": ["exam", "inspect", "broken.jsonl", "--overlap", "exam.jsonl"],
    "inspect pocket": ["exam", "inspect", "medalpaca_pocket"],
    "import": ["exam", "import", "broken.jsonl", "--out", "imported.jsonl"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_it_fits(words, builds, monkeypatch, capsys):
    monkeypatch.chdir(builds)
    monkeypatch.setenv("COLUMNS", "80")
    name, *rest = words
    with suppress(CheckFailed):
        {"data": data, "exam": exam}[name](rest)
    check_fits(capsys.readouterr().out)


def check_fits(shown: str) -> None:
    assert shown.strip()
    assert "…" not in shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_json_is_one_document_and_nothing_else(words, builds, monkeypatch, capsys):
    monkeypatch.chdir(builds)
    name, *rest = [word.replace("another.csv", "third.csv").replace("imported", "again") for word in words]
    with suppress(CheckFailed):
        {"data": data, "exam": exam}[name]([*rest, "--json"])
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_a_build_says_what_it_kept(builds, monkeypatch, capsys):
    monkeypatch.chdir(builds)
    data([*COMMANDS["build"][1:], "--json"])
    told = json.loads(capsys.readouterr().out)
    ledger = json.loads(Path(told["ledger"]).read_text())
    assert (told["path"], told["reused"], told["rows"]) == ("meadow", True, ledger["rows"])
    assert told["sources"][0] == {
        "name": NAMES[0], "read": 13, "kept": 12, "rejected": 1, "reasons": {"read": {"empty 'output'": 1}}
    }  # fmt: skip


def test_a_row_is_explained_in_words_that_fit(builds, monkeypatch, capsys):
    monkeypatch.chdir(builds)
    monkeypatch.setenv("COLUMNS", "80")
    row = pl.read_parquet("meadow/train.parquet")["id"][0]
    data(["explain", "meadow", row])
    lines = capsys.readouterr().out.splitlines()
    # What is longer is one word, which can be copied, such as the SHA-256 of a file with a long name.
    assert [line for line in lines if len(line) > 80 and len(line.split()) > 3] == []


@pytest.mark.parametrize("name", ["check", "diff", "inspect", "deid check"])
def test_in_a_pipe_nothing_is_wrapped(name, builds, monkeypatch, capsys):
    monkeypatch.chdir(builds)
    command, *rest = COMMANDS[name]
    shown = {}
    for columns in ("2000", None):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        {"data": data, "exam": exam}[command](rest)
        shown[columns] = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown[None] == shown["2000"]
    assert max(map(len, shown[None])) > 80


class Fast:
    """Hardware whose numbers are long."""

    def peak_memory(self) -> float:
        return 139.9e9


def on_a_terminal(columns: int = 80) -> Console:
    return Console(width=columns, force_terminal=True, color_system=None, markup=False, emoji=False)


def test_what_train_shows_fits(capsys):
    screen = on_a_terminal()
    loss = {"before": 12.3456, "after": 1.2345}
    counts = {
        "rows_train": 1_234_567,
        "rows_read": 1_234_567,
        "tokens": 123_456_789,
        "supervised_tokens": 123_456_789,
    }
    outcome = {"data": counts, "validation_loss": loss, "steps": 123_456, "seconds": 1e6}
    print_summary(outcome, Path("/a/directory") / ("of-a-run-with-a-long-name" * 4), "lm_eval", screen)
    test = CanaryTest(repeats=(1, 10, 100, 10_000), candidates=100_000)
    groups = [
        {"repeats": n, "patients": 4, "exposure_bits": 16.6, "extracted": 4, "p_by_chance": 1.23e-16}
        for n in (0, *test.repeats)
    ]
    show_canary(
        {
            "groups": groups,
            "chance_bits": 1.4,
            "most_bits": 16.6,
            "test": test.model_dump(),
            "verdict": summarize(groups),
        },
        screen,
    )
    check_fits(capsys.readouterr().out)


@pytest.mark.parametrize("columns", [80, 120])
def test_live_bars_fit(columns, capsys):
    screen = on_a_terminal(columns)
    with progress_meter(screen, 0, 12_345, Fast(), 1.0) as meter:
        meter._started -= 100  # seconds
        meter.step(1_234, 12.345, 12_345_678, 0.0)
    with ProgressBars(screen) as bars:
        bars.update(f"read {NAMES[0]}", 123_456_789, None)
        bars.update("near duplicates", 123_456, 1_234_567)
    with Examined(screen) as examined:
        examined.update("tuned", 0, 12_345)
        examined.update("tuned", 1_234, 12_345)
    moved = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", capsys.readouterr().out).replace("\r", "\n")
    assert "…" not in moved
    assert max(map(len, moved.splitlines())) <= columns
