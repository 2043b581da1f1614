"""Estimate memory and time of a run before any weight is loaded.

The estimate uses the model's shapes, the plan of steps and the device.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medalpaca_data.core.errors import UserError

from .hardware import Hardware, count_flops
from .loss import CHUNK_TOKENS, CPU_BATCH_TOKENS
from .packing import Plan
from .process_group import ProcessGroup
from .recipe import Recipe
from .tokenize import Sample

# Activations that a layer keeps for the backward pass, in elements per token and per input or output channel of its
# matrices (mixed precision keeps some of them in fp32). The maximum over Llama, Qwen3, Gemma 3, GPT-NeoX and Phi-3,
# counted with saved-tensor hooks. A frozen base keeps fewer; its channels here include those of the adapter.
KEPT_PER_CHANNEL = {
    ("full", "fp32"): 1.7,
    ("full", "bf16"): 2.7,
    ("lora", "fp32"): 0.9,
    ("lora", "bf16"): 0.9,
}
# Bytes per weight. NF4: half a byte, one byte of scale per 64 weights, and one fp32 scale per 256 of those scales.
BYTES_PER_WEIGHT = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
# Share of the device's peak FLOP/s that training is assumed to reach.
EXPECTED_UTILIZATION = 0.4
# Share of free memory that a run may use; the allocator needs the rest.
USABLE_MEMORY = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory in bytes and time in seconds that a run needs.

    `training_state` is gradients and AdamW's moments. `activations` are those of the largest forward pass, with
    temporary logits and dequantised weights; `checkpointed` is the same with gradient checkpointing. `free` is free
    memory of the device, None if unknown.
    """

    weights: int
    training_state: int
    activations: int
    checkpointed: int
    seconds: float
    free: int | None

    def per_process(self, group: ProcessGroup, device: torch.device, *, sharded: bool) -> Estimate:
        """Return the estimate for one process of `group`, whose processes share the work.

        With `sharded`, they also share weights and training state. On a CPU, the processes of a node share `free`.
        """
        shards = group.size if sharded else 1
        # A GPU belongs to one process; the CPU's memory is shared by all processes of its node.
        free = self.free if self.free is None or device.type == "cuda" else self.free // group.local_size
        return replace(
            self,
            weights=self.weights // shards,
            training_state=self.training_state // shards,
            seconds=self.seconds / group.size,
            free=free,
        )

    def needs_checkpointing(self) -> bool:
        """Return whether the run needs more than the share `USABLE_MEMORY` of `free` without gradient checkpointing.

        False if `free` is None.
        """
        return self.free is not None and self.total(checkpointing=False) > USABLE_MEMORY * self.free

    def total(self, *, checkpointing: bool) -> int:
        """Return the estimated peak memory in bytes, with or without gradient checkpointing."""
        return self.weights + self.training_state + (self.checkpointed if checkpointing else self.activations)

    def describe(self, *, checkpointing: bool, suffix: str = "") -> str:
        """Return one line for the screen; `suffix` follows the memory, such as ` in each process`."""
        free = f" of {_format_bytes(self.free)} free" if self.free is not None else ""
        memory = f"about {_format_bytes(self.total(checkpointing=checkpointing))} of memory{free}{suffix}"
        parts = (
            f"weights {_format_bytes(self.weights)}, "
            f"gradients and moments {_format_bytes(self.training_state)}"
        )
        return f"estimate: {memory} ({parts}), {format_duration(self.seconds)}"


def estimate_run(
    model: Any, recipe: Recipe, plan: Plan, samples: Sequence[Sample], hardware: Hardware, peak_flops: float
) -> Estimate:
    """Return the estimate for training `model` by `plan` on a single device of `peak_flops` FLOP/s.

    `plan` holds indices into `samples`. The weights of `model` may be on the meta device.
    """
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
    batches = [batch for step in plan.steps for batch in step]
    largest = max(sum(samples[i].length for i in batch) for batch in batches)
    tokens = min(largest, CPU_BATCH_TOKENS) if hardware.device.type == "cpu" else largest
    kept = int(tokens * channels * KEPT_PER_CHANNEL[recipe.method, hardware.precision] * element)
    logits = CHUNK_TOKENS.get(hardware.device.type, 256) * config.vocab_size * (4 + element)
    temporary = logits + dequantized_bytes(model, recipe, element)
    flops = count_flops(model).total(
        (samples[i].length, samples[i].supervised) for batch in batches for i in batch
    )
    return Estimate(
        weights=base_bytes(model, recipe, element) + trained * 4,
        training_state=trained * 12,
        activations=kept + temporary,
        checkpointed=tokens * layers * size * element + kept // layers + temporary,
        seconds=flops / (EXPECTED_UTILIZATION * peak_flops),
        free=free_memory(hardware.device),
    )


def base_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Return the memory of the frozen weights in bytes, with `element` bytes for each that is not quantised.

    `model` may be on the meta device and not yet quantised.
    """
    head = model.get_output_embeddings()
    frozen: int = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    if recipe.quantization is None:
        return frozen * element
    quantized: int = sum(matrix.numel() for matrix in _quantizable_weights(model, head))
    return int(quantized * BYTES_PER_WEIGHT[recipe.quantization]) + (frozen - quantized) * element


def dequantized_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Return the bytes of the largest quantised matrix with `element` bytes per weight; 0 without quantisation.

    A matrix product needs this memory temporarily, for the dequantised matrix.
    """
    if recipe.quantization is None:
        return 0
    head = model.get_output_embeddings()
    largest: int = max((matrix.numel() for matrix in _quantizable_weights(model, head)), default=0)
    return largest * element


def _quantizable_weights(model: Any, head: Any) -> Iterator[torch.Tensor]:
    """Yield the frozen matrices of all linear layers but the output layer `head`."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
            yield module.weight


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of `device`, or None if the system does not report them."""
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


def disk_bytes(model: Any, recipe: Recipe, element: int) -> int:
    """Return the most bytes that a run of `model` writes: checkpoints and weights, with `element` bytes per weight.

    A new checkpoint is complete before the oldest one is removed. Weights of the best step are stored twice, as a
    checkpoint and in `best/`.
    """
    trained: int = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    total: int = sum(weight.numel() for weight in model.parameters())
    saved = trained * 4 if recipe.method == "lora" else total * element
    best = trained * 4 + saved if recipe.eval_every else 0
    # Weights and two moments in fp32.
    return (recipe.keep_checkpoints + 1) * trained * 12 + saved + best


def check_disk(run: Path, needed: int) -> str:
    """Return one line about the disk space that a run in the directory `run` needs.

    Files that the run already has count as free space. Raises UserError if there is too little.
    """
    folder = next(path for path in (run, *run.parents) if path.is_dir())
    own = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free + own
    if needed > free:
        raise UserError(
            f"out={run}: the run needs about {_format_bytes(needed)} of disk space for checkpoints and weights, and "
            f"{_format_bytes(free)} are free; free disk space, lower keep_checkpoints, or choose another out="
        )
    return f"disk: about {_format_bytes(needed)} of {_format_bytes(free)} free"


def format_duration(seconds: float) -> str:
    """Return a duration such as `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _format_bytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
