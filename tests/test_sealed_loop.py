"""Nothing leaves the machine: our commands where there is no network but loopback, watched from within and without.

From within, every look-up and connection that Python is asked for is written down, also one whose failure a library
keeps to itself; from without, the kernel counts what found no way out, so other languages' sockets are seen too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMESPACE = Path(__file__).with_name("namespace.py")

WATCH = """
import os, sys

def written_down(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = args[1][0] if isinstance(args[1], tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host and str(host) not in ("localhost", "::1", "0.0.0.0", "::") and not str(host).startswith("127."):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{sys.argv[0]}: {event} {host}\\n")

sys.addaudithook(written_down)

# A process that is sealed at its start refuses a call before the hook above sees it.
if offline := sys.modules.get("medalpaca_data.core.offline"):
    class Seen(offline.SealedError):
        def __init__(self, message):
            super().__init__(message)
            with open(os.environ["WATCHED"], "a") as file:
                file.write(f"{sys.argv[0]}: {message}\\n")

    offline.SealedError = Seen

if os.environ.get("PLANTED"):
    import socket
    for look_up in (lambda: socket.getaddrinfo("example.org", 443),
                    lambda: socket.create_connection(("192.0.2.1", 443), timeout=1)):
        try:
            look_up()
        except OSError:
            pass  # as libraries do that report home
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """How a command went, what Python was asked for, and how many packets found no way out."""

    done: subprocess.CompletedProcess[str]
    asked: list[str]
    unroutable: int


@pytest.fixture
def alone(tmp_path):
    """`alone(command, *words, **environment)`: a console script in a namespace with loopback and nothing else."""
    trial = subprocess.run(
        [sys.executable, "-I", NAMESPACE, tmp_path / "trial.json", sys.executable, "-c", ""],
        capture_output=True,
        text=True,
    )
    if trial.returncode:
        pytest.skip(f"user or network namespaces are off: {trial.stderr.strip().splitlines()[-1]}")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WATCH)
    watched, record = tmp_path / "watched.txt", tmp_path / "record.json"

    def call(name: str, *words: object, **environment: str) -> Watched:
        watched.write_text("")
        offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
        known = {key: value for key, value in os.environ.items() if key not in offline}
        known |= {"MEDALPACA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(site), "WATCHED": str(watched)}
        script = Path(sys.executable).with_name(name)
        done = subprocess.run(
            [sys.executable, "-I", NAMESPACE, record, script, *map(str, words)],
            env=known | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        asked = watched.read_text().splitlines()
        return Watched(done, asked, json.loads(record.read_text())["unroutable"])

    return call


def assert_nothing_left(watched: Watched) -> None:
    assert watched.done.returncode == 0, watched.done.stdout + watched.done.stderr
    assert watched.asked == []
    assert watched.unroutable == 0


def test_a_command_without_a_network(alone):
    assert_nothing_left(alone("data", "build", "pocket", "out=meadow", MEDALPACA_SEALED="1"))


def test_the_control_a_planted_look_up_is_seen(alone):
    """The guard off and a look-up planted: the check of the other tests fails, so it can."""
    planted = alone("data", "sources", PLANTED="1")
    assert planted.done.returncode == 0  # its failure is kept from the user
    with pytest.raises(AssertionError):
        assert_nothing_left(planted)
    assert [line.partition(": ")[2] for line in planted.asked] == [
        "socket.getaddrinfo example.org",
        "socket.getaddrinfo 192.0.2.1",
        "socket.connect 192.0.2.1",
    ]
    assert planted.unroutable > 0


def test_the_control_a_refused_look_up_is_seen(alone):
    """The guard on: what it refuses is written down as well."""
    planted = alone("data", "sources", PLANTED="1", MEDALPACA_SEALED="1")
    assert planted.done.returncode == 0
    assert [line.partition(": ")[2].partition(",")[0] for line in planted.asked] == [
        "sealed mode refused socket.getaddrinfo to 'example.org'",
        "sealed mode refused socket.getaddrinfo to '192.0.2.1'",
    ]
    assert planted.unroutable == 0


@pytest.mark.slow
def test_the_whole_quickstart(alone):
    watched = alone("quickstart", MEDALPACA_SEALED="1", COLUMNS="80")
    assert_nothing_left(watched)
    assert "6/6  Compare both results" in watched.done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("task", ["medalpaca_pocket", "of somebody else"])
def test_stock_lm_eval(alone, pair, tmp_path, task):
    words = ["--model", "hf", "--model_args", f"pretrained={pair.base},peft={pair.run}", "--device", "cpu"]
    if task != "medalpaca_pocket":
        task = "plain"
        (tmp_path / "plain.jsonl").write_text('{"q": "What is it?", "a": "That."}\n')
        (tmp_path / "plain.yaml").write_text(
            "task: plain\ndataset_path: json\ndataset_kwargs: {data_files: {test: plain.jsonl}}\n"
            "test_split: test\noutput_type: loglikelihood\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
            "metric_list: [{metric: acc}]\n"
        )
        words += ["--include_path", str(tmp_path)]
    assert_nothing_left(alone("lm_eval", *words, "--tasks", task, "--limit", 4, MEDALPACA_SEALED="1"))
