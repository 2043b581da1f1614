"""Choose device, precision and CPU threads; count the FLOP of training and the peak FLOP/s of a device."""

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

# Models with fewer parameters gain nothing from more threads. Measured on two cores with the pocket model and 512
# tokens per step: one thread 8.0k tokens/s, two threads 5.0k with sleeping waits (OMP_WAIT_POLICY=passive).
TINY, TINY_THREADS = 5_000_000, 1
SMALL, SMALL_THREADS = 50_000_000, 4


@dataclass(frozen=True, slots=True)
class Hardware:
    """Device and precision of a run, and the reason for the choice."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    reason: str

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> Any:
        """Return the autocast context of a forward pass: matrix products in bf16; no change if `precision` is fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def peak_memory(self) -> int:
        """Return the peak memory in bytes: of tensors on a GPU, else of the process; 0 if unknown."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if resource is None:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # macOS reports bytes, other systems kilobytes.
        return peak if platform.system() == "Darwin" else peak * 1024


def choose_hardware(precision: Literal["auto", "fp32", "bf16"], local_rank: int = 0) -> Hardware:
    """Return GPU number `local_rank` if there are GPUs, else the CPU; `auto` is bf16 on a GPU that supports it.

    Otherwise `auto` is fp32. fp16 is never used: its range is too small for gradients without loss scaling. The GPU
    becomes torch's current device. Raises UserError if this node has fewer GPUs than processes.
    """
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"no GPU for process {local_rank + 1} of this node, which has {torch.cuda.device_count()} GPUs; "
                "start as many processes as there are GPUs"
            )
        torch.cuda.set_device(local_rank)
        device, name = torch.device("cuda", local_rank), torch.cuda.get_device_name(local_rank)
        supports_bf16 = torch.cuda.is_bf16_supported()
    else:
        device, name, supports_bf16 = torch.device("cpu"), "CPU", False
    if precision != "auto":
        return Hardware(device, precision, f"{name}; precision={precision} in the recipe")
    if supports_bf16:
        return Hardware(device, "bf16", f"{name} computes in bf16")
    return Hardware(device, "fp32", f"{name}: fp32 is exact and repeatable")


def set_threads(parameters: int, processes: int = 1) -> int:
    """Set torch's CPU threads for a model of `parameters` weights and return their number.

    `processes` is the number of training processes on this machine, which share its cores. Small models get few threads
    (`TINY_THREADS`, `SMALL_THREADS`). The number of threads is never increased.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = TINY_THREADS if parameters < TINY else SMALL_THREADS if parameters < SMALL else available
    threads = max(1, min(available // processes, torch.get_num_threads(), limit))
    torch.set_num_threads(threads)
    return threads


def describe_hardware(hardware: Hardware) -> dict[str, Any]:
    """Return the manifest's description of the hardware, without anything that identifies the machine."""
    on_gpu = hardware.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(0) if on_gpu else "cpu",
        "precision": hardware.precision,
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


# Dense bf16 tensor-core rates from the manufacturers' data sheets, in FLOP/s, by a part of the device's name.
PEAK_FLOPS = {
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
# Rows and columns of the matrices with which a device is measured that is not in `PEAK_FLOPS`.
PROBE_SIZE = 1_024


@dataclass(frozen=True, slots=True)
class FlopCounter:
    """FLOP of forward and backward pass; recomputed activations are not counted.

    A weight costs 2 FLOP per token forward, 2 for the gradient of its input and, if trained, 2 for its own gradient
    (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), so a frozen weight costs 4 instead of 6. Causal attention
    costs 6 per layer, channel and pair of tokens. `per_supervised_token` is the output layer; `per_pair` is
    multiplied by a document's squared length.
    """

    per_token: float
    per_supervised_token: float
    per_pair: float

    def total(self, samples: Iterable[tuple[int, int]]) -> float:
        """Return the FLOP for documents given as (tokens, supervised tokens)."""
        return sum(
            self.per_token * tokens + self.per_supervised_token * supervised + self.per_pair * tokens**2
            for tokens, supervised in samples
        )


def count_flops(model: Any) -> FlopCounter:
    """Return the FLOP counter of `model`, from its configuration and weights, which may be on the meta device."""
    embeddings = {
        id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer
    }
    body = sum(
        _flops_per_token(weight)
        for weight in model.parameters()
        if weight.dim() >= 2 and id(weight) not in embeddings
    )
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0) or 0
    size = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    layers = getattr(config, "num_hidden_layers", 0) or 0
    per_supervised_token = _flops_per_token(head.weight) if head is not None else 0
    return FlopCounter(body, per_supervised_token, 6 * heads * size * layers)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the peak FLOP/s of `device`: in bf16 on a GPU in `PEAK_FLOPS` the listed rate, else a measured one.

    It is measured with eight matrix products in `dtype`, of which the fastest counts.
    """
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for part, rate in PEAK_FLOPS.items():
            if part in name:
                return rate
    matrix = torch.ones(PROBE_SIZE, PROBE_SIZE, device=device, dtype=dtype)
    best = float("inf")
    # On a shared CPU only this thread's own time counts.
    clock = time.perf_counter if device.type == "cuda" else time.thread_time
    for _ in range(8):
        _synchronize(device)
        start = clock()
        matrix @ matrix
        _synchronize(device)
        best = min(best, clock() - start)
    return 2 * PROBE_SIZE**3 / best


def _flops_per_token(weight: torch.Tensor) -> int:
    return weight.numel() * (6 if weight.requires_grad else 4)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
