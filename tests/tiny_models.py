"""Tiny models with random weights, one for each architecture that the commands must support or refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Sizes in tokens and numbers of heads and layers are the same for all, so that a test trains each in a second.
HEADS, LAYERS, EXPERTS, WINDOW = 2, 2, 4, 64


def make_config(name: str, vocabulary: int, size: int = 32) -> Any:
    """Return the configuration of the architecture `name` with hidden size `size`."""
    import transformers

    text = {
        "vocab_size": vocabulary,
        "hidden_size": size,
        "intermediate_size": 2 * size,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    grouped = text | {"num_key_value_heads": HEADS}
    headed = grouped | {"head_dim": size // HEADS}
    experts = {"moe_intermediate_size": size, "num_experts_per_tok": 2}
    groups = {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1}
    vision = {
        "hidden_size": size,
        "intermediate_size": 2 * size,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "image_size": 28,
        "patch_size": 14,
    }
    ends = {"bos_token_id": 0, "eos_token_id": 1}
    mamba = {"mamba_d_state": 16, "mamba_d_conv": 4}
    configs: dict[str, tuple[str, dict[str, Any]]] = {
        "llama": ("LlamaConfig", grouped),
        "gpt2": (
            "GPT2Config",
            {"vocab_size": vocabulary, "n_embd": size, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 512}
            | ends,
        ),
        "biogpt": ("BioGptConfig", text),
        "opt": ("OPTConfig", text | {"ffn_dim": 2 * size, "word_embed_proj_dim": size}),
        "gemma3_text": ("Gemma3TextConfig", headed | {"sliding_window": WINDOW}),
        "gemma3": (
            "Gemma3Config",
            {
                "text_config": headed | {"sliding_window": WINDOW},
                "vision_config": vision,
                "mm_tokens_per_image": 4,
                "image_token_index": 5,
                "boi_token_index": 6,
                "eoi_token_index": 7,
            }
            | ends,
        ),
        "mixtral": ("MixtralConfig", grouped | {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}),
        "qwen3_moe": ("Qwen3MoeConfig", headed | experts | {"num_experts": EXPERTS}),
        "deepseek_v3": (
            "DeepseekV3Config",
            grouped
            | experts
            | groups
            | {"n_routed_experts": EXPERTS, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8}
            | {"qk_nope_head_dim": 8, "v_head_dim": 16},
        ),
        "qwen3_next": (
            "Qwen3NextConfig",
            headed
            | experts
            | {"num_experts": EXPERTS, "shared_expert_intermediate_size": size}
            | {"linear_num_value_heads": 2, "linear_num_key_heads": 2}
            | {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
            | {"layer_types": ["linear_attention", "full_attention"]},
        ),
        "glm4_moe": ("Glm4MoeConfig", headed | experts | groups | {"n_routed_experts": EXPERTS}),
        "gpt_oss": (
            "GptOssConfig",
            headed | {"num_local_experts": EXPERTS, "num_experts_per_tok": 2, "sliding_window": WINDOW},
        ),
        "falcon_h1": (
            "FalconH1Config",
            grouped
            | mamba
            | {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16}
            | {"mamba_n_groups": 1, "mamba_chunk_size": 16},
        ),
        "jamba": (
            "JambaConfig",
            grouped
            | mamba
            | {"num_experts": EXPERTS, "num_experts_per_tok": 1, "mamba_expand": 2}
            | {"attn_layer_period": 2, "attn_layer_offset": 1}
            | {"expert_layer_period": 2, "expert_layer_offset": 1},
        ),
        "mistral3": (
            "Mistral3Config",
            {
                "text_config": headed | {"model_type": "mistral"},
                "vision_config": vision | {"model_type": "pixtral", "head_dim": size // HEADS},
                "image_token_index": 5,
            }
            | ends,
        ),
        "qwen2_5_vl": (
            "Qwen2_5_VLConfig",
            {
                "text_config": grouped | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}},
                "vision_config": {"depth": 2, "hidden_size": size, "intermediate_size": 2 * size}
                | {"num_heads": HEADS, "out_hidden_size": size, "fullatt_block_indexes": [1]},
                "image_token_id": 5,
                "video_token_id": 6,
                "vision_start_token_id": 7,
                "vision_end_token_id": 8,
            }
            | ends,
        ),
    }
    kind, arguments = configs[name]
    make: Callable[..., Any] = getattr(transformers, kind)
    return make(**arguments)


def save_tiny_model(name: str, folder: Path, tokenizer: Any, size: int = 32) -> None:
    """Save a model of the architecture `name` with random weights, and `tokenizer`, in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    torch.manual_seed(1)
    config = make_config(name, len(tokenizer), size)
    wrapped = name in ("mistral3", "qwen2_5_vl")
    (AutoModelForImageTextToText if wrapped else AutoModelForCausalLM).from_config(config).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
