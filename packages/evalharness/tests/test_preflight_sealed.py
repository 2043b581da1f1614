"""What lm-eval loads is checked, sealed or not, whatever its tasks are; `--model medalpaca` checks always."""

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


@pytest.fixture(params=["1", "0"], ids=["sealed", "unsealed"])
def switch(request, monkeypatch):
    """MEDALPACA_SEALED, on and off."""
    monkeypatch.setenv("MEDALPACA_SEALED", request.param)


def call(arguments: str, task: str = "arc_easy"):
    return {"tasks": [task], "model": "hf", "model_args": arguments}


def test_models_of_other_tasks_are_checked(switch, tiny, spoilt):
    with pytest.raises(UserError, match=r"extra\.pkl.*refused"):
        preflight.before_model(call(f"pretrained={spoilt}"))
    with pytest.raises(UserError, match=r"extra\.pkl.*refused"):
        preflight.before_model(call(f"pretrained={tiny},tokenizer={spoilt}"))
    preflight.before_model(call(f"pretrained={tiny}"))


# The keys of config.json that the training issue names, and the arguments of lm-eval that run code.
@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"attn_implementation": {"": "evil/kernel"}},
        {"_experts_implementation": "evil/kernel"},
    ],
)
def test_a_configuration_that_names_code_is_refused_for_other_tasks(switch, tiny, tmp_path, config):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    known = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(known | config))
    with pytest.raises(UserError, match=next(iter(config))):
        preflight.before_model(call(f"pretrained={copy}"))


@pytest.mark.parametrize("argument", ["trust_remote_code=True", "use_safetensors=False", "gguf_file=x.gguf"])
def test_arguments_that_run_code_are_refused_for_other_tasks(switch, tiny, argument):
    with pytest.raises(UserError, match=argument.partition("=")[0]):
        preflight.before_model(call(f"pretrained={tiny},{argument}"))


def test_models_without_weights_on_disk_are_not_checked(switch):
    preflight.before_model({"tasks": ["arc_easy"], "model": "dummy"})
    preflight.before_model({"tasks": ["arc_easy"], "model": object(), "model_args": None})
    preflight.before_model(call("model=served,base_url=http://127.0.0.1:8000/v1"))


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
def test_pickled_caches_are_refused(switch, task, option, value):
    lm = type("LM", (), {})()
    before_model = {"tasks": [task], "model": "dummy", option: value}
    before_inference = {"lm": lm, "task_dict": {"tasks": {task: None}}, option: value}
    for check, arguments in (
        (preflight.before_model, before_model),
        (preflight.before_inference, before_inference),
    ):
        with pytest.raises(UserError, match=f"^--{option} {value}: .*pickles.*; remove --{option}$"):
            check(arguments)


def test_no_pickled_cache_is_read_or_written(switch, tmp_path):
    """With the patched `simple_evaluate`, the file of the cache is refused before it is opened."""
    from lm_eval import evaluator

    patched = type(
        "module", (), {"simple_evaluate": evaluator.simple_evaluate, "evaluate": evaluator.evaluate}
    )
    if not hasattr(evaluator.simple_evaluate, "__wrapped__"):
        lm_eval_plugin._patch_evaluator(patched)
    with pytest.raises(UserError, match=r"--use_cache .*pickles"):
        patched.simple_evaluate(
            model="dummy", tasks=["medalpaca_pocket"], use_cache=str(tmp_path / "cache"), limit=1
        )
    assert list(tmp_path.iterdir()) == []
