"""Which work of a step falls to which process: the same sum, whoever computes its parts.

One model on several devices: whole on each of them (DDP), or its weights shared out among them (FSDP2).
"""

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
from .model import trainable
from .packing import MicroBatch, Plan
from .process_group import World
from .progress import say
from .recipe import Recipe
from .tokenize import Sample


@dataclass(frozen=True, slots=True)
class Part:
    """What is computed in one go: rows of micro-batch number `micro`; not `counted`: only to keep others company."""

    micro: int
    samples: Sequence[Sample]
    counted: bool = True


def share(
    micro: Sequence[MicroBatch],
    samples: Sequence[Sample],
    parts: Callable[[Sequence[Sample]], list[list[Sample]]],
    world: World,
) -> list[Part]:
    """The parts of the micro-batches `micro` that this process computes; each of them counts on one process only.

    `parts` cuts the rows of a micro-batch by their lengths. There are as many on every process: whoever has fewer
    makes up for it with a row that does not count, else the others would wait for it to put weights or gradients
    together. Everybody knows without asking how many there are.
    """
    shares = [
        [
            Part(n, part)
            for n in range(rank, len(micro), world.size)
            for part in parts([samples[i] for i in micro[n]])
        ]
        for rank in range(world.size)
    ]
    mine = shares[world.rank]
    missing = max(map(len, shares)) - len(mine)
    shortest = min((samples[i] for i in micro[0]), key=lambda sample: sample.length)
    return mine + missing * [Part(-1, [shortest], counted=False)]


T = TypeVar("T")


class Whole(torch.nn.Module):
    """Any work on `model` as one forward pass, so that DDP and FSDP2 know where it begins and ends.

    The loss is computed beside the model's own forward, from its hidden states and the output layer's weights.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        """`work()`."""
        return work()


@dataclass(frozen=True, slots=True)
class Spread:
    """How work on the model is done in this process: plainly, or through `module`, DDP or FSDP2 around it.

    Gradients are means over the processes, all of which have to make as many calls.
    """

    module: Any = None
    sharded: bool = False

    def __call__(self, work: Callable[[], T]) -> T:
        """`work()`, with all weights in their places."""
        learning = torch.is_grad_enabled()
        if self.module is None or not (learning or self.sharded):
            return work()
        made: T = self.module(work)
        if not learning:
            # No backward pass comes that would do it; weights left whole would not follow the next step.
            for module in self.module.modules():
                if hasattr(module, "reshard"):
                    module.reshard()
        return made

    def part(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context of one part of a step: DDP sums gradients over the processes only in the `last`."""
        return nullcontext() if self.module is None or self.sharded or last else self.module.no_sync()


PLAIN = Spread()


def copies(model: Any, world: World) -> Spread:
    """The whole `model` on every process, with the weights that the first one starts from."""
    if world.size == 1:
        return PLAIN
    from torch.distributed import broadcast
    from torch.nn.parallel import DistributedDataParallel

    for weight in trainable(model).values():
        broadcast(weight.detach(), 0)
    # Frozen weights were read from the same files, and a quantised base cannot be sent.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions call broadcast_buffers otherwise
        module = DistributedDataParallel(
            Whole(model), init_sync=False, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    return Spread(module)


def shards(model: Any, mesh: Any) -> Spread:
    """A share of every weight of `model` on each process of `mesh`; a layer is whole only while it computes."""
    from torch.distributed.fsdp import fully_shard

    if any(not weight.is_floating_point() for weight in model.parameters()):
        raise UserError("shard=full: a quantised base cannot be shared out; use shard=none")
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    return Spread(fully_shard(Whole(model), mesh=mesh), sharded=True)


def spread_out(
    load: Callable[[Hardware], Any], recipe: Recipe, hardware: Hardware, world: World
) -> tuple[Any, Spread]:
    """The model that `load` makes on the hardware it is given, spread over the processes as the recipe says."""
    if world.size == 1 or recipe.shard == "none":
        model = load(hardware)
        return model, copies(model, world)
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(hardware.device.type, (world.size,))
    # Whole only in the node's own memory, and there only once at a time.
    with world.one_after_another():
        model = load(replace(hardware, device=torch.device("cpu")))
        return model, shards(model, mesh)


def say_spread(recipe: Recipe, plan: Plan, hardware: Hardware, world: World, console: Console) -> None:
    """How many processes there are, what each holds, and whether all of them have something to do."""
    gpus = torch.cuda.device_count()
    if world.size == 1:
        start = f"torchrun --nproc-per-node {max(2, gpus)} -m medalpaca_train"
        if recipe.shard == "full":
            say(console, f"shard=full: one process, so nothing is shared out; start several with `{start}`")
        elif gpus > 1 and hardware.device.type == "cuda":
            say(console, f"one of {gpus} GPUs is used; `{start}` uses all")
        return
    each = "a share of every weight in each (FSDP2)"
    if recipe.shard == "none":
        each = "the whole model in each (DDP); shard=full shares it out"
    channel = "NCCL" if hardware.device.type == "cuda" else "gloo"
    say(console, f"{world.size} processes, {world.local_size} on this node, over {channel}: {each}")
    busy = max(len(step) for step in plan.steps)
    if busy < world.size:
        advice = "a smaller batch_tokens" if recipe.batch_rows else f"accumulate={world.size}"
        say(
            console,
            f"only {busy} of {world.size} processes have work: a step has no more micro-batches; {advice} makes more",
        )


def _layers(model: Any) -> list[torch.nn.Module]:
    """The model's layers: the members of every list that is as long as its configuration says."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return [layer for layers in lists if len(layers) == count for layer in layers]
