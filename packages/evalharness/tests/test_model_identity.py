"""What is examined is named by its hash, and unsafe or unfitting weights are refused."""

from __future__ import annotations

import json
import shutil

import pytest

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.prompt import PROMPT_ID
from medalpaca_data.core.weights import weights_sha256
from medalpaca_evalharness.model_identity import identify_model


def test_base_and_adapter_are_hashed(tiny, adapter):
    found = identify_model({"pretrained": str(tiny), "peft": str(adapter), "dtype": "float32"})
    assert (found.base_sha256, found.adapter_sha256) == (weights_sha256(tiny), weights_sha256(adapter))
    assert found.base_sha256 != found.adapter_sha256


def test_the_adapter_argument_of_vllm(tiny, adapter):
    assert identify_model({"pretrained": str(tiny), "lora_local_path": str(adapter)}).adapter == str(adapter)


def test_another_config_changes_the_hash(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    before = identify_model({"pretrained": str(copy)})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert identify_model({"pretrained": str(copy)}).base_sha256 != before.base_sha256


def test_no_model_argument_gives_no_identity():
    assert identify_model({}).base is None
    assert identify_model({"pretrained": object()}).base is None


def test_an_adapter_of_another_base_is_refused(adapter, tiny_of_other_size):
    with pytest.raises(UserError, match="another base"):
        identify_model({"pretrained": str(tiny_of_other_size), "peft": str(adapter)})


def test_an_adapter_whose_manifest_names_another_base_is_refused(tiny, adapter, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(adapter, copy)
    (copy / "manifest.json").write_text(json.dumps({"base": {"path": "elsewhere", "sha256": "0" * 64}}))
    with pytest.raises(UserError, match="another base: trained on elsewhere"):
        identify_model({"pretrained": str(tiny), "peft": str(copy)})


@pytest.mark.parametrize("name", ["pytorch_model.bin", "extra.pkl", "model.pt"])
def test_pickles_are_refused(tiny, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=name):
        identify_model({"pretrained": str(copy)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretrained": "/no/such"}, "/no/such: no such model directory"),
        ({"pretrained": "./runs"}, "no such model directory"),
        ({"pretrained": "a/b/c"}, "no such model directory"),
        ({"peft": "/no/such"}, "no such adapter directory"),
        ({"pretrained": "owner/model", "delta": "x"}, "delta= is not supported"),
        ({"pretrained": "owner/model", "trust_remote_code": True}, "trust_remote_code= is not supported"),
        ({"pretrained": "owner/model", "gguf_file": "q4.gguf"}, "gguf_file= is not supported"),
        ({"pretrained": "owner/model", "autogptq": "model.bin"}, "autogptq= is not supported"),
        ({"pretrained": "owner/model", "gptqmodel": True}, "gptqmodel= is not supported"),
        ({"pretrained": "owner/model", "use_safetensors": False}, "only safetensors is loaded"),
        ({"pretrained": "owner/model", "load_format": "pt"}, "only safetensors is loaded"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        identify_model(arguments)


def test_an_adapter_given_as_the_model(adapter):
    with pytest.raises(UserError, match="it holds an adapter"):
        identify_model({"pretrained": str(adapter)})


@pytest.mark.parametrize(("trained", "warned"), [(PROMPT_ID, False), ("meadow-000000000000", True)])
def test_another_training_prompt_is_a_warning(tiny, adapter, tmp_path, trained, warned):
    copy = tmp_path / "run"
    shutil.copytree(adapter, copy)
    (copy / "manifest.json").write_text(json.dumps({"prompt_id": trained}))
    warnings = identify_model({"pretrained": str(tiny), "peft": str(copy)}).warnings
    assert bool(warnings) is warned
    assert all(trained in warning for warning in warnings)


def test_refused_arguments_may_be_false(tiny):
    off = {"trust_remote_code": False, "gguf_file": None, "autogptq": False, "use_safetensors": True}
    assert identify_model({"pretrained": str(tiny)} | off).base_sha256 == weights_sha256(tiny)


def test_an_adapter_without_a_manifest_on_another_architecture(adapter, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    size = {"vocab_size": 258, "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**size)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="another base"):
        identify_model({"pretrained": str(tmp_path), "peft": str(adapter)})
