"""Figures from the cyclic orders of the options: robustness, consistency, position bias and memorisation gap."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from statistics import NormalDist, fmean

from medalpaca_data.exams.item import LETTERS

from ..scoring import argmax
from ..statistics import CONFIDENCE, Interval, Stratum, paired_bootstrap, paired_interval, wilson
from .result import ORDER, PUBLISHED, ScoredItem, Variant


def correct_per_variant(item: ScoredItem, side: str, perturbation: str) -> list[bool]:
    """Return whether the model is correct, for each variant of the item with that perturbation; [] without one.

    `side` is "base" or "tuned".
    """
    return [
        variant.order[_chosen_position(scores)] == item.key
        for variant, scores in zip(item.variants, item.scores[side], strict=True)
        if variant.perturbation == perturbation
    ]


def choices_in_orders(item: ScoredItem, side: str) -> list[tuple[int, int]]:
    """Return the chosen option in each order, the published one first, as (shown position, published index)."""
    return [
        ((position := _chosen_position(scores)), variant.order[position])
        for variant, scores in zip(item.variants, item.scores[side], strict=True)
        if variant.perturbation in (PUBLISHED, ORDER)
    ]


def is_robust(item: ScoredItem, side: str) -> bool:
    """Return whether the model is correct in every order of the item, the published one included."""
    return all(option == item.key for _, option in choices_in_orders(item, side))


def chosen_option(variant: Variant, scores: Sequence[float]) -> int:
    """Return the published index of the option that is chosen in one variant."""
    return variant.order[_chosen_position(scores)]


def _chosen_position(scores: Sequence[float]) -> int:
    # As the tasks choose: the first of equal scores.
    position = argmax(scores)
    if position is None:
        raise ValueError("a score is not a number")
    return position


def with_several_orders(items: Sequence[ScoredItem]) -> list[ScoredItem]:
    """Return the items that were scored in another order than the published one."""
    return [item for item in items if any(variant.perturbation == ORDER for variant in item.variants)]


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n` items, `value` = count / n, 95 % Wilson interval; `chance`: expected share of random answers."""

    n: int
    count: int
    value: float
    interval: Interval
    chance: float


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean, or difference of two means, over `n` items, as a share of 1, with 95 % interval."""

    n: int
    value: float
    interval: Interval


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of one value in [0, 1] per item, with the normal interval of Miller (2024), arXiv 2411.00640.

    See section 2 there. The variance is divided by n - 1; a single item has no variance, and its interval is 0 to 1.
    """
    n, value = len(values), fmean(values)
    if n == 1:
        return Mean(n, value, Interval(0.0, 1.0))
    error = sqrt(sum((one - value) ** 2 for one in values) / (n - 1) / n)
    return Mean(n, value, _normal_interval(value, error, 0.0, 1.0))


def with_jackknife_interval(n: int, value: float, derivatives: Iterable[float], limit: float = 1.0) -> Mean:
    """Return `value` over `n` items with its infinitesimal-jackknife interval, cut to +/- `limit`.

    `derivatives` are those of the value by the weight of each item.
    """
    error = sqrt(sum(derivative * derivative for derivative in derivatives))
    return Mean(n, value, _normal_interval(value, error, -limit, limit))


def _normal_interval(value: float, error: float, lowest: float, highest: float) -> Interval:
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Interval(max(lowest, value - margin), min(highest, value + margin))


def paired_difference(n: int, gained: int, lost: int, *, bootstrap: bool = False) -> Mean:
    """Return (gained - lost) / n over `n` pairs, with Tango's interval as in `exam compare`.

    Results of format 1 have a bootstrap interval instead (`bootstrap`).
    """
    interval = paired_bootstrap([Stratum(n, gained, lost)]) if bootstrap else paired_interval(n, gained, lost)
    return Mean(n, (gained - lost) / n, interval)


