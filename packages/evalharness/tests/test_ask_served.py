"""`exam ask` with two servers: the results of lm_eval, refusals, concurrency, and continuation after a failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness import ask_served
from medalpaca_evalharness.cli import main
from medalpaca_evalharness.results import read_run

from .scripted_server import ScriptedServer, logprob


@pytest.fixture
def server() -> Any:
    faults = {"base": "", "tuned": "", "no_echo": "no_echo", "zeros": "zeros"}
    with ScriptedServer(faults, delay=0.002) as running:
        yield running


def command(server: ScriptedServer, exam: Path, out: Path, *more: str, tuned: str = "tuned") -> list[str]:
    urls = [f"{server.url}#base", f"{server.url}#{tuned}"]
    return ["ask", *urls, "--tasks", "medalpaca_exam", "--exam", str(exam), "--out", str(out), *more]


def test_scores_names_and_concurrency(server: ScriptedServer, write_exam: Any, tmp_path: Path) -> None:
    assert main(command(server, write_exam(), tmp_path / "out", "--num_concurrent", "6")) == 0
    assert 2 <= server.most <= 6
    for side in ("base", "tuned"):
        run = read_run(tmp_path / "out" / side)
        assert run.model == f"{side} @ {server.host} (no hash)"
        assert len(run.answers) == 12
        for line in run.samples[0].read_text().splitlines():
            record = json.loads(line)
            prompt = list(record["doc"]["prompt"])
            for letter, (value, _) in zip(record["doc"]["letters"], record["filtered_resps"], strict=True):
                expected = logprob(prompt[:-1], prompt[-1]) + logprob(prompt, letter)
                assert float(value) == pytest.approx(expected)
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(UserError, match=r"out/base: already exists; choose another --out"):
        main(command(server, tmp_path / "exam", tmp_path / "out"))


def test_generated_answers(server: ScriptedServer, write_exam: Any, tmp_path: Path) -> None:
    arguments = command(server, write_exam(), tmp_path / "out", tuned="no_echo")
    arguments[arguments.index("medalpaca_exam")] = "medalpaca_exam_gen"
    assert main(arguments) == 0
    run = read_run(tmp_path / "out" / "tuned")
    assert {answer.letters[answer.chosen or 0] for answer in run.answers.values()} == {"B"}


@pytest.mark.parametrize(
    ("tuned", "message"),
    [
        ("no_echo", "it reports no probabilities of an input text; use --tasks medalpaca_exam_gen"),
        ("zeros", r"the same log-probability, 0\.0, for all tokens"),
        ("tuner", "serves no model 'tuner'; did you mean #tuned"),
    ],
)
def test_a_server_is_refused_before_the_first_item(
    server: ScriptedServer, write_exam: Any, tmp_path: Path, tuned: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(command(server, write_exam(), tmp_path / "out", tuned=tuned))
    assert not any("remedy" in body["prompt"] for body in server.asked)


def test_options_that_do_not_apply_are_refused(write_exam: Any, tmp_path: Path) -> None:
    outside = ["ask", "http://gpu.example/v1#a", "http://gpu.example/v1#b", "--tasks", "medalpaca_exam_gen"]
    rest = ["--exam", str(write_exam()), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"allow this host with --trusted-host gpu\.example"):
        main([*outside, *rest])
    with pytest.raises(UserError, match="the variable NO_SUCH_KEY"):
        main([*outside, *rest, "--trusted-host", "gpu.example", "--api-key-env", "NO_SUCH_KEY"])
    with pytest.raises(UserError, match="--model_args is for local models"):
        main([*outside, *rest, "--model_args", "dtype=float16"])
    with pytest.raises(UserError, match="give both as URL#MODEL"):
        main(["ask", "models/base", *outside[2:], *rest])


def test_the_key_is_sent_and_not_stored(
    server: ScriptedServer, write_exam: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_KEY", "s3cret")
    assert main(command(server, write_exam(), tmp_path / "out", "--api-key-env", "GPU_KEY")) == 0
    assert set(server.keys) == {"Bearer s3cret"}
    files = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files
    assert not any("s3cret" in text for text in files)


def test_a_run_continues_after_a_failure(
    server: ScriptedServer, write_exam: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_served, "FIRST_WAIT", 0.0)
    exam, out = write_exam(), tmp_path / "out"
    original = server.RequestHandlerClass.complete

    def fail_later(handler: Any, body: dict[str, Any]) -> tuple[int, Any]:
        failing = body["model"] == "tuned" and len(server.asked) > 100
        return (500, {}) if failing else original(handler, body)

    monkeypatch.setattr(server.RequestHandlerClass, "complete", fail_later)
    with pytest.raises(UserError, match="run the same command again to continue"):
        main(command(server, exam, out))
    kept = (out / ".tuned.journal.jsonl").read_bytes()
    # What `kill -9` can leave: a last line that is not complete.
    (out / ".tuned.journal.jsonl").write_bytes(kept + b'{"key": "abc", "ans')
    monkeypatch.setattr(server.RequestHandlerClass, "complete", original)
    with pytest.raises(UserError, match="an unfinished run with another limit"):
        main(command(server, exam, out, "--limit", "3"))
    before = len(server.asked)
    assert main(command(server, exam, out)) == 0
    again = [body for body in server.asked[before:] if "scurvy" not in body["prompt"]]
    assert {body["model"] for body in again} == {"tuned"}
    # 12 contexts, and 4 to 6 options of 12 items; what was answered is not requested again.
    assert len(again) == 12 + 60 - (len(kept.splitlines()) - 1)
    assert len(read_run(out / "tuned").answers) == 12


@pytest.mark.slow
def test_a_killed_run_continues(server: ScriptedServer, write_exam: Any, tmp_path: Path) -> None:
    server.delay = 0.1
    arguments = command(server, write_exam(), tmp_path / "out", "--num_concurrent", "2")
    script = [str(Path(sys.executable).with_name("exam")), *arguments]
    running = subprocess.Popen(script, stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / ".base.journal.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (journal.is_file() and journal.read_bytes().count(b"\n") > 20):
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    server.delay = 0.0
    assert subprocess.run(script).returncode == 0
    sent = [(body["model"], body["prompt"], "echo" in body) for body in server.asked]
    items = [one for one in sent if "scurvy" not in one[1]]
    # Only the requests in flight are sent again.
    assert len(items) - len(set(items)) <= 2
    assert len(read_run(tmp_path / "out" / "tuned").answers) == 12


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            b'{"format": 1, "exam": "a"}\n\xff\n',
            "answers.jsonl line 2: not UTF-8; remove the file and run the command",
        ),
        (b'{"format": 1, "exam": "a"}\n[]\n', "answers.jsonl line 2: not a JSON object"),
        (b'{"format": 1, "exam": "a"}\n{"key": 3, "answer": 1}\n', "answers.jsonl line 2: key 'key'"),
        (b"[]\n", "answers.jsonl line 1: not a JSON object"),
        (b'{"format": 1, "exam": "b"}\n', "an unfinished run with another exam"),
    ],
)
def test_a_damaged_journal_is_refused_in_one_line(tmp_path, lines, message):
    from medalpaca_evalharness.ask_journal import Journal

    file = tmp_path / "answers.jsonl"
    file.write_bytes(lines)
    with pytest.raises(UserError, match=message):
        Journal(file, {"exam": "a"})
    assert file.read_bytes() == lines
