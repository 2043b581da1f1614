"""How a sitting of a run ended."""

from __future__ import annotations

from dataclasses import dataclass

from .checkpoint import Best


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sitting ended. Losses are validation losses in nats per learned token, None without validation rows."""

    step: int
    before: float | None
    after: float | None
    seconds: float
    finished: bool
    best: Best | None = None  # where validation happened on the way and found a step before the last
