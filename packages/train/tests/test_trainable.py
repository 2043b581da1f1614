"""The weights that are trained follow from the structure of the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medalpaca_data.core.errors import UserError
from medalpaca_train.recipe import Lora
from medalpaca_train.trainable import Targets, find_structure, find_targets, may_skip_weights

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def make(kind: str, **changes: Any) -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**TEXT | changes)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def targets(model: Any, **lora: Any) -> Targets:
    return find_targets(model, Lora(**lora), quantized=False)


def test_a_dense_model_is_left_to_peft() -> None:
    assert targets(make("Llama")) == Targets("all-linear", [])
    assert targets(make("Llama"), target_modules=["q_proj", "up_proj"]) == Targets(["q_proj", "up_proj"], [])


def test_all_sixteen_experts_and_no_router() -> None:
    model = make("Mixtral", num_local_experts=16)
    assert find_structure(model).routers == {"model.layers.0.mlp.gate"}
    attention = [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    experts = ["model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"]
    assert targets(model) == Targets(attention, experts)
    assert [model.get_parameter(name).shape[0] for name in experts] == [16, 16]
    assert targets(model, target_modules=["w1", "q_proj"]) == Targets(attention[:1], experts[:1])


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (
            {"target_modules": ["q_proj", "c_attn"]},
            "c_attn matches no layer of this model; its layers are down_proj",
        ),
        ({"target_modules": "no_.*"}, "no_.* matches no layer of this model"),
        ({"target_modules": ["embed_tokens"]}, "model.embed_tokens is one matrix with the other embedding"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head is one matrix with the other embedding"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused(lora: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        targets(make("Llama", tie_word_embeddings=True), **lora)


@pytest.mark.parametrize(("key", "value"), [("dropout", 0.1), ("use_dora", True)])
def test_experts_without_dropout_and_dora(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"lora.{key}={value}: not possible for the experts"):
        targets(make("Mixtral"), **{key: value})
    assert targets(make("Mixtral"), **{key: value}, target_modules=["q_proj"]).parameters == []


def test_names_in_a_list_do_not_reach_a_tower() -> None:
    import transformers

    vision = TEXT | {"image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=TEXT | {"head_dim": 16}, vision_config=vision)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert targets(model, target_modules=["q_proj"]).modules == [
        "model.language_model.layers.0.self_attn.q_proj"
    ]
    with pytest.raises(UserError, match="matches only parts that are not trained on text"):
        targets(model, target_modules=["fc1"])


def test_only_experts_that_are_modules_may_get_no_gradient() -> None:
    class Mixture(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList([torch.nn.Linear(2, 2)])

    assert may_skip_weights(Mixture())
    assert not may_skip_weights(Mixture().requires_grad_(False))
    assert not may_skip_weights(make("Mixtral"))
