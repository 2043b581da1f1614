"""The processes that train one model together: who is who, and the few things they tell each other.

Whoever starts them (torchrun, accelerate launch, srun) says by environment variables who each is. The first one alone
writes and speaks. What they agree on goes through gloo on the CPU, gradients on GPUs through NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from medalpaca_data.ground.errors import UserError

KEYS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size` others: its `rank`, and its `local_rank` among the `local_size` of its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Everybody's `value`, by rank. All have to ask at the same place."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def told(self, value: Any) -> Any:
        """What the first has as `value`, on every process."""
        return self.gather(value if self.first else None)[0]

    def wait(self) -> None:
        """Until all are here; an error where one has gone."""
        self.gather(None)

    def summed(self, *values: float) -> list[float]:
        """Each of `values`, summed over all processes in double precision."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    @contextmanager
    def first_of_node_first(self) -> Iterator[None]:
        """The block runs in one process of each node before it runs in the others, which find what that one made."""
        if self.local_rank:
            self.wait()
        yield
        if not self.local_rank:
            self.wait()

    @contextmanager
    def one_after_another(self) -> Iterator[None]:
        """The block runs in one process of a node at a time."""
        turns = max(self.gather(self.local_size))
        for _ in range(self.local_rank):
            self.wait()
        yield
        for _ in range(turns - self.local_rank):
            self.wait()


ALONE = World()


def find_world(environment: Mapping[str, str] = os.environ) -> World:
    """Who we are according to the launcher; alone where there is none. Raises UserError for half an answer."""
    if "WORLD_SIZE" not in environment or "RANK" not in environment:
        return ALONE
    try:
        size, rank = int(environment["WORLD_SIZE"]), int(environment["RANK"])
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
        local_rank = int(environment.get("LOCAL_RANK", rank % max(1, local_size)))
    except ValueError as error:
        raise UserError(f"RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE: {error}; unset them") from None
    if size == 1:
        return ALONE
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(
            f"RANK={rank} of WORLD_SIZE={size}, LOCAL_RANK={local_rank} of LOCAL_WORLD_SIZE={local_size}: "
            "not possible; start with torchrun, or unset them"
        )
    if missing := [key for key in KEYS if not environment.get(key)]:
        raise UserError(f"WORLD_SIZE={size}, but {' and '.join(missing)} is not set; start with torchrun")
    return World(rank, size, local_rank, local_size)
