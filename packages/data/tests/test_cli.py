"""The command as a user meets it: exit codes, one line for an error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(sys.executable).with_name("data")


def data(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DATA, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def assert_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts), done.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ["check", "nowhere.json", "--exam", "medalpaca_pocket"],
            ["nowhere.json: no such file or directory"],
        ),
        (["check", "rows.jsonl", "--exam", "medalpaca_pocket"], ["rows.jsonl line 17: not valid JSON"]),
        (["check", "unanswered.json", "--exam", "medalpaca_pocket"], ["row 2: no key 'output'"]),
        (["check", "good.json", "--exam", "empty.jsonl"], ["items can be scored"]),
        (["check", "good.json", "--exam", "nowhere"], ["nowhere: no such exam"]),
        (["build", "pocket"], ["out=DIR"]),
        (["build", "nowhere.yaml", "out=x"], ["nowhere.yaml: no such file"]),
        (["build", "pocket", "out=x", "validaton=1"], ["unknown key 'validaton'", "'validation'"]),
        (["build", "pocket", "out=good.json/x"], ["good.json"]),
        (["build", "pocket", "out=."], ["is the working directory"]),
        (
            ["check", "good.json", "--exam", "medalpaca_pocket", "--fail-over", "50"],
            ["--fail-over 50: give a share above 0"],
        ),
        (["biuld"], ["invalid choice: 'biuld'"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(write, tmp_path, arguments, parts, row):
    good = json.dumps(row(1))
    write("rows.jsonl", "\n".join([good] * 16 + ['{"instruction":'] + [good]))
    write("unanswered.json", [row(1), {"instruction": "Q"}])
    write("good.json", [row(1)])
    write("empty.jsonl", [{"question": "Q?", "options": {}, "answer": "A"}])
    assert_refused(data(*arguments, cwd=tmp_path), *parts)


def test_build_then_check(write, tmp_path, row):
    write("raw.json", [row(n) for n in range(3)])
    write("recipe.yaml", "name: mine\nvalidation: 0\nsources:\n  - {kind: alpaca, path: raw.json}\n")
    done = data("build", "recipe.yaml", "out=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "out: 3 train, 0 validation rows" in done.stdout
    assert "3" in (tmp_path / "out/README.md").read_text()
    done = data("check", "out", "--exam", "medalpaca_pocket", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rows"] == 3


def test_a_covered_item_fails_the_check_when_asked(write, tmp_path, row):
    stem = "A patient has these " + " ".join(f"sign{n}" for n in range(12)) + " and which disease is it?"
    write("exam.jsonl", [{"id": "q", "question": stem, "options": ["a", "b"], "answer": "A"}])
    write("rows.json", [row(1, instruction=stem)])
    done = data("check", "rows.json", "--exam", "exam.jsonl", "--fail-over", "0.5", cwd=tmp_path)
    assert done.returncode == 1
    assert "questions of exam with a coverage of 50% or more: 1; add" in done.stderr


@pytest.mark.parametrize("arguments", [["sources"], ["sources", "--json"]])
def test_a_reader_that_leaves_ends_it_quietly(arguments):
    # 141, as of any program whose reader leaves; the first is rich's own end, the second Python's.
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as unread:  # noqa: PTH123 - a pipe has no path
        done = subprocess.run([DATA, *arguments], stdout=unread, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")
