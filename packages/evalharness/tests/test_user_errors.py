"""Errors of the user's arguments in lm-eval's command line, and the table of its options in the documentation."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.records import rows_sha256
from medalpaca_evalharness.contamination_split import check_training_rows
from medalpaca_evalharness.inspect import _list_ids
from medalpaca_evalharness.lm_eval_plugin import _patch_command_line
from medalpaca_evalharness.report.page import _environment
from medalpaca_evalharness.user_errors import as_user_error, check_packages

TABLE = Path(__file__).parents[3] / "docs" / "lm-eval-options.md"


def raised_in(function: str, error: Exception) -> Exception:
    """Return `error` with a traceback through a function of this name in lm-eval's evaluator."""
    scope = {"__name__": "lm_eval.evaluator", "error": error}
    exec(f"def {function}():\n    raise error", scope)  # noqa: S102
    try:
        scope[function]()  # type: ignore[operator]
    except Exception as caught:
        return caught
    raise AssertionError


OURS = SimpleNamespace(tasks=["medalpaca_pocket"], model="hf")
OTHER = SimpleNamespace(tasks=["hellaswag"], model="hf")


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (ValueError("Tasks not found: x."), OTHER, "Tasks not found: x (lm-eval, ValueError"),
        (raised_in("simple_evaluate", TypeError("no\nargument")), OURS, "no argument (lm-eval, TypeError"),
        (raised_in("simple_evaluate", KeyError("x")), SimpleNamespace(tasks=None), "unknown name 'x'"),
        (raised_in("simple_evaluate", TypeError("of another task")), OTHER, None),
        (raised_in("evaluate", RuntimeError("out of memory")), OURS, None),
        (
            raised_in("evaluate", ValueError("The following `model_kwargs` are not used by the model: x")),
            OURS,
            "x",
        ),
        (ZeroDivisionError("a bug"), OURS, None),
    ],
)
def test_errors_of_arguments_are_user_errors(error, arguments, message):
    found = as_user_error(error, arguments)
    assert (found is None) if message is None else (message in str(found))


def test_the_log_level_debug_keeps_the_traceback(monkeypatch):
    monkeypatch.setenv("LMEVAL_LOG_LEVEL", "debug")
    assert as_user_error(ValueError("x"), OURS) is None
    assert as_user_error(UserError("x"), OURS) is not None


def test_a_package_that_an_option_needs_is_named(monkeypatch):
    monkeypatch.setattr("medalpaca_evalharness.user_errors.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="--wandb_args needs wandb, which is not installed: uv pip install wandb"
    ):
        check_packages(SimpleNamespace(wandb_args={"project": "x"}))
    check_packages(SimpleNamespace(wandb_args=None))


def test_a_faulty_value_is_one_line_when_the_arguments_are_parsed(capsys):
    class HarnessCLI:
        def parse_args(self):
            raise ValueError("Invalid JSON: {x")

    _patch_command_line(SimpleNamespace(HarnessCLI=HarnessCLI))  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as ended:
        HarnessCLI().parse_args()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: Invalid JSON: {x (lm-eval, ValueError")


def test_the_documentation_lists_every_option():
    from lm_eval._cli.run import Run

    parsers = argparse.ArgumentParser().add_subparsers()
    Run.create(parsers)
    actions = parsers.choices["run"]._actions
    installed = {next(name for name in action.option_strings if name.startswith("--")) for action in actions}
    listed = re.findall(r"^\| `(--\w+)` \| (works|refused)", TABLE.read_text(), re.MULTILINE)
    assert {name for name, _ in listed} == installed - {"--help"}
    assert len(listed) == len(installed) - 1


@pytest.fixture
def trained(tmp_path):
    """Return a function that makes the run of a model, trained on `rows`, with a manifest in its run directory."""

    def make(rows: Path, validation: object = 0) -> SimpleNamespace:
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        files = (rows, *([Path(validation)] if isinstance(validation, str) else []))
        data = {"path": str(rows), "sha256": rows_sha256(*files)}
        (directory / "manifest.json").write_text(
            json.dumps({"data": data, "recipe": {"validation": validation}})
        )
        return SimpleNamespace(adapter=str(directory), base=None, model="m")

    return make


def test_rows_that_the_model_was_not_trained_on_are_refused(trained, tmp_path):
    rows, other, held_out = (tmp_path / name for name in ("rows.jsonl", "other.jsonl", "held_out.jsonl"))
    for file in (rows, other, held_out):
        file.write_text(json.dumps({"instruction": file.name, "output": "x"}))
    assert check_training_rows([trained(rows)], rows) == ["m"]
    assert check_training_rows([trained(rows, str(held_out))], rows) == ["m"]
    with pytest.raises(
        UserError, match=r"other\.jsonl: SHA-256 .* but m was trained on the rows .*rows\.jsonl"
    ):
        check_training_rows([trained(rows)], other)
    run = trained(rows)
    (Path(run.adapter) / "best").mkdir()
    best = SimpleNamespace(adapter=f"{run.adapter}/best", base=None, model="best")
    with pytest.raises(UserError, match="best was trained on the rows"):
        check_training_rows([best], other)
    moved = SimpleNamespace(adapter=None, base="owner/model", model="moved")
    assert check_training_rows([moved], other) == []


def test_long_lists_of_ids_are_collapsed():
    template = _environment().from_string(
        "{% from 'macros.html.j2' import ids %}{{ ids(items, 'Covered: ') }}"
    )
    short, long = ([f"item-{n}" for n in range(size)] for size in (20, 21))
    assert "<details" not in template.render(items=short)
    page = template.render(items=long)
    assert '<details class="ids"><summary>Covered: 21 items</summary>' in page
    assert page.count("<span>item-") == 21


def test_long_lists_of_ids_are_cut_in_the_terminal():
    assert _list_ids([str(n) for n in range(22)]).endswith("18, 19, ... 2 more, see --json")
