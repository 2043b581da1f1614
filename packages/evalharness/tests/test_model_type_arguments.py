"""What `--model medalpaca` takes beyond `hf`: an adapter as the model, 8 and 4 bits, a cache that knows the model."""

from __future__ import annotations

import importlib.util
import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM

from medalpaca_data.core.errors import UserError
from medalpaca_data.core.weights import weights_sha256
from medalpaca_evalharness.model.model_type import MedAlpacaLM
from medalpaca_evalharness.model_identity import pop_quantization_config, split_adapter, split_adapter_in_call

GIVEN = [Instance("loglikelihood", {}, ("Which?\n", text), 0) for text in ("rest", "ice", "surgery")]


def model(**arguments: Any) -> MedAlpacaLM:
    return MedAlpacaLM(device="cpu", **arguments)


def ask(lm: Any) -> list[tuple[float, bool]]:
    found: list[tuple[float, bool]] = lm.loglikelihood(GIVEN)
    return found


def edited(adapter: Any, directory: Any, **changes: Any) -> Any:
    """A copy of the adapter whose configuration is changed."""
    shutil.copytree(adapter, directory)
    file = directory / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return directory


# An adapter as the model ------------------------------------------------------------------------------------


def test_an_adapter_names_its_base(tiny, adapter):
    found = split_adapter({"pretrained": str(adapter), "dtype": "float32"})
    assert found == {"pretrained": str(tiny), "peft": str(adapter), "dtype": "float32"}
    assert ask(model(pretrained=str(adapter))) == ask(model(pretrained=str(tiny), peft=str(adapter)))
    assert ask(model(pretrained=str(adapter))) != ask(model(pretrained=str(tiny)))


def test_models_and_hub_ids_are_not_changed(tiny):
    for name in (str(tiny), "owner/model"):
        assert split_adapter({"pretrained": name}) == {"pretrained": name}


def test_a_base_beside_the_adapter_and_one_on_the_hub(tiny, adapter, tmp_path):
    shutil.copytree(tiny, tmp_path / "base_of_the_adapter")
    beside = edited(adapter, tmp_path / "beside", base_model_name_or_path="../base_of_the_adapter")
    assert weights_sha256(split_adapter({"pretrained": str(beside)})["pretrained"]) == weights_sha256(tiny)
    on_hub = edited(adapter, tmp_path / "hub", base_model_name_or_path="owner/model")
    assert split_adapter({"pretrained": str(on_hub)})["pretrained"] == "owner/model"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("/no/such/base", "no such base model directory"),
        (None, "no base_model"),
        ("", "no base_model"),
    ],
)
def test_an_adapter_without_its_base(adapter, tmp_path, base, message):
    copy = edited(adapter, tmp_path / "copy", base_model_name_or_path=base)
    with pytest.raises(UserError, match=f"{message}.*give both: pretrained=BASE,peft="):
        model(pretrained=str(copy))


def test_two_adapters_are_refused(adapter):
    with pytest.raises(UserError, match="is an adapter, and peft="):
        model(pretrained=str(adapter), peft=str(adapter))


@pytest.mark.parametrize("as_text", [True, False])
def test_tasks_receive_base_and_adapter(adapter, tiny, as_text):
    named = {"pretrained": str(adapter), "dtype": "float32"}
    told = {**named, "exam": "somewhere"}
    call = {
        "model_args": f"pretrained={adapter},dtype=float32" if as_text else named,
        "task_manager": SimpleNamespace(metadata=told),
        "metadata": None,
    }
    split_adapter_in_call(call)
    both = {"pretrained": str(tiny), "peft": str(adapter), "dtype": "float32"}
    assert call["model_args"] == both
    assert told == both | {"exam": "somewhere"}


def test_hf_still_refuses_an_adapter_as_the_model(adapter, evaluate):
    models = {"pretrained": str(adapter)}
    with pytest.raises(UserError, match="it holds an adapter"):
        evaluate("hf", "medalpaca_pocket", models, model_args=models, device="cpu")


def test_an_adapter_as_the_model_through_lm_eval(adapter, tiny, evaluate, write_exam):
    models = {"pretrained": str(adapter)}
    told = {"exam": str(write_exam())} | models
    found = evaluate("medalpaca", "medalpaca_exam", told, model_args=models, device="cpu")
    doc = found["samples"]["medalpaca_exam"][0]["doc"]
    assert (doc["base_sha256"], doc["adapter_sha256"]) == (weights_sha256(tiny), weights_sha256(adapter))
    assert found["config"]["model_args"] == {"pretrained": str(tiny), "peft": str(adapter)}