def share_of(
    items: Sequence[ScoredItem],
    condition: Callable[[ScoredItem], bool],
    chance: Callable[[ScoredItem], float] = lambda item: 1 / item.options,
) -> Share:
    """Return the share of items that fulfil `condition`; `chance` is its probability for random answers to an item."""
    n, count = len(items), sum(map(condition, items))
    return Share(n, count, count / n, wilson(count, n), fmean(map(chance, items)))


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Result of `position_bias`.

    `index`: from 0 (no bias) to 1. `guessing`: expected index of random answers, for as many choices. `favoured`: the
    letter chosen most beyond its expected count. `letters`: how often each letter was chosen, and the count expected
    without preference.
    """

    index: float
    guessing: float
    favoured: str
    letters: dict[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class OrderFigures:
    """Figures of the `n` items with several orders.

    `asked` counts pairs of item and order, the published order included. `published` is the accuracy in the published
    order, `every_order` the mean over items of the accuracy over their orders. See `order_figures` for `robust` and
    `consistent`. `position_bias` and `memorisation_gap` are None where the functions with these names return None.
    """

    n: int
    asked: int
    published: Share
    every_order: Mean
    robust: Share
    consistent: Share
    position_bias: PositionBias | None
    memorisation_gap: Mean | None


def order_figures(items: Sequence[ScoredItem], side: str) -> OrderFigures | None:
    """Return the figures of the cyclic orders for one model; None if no item has several orders.

    Each option that can move is once at each free position, which separates the effect of the option from that
    of the position (Zheng, C. et al. (2024), "Large Language Models Are Not Robust Multiple Choice Selectors",
    ICLR). Robust accuracy: share of items correct in all orders. Consistency: share of items with the same chosen
    option, correct or wrong, in all orders. Both follow all-variants accuracy and consistency of ReMedQA. A model
    that answers by position alone is robust on no item; one that always picks a fixed option, on 1/k of them.
    """
    several = with_several_orders(items)
    if not several:
        return None
    choices = {item.item: choices_in_orders(item, side) for item in several}
    accuracies = [fmean(option == item.key for _, option in choices[item.item]) for item in several]
    return OrderFigures(
        n=len(several),
        asked=sum(map(len, choices.values())),
        published=share_of(several, lambda item: choices[item.item][0][1] == item.key),
        every_order=mean(accuracies),
        robust=share_of(
            several,
            lambda item: is_robust(item, side),
            chance=lambda item: item.options ** -len(choices[item.item]),
        ),
        consistent=share_of(
            several,
            lambda item: len({option for _, option in choices[item.item]}) == 1,
            chance=lambda item: item.options ** (1 - len(choices[item.item])),
        ),
        position_bias=position_bias(items, side),
        memorisation_gap=memorisation_gap(items, side),
    )


def position_bias(items: Sequence[ScoredItem], side: str) -> PositionBias | None:
    """Return how far answers depend on the position of an option: 0 not at all, 1 always the same letter.

    Over all orders, an item with m movable options and c choices among them gives every free position c / m
    choices if position has no effect. The index is the total variation distance between observed and expected
    choices, summed over items, divided by its value with all choices at one position:

        sum over positions |observed - expected| / 2  /  sum over items c (1 - 1/m)

    The distance of the choices' shares from equality is the bias of Zheng et al. (2024, cited in `order_figures`).
    The division by its largest value is an addition of this package, so that exams with 4 and with 9 options
    share one scale. Random answers give more than 0 in a small exam: `guessing` is the sum of the half-normal
    means of |observed - expected|. Returns None if every choice is an option that keeps its position.
    """
    observed: Counter[int] = Counter()
    expected: defaultdict[int, float] = defaultdict(float)
    variance: defaultdict[int, float] = defaultdict(float)
    largest_distance = 0.0
    for item in with_several_orders(items):
        free = [position for position in range(item.options) if position not in item.fixed]
        choices = [position for position, _ in choices_in_orders(item, side) if position in free]
        share = 1 / len(free)
        observed.update(choices)
        for position in free:
            expected[position] += len(choices) * share
            variance[position] += len(choices) * share * (1 - share)
        largest_distance += len(choices) * (1 - share)
    if not largest_distance:
        return None
    distance = sum(abs(observed[position] - expected[position]) for position in expected) / 2
    by_chance = sum(sqrt(2 * variance[position] / pi) for position in expected) / 2
    favoured = max(sorted(expected), key=lambda position: observed[position] - expected[position])
    return PositionBias(
        index=distance / largest_distance,
        guessing=min(1.0, by_chance / largest_distance),
        favoured=LETTERS[favoured],
        letters={
            LETTERS[position]: (observed[position], expected[position]) for position in sorted(expected)
        },
    )


def memorisation_gap(items: Sequence[ScoredItem], side: str) -> Mean | None:
    """Return accuracy in the published order minus accuracy in other orders of comparable items.

    A model with knowledge of the subject is correct in any order. A model that memorised the published item ("the
    answer is C") is correct in the published order only. Lower accuracy on perturbed items is the sign of memorisation
    in Bedi, S. et al. (2025), JAMA Network Open 8(8):e2526021, and in ReMedQA. The plain difference would also count
    a preference for a letter that is often the key. Therefore the other orders are standardised to the published
    positions of the keys and to the numbers of options:

        gap = mean over items i of ( correct_i  -  A(kind of i, position of i's key as published) )
        A(kind, j) = accuracy over all other orders of items of that kind with the key at position j

    Items of one kind have the same number of options and the same fixed positions. The gap is 1 for a model that
    recalls published letters alone, and 0 for a model that always takes one letter or is correct in every order.
    Items without a comparable item are left out; n is the number of the others, and None is returned if it is 0.
    Interval: normal, with the variance from the gap's derivatives by the weight of each item (infinitesimal
    jackknife; Efron, B. (1982), "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM, chapter 6).
    """
    gap = gap_with_derivatives(items, side)
    return None if gap is None else with_jackknife_interval(gap.n, gap.value, gap.derivatives.values())


@dataclass(frozen=True, slots=True)
class GapWithDerivatives:
    """Memorisation gap over `n` items, and its derivative by the weight of each item (by id), at weight 1."""

    n: int
    value: float
    derivatives: dict[str, float]


def gap_with_derivatives(items: Sequence[ScoredItem], side: str) -> GapWithDerivatives | None:
    """Return the memorisation gap and its derivatives; None as in `memorisation_gap`."""
    several = [item for item in with_several_orders(items) if item.key not in item.fixed]
    others = {item.item: _in_other_orders(item, side) for item in several}
    total = Counter(position for outcomes in others.values() for position, _ in outcomes)
    correct = Counter(position for outcomes in others.values() for position, hit in outcomes if hit)
    accuracy = {position: correct[position] / n for position, n in total.items()}
    comparable = [item for item in several if _key_position(item, item.key) in total]
    if not comparable:
        return None
    n, keys = len(comparable), Counter(_key_position(item, item.key) for item in comparable)
    differences = {
        item.item: correct_per_variant(item, side, PUBLISHED)[0] - accuracy[_key_position(item, item.key)]
        for item in comparable
    }
    value = fmean(differences.values())
    derivatives = {}
    for name, outcomes in others.items():
        by_others = sum(
            keys[position] / total[position] * (hit - accuracy[position]) for position, hit in outcomes
        )
        derivatives[name] = (differences.get(name, value) - value - by_others) / n
    return GapWithDerivatives(n, value, derivatives)


# Number of options, fixed positions, position of the key.
KeyPosition = tuple[int, tuple[int, ...], int]


def _key_position(item: ScoredItem, position: int) -> KeyPosition:
    return item.options, item.fixed, position


def _in_other_orders(item: ScoredItem, side: str) -> list[tuple[KeyPosition, bool]]:
    """Return (`KeyPosition` of the correct option, whether it was chosen) in each order except the published one."""
    hits = correct_per_variant(item, side, ORDER)
    orders = [variant.order for variant in item.variants if variant.perturbation == ORDER]
    positions = [_key_position(item, order.index(item.key)) for order in orders]
    return list(zip(positions, hits, strict=True))
