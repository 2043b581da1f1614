"""The `exam` command as a user meets it: one line per error, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAM = Path(sys.executable).with_name("exam")


def exam(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EXAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "exam: the following arguments are required: COMMAND (see `exam --help`)"),
        (["mark"], "invalid choice: 'mark'"),
        (["compare", "a"], "give BASE and TUNED"),
        (["compare", "/no/a", "/no/b"], "/no/a: no such result"),
        (["report", "/no/a", "/no/b", "--out", "x.html"], "/no/a: no such result"),
        (["report", "/no/a", "/no/b"], "required: --out"),
        (["verify", "/no/report.html"], "/no/report.html: no such file"),
        (
            ["inspect", "/no/exam"],
            "/no/exam: no such exam; give a file, a directory, or one of medalpaca_pocket",
        ),
        (
            ["stress", "m", "--exam", "e", "--out", "x", "--device", "gpu"],
            "'gpu' is not a device; allowed: cpu, cuda",
        ),
        (["stress", "/no/model", "--exam", "/no/exam", "--out", "x"], "/no/exam: no such exam"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    done = exam(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_inspect(write_exam):
    directory = write_exam()
    questions = json.loads((directory / "step3.json").read_text())
    questions[0]["options"] = {}
    (directory / "step3.json").write_text(json.dumps(questions))
    report = json.loads(exam("inspect", directory, "--json").stdout)
    assert (report["read"], report["scorable"]) == (12, 11)
    assert report["scorable_by_step"] == {"1": 4, "2": 3, "3": 4}
    assert report["excluded"] == {"no options": ["step3-1"]}
    assert report["key"] == {"A": 3, "B": 3, "C": 2, "D": 2, "E": 1}
    assert sum(report["options"].values()) == 11
    assert report["chance"] == pytest.approx(sum(n / int(k) for k, n in report["options"].items()) / 11)
    shown = exam("inspect", directory).stdout
    assert "excluded  1 (no options): step3-1" in shown
    assert "Case" not in shown
