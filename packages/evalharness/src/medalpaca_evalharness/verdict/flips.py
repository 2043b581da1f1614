"""The items on which tuning changed right to wrong or wrong to right, with both answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..logged.sample import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One item that both sides answered, one of them rightly. Letters, with the text where texts were compared."""

    item_id: str
    step: int | None
    key: str
    base: str
    tuned: str

    @property
    def fixed(self) -> bool:
        """Wrong before, right after."""
        return self.tuned == self.key


def flips(pairs: Iterable[tuple[Answer, Answer]]) -> tuple[Flip, ...]:
    """All flipped items, in the order of the exam."""
    return tuple(
        Flip(
            item_id=before.item_id,
            step=before.step,
            key=option(before, before.key),
            base=option(before, before.chosen),
            tuned=option(after, after.chosen),
        )
        for before, after in pairs
        if before.right != after.right
    )


def option(answer: Answer, index: int | None) -> str:
    """An option as it was compared: its letter, and its text where the task compares texts. Without one, why."""
    if index is None:
        return picked(answer)
    letter, text = answer.letters[index], answer.choices[index]
    return letter if text == letter else f"{letter} {text}"


def picked(answer: Answer) -> str:
    """The letter that was answered, or why there is none of this item's."""
    if answer.chosen is not None:
        return answer.letters[answer.chosen]
    return "no option's letter" if answer.outcome == "wrong" else answer.outcome


def flip_json(flip: Flip) -> dict[str, Any]:
    """For programs."""
    return {
        "item": flip.item_id,
        "step": flip.step,
        "key": flip.key,
        "base": flip.base,
        "tuned": flip.tuned,
    }
