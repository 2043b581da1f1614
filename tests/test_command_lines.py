"""The five command lines: every example of a help text is a valid call; completion in real shells."""

from __future__ import annotations

import argparse
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from medalpaca_demo.cli import parser as demo
from medalpaca_demo.quickstart import parser as quickstart
from medalpaca_evalharness.cli import parser as exam
from medalpaca_train.cli import COMMANDS as TRAIN_COMMANDS
from medalpaca_train.cli import command_parser, recipe_parser

SCRIPTS = Path(sys.executable).parent
NAMES = ("data", "train", "exam", "demo", "quickstart")


def train(words: list[str]) -> argparse.ArgumentParser:
    return command_parser() if words[:1] and words[0] in TRAIN_COMMANDS else recipe_parser()


PARSERS: dict[str, Callable[[list[str]], argparse.ArgumentParser]] = {
    "data": lambda _: import_module("medalpaca_data.cli").parser(),
    "train": train,
    "exam": lambda _: exam(),
    "demo": lambda _: demo(),
    "quickstart": lambda _: quickstart(),
}


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A command and all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from commands(inner)


EVERY = {
    parser.prog: parser
    for name in NAMES
    for words in ([], ["chat"] if name == "train" else [])
    for parser in reversed(list(commands(PARSERS[name](words))))
}


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "01") for name in NAMES), ("data", "2"), ("train", "enable")]
)
def test_an_invalid_seal_is_one_line(command, name, value):
    done = command(name, "--help", MEDALPACA_SEALED=value)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ")
    for part in (f"MEDALPACA_SEALED='{value}'", "1, true, yes, on", "0, false, no, off", "unset it"):
        assert part in done.stderr


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    text = re.sub(r" \\\n +", " ", parser.epilog or "").partition("example")[2]
    found = [line.strip() for line in text.splitlines()[1:]]
    words = [shlex.split(re.split(r"\s{2,}", line)[0]) for line in found if line]
    cut = [next((n for n, word in enumerate(some) if set(word) <= set("<>")), len(some)) for some in words]
    return [some[:n] for some, n in zip(words, cut, strict=True) if some[0] in NAMES]


@pytest.mark.parametrize("parser", EVERY.values(), ids=EVERY)
def test_every_example_of_a_help_text_is_a_valid_call(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, parser.format_help().splitlines())) <= 80
    assert examples(parser)
    for name, *rest in examples(parser):
        parsed = PARSERS[name](rest)
        is_recipe = name == "train" and rest[:1] not in [[one] for one in TRAIN_COMMANDS]
        try:
            (parsed.parse_intermixed_args if is_recipe else parsed.parse_args)(rest)
        except SystemExit as ended:
            assert (ended.code, "--help" in rest) == (0, True), [name, *rest]


def test_version_is_one_line(capsys):
    for name in NAMES:
        with pytest.raises(SystemExit) as ended:
            PARSERS[name]([]).parse_args(["--version"])
        assert ended.value.code == 0
        assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", capsys.readouterr().out)


def completion(name: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        PARSERS[name]([]).parse_args(["--print-completion", shell])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(shell, capsys, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    for name in NAMES:
        file = tmp_path / name
        file.write_text(completion(name, shell, capsys))
        done = subprocess.run([shell, "-n", file], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), name


# bash gets a word that holds a = as three.
WANTED = [
    ("data ", {"build", "sources", "deid"}),
    ("data build po", {"pocket", "pocket-language"}),
    ("data build pocket ou", {"out="}),
    ("data check mea", {"meadow", "meadow.yaml"}),
    ("data check meadow --exam medalpaca_p", {"medalpaca_pocket"}),
    ("data deid check --ne", {"--ner"}),
    ("train ", {"chat", "canary", "merge", "lora", "medalpaca-2023"}),
    ("train lora lora.al", {"lora.alpha="}),
    ("train canary repe", {"repeats="}),
    ("exam ask a b --tasks medalpaca_poc", {"medalpaca_pocket"}),
    ("demo audit ", {"verify"}),
    ("quickstart --se", {"--seed"}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is something to complete to."""
    made = tmp_path_factory.mktemp("work")
    (made / "meadow").mkdir()
    (made / "meadow.yaml").touch()
    return made


@pytest.mark.parametrize(("line", "wanted"), WANTED, ids=[line for line, _ in WANTED])
def test_bash_completes(line, wanted, folder, capsys):
    name, *words = line.split(" ")
    script = completion(name, "bash", capsys)
    script += f"""
complete -p {name} >/dev/null || exit 9
COMP_WORDS=({name} {" ".join(shlex.quote(word) for word in words)}); COMP_CWORD={len(words)}
_medalpaca_{name} {name} 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert wanted <= set(done.stdout.split())
    assert all(found.startswith(words[-1]) for found in done.stdout.split())


@pytest.mark.parametrize(("line", "wanted"), WANTED, ids=[line for line, _ in WANTED])
def test_fish_completes(line, wanted, folder, capsys, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    file = tmp_path / "script.fish"
    file.write_text(completion(line.split(" ")[0], "fish", capsys))
    ask = f"source {file}; complete -C {shlex.quote(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, cwd=folder)
    found = {one.partition("\t")[0].rstrip("/") for one in done.stdout.splitlines()}
    assert wanted <= found, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "stands"),
    [
        ("data build pocket out=meadow.y", "data build pocket out=meadow.yaml "),
        ("train lora learn", "train lora learning_rate="),
    ],
)
def test_what_stands_on_the_line_after_a_tab_in_bash(typed, stands, folder, tmp_path, capsys):
    pty = pytest.importorskip("pty")
    file = tmp_path / "script"
    file.write_text(completion(typed.split()[0], "bash", capsys))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "PS1": "", "HISTFILE": ""}
    bash = subprocess.Popen(
        ["bash", "--norc", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, f"source {file}; bind 'set completion-ignore-case off'; echo READ''Y\n".encode())
    seen = ""
    try:
        for wanted, then in (("READY\r\n", f"{typed}\t"), (stands, "")):
            until = time.monotonic() + 20
            while wanted not in seen:
                assert time.monotonic() < until, repr(seen)
                if select.select([ours], [], [], 0.1)[0]:
                    seen += os.read(ours, 65536).decode(errors="replace")
            os.write(ours, then.encode())
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)
    assert "\\=" not in seen