# Weights that may not be loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trust_remote_code": True}, "trust_remote_code= is not supported"),
        ({"use_safetensors": False}, "only safetensors is loaded"),
    ],
)
def test_unsafe_arguments_are_refused_for_every_task(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        model(pretrained=str(tiny), **arguments)


def test_pickles_are_refused_for_every_task(tiny, adapter, tmp_path):
    for source, name in ((tiny, "model"), (adapter, "adapter")):
        shutil.copytree(source, tmp_path / name)
        (tmp_path / name / "old.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"old\.bin"):
        model(pretrained=str(tmp_path / "model"))
    with pytest.raises(UserError, match=r"old\.bin"):
        model(pretrained=str(tiny), peft=str(tmp_path / "adapter"))


def test_an_adapter_of_another_base_is_refused(adapter, tiny_of_other_size):
    with pytest.raises(UserError, match="another base"):
        model(pretrained=str(tiny_of_other_size), peft=str(adapter))


# 8 and 4 bits -----------------------------------------------------------------------------------------------


def test_flags_become_a_quantization_config(monkeypatch):
    import transformers

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(transformers, "BitsAndBytesConfig", lambda **given: made.append(given) or "made")
    arguments = {"load_in_4bit": "True", "bnb_4bit_quant_type": "nf4", "dtype": "bfloat16"}
    assert pop_quantization_config(arguments) == "made"
    assert made == [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}]
    assert arguments == {"dtype": "bfloat16"}
    assert pop_quantization_config({"load_in_8bit": True, "load_in_4bit": False}) == "made"


def test_false_flags_are_removed(tiny):
    arguments = {"load_in_8bit": False, "load_in_4bit": "False"}
    assert pop_quantization_config(dict(arguments)) is None
    assert ask(model(pretrained=str(tiny), **arguments)) == ask(model(pretrained=str(tiny)))


def test_both_flags_or_details_of_neither():
    with pytest.raises(UserError, match="are both set; choose one"):
        pop_quantization_config({"load_in_8bit": True, "load_in_4bit": True})
    with pytest.raises(UserError, match="bnb_4bit_quant_type= has no effect"):
        pop_quantization_config({"bnb_4bit_quant_type": "nf4"})


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_it_is_one_line(tiny):
    with pytest.raises(UserError, match="load_in_8bit= needs bitsandbytes"):
        model(pretrained=str(tiny), load_in_8bit=True)


@pytest.mark.parametrize("flag", ["load_in_8bit", "load_in_4bit"])
def test_quantized_models_run(tiny, tmp_path, flag):
    """Layers of 128, since bitsandbytes packs 4 bits in blocks of 64."""
    pytest.importorskip("bitsandbytes")
    from transformers import LlamaConfig, LlamaForCausalLM

    shutil.copytree(tiny, tmp_path / "wide")
    sizes = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=258, **sizes)).save_pretrained(tmp_path / "wide")
    lm = model(pretrained=str(tmp_path / "wide"), **{flag: True})
    assert any("bitsandbytes" in type(module).__module__ for module in lm.model.modules())
    exact = ask(model(pretrained=str(tmp_path / "wide")))
    found = ask(lm)
    assert lm._fallback_reason is None
    assert found != exact
    assert [one[0] for one in found] == pytest.approx([one[0] for one in exact], rel=0.1)


# The cache --------------------------------------------------------------------------------------------------


def test_the_cache_is_separate_for_each_model(tiny, adapter, tmp_path):
    """With lm-eval's own keys, base and adapter on one cache get the same answers."""
    file = str(tmp_path / "cache.db")
    base, tuned = {"pretrained": str(tiny)}, {"pretrained": str(tiny), "peft": str(adapter)}
    expected = [ask(model(**side)) for side in (base, tuned)]
    assert expected[0] != expected[1]
    for _ in range(2):
        assert [ask(CachingLM(model(**side), file)) for side in (base, tuned)] == expected


def test_the_cache_avoids_inference(tiny, tmp_path, monkeypatch):
    file = str(tmp_path / "cache.db")
    first = ask(CachingLM(model(pretrained=str(tiny)), file))
    again = CachingLM(model(pretrained=str(tiny), batch_size=7, tokens_per_batch=99), file)
    monkeypatch.setattr(again.lm, "_loglikelihood_tokens", None)
    assert ask(again) == first


def test_settings_that_change_results_change_the_cache_key(tiny, adapter, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    words = json.loads((other / "tokenizer.json").read_text())
    words["post_processor"] = None
    (other / "tokenizer.json").write_text(json.dumps(words))
    sides: list[dict[str, Any]] = [
        {"pretrained": str(tiny)},
        {"pretrained": str(other)},
        {"pretrained": str(tiny), "peft": str(adapter)},
        {"pretrained": str(tiny), "dtype": "bfloat16"},
        {"pretrained": str(tiny), "max_length": 100},
        {"pretrained": str(tiny), "softmax_dtype": "float64"},
    ]
    names = [model(**side).identity() for side in sides]
    assert len(set(names)) == len(sides)
    assert model(**sides[0]).identity() == names[0]
