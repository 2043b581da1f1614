"""What this machine offers: device, precision and threads, each with the reason it was chosen.

Floating-point operations that a step needs, and those that a device can do: together, how well it is used.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from medalpaca_data.core.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Parameters below which more threads than these only wait for each other. Measured on two cores with the pocket
# model, 512 tokens a step: one thread 8.0k tokens/s, two 5.0k where waiting threads sleep (OMP_WAIT_POLICY=passive).
TINY, TINY_THREADS = 5_000_000, 1
SMALL, SMALL_THREADS = 50_000_000, 4


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and in what arithmetic a run computes."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    reason: str

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> Any:
        """The context in which a forward pass computes in that dtype."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def peak_memory(self) -> int:
        """Most bytes held so far: on a GPU by tensors, else by the process (0 where the system does not say)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if resource is None:
            return 0
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (
            most if platform.system() == "Darwin" else most * 1024
        )  # macOS counts bytes, the others kilobytes


def choose(precision: Literal["auto", "fp32", "bf16"], place: int = 0) -> Hardware:
    """GPU number `place` if there are GPUs, else the CPU; bf16 when asked for, or by itself on a GPU that has it.

    Never fp16: its range is too small for gradients, and training then needs loss scaling.
    """
    if torch.cuda.is_available():
        if place >= torch.cuda.device_count():
            raise UserError(
                f"no GPU for process {place + 1} of this node: it has {torch.cuda.device_count()}; "
                "start as many processes as there are GPUs"
            )
        torch.cuda.set_device(place)
        device, name = torch.device("cuda", place), torch.cuda.get_device_name(place)
        capable = torch.cuda.is_bf16_supported()
    else:
        device, name, capable = torch.device("cpu"), "CPU", False
    if precision != "auto":
        return Hardware(device, precision, f"{name}; precision={precision} in the recipe")
    if capable:
        return Hardware(device, "bf16", f"{name} computes in bf16")
    return Hardware(device, "fp32", f"{name}: fp32 is exact and repeatable")


def use_threads(parameters: int, processes: int = 1) -> int:
    """Set the CPU threads for a model of `parameters` weights in one of `processes` here, and return how many."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = TINY_THREADS if parameters < TINY else SMALL_THREADS if parameters < SMALL else available
    threads = max(1, min(available // processes, torch.get_num_threads(), most))
    torch.set_num_threads(threads)
    return threads


def describe(hardware: Hardware) -> dict[str, Any]:
    """For the manifest: enough to understand a speed, nothing that names the machine."""
    on_gpu = hardware.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(0) if on_gpu else "cpu",
        "precision": hardware.precision,
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


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
