"""Which work of a step falls to which process: the same sum, whoever computes its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..rows.plan import MicroBatch
from ..rows.tokens import Sample
from .world import World


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
