"""From the scores that a task compares to the probability a model gives each option."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf

from medalpaca_data.ground.errors import CheckFailed

from ..logged.sample import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One item as the model saw it: how likely each option is, and which one is right."""

    item_id: str
    shares: tuple[float, ...]  # sum to 1, in option order
    key: int
    right: bool

    @property
    def confidence(self) -> float:
        """The probability of the option that was chosen."""
        return max(self.shares)


def forecasts(answers: Iterable[Answer]) -> list[Forecast]:
    """The softmax of what the task compares, per item.

    For `acc` these are the model's own probabilities, given that one of the options follows. For `acc_norm`
    the scores are means per character, so that the probabilities are flatter than the model's own.
    Raises CheckFailed for an item whose options are all impossible.
    """
    return [
        Forecast(
            item_id=answer.item_id,
            shares=softmax(answer.scores, answer.item_id),
            key=answer.key,
            right=answer.right,
        )
        for answer in answers
    ]


def softmax(scores: Sequence[float], item_id: str) -> tuple[float, ...]:
    """Shares that sum to 1, in proportion to exp(score)."""
    largest = max(scores)
    if largest in (inf, -inf):
        raise CheckFailed(f"item {item_id}: log-likelihoods {scores} are not finite")
    weights = [exp(score - largest) for score in scores]
    total = sum(weights)
    return tuple(weight / total for weight in weights)
