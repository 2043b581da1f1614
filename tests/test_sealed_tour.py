"""Every command, sealed, where a proxy, a resolver and a host wait for it: they get no byte. Unsealed, they get some.

`outside_world.py` counts packets in a network namespace, so sockets of other languages and child processes count too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Pair
from .test_command_lines import EVERY

WORLD = Path(__file__).with_name("outside_world.py")
PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"), "http://127.0.0.1:3128")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "MEDALPACA_SEALED")
NOTHING = {"proxy": 0, "resolver": 0, "host": 0, "unroutable": 0, "dropped": 0}

# A look-up and a connection of a library that hides its failure, in a child of the command.
CHILD = """
import subprocess, sys
code = '''
import socket, urllib.request
for call in (lambda: socket.gethostbyname("example.org"), lambda: urllib.request.urlopen("http://example.org"),
             lambda: socket.create_connection(("192.0.2.1", 80), timeout=2).sendall(b"a patient"),
             lambda: socket.create_connection(("198.51.100.7", 443), timeout=2)):
    try:
        call()
    except OSError:
        pass
'''
subprocess.run([sys.executable, "-c", code], check=True)
"""


def step(*words: object, code: int = 0, **more: Any) -> dict[str, Any]:
    """One step of a tour: a console script or Python and its words, and the exit code that is right if sealed."""
    return {
        "words": [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])],
        "code": code,
    } | more


@pytest.fixture
def world(tmp_path):
    """`world(steps, **environment)`: the outcome of each step, in the namespace; skip where it is not permitted."""

    def visit(steps: list[dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
        known = {key: value for key, value in os.environ.items() if key not in OFFLINE}
        known = {key: value for key, value in known.items() if not key.lower().endswith("_proxy")}
        known |= {"MEDALPACA_HOME": str(tmp_path / "home"), "OMP_WAIT_POLICY": "passive"} | environment
        (tmp_path / "steps.json").write_text(json.dumps([{"environment": {}, **one} for one in steps]))
        done = subprocess.run(
            [sys.executable, "-I", WORLD, tmp_path / "steps.json", tmp_path / "record.json"],
            env={key: value for key, value in known.items() if key != "MEDALPACA_SEALED"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        if done.returncode and "Error: [Errno" in done.stderr and not (tmp_path / "record.json").is_file():
            pytest.skip(f"no user, network or mount namespaces here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "record.json").read_text())

    return visit


def sent(result: dict[str, Any]) -> dict[str, int]:
    return {place: result[place] for place in NOTHING}


SEALED = {"MEDALPACA_SEALED": "1"}


def test_children_of_a_sealed_process_send_nothing(world):
    sealed = f"from medalpaca_data.core.offline import seal\nseal()\n{CHILD}"
    results = world(
        [
            step("python", "-c", CHILD, environment=SEALED | PROXIES),
            step("python", "-c", sealed, environment=PROXIES),
            step("python", "-c", CHILD, environment=PROXIES),
            step("python", "-c", CHILD),
        ]
    )
    assert [result["code"] for result in results] == [0, 0, 0, 0], [result["err"] for result in results]
    assert [sent(result) for result in results[:2]] == [NOTHING, NOTHING]
    through_proxy, direct = results[2:]
    assert through_proxy["proxy"] > 0
    assert min(direct["resolver"], direct["host"], direct["unroutable"]) > 0
    assert direct["proxy"] == 0


ASKS = [
    step("data", "fetch", "pubmedqa", "out=raw", code=2),
    step("train", "lora", "model=someone/model", "data=rows.json", "out=hub", "max_tokens=256", code=2),
    step("lm_eval", "--model", "hf", "--model_args", "pretrained=someone/model", "--tasks", "medalpaca_pocket", code=2),
    step("exam", "ask", "someone/model", "someone/adapter", "--tasks", "medalpaca_pocket", "--out", "a", code=2),
    step("exam", "stress", "someone/model", "--exam", "medalpaca_pocket", "--out", "s", code=2),
]  # fmt: skip


@pytest.mark.real("sealed_tour")
def test_commands_that_need_the_network_send_some_if_unsealed_and_nothing_if_sealed(world, pair, tmp_path):
    """The control: without the guard, each of these commands reaches the proxy, or the resolver and the host."""
    (tmp_path / "rows.json").write_bytes(pair.rows.read_bytes())
    sealed = world([one | {"environment": SEALED | PROXIES} for one in ASKS])
    assert [(result["code"], result["err"].count("Traceback")) for result in sealed] == [(2, 0)] * len(ASKS)
    assert [sent(result) for result in sealed] == [NOTHING] * len(ASKS)
    for result in world([one | {"environment": PROXIES} for one in ASKS]):
        assert result["proxy"] > 0, result["err"]
    for result in world(ASKS):
        assert min(result["resolver"], result["host"]) > 0, result["err"]


def data_tour(folder: Path) -> list[dict[str, Any]]:
    rows = [{"instruction": f"What is {n}?", "input": "", "output": f"It is {n}."} for n in range(40)]
    (folder / "raw.json").write_text(json.dumps(rows))
    (folder / "meadow.yaml").write_text(
        "name: tour\nvalidation: 0.1\nsources: [{kind: alpaca, path: raw.json, licence: ours}]\n"
    )
    (folder / "notes.jsonl").write_text('{"text": "Tel 555-1234.", "spans": [[4, 12, "phone"]]}\n')
    (folder / "upstream.csv").write_text("pmid,sentence,label\n1,Coffee causes sleep.,1\n")
    (folder / "published.json").write_text("[]")
    return [
        step("data", "sources"),
        step("data", "fetch", "pubmedqa", "out=raw", code=2),
        step("data", "build", "meadow.yaml", "out=meadow"),
        step("data", "show", "meadow"),
        step("data", "explain", "meadow", "0000000000000000", code=2),
        step("data", "diff", "meadow", "meadow"),
        step("data", "check", "meadow", "--exam", "medalpaca_pocket"),
        step("data", "audit", "published.json", "upstream.csv", code=2),
        step("data", "rephrase", "meadow.yaml", "--estimate", code=2),
        step("data", "deid", "check", "meadow"),
        step("data", "deid", "sample", "meadow", "out=review.csv", "n=5"),
        step("data", "deid", "bound", "review.csv", code=2),
        step("data", "deid", "evaluate", "notes.jsonl"),
        step("data", "trace", "4711", "meadow", code=1),
    ]


def train_tour(pair: Pair) -> list[dict[str, Any]]:
    small = ("max_steps=1", "batch_tokens=256", "max_tokens=256", "validation=0", "precision=fp32")
    return [
        step("train", "lora", f"model={pair.base}", f"data={pair.rows}", "out=run", *small),
        step("train", "chat", pair.run, input="What is it?\n"),
        step("train", "merge", pair.run, "out=merged"),
        step("train", "canary", "run", "repeats=[1]", "patients=1", "candidates=2"),
    ]


def exam_tour(pair: Pair) -> list[dict[str, Any]]:
    model = f"pretrained={pair.base}"
    logged = (
        "--device",
        "cpu",
        "--limit",
        4,
        "--log_samples",
        "--tasks",
        "medalpaca_pocket",
        "--output_path",
    )
    ask = (pair.base, pair.run, "--tasks", "medalpaca_pocket", "--out", "asked", "--limit", 4)
    return [
        step("lm_eval", "ls", "tasks"),
        step("lm_eval", "validate", "--tasks", "medalpaca_pocket"),
        step("lm_eval", "--model", "hf", "--model_args", model, *logged, "base"),
        step("lm_eval", "--model", "medalpaca", "--model_args", f"{model},peft={pair.run}", *logged, "tuned"),
        step("exam", "show", "tuned"),
        step("exam", "compare", "base", "tuned"),
        step(
            "exam",
            "plan",
            "--margin",
            3,
            "--task",
            "medalpaca_pocket",
            "--exam",
            "medalpaca_pocket",
            "--out",
            "plan.json",
        ),
        step("exam", "report", "base", "tuned", "--out", "report.html"),
        step("exam", "verify", "report.html"),
        step("exam", "inspect", "medalpaca_pocket"),
        step("exam", "import", "medalpaca_pocket", "--out", "exam.jsonl"),
        step("exam", "ask", *ask),
        step("exam", "stress", pair.base, "--exam", "medalpaca_pocket", "--out", "stress", "--limit", 4),
    ]


def demo_tour(pair: Pair) -> list[dict[str, Any]]:
    models = ("--base", pair.base, "--adapter", pair.run, "--exam", pair.exam)
    url = "http://127.0.0.1:7861/"
    return [
        step("demo", "password", "ada", input="correct horse battery\n" * 2),
        step("demo", *models, "--port", 7861, "--audit", "log", url=url, code=130),
        step("demo", "audit", "verify", "log"),
    ]


def steps_of(part: str, pair: Pair | None, folder: Path) -> list[dict[str, Any]]:
    """Return the steps of a part, in an order in which each has the files of those before it."""
    match part:
        case "data":
            return data_tour(folder)
        case "quickstart":
            return [step("quickstart")]
        case _:
            assert pair is not None
            return {"train": train_tour, "exam": exam_tour, "demo": demo_tour}[part](pair)


PARTS = ("data", "train", "exam", "demo", "quickstart")


def covered(steps: list[dict[str, Any]]) -> set[str]:
    """Return the commands of `EVERY` that a tour runs, by their first words."""
    lines = [" ".join([Path(one["words"][0]).name, *one["words"][1:]]) + " " for one in steps]
    return {name for name in EVERY if any(line.startswith(f"{name} ") for line in lines)}


def test_every_command_is_in_a_part(tmp_path):
    """A command that is added and in no part fails here."""
    pair = Pair(*(Path(name) for name in ("base", "run", "other", "rows", "exam")))
    steps = [one for part in PARTS for one in steps_of(part, pair, tmp_path)]
    assert covered(steps) == set(EVERY)
    assert sum(Path(one["words"][0]).name == "lm_eval" for one in steps) == 4


def command_line(one: dict[str, Any]) -> str:
    return " ".join([Path(one["words"][0]).name, *one["words"][1:3]])


@pytest.mark.real("sealed_tour")
@pytest.mark.parametrize("part", PARTS)
def test_a_sealed_tour_of_every_command_sends_no_byte(world, part, request, tmp_path):
    pair = None if part in ("data", "quickstart") else request.getfixturevalue("pair")
    steps = steps_of(part, pair, tmp_path)
    results = world([one | {"environment": SEALED | PROXIES} for one in steps])
    pairs = list(zip(steps, results, strict=True))
    wrong = [
        (command_line(one), result["code"], result["err"])
        for one, result in pairs
        if result["code"] != one["code"]
    ]
    assert wrong == []
    assert [(command_line(one), sent(result)) for one, result in pairs] == [
        (command_line(one), NOTHING) for one in steps
    ]


# What Python's guard does not see ----------------------------------------------------------------------------------

OFFLINE_PAGE = ROOT / "docs" / "offline.md"

# Python with -S reads no start-up file, as a program in another language reads none.
UNSEEN = """
import socket, sys
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2) as link:
        link.sendall(b"a patient")
    print("sent")
