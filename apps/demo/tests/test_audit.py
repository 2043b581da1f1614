"""Audit log of the page: times, users and hashes, never a text; and `demo audit verify`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medalpaca_data.core.audit_log import AuditLog, verify
from medalpaca_data.core.files import sha256_bytes
from medalpaca_demo.audit import Recorder
from medalpaca_demo.engine import Engine
from medalpaca_demo.job import Request
from medalpaca_demo.models import check_pair, load_models

DEMO = Path(sys.executable).with_name("demo")
ASKED = Request(
    prompt="Which vitamin is lacking in scurvy?", choices=("A", "B"), scoring="letter", max_new_tokens=8
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def recorded(pair: tuple[Path, Path], log: Path) -> Iterator[Engine]:
    recorder = Recorder(AuditLog(log), "session")
    engine = Engine(partial(load_models, check_pair(*pair)), recorder=recorder)
    yield engine.wait_until_loaded()
    engine.close()


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_question_and_answers_are_recorded_as_hashes(recorded: Engine, log: Path) -> None:
    found = list(recorded.submit(ASKED, "ada").watch(interval=0))[-1]
    asked, answered = entries(log)
    assert (asked["what"], answered["what"]) == ("asked", "answered")
    assert asked["user"] == "ada"
    assert asked["prompt_sha256"] == sha256_bytes(ASKED.prompt.encode())
    assert asked["job"] == answered["job"]
    assert answered["state"] == "done"
    for side, answer in found.answers.items():
        assert answered["answers"][side] == {
            "sha256": sha256_bytes(answer.text.encode()),
            "tokens": answer.tokens,
        }
        assert answer.text not in log.read_text()
    assert "vitamin" not in log.read_text()
    assert verify(log).head.count == 2


def test_failed_and_cancelled_jobs_are_recorded(
    recorded: Engine, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(recorded.submit(Request(prompt="w " * 900, choices=(), scoring="letter")).watch(interval=0))
    monkeypatch.setattr(recorded, "_gather_seconds", 5)
    waiting = recorded.submit(ASKED)
    recorded.cancel(waiting)
    assert [(entry["what"], entry.get("state")) for entry in entries(log)] == [
        ("asked", None),
        ("answered", "failed"),
        ("asked", None),
        ("answered", "stopped"),
    ]


def test_without_a_writable_log_no_question_is_answered(recorded: Engine, log: Path) -> None:
    list(recorded.submit(ASKED).watch(interval=0))
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.index(b"\n") + 1])
    found = list(recorded.submit(ASKED).watch(interval=0))[-1]
    assert found.state == "failed"
    assert "the audit log cannot be written" in found.error
    assert not found.answers
    log.write_bytes(whole)
    assert list(recorded.submit(ASKED).watch(interval=0))[-1].state == "done"


def test_an_unrecorded_answer_is_an_error(recorded: Engine, log: Path) -> None:
    job = recorded.submit(Request(prompt="What?", choices=(), scoring="letter", max_new_tokens=200))
    head = log.with_name("log.head")
    for snapshot in job.watch(interval=0):
        if snapshot.answers and head.exists():
            head.unlink()
    assert snapshot.state == "failed"
    assert "the audit log cannot be written" in snapshot.error


def test_audit_verify_finds_changes(log: Path, tmp_path: Path) -> None:
    for n in range(3):
        head = AuditLog(log).append("asked", number=n)

    def check(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DEMO, "audit", *map(str, arguments)], capture_output=True, text=True, timeout=60
        )

    done = check("verify", log)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"unchanged. {log}: 3 entries, head {head.sha256}\n"
    done = check("verify", log, "--head", head.sha256)
    assert done.returncode == 0
    assert "entries 1 to 3 match the given head; 0 were added later" in done.stdout
    done = check("verify", log, "--json")
    assert json.loads(done.stdout) == {
        "log": str(log), "unchanged": True, "head": {"count": 3, "sha256": head.sha256}, "notes": []
    }  # fmt: skip
    log.write_text(log.read_text().replace('"number": 1', '"number": 7'))
    done = check("verify", log)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {log} line 3: does not continue the previous entry")
    scripted = check("verify", log, "--json")
    assert (scripted.returncode, scripted.stderr) == (1, done.stderr)
    report = json.loads(scripted.stdout)
    assert (report["unchanged"], f"error: {report['problem']}\n") == (False, done.stderr)
    assert done.stderr.count("\n") == 1
    for arguments, message in (
        (("verify", tmp_path / "none"), "no such file"),
        (("verify", tmp_path), "is a directory"),
        (("verify",), "LOG"),
        (("look", log), "invalid choice"),
        ((), "required"),
    ):
        done = check(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
