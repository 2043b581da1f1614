"""What this machine offers: device, precision and threads, each with the reason it was chosen."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any, Literal

import torch

from medalpaca_data.ground.errors import UserError

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
