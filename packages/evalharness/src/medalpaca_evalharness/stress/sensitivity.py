"""Figures of the variants that ask the same in other words: sensitivity to the prompt, and flips by swapped words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from .option_order import Mean, Share, chosen_option, correct_per_variant, paired_difference, share_of
from .result import CHAT, INSTRUCTION, PUBLISHED, SIDES, ScoredItem
from .swaps import SWAPS

CHAT_LABEL = "chat template"


@dataclass(frozen=True, slots=True)
class InstructionFigures:
    """Accuracy of one model under other instructions, by label: "instruction 1", ..., "chat template".

    `lowest` and `highest` include the accuracy as published. `consistent`: share of items with the same option, right
    or wrong, under all instructions, the published one included.
    """

    accuracies: dict[str, Share]
    lowest: float
    highest: float
    consistent: Share


@dataclass(frozen=True, slots=True)
class InstructionDifference:
    """Tuned minus base as published and under each other instruction, with Tango's interval.

    `lowest` and `highest` are those of `differences`. `same_sign`: in how many of them the sign is that as published.
    """

    published: Mean
    differences: dict[str, Mean]
    lowest: float
    highest: float
    same_sign: int


def chosen_by_instruction(item: ScoredItem, side: str) -> dict[str, int]:
    """Return the published index of the chosen option under each other instruction, by its label."""
    chosen: dict[str, int] = {}
    for variant, scores in zip(item.variants, item.scores[side], strict=True):
        if variant.perturbation == INSTRUCTION:
            chosen[f"instruction {len(chosen) + 1}"] = chosen_option(variant, scores)
        elif variant.perturbation == CHAT:
            chosen[CHAT_LABEL] = chosen_option(variant, scores)
    return chosen


def instruction_figures(items: Sequence[ScoredItem], side: str) -> InstructionFigures | None:
    """Return the figures of one model under other instructions; None if the items have no such variants."""
    chosen = {item.item: chosen_by_instruction(item, side) for item in items}
    labels = list(chosen[items[0].item])
    if not labels:
        return None
    accuracies = {label: share_of(items, partial(_is_correct, chosen, label)) for label in labels}
    values = [_published(items, side).value, *(share.value for share in accuracies.values())]
    return InstructionFigures(
        accuracies=accuracies,
        lowest=min(values),
        highest=max(values),
        consistent=share_of(
            items,
            lambda item: set(chosen[item.item].values()) == {_published_option(item, side)},
            chance=lambda item: item.options ** -len(labels),
        ),
    )


def instruction_difference(items: Sequence[ScoredItem]) -> InstructionDifference | None:
    """Return tuned minus base under each instruction; None if the items have no such variants."""
    base, tuned = (
        {
            item.item: chosen_by_instruction(item, side) | {PUBLISHED: _published_option(item, side)}
            for item in items
        }
        for side in SIDES
    )
    found = {}
    for label in base[items[0].item]:
        pairs = [(_is_correct(base, label, item), _is_correct(tuned, label, item)) for item in items]
        found[label] = paired_difference(len(items), pairs.count((False, True)), pairs.count((True, False)))
    published = found.pop(PUBLISHED)
    if not found:
        return None
    values = [one.value for one in found.values()]
    return InstructionDifference(
        published=published,
        differences=found,
        lowest=min(values),
        highest=max(values),
        same_sign=sum(_sign(value) == _sign(published.value) for value in values),
    )


def swap_figures(items: Sequence[ScoredItem], side: str) -> dict[str, Share | None]:
    """Return the share of items whose chosen option changes when words are swapped, by attribute.

    "any": over the items with at least one swap, the share of those whose option changes under one or more. The value
    of an attribute is None if no item has its swap.
    """
    flips = {item.item: _flips(item, side) for item in items}
    figures: dict[str, Share | None] = {}
    for perturbation, (attribute, _) in SWAPS.items():
        swapped = [item for item in items if perturbation in flips[item.item]]
        figures[attribute] = (
            share_of(
                swapped, partial(_is_flipped, flips, perturbation), chance=lambda item: 1 - 1 / item.options
            )
            if swapped
            else None
        )
    swapped = [item for item in items if flips[item.item]]
    figures["any"] = (
        share_of(
            swapped,
            lambda item: any(flips[item.item].values()),
            chance=lambda item: 1 - item.options ** -len(flips[item.item]),
        )
        if swapped
        else None
    )
    return figures


def _flips(item: ScoredItem, side: str) -> dict[str, bool]:
    published = _published_option(item, side)
    return {
        variant.perturbation: chosen_option(variant, scores) != published
        for variant, scores in zip(item.variants, item.scores[side], strict=True)
        if variant.perturbation in SWAPS
    }


def _is_flipped(flips: Mapping[str, Mapping[str, bool]], perturbation: str, item: ScoredItem) -> bool:
    return flips[item.item][perturbation]


def _is_correct(chosen: Mapping[str, Mapping[str, int]], label: str, item: ScoredItem) -> bool:
    return chosen[item.item][label] == item.key


def _published(items: Sequence[ScoredItem], side: str) -> Share:
    return share_of(items, lambda item: correct_per_variant(item, side, PUBLISHED)[0])


def _published_option(item: ScoredItem, side: str) -> int:
    # The published variant is the first.
    return chosen_option(item.variants[0], item.scores[side][0])


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