except OSError:
    print("refused")
"""


def test_the_namespace_of_the_documentation_closes_what_the_guard_does_not_see(world):
    """A process without the guard reaches the proxy of the machine, and not from the documented namespace."""
    if not all(map(shutil.which, ("unshare", "ip"))):
        pytest.skip("no unshare or no ip on this machine")
    [recipe] = re.findall(r"^unshare .* sh(?= \\$)", OFFLINE_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    python = [sys.executable, "-S", "-c", UNSEEN, "3128"]
    steps = [{"words": words, "environment": SEALED} for words in (python, [*shlex.split(recipe), *python])]
    unseen, closed = world(steps)
    assert (unseen["out"], unseen["code"]) == ("sent\n", 0), unseen["err"]
    assert unseen["proxy"] > 0
    assert (closed["out"], closed["code"]) == ("refused\n", 0), closed["err"]
    assert sent(closed) == NOTHING


def test_the_firewall_of_the_documentation_closes_what_the_guard_does_not_see(world, tmp_path):
    """Its rules, for the user of this namespace: the proxy is refused, and other ports of this machine are open."""
    if not shutil.which("nft"):
        pytest.skip("no nft on this machine")
    [rules] = re.findall(r"```text\n(table inet .*?)```", OFFLINE_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert rules.count('"medalpaca"') == 1
    (tmp_path / "rules.nft").write_text(rules.replace('"medalpaca"', "0"))
    reach = """
import socket, subprocess, sys
subprocess.run(sys.argv[1:], check=True) if sys.argv[1:] else None
server = socket.create_server(("127.0.0.1", 0))
for address in (("127.0.0.1", 3128), ("192.0.2.1", 80), ("198.51.100.7", 80), server.getsockname()):
    try:
        socket.create_connection(address, timeout=2).sendall(b"a patient")
        print("sent")
    except OSError:
        print("refused")
"""
    python = [sys.executable, "-S", "-c", reach]
    load = ["nft", "-f", str(tmp_path / "rules.nft")]
    steps = [{"words": words, "environment": SEALED} for words in (python, [*python, *load])]
    unseen, closed = world(steps)
    assert unseen["out"].split() == ["sent", "sent", "refused", "sent"], unseen[
        "err"
    ]  # no route to the third
    assert closed["out"].split() == ["refused", "sent", "refused", "sent"], closed["err"]
    assert closed["proxy"] == 0
