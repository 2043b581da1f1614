"""Floating-point operations that a step needs, and those that a device can do: together, how well it is used."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

# Dense bf16 tensor-core rates from the makers' data sheets, in FLOP/s, by a part of the device's name.
DATA_SHEET = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
PROBE = 1_024  # size of the matrices by which an unlisted device is measured


@dataclass(frozen=True, slots=True)
class Work:
    """What learning costs, in FLOP; recomputation is not counted, as it teaches nothing.

    A weight costs 2 per token forward, 2 for its input's gradient and, if it is trained, 2 for its own (Kaplan et
    al. 2020, arXiv 2001.08361, section 2.1; a frozen base so costs 4 instead of 6). Causal attention costs 6 per pair
    of tokens, channel and layer.
    """

    per_token: float
    per_learned: float  # output layer
    per_pair: float  # attention: times a document's squared length

    def of(self, samples: Iterable[tuple[int, int]]) -> float:
        """For documents of (tokens, learned tokens)."""
        return sum(
            self.per_token * tokens + self.per_learned * learned + self.per_pair * tokens**2
            for tokens, learned in samples
        )


def work_of(model: Any) -> Work:
    """What `model` costs, from its own weights (which may lie on the meta device) and configuration."""
    outside = {
        id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer
    }
    body = sum(
        _cost(weight) for weight in model.parameters() if weight.dim() >= 2 and id(weight) not in outside
    )
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0) or 0
    size = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    layers = getattr(config, "num_hidden_layers", 0) or 0
    return Work(body, _cost(head.weight) if head is not None else 0, 6 * heads * size * layers)


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of `device`: its data sheet's if listed here, else what a large matrix product reaches now."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for part, rate in DATA_SHEET.items():
            if part in name:
                return rate
    matrix = torch.ones(PROBE, PROBE, device=device, dtype=dtype)
    best = float("inf")
    # On a CPU that others use too, only the time it spent on us counts: that of one of the threads that share it.
    clock = time.perf_counter if device.type == "cuda" else time.thread_time
    for _ in range(8):
        _wait(device)
        began = clock()
        matrix @ matrix
        _wait(device)
        best = min(best, clock() - began)
    return 2 * PROBE**3 / best


def _cost(weight: torch.Tensor) -> int:
    return weight.numel() * (6 if weight.requires_grad else 4)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
