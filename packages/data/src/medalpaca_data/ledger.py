"""The ledger: rows read = rows kept + rows rejected, per source and per stage, or the build fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


class UnbalancedError(RuntimeError):
    """The books do not balance: a fault of ours, never of the data."""


@dataclass(slots=True)
class Stage:
    """What one stage did to one source's rows."""

    name: str
    read: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "read": self.read,
            "kept": self.kept,
            "rejected": self.rejected,
            "reasons": dict(sorted(self.reasons.items())),
        }


@dataclass(slots=True)
class Account:
    """One source's way through the stages."""

    source: str
    stages: list[Stage] = field(default_factory=list)

    def open(self, stage: str) -> Stage:
        """A new stage; it starts with what the one before it kept."""
        self.stages.append(Stage(stage))
        return self.stages[-1]

    def balance(self) -> None:
        """Raise UnbalancedError unless every stage balances and hands all it kept to the next."""
        for stage in self.stages:
            if stage.read != stage.kept + stage.rejected:
                raise UnbalancedError(
                    f"{self.source}/{stage.name}: read {stage.read}, kept {stage.kept}, rejected {stage.rejected}"
                )
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if before.kept != after.read:
                raise UnbalancedError(
                    f"{self.source}: {before.name} kept {before.kept}, {after.name} read {after.read}"
                )

    @property
    def read(self) -> int:
        return self.stages[0].read

    @property
    def kept(self) -> int:
        return self.stages[-1].kept

    @property
    def rejected(self) -> int:
        return sum(stage.rejected for stage in self.stages)
