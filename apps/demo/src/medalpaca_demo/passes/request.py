"""What is asked of the engine and what it tells back; plain values, so that the page needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Arm = Literal["base", "tuned"]
Scoring = Literal["letter", "text"]
State = Literal["waiting", "reading", "answering", "done", "stopped", "failed"]
Ended = Literal["end", "length", "stopped", "broken"]

ARMS: tuple[Arm, ...] = ("base", "tuned")
FINAL: frozenset[State] = frozenset({"done", "stopped", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question for both arms: the prompt as sent, and one continuation per option."""

    prompt: str
    choices: tuple[str, ...]
    scoring: Scoring
    max_new_tokens: int = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionScores:
    """How one arm rates the options, in option order.

    `loglikelihoods` are lm-eval's numbers for the item. `shares` are what the bars show: the softmax over
    them (letter) or over them divided by the option's length in characters (text; lm-eval's `acc_norm`).
    `mass` is the probability that all options hold together: 95 % of almost nothing is no confidence.
    `from_endpoint`: made of what another program tells of its probabilities, not by passes of our own.
    """

    loglikelihoods: tuple[float, ...]
    shares: tuple[float, ...]
    chosen: int
    mass: float
    from_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One arm's written answer so far."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: Ended | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """None until there is something to divide by."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Progress:
    """A picture of a job at one moment. Whoever looks late sees the newest one, never a backlog."""

    state: State = "waiting"
    ahead: int = 0
    scores: Mapping[Arm, OptionScores] = field(default_factory=lambda: MappingProxyType({}))
    answers: Mapping[Arm, Answer] = field(default_factory=lambda: MappingProxyType({}))
    unrated: Mapping[Arm, str] = field(default_factory=lambda: MappingProxyType({}))  # and why
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINAL
