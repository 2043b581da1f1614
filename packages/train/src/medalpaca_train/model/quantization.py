"""A base in 4 or 8 bits, through bitsandbytes: how it is asked for, what it takes, and what has to be guarded.

NF4 with double quantisation is that of QLoRA (Dettmers et al. 2023, arXiv 2305.14314), int8 that of LLM.int8 (Dettmers
et al. 2022, arXiv 2208.07339). The output layer and the embeddings stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..recipe import Recipe

# Bytes of a weight. NF4: half a byte, one byte of scale per 64 weights, one fp32 scale of scales per 256 of those.
BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}


def settings(quantization: str | None, dtype: torch.dtype) -> dict[str, Any]:
    """bitsandbytes' own words for `quantization`, computing in `dtype`; empty for none. What a receipt records."""
    match quantization:
        case "nf4":
            return {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
                "bnb_4bit_compute_dtype": str(dtype).removeprefix("torch."),
            }
        case "int8":
            return {"load_in_8bit": True, "llm_int8_threshold": 6.0}
        case _:
            return {}


def loading(words: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told beside, so that the weights are quantised as they are read; `words` as above."""
    if not words:
        return {}
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(**words),  # type: ignore[no-untyped-call]
        "device_map": {"": str(device)},
    }


def is_quantized(model: Any) -> bool:
    """Whether the weights are bitsandbytes': they lie where they were made, and are not moved or cast."""
    return bool(getattr(model, "is_quantized", False))


def keep_differentiable(model: Any) -> None:
    """Have NF4 layers stay what they are when a CPU evaluates them.

    On a CPU with AVX512-BF16, bitsandbytes (0.50.2) packs the weights for inference in place at the first evaluation,
    and from then on computes without gradients, in training too: all that lies below a layer goes on unlearned,
    without an error. For layers narrower than a block of 64 the packing itself fails.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def rowwise(model: Any) -> Iterator[None]:
    """int8 products in which no token depends on its company, while the block runs.

    LLM.int8 computes a whole channel in full precision as soon as any token of the batch is large in it: a
    difference of rounding, which would look like documents that see each other.
    """
    states = [module.state for module in model.modules() if hasattr(module, "init_8bit_state")]
    before = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold


def base_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Bytes of the frozen weights of `model` (which may lie on the meta device, not quantised), `element` each."""
    head = model.get_output_embeddings()
    frozen: int = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    if recipe.quantization is None:
        return frozen * element
    small: int = sum(matrix.numel() for matrix in _quantised(model, head))
    return int(small * BYTES[recipe.quantization]) + (frozen - small) * element


def widened_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Bytes of the largest quantised matrix of `model` in the run's precision: what a product takes for a moment."""
    if recipe.quantization is None:
        return 0
    head = model.get_output_embeddings()
    largest: int = max((matrix.numel() for matrix in _quantised(model, head)), default=0)
    return largest * element


def _quantised(model: Any, head: Any) -> Iterator[torch.Tensor]:
    """The matrices that would be quantised: of all linear layers but the output layer and the update's own."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
            yield module.weight
