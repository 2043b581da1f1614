"""Sealed, what lm-eval loads is checked whatever it is asked; `--model medalpaca` checks always."""

from __future__ import annotations

import json
import shutil

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_evalharness import lm_eval_plugin, preflight
from medalpaca_evalharness.model_identity import identify_model


@pytest.fixture
def spoilt(tiny, tmp_path):
    copy = tmp_path / "spoilt"
    shutil.copytree(tiny, copy)
    (copy / "extra.pkl").write_bytes(b"\x80\x04.")
    return copy


def test_sealed_mode_checks_models_of_other_tasks(monkeypatch, spoilt):
    call = {"tasks": ["arc_easy"], "model": "hf", "model_args": f"pretrained={spoilt}"}
    monkeypatch.delenv("MEDALPACA_SEALED", raising=False)
    preflight.before_model(call)  # lm-eval's own business
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match=r"extra\.pkl.*refused"):
        preflight.before_model(call)


def test_the_tokenizer_directory_is_checked(tiny, spoilt):
    with pytest.raises(UserError, match=r"extra\.pkl.*refused"):
        identify_model({"pretrained": str(tiny), "tokenizer": str(spoilt)})


def test_code_for_the_tokenizer(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "copy")
    file = tmp_path / "copy" / "tokenizer_config.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | {"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    with pytest.raises(UserError, match="auto_map"):
        identify_model({"pretrained": str(tmp_path / "copy")})


def test_the_model_type_checks_the_weights(spoilt):
    from medalpaca_evalharness.model.model_type import MedAlpacaLM

    with pytest.raises(UserError, match=r"extra\.pkl.*refused"):
        MedAlpacaLM(pretrained=str(spoilt))


def test_a_failing_check_ends_a_sealed_run(monkeypatch):
    monkeypatch.setattr(preflight, "before_model", lambda call: 1 / 0)
    ask = lm_eval_plugin._run_check_before(lambda tasks: "ran", "before_model")
    monkeypatch.delenv("MEDALPACA_SEALED", raising=False)
    assert ask(["t"]) == "ran"
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(ZeroDivisionError):
        ask(["t"])


# Our task, another task, and the options of lm-eval whose files are pickles.
@pytest.mark.parametrize("task", ["medalpaca_pocket", "arc_easy"])
@pytest.mark.parametrize(
    ("option", "value"),
    [("use_cache", "answers"), ("use_cache", "/tmp/c.db"), ("cache_requests", True)],  # noqa: S108 - not opened
)
def test_pickled_caches_are_refused(monkeypatch, task, option, value):
    lm = type("LM", (), {})()
    before_model = {"tasks": [task], "model": "dummy", option: value}
    before_inference = {"lm": lm, "task_dict": {"tasks": {task: None}}, option: value}
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    for check, call in (
        (preflight.before_model, before_model),
        (preflight.before_inference, before_inference),
    ):
        with pytest.raises(UserError, match=f"^--{option} {value}: .*pickles.*; remove --{option}$"):
            check(call)
    monkeypatch.delenv("MEDALPACA_SEALED")
    if task == "arc_easy":
        preflight.before_model(before_model)
        preflight.before_inference(before_inference)
    else:
        with pytest.raises(UserError, match="pickles"):
            preflight.before_model(before_model)


def test_no_pickled_cache_is_read_or_written(monkeypatch, tmp_path):
    """With the patched `simple_evaluate`, the file of the cache is refused before it is opened."""
    from lm_eval import evaluator

    patched = type(
        "module", (), {"simple_evaluate": evaluator.simple_evaluate, "evaluate": evaluator.evaluate}
    )
    if not hasattr(evaluator.simple_evaluate, "__wrapped__"):
        lm_eval_plugin._patch_evaluator(patched)
    monkeypatch.setenv("MEDALPACA_SEALED", "1")
    with pytest.raises(UserError, match=r"--use_cache .*pickles"):
        patched.simple_evaluate(
            model="dummy", tasks=["medalpaca_pocket"], use_cache=str(tmp_path / "cache"), limit=1
        )
    assert list(tmp_path.iterdir()) == []
