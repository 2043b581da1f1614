"""What one side chose on an item in each of its variants, and whether that was right."""

from __future__ import annotations

from collections.abc import Sequence

from ..answer.scoring import largest
from .result import ORDER, PUBLISHED, Scored


def rights(item: Scored, side: str, perturbation: str) -> list[bool]:
    """Whether the item was right, once for each variant of that kind."""
    return [
        variant.order[_position(scores)] == item.key
        for variant, scores in zip(item.variants, item.scores[side], strict=True)
        if variant.perturbation == perturbation
    ]


def chosen_in_orders(item: Scored, side: str) -> list[tuple[int, int]]:
    """(position, published index) of what was chosen in each order, the published one first."""
    return [
        ((position := _position(scores)), variant.order[position])
        for variant, scores in zip(item.variants, item.scores[side], strict=True)
        if variant.perturbation in (PUBLISHED, ORDER)
    ]


def robust(item: Scored, side: str) -> bool:
    """Whether it was right in every order."""
    return all(option == item.key for _, option in chosen_in_orders(item, side))


def _position(scores: Sequence[float]) -> int:
    position = largest(scores)  # as the tasks choose: the first of equals
    if position is None:
        raise ValueError("a score is not a number")
    return position


def moved(items: Sequence[Scored]) -> list[Scored]:
    """The items that were asked in several orders."""
    return [item for item in items if any(variant.perturbation == ORDER for variant in item.variants)]
