"""What quickstart keeps, deletes and draws. tests/test_quickstart.py at the root runs all its steps."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.paths import quickstart
from medalpaca_demo.quickstart import QuickstartRun, exclusive_lock, is_evaluated, main
from medalpaca_demo.result_chart import Counts, Figures, draw_chart, result_sentence, result_table
from medalpaca_evalharness.comparison import Row
from medalpaca_evalharness.statistics import wilson

CHART = Path(__file__).parents[3] / "docs" / "quickstart.svg"


def read_figures(svg: str) -> Figures:
    """Return the figures in the metadata of a chart."""
    match = re.search(r"<metadata>(.*?)</metadata>", svg, re.DOTALL)
    assert match is not None
    content = json.loads(unescape(match[1]))
    return Figures(**content | {"rows": tuple(Counts(**row) for row in content["rows"])})


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickstartRun:
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path))
    return QuickstartRun(1, quickstart(), Console(file=io.StringIO()))


def write_base(started: QuickstartRun) -> Path:
    file = started.paths.base / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("weights")
    return file


def test_results_of_the_same_code_and_seed_are_kept(started: QuickstartRun) -> None:
    started._delete_outdated()
    file = write_base(started)
    started._delete_outdated()
    assert file.exists()


def test_results_of_another_seed_are_deleted(started: QuickstartRun) -> None:
    started._delete_outdated()
    file = write_base(started)
    QuickstartRun(2, started.paths, started.console)._delete_outdated()
    assert not file.exists()
    record = json.loads((started.paths.meadow.parent / "made.json").read_text())
    assert record["seed"] == 2
    assert sorted(path.name for path in started.paths.meadow.parent.iterdir()) == ["made.json"]


def test_files_without_a_record_are_deleted(started: QuickstartRun) -> None:
    """`train` alone can leave a base there, and an interrupted deletion anything."""
    file = write_base(started)
    started._delete_outdated()
    assert not file.exists()


def test_an_incomplete_result_does_not_count(started: QuickstartRun) -> None:
    out = started.paths.results_base / "model"
    out.mkdir(parents=True)
    (out / "results_2026-01-01T00-00-00.json").write_text(json.dumps({"results": {}}))
    assert not is_evaluated(started.paths.results_base, started.paths.base, None)
    assert not is_evaluated(started.paths.results_tuned, started.paths.base, started.paths.run)


def test_a_second_quickstart_is_refused(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path),
        pytest.raises(UserError, match="another quickstart is running"),
        exclusive_lock(tmp_path),
    ):
        pass
    with exclusive_lock(tmp_path):
        pass


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="--seed -1 is negative; use 0 or more"):
        main(["--seed", "-1"])


def test_the_chart_shows_its_figures() -> None:
    rows = (Counts("Step 1", 10, 20, 5, 15), Counts("All", 30, 40, 10, 20))
    svg = draw_chart(Figures("an <exam>", 7, 0.25, rows))
    assert read_figures(svg) == Figures("an <exam>", 7, 0.25, rows)
    assert "40 questions fixed, 10 broken" in svg
    assert "<exam>" not in svg
    # 510 pixels for 100 %: base 15 and 40, tuned 30 and 70 of 50 and 100.
    widths = re.findall(r'<rect class="[bu]" [^>]*width="([0-9.]+)"', svg)
    assert [float(width) for width in widths] == pytest.approx([153, 306, 204, 357])
    low = 190 + 510 * wilson(70, 100).low
    assert f"M{low:.1f} " in svg


def test_the_table_fits_80_columns_and_the_sentence_gives_the_verdict() -> None:
    counts = {"both_right": 101, "fixed": 252, "broken": 4, "both_wrong": 51, "chance": 0.25}
    rows = [Row(label=label, **counts) for label in ("Step 1", "All")]
    comparison: Any = SimpleNamespace(steps=rows[:1], pooled=rows[1])
    console = Console(file=io.StringIO(), width=80)
    console.print(result_table(comparison))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert [line.split("│")[1:-1] for line in lines if "Step 1" in line] == [
        [" Step 1    ", "    408 ", " 25.7 % ", "     86.5 % ", " +60.8 points ", " +55.7 to +65.5 "]
    ]
    assert result_sentence(comparison) == (
        "Fine-tuning fixed 252 and broke 4 of 408 questions: 25.7 % to 86.5 % correct.\n"
        "The fine-tuned model is better: p < 0.0001 (exact McNemar test), below 0.05."
    )
    even: Any = SimpleNamespace(steps=[], pooled=Row(label="All", **{**counts, "fixed": 6}))
    assert "is not shown to differ from the base: p = 0.7539" in result_sentence(even)


@pytest.mark.slow
def test_an_interrupt_is_reported_once(tmp_path: Path) -> None:
    """Both quickstart and the running command get the signal."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("quickstart")],
        env={**os.environ, "MEDALPACA_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    shown = ""
    while "step " not in shown:
        shown += process.stdout.readline()
        assert process.poll() is None, shown
    process.send_signal(signal.SIGINT)
    shown += process.stdout.read()
    assert process.wait(60) == 130
    assert shown.count("interrupted") == 1, shown
    assert "checkpoint" in shown.lower() or list(tmp_path.rglob("checkpoint*")), shown


@pytest.mark.skipif(not CHART.is_file(), reason="outside the repository")
def test_the_chart_of_the_readme_is_drawn_by_this_code() -> None:
    """tests/test_quickstart.py compares its figures with those of a new quickstart."""
    svg = CHART.read_text(encoding="utf-8")
    assert draw_chart(read_figures(svg)) == svg
