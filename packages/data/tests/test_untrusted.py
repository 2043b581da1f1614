"""Text from outside on a terminal and in CSV files, and files that are neither regular files nor directories."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from medalpaca_data import cli
from medalpaca_data.core.cli import print_json, print_text, run, screen
from medalpaca_data.core.errors import UserError, one_line
from medalpaca_data.core.files import existing, read_text, sha256_file
from medalpaca_data.core.records import read_rows
from medalpaca_data.core.untrusted import csv_text, printable
from medalpaca_data.core.weights import check_model_dir

# Clears the screen, sets the title of the window, and moves left: each in 7 bits, then a command of 8 bits.
ATTACK = "fever\x1b[2J\x1b]0;owned\x07\x08\x7f\x9b31m end"
SHOWN = r"fever\x1b[2J\x1b]0;owned\x07\x08\x7f\x9b31m end"


def test_control_characters_become_escapes() -> None:
    assert printable(ATTACK) == SHOWN
    assert printable("a\tb\nc\r\nd\re") == "a\tb\nc\nd\\re".replace("\\re", "\\x0de")
    assert printable("Grün, β-blocker, 37 °C, 中文") == "Grün, β-blocker, 37 °C, 中文"
    assert one_line(ValueError(f"bad\n{ATTACK}")) == f"bad {SHOWN}"


def test_nothing_printed_holds_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("column")
    table.add_row(ATTACK)
    for terminal in (True, False):
        console = screen(force_terminal=terminal, color_system=None, width=120)
        for shown in (ATTACK, Text(ATTACK), table):
            console.print(shown)
    print_text(ATTACK, "second")
    print_json({ATTACK: ATTACK})
    out = capsys.readouterr().out
    assert out.count(r"fever\x1b[2J\x1b]0;owned") == 7
    assert not set(out) & {"\x1b", "\x07", "\x08", "\x7f", "\x9b"}
    assert json.loads(out[out.index("{") :]) == {ATTACK: ATTACK}


def test_an_error_holds_no_control_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: object) -> None:
        raise UserError(f"{ATTACK}: no such file")

    monkeypatch.setattr("medalpaca_data.core.cli.no_hub_kernels", lambda: None)
    monkeypatch.setattr("medalpaca_data.core.cli.seal_if_requested", lambda: None)
    with pytest.raises(SystemExit) as ended:
        run(fail)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {SHOWN}: no such file\n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_text_in_a_csv_file(start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    text = csv_text(["id", formula], [[formula, 1.5], ["plain = text", -2]])
    expected = "'\nHYPERLINK(1)" if start == "\r" else f"'{start}HYPERLINK(1)"
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", expected],
        [expected, "1.5"],
        ["plain = text", "-2"],
    ]


def test_a_carriage_return_begins_no_row() -> None:
    """A spreadsheet would evaluate the cell after it."""
    assert csv_text(["a"], [["one\r=1+1"], ["two\r\nthree"]]) == 'a\n"one\n=1+1"\n"two\nthree"\n'


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A test that waits for a pipe fails after five seconds."""

    def fail(*_: object) -> None:
        raise TimeoutError("the program waits for a file that is not a regular file")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "rows.jsonl")
    return tmp_path / "rows.jsonl"


@pytest.mark.usefixtures("no_hang")
def test_a_pipe_a_socket_and_a_device_are_refused(pipe: Path) -> None:
    sock = pipe.with_name("socket.jsonl")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        for file, kind in (
            (pipe, "named pipe"),
            (sock, "socket"),
            (Path("/dev/zero"), "device"),
        ):
            for read in (existing, read_text, sha256_file, read_rows):
                with pytest.raises(UserError) as caught:
                    read(file)
                assert str(caught.value) == f"{file}: is a {kind}; give a regular file or a directory"


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize(
    "words", [["check", "PIPE", "--exam", "PIPE"], ["deid", "check", "PIPE"], ["diff", "PIPE", "PIPE"]]
)
def test_commands_refuse_a_pipe(pipe: Path, words: list[str]) -> None:
    with pytest.raises(UserError, match="is a named pipe; give a regular file or a directory") as caught:
        cli.main([str(pipe) if word == "PIPE" else word for word in words])
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "generation_config.json"])
def test_a_pipe_in_a_model_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: is a named pipe"):
        check_model_dir(tmp_path)
