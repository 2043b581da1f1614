"""The command line: defaults, and one line with exit code 2 for invalid input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_demo import cli
from medalpaca_demo.cli import PageOptions, check_options
from medalpaca_demo.models import check_pair

DEMO = Path(sys.executable).with_name("demo")


def parse_options(arguments: list[str]) -> PageOptions:
    return check_options(cli._parse(arguments))


def test_the_command_line_imports_nothing_heavy() -> None:
    names = "{'torch', 'gradio', 'transformers', 'starlette'}"
    modules = f"import sys, medalpaca_demo.cli, medalpaca_demo.quickstart; print({names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_a_missing_quickstart_runs_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medalpaca_demo import cli
    from medalpaca_demo.quickstart import QuickstartRun

    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path))
    made: list[Path] = []
    # The quickstart itself takes minutes and has its own test; here it only matters whether it runs.
    monkeypatch.setattr(QuickstartRun, "run", lambda self: made.append(self.paths.base))
    cli.ensure_quickstart(parse_options([]))
    assert made == [tmp_path / "quickstart" / "base"]
    assert "quickstart runs first" in capsys.readouterr().out
    cli.ensure_quickstart(parse_options(["--base", "b", "--adapter", "a", "--exam", "e"]))
    for name in ("base", "run"):
        (tmp_path / "quickstart" / name).mkdir(parents=True)
    cli.ensure_quickstart(parse_options([]))
    assert len(made) == 1


def test_the_default_is_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALPACA_HOME", str(tmp_path))
    monkeypatch.setenv("MEDALPACA_EXAM", "elsewhere.jsonl")
    made = tmp_path / "quickstart"
    results = (made / "results" / "base", made / "results" / "tuned")
    assert parse_options([]) == PageOptions(
        made / "base", made / "run", "medalpaca_pocket", "text", 7860, results
    )


def test_exam_and_scoring_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ["--base", "b", "--adapter", "a"]
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    chosen = parse_options([*pair, "--exam", "e.jsonl"])
    assert (chosen.exam, chosen.scoring) == ("e.jsonl", "letter")
    monkeypatch.setenv("MEDALPACA_EXAM", "env.jsonl")
    chosen = parse_options([*pair, "--scoring", "text", "--port", "9"])
    assert chosen == PageOptions(Path("b"), Path("a"), "env.jsonl", "text", 9)
    chosen = parse_options([*pair, "--results", "x", "y"])
    assert chosen.results == (Path("x"), Path("y"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--base", "http://127.0.0.1:8000/v1", "--adapter", "a"], "names no model"),
        (["open"], "invalid choice: 'open'"),
        (["--share"], "unrecognized"),
        (["--base", "b"], "--adapter is missing"),
        (["--adapter", "a"], "--base is missing"),
        (["--base", "b", "--adapter", "a"], "--exam is missing"),
        (["--scoring", "luck"], "invalid choice"),
        (["--port", "70000"], "1 to 65535"),
        (["password"], "required: NAME"),
        (["--port", "9", "password", "ada"], "password must be the first argument"),
        (["--host", "192.0.2.7"], "require a log-in with --auth-file"),
        (["--behind-proxy", "127.0.0.1"], "require a log-in with --auth-file"),
        (["--host", "192.0.2.7", "--auth-file", "u"], "would send passwords unencrypted"),
        (["--host", "::", "--auth-file", "u", "--ssl-keyfile", "k"], "--ssl-certfile is missing"),
        (
            ["--host", "::", "--auth-file", "u", "--behind-proxy", "proxy"],
            "--behind-proxy proxy is no IP address",
        ),
        (["--root-path", "/demo"], "pass --behind-proxy ADDRESS as well"),
        (["--root-path", "demo"], "--root-path demo is no path"),
        (["--root-path", "/a/../b"], "--root-path /a/../b is no path"),
        (["--root-path", "https://other.example/demo"], "is no path"),
    ],
)
def test_invalid_arguments(arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDALPACA_EXAM", raising=False)
    with pytest.raises(UserError, match=expected):
        parse_options(arguments)


def test_a_pair_is_named_by_its_hashes(pair: tuple[Path, Path]) -> None:
    checked = check_pair(*pair)
    assert len(checked.base_sha256) == len(checked.adapter_sha256) == 64
    assert checked.name == f"run@{checked.adapter_sha256[:8]}"


def test_an_adapter_of_another_base_is_refused_before_loading(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = pair
    other = tmp_path / "run"
    shutil.copytree(adapter, other)
    manifest = {"format": 1, "kind": "lora", "base": {"path": "elsewhere", "sha256": "f" * 64}}
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    exam = tmp_path / "exam.jsonl"
    exam.write_text(
        '{"id": "q", "question": "?", "options": {"A": "a", "B": "b"}, "answer": "A"}\n', encoding="utf-8"
    )
    done = subprocess.run(
        [DEMO, "--base", base, "--adapter", other, "--exam", exam], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "another base" in done.stderr


@pytest.mark.parametrize(
    ("which", "file", "change"),
    [
        (0, "config.json", {"model_type": "of-next-year"}),
        (1, "adapter_config.json", {"target_modules": ["no_such_layer"]}),
        (1, "adapter_config.json", {"r": 2}),
    ],
)
def test_a_load_error_is_one_line(
    pair: tuple[Path, Path], tmp_path: Path, which: int, file: str, change: dict[str, object]
) -> None:
    from medalpaca_demo.models import start_engine

    copies = [Path(shutil.copytree(source, tmp_path / source.name)) for source in pair]
    broken = copies[which] / file
    broken.write_text(json.dumps(json.loads(broken.read_text()) | change))
    with pytest.raises(UserError, match=rf"{copies[which]}: cannot be loaded \(.{{20,240}}\)$"):
        start_engine(check_pair(copies[0], copies[1])).wait_until_loaded()


def test_an_adapter_for_another_architecture_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    size = {"vocab_size": 420, "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**size)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="another base"):
        check_pair(tmp_path, pair[1])


def test_loading_prints_nothing_and_restores_progress_bars(
    pair: tuple[Path, Path], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    from transformers.utils import logging

    from medalpaca_demo.models import start_engine

    logging.enable_progress_bar()
    start_engine(check_pair(*pair)).wait_until_loaded().close()
    assert logging.is_progress_bar_enabled()
    assert capfd.readouterr() == ("", "")
    assert [warning for warning in recwarn if warning.category is FutureWarning] == []
