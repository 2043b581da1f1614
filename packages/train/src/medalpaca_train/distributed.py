"""Distribute one model and the work of each step over several processes: DDP (replicas) or FSDP2 (shards)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from rich.console import Console

from medalpaca_data.core.errors import UserError

from .hardware import Hardware
from .model import trainable_parameters
from .packing import MicroBatch, Plan
from .process_group import ProcessGroup
from .progress import echo
from .recipe import Recipe
from .tokenize import Sample
from .trainable import may_skip_weights


@dataclass(frozen=True, slots=True)
class WorkItem:
    """Rows computed in one forward pass, from micro-batch number `micro`.

    An item with `counted` False has `micro` -1 and adds nothing to the loss. It keeps the number of passes equal on all
    processes.
    """

    micro: int
    samples: Sequence[Sample]
    counted: bool = True


def assign_work(
    micro: Sequence[MicroBatch],
    samples: Sequence[Sample],
    split: Callable[[Sequence[Sample]], list[list[Sample]]],
    group: ProcessGroup,
) -> list[WorkItem]:
    """Return the work items of this process for the micro-batches `micro` of one step.

    `split` divides the rows of a micro-batch into forward passes, by their lengths only. Each row counts on exactly
    one process. All processes get the same number of items, because DDP and FSDP2 synchronise in every pass: a process
    with fewer items repeats one short row that is not counted. No communication is needed to compute the assignment.
    """
    items = [
        [
            WorkItem(n, part)
            for n in range(rank, len(micro), group.size)
            for part in split([samples[i] for i in micro[n]])
        ]
        for rank in range(group.size)
    ]
    own = items[group.rank]
    missing = max(map(len, items)) - len(own)
    shortest = min((samples[i] for i in micro[0]), key=lambda sample: sample.length)
    return own + missing * [WorkItem(-1, [shortest], counted=False)]


T = TypeVar("T")


class _ForwardWrapper(torch.nn.Module):
    """Runs any function of `model` as one forward pass, which is where DDP and FSDP2 place their hooks.

    Needed because the loss is computed outside the model's own forward method, from hidden states and the output
    layer's weights.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], T]) -> T:
        return function()


@dataclass(frozen=True, slots=True)
class Strategy:
    """How this process runs functions of the model: directly, or through `module` (DDP or FSDP2).

    Gradients are averaged over the processes, all of which must make the same number of calls.
    """

    module: Any = None
    sharded: bool = False

    def __call__(self, function: Callable[[], T]) -> T:
        """Return `function()`, called inside `module`, so that the hooks of DDP or FSDP2 run.

        Without `module`, and with DDP while gradients are off, it is called directly. FSDP2 gathers the weights of a
        layer while the layer runs.
        """
        training = torch.is_grad_enabled()
        if self.module is None or not (training or self.sharded):
            return function()
        result: T = self.module(function)
        if not training:
            # Without a backward pass FSDP2 keeps the gathered weights, which the next optimizer step does not update.
            for module in self.module.modules():
                if hasattr(module, "reshard"):
                    module.reshard()
        return result

    def gradient_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Return the context of one work item; `last` is true for the last item of a step.

        DDP averages gradients over the processes only in the last item, FSDP2 in every item.
        """
        return nullcontext() if self.module is None or self.sharded or last else self.module.no_sync()


SINGLE_DEVICE = Strategy()


def distribute_model(
    load: Callable[[Hardware], Any], recipe: Recipe, hardware: Hardware, group: ProcessGroup
) -> tuple[Any, Strategy]:
    """Return the model that `load(hardware)` makes, and its strategy: DDP, or FSDP2 if `recipe.shard` is "full".

    With one process the model is neither replicated nor sharded. Raises UserError for a quantised base with FSDP2.
    """
    if group.size == 1 or recipe.shard == "none":
        model = load(hardware)
        return model, data_parallel(model, group)
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(hardware.device.type, (group.size,))
    # The unsharded model is only in CPU memory, and once per node at a time.
    with group.one_at_a_time():
        model = load(replace(hardware, device=torch.device("cpu")))
        return model, fully_sharded(model, mesh)


def data_parallel(model: Any, group: ProcessGroup) -> Strategy:
    """Return the strategy of a model that every process holds (DDP); `SINGLE_DEVICE` for one process.

    The trainable weights of the main process replace those of the others.
    """
    if group.size == 1:
        return SINGLE_DEVICE
    from torch.distributed import broadcast
    from torch.nn.parallel import DistributedDataParallel

    # Frozen weights are read from the same files, and a quantised base cannot be broadcast.
    for weight in trainable_parameters(model).values():
        broadcast(weight.detach(), 0)
    with warnings.catch_warnings():
        # Newer versions of torch rename broadcast_buffers.
        warnings.simplefilter("ignore", FutureWarning)
        module = DistributedDataParallel(
            _ForwardWrapper(model),
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            # Otherwise an expert without a token in this process is an error.
            find_unused_parameters=may_skip_weights(model),
        )
    return Strategy(module)


def fully_sharded(model: Any, mesh: Any) -> Strategy:
    """Shard every weight of `model` over the processes of `mesh` (FSDP2), and return the strategy.

    Raises UserError for a quantised base, whose integer weights FSDP2 cannot shard.
    """
    from torch.distributed.fsdp import fully_shard

    if any(not weight.is_floating_point() for weight in model.parameters()):
        raise UserError("shard=full: a quantised base cannot be sharded; use shard=none or quantization=null")
    for layer in _transformer_layers(model):
        fully_shard(layer, mesh=mesh)
    return Strategy(fully_shard(_ForwardWrapper(model), mesh=mesh), sharded=True)


def print_strategy(
    recipe: Recipe, plan: Plan, hardware: Hardware, group: ProcessGroup, console: Console
) -> None:
    """Print the number of processes, what each holds, and whether some have no work.

    A single process prints only a hint if `shard=full` has no effect or GPUs are unused.
    """
    gpus = torch.cuda.device_count()
    if group.size == 1:
        start = f"torchrun --nproc-per-node {max(2, gpus)} -m medalpaca_train"
        if recipe.shard == "full":
            echo(
                console,
                f"shard=full has no effect with one process; start several with `{start}`",
            )
        elif gpus > 1 and hardware.device.type == "cuda":
            echo(console, f"one of {gpus} GPUs is used; `{start}` uses all")
        return
    content = "a share of every weight in each (FSDP2)"
    if recipe.shard == "none":
        content = "the whole model in each (DDP); shard=full shards it"
    backend = "NCCL" if hardware.device.type == "cuda" else "gloo"
    echo(console, f"{group.size} processes, {group.local_size} on this node, over {backend}: {content}")
    busy = max(len(step) for step in plan.steps)
    if busy < group.size:
        remedy = "a smaller batch_tokens" if recipe.batch_rows else f"accumulate={group.size}"
        echo(
            console,
            f"only {busy} of {group.size} processes have work, because a step has {busy} micro-batches; "
            f"{remedy} makes more",
        )


def _transformer_layers(model: Any) -> list[torch.nn.Module]:
    """Return the members of every ModuleList whose length is the configuration's num_hidden_layers."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return [layer for layers in lists if len(layers) == count for layer in layers]
