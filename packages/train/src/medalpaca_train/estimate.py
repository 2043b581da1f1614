"""Before the start: how much memory a run will take and how long, from the model's own configuration and the device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .hardware import Hardware, work_of
from .loss import CACHED, CHUNK
from .model import base_bytes, widened_bytes
from .packing import Plan
from .process_group import World
from .recipe import Recipe
from .tokenize import Sample

# What a layer keeps for its backward pass, per token and channel that goes in or out of its matrices, in elements of
# the run's precision (mixed precision keeps some in fp32). The most of Llama, Qwen3, Gemma 3, GPT-NeoX and Phi-3,
# counted with saved-tensor hooks; a frozen base keeps less, and its channels here include the update's.
KEPT = {("full", "fp32"): 1.7, ("full", "bf16"): 2.7, ("lora", "fp32"): 0.9, ("lora", "bf16"): 0.9}
USED = 0.4  # of the device's peak: what well-fed training reaches; the live speed corrects it
ROOM = 0.9  # of the free memory: the rest is the allocator's


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes and seconds of a run, before it has begun."""

    weights: int
    training: int  # gradients and AdamW's moments
    activations: int  # of the fullest micro-batch, with everything kept
    checkpointed: int  # the same with gradient checkpointing
    seconds: float
    free: int | None  # on the device; None: unknown

    def shared(self, world: World, device: torch.device, *, sharded: bool) -> Estimate:
        """The same for one of the processes of `world`, which do the work together."""
        parts = world.size if sharded else 1
        # The GPU is one process' own; the memory of a CPU is that of all of its node.
        free = self.free if self.free is None or device.type == "cuda" else self.free // world.local_size
        return replace(
            self,
            weights=self.weights // parts,
            training=self.training // parts,
            seconds=self.seconds / world.size,
            free=free,
        )

    def needs_checkpointing(self) -> bool:
        """Whether the run does not fit as it is."""
        return self.free is not None and self.total(checkpointing=False) > ROOM * self.free

    def total(self, *, checkpointing: bool) -> int:
        """Bytes at the peak."""
        return self.weights + self.training + (self.checkpointed if checkpointing else self.activations)

    def line(self, *, checkpointing: bool, each: str = "") -> str:
        """For the screen; `each`: of whom there are several."""
        free = f" of {_gb(self.free)} free" if self.free is not None else ""
        memory = f"about {_gb(self.total(checkpointing=checkpointing))} of memory{free}{each}"
        parts = f"weights {_gb(self.weights)}, gradients and moments {_gb(self.training)}"
        return f"estimate: {memory} ({parts}), {duration(self.seconds)}"


def estimate(
    model: Any, recipe: Recipe, plan: Plan, samples: Sequence[Sample], hardware: Hardware, rate: float
) -> Estimate:
    """What training `model` (whose weights may lie on the meta device) by `plan` takes at a peak of `rate` FLOP/s."""
    element = torch.finfo(hardware.compute_dtype).bits // 8
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    config = model.config.get_text_config()
    layers, size = max(1, getattr(config, "num_hidden_layers", 1)), config.hidden_size
    head = model.get_output_embeddings()
    channels = sum(
        sum(module.weight.shape)
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    micro = [sum(samples[i].length for i in batch) for step in plan.steps for batch in step]
    tokens = min(max(micro), CACHED) if hardware.device.type == "cpu" else max(micro)
    kept = int(tokens * channels * KEPT[recipe.method, hardware.precision] * element)
    logits = CHUNK.get(hardware.device.type, 256) * config.vocab_size * (4 + element)
    passing = logits + widened_bytes(model, recipe, element)
    work = work_of(model).of(
        (samples[i].length, samples[i].supervised) for s in plan.steps for b in s for i in b
    )
    return Estimate(
        weights=base_bytes(model, recipe, element) + trained * 4,
        training=trained * 12,
        activations=kept + passing,
        checkpointed=tokens * layers * size * element + kept // layers + passing,
        seconds=work / (USED * rate),
        free=free_memory(hardware.device),
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes free on `device`; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def duration(seconds: float) -> str:
    """For reading: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _gb(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
