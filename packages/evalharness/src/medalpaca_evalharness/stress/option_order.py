"""What one side chose on an item in each of its variants, and whether that was right.

A share of items and a mean over items, each with its interval.

What the cyclic orders of the options show: robustness, consistency, position bias and the memorisation gap.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from statistics import NormalDist, fmean

from medalpaca_data.exams.item import LETTERS

from ..scoring import largest
from ..statistics import CONFIDENCE, Interval, Stratum, paired_bootstrap, wilson
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


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n` items, with 95 % Wilson interval; `chance` is what drawing each answer blindly gives."""

    n: int
    count: int
    value: float
    interval: Interval
    chance: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `n` items as a share of 1, with 95 % interval."""

    n: int
    value: float
    interval: Interval


def mean(values: Sequence[float]) -> Mean:
    """Mean of one value per item, with the normal interval of Miller, E. (2024), arXiv 2411.00640, section 2.

    The variance has n - 1 in it; of one item nothing is known, and its interval is everything, 0 to 1.
    """
    n, value = len(values), fmean(values)
    if n == 1:
        return Mean(n, value, Interval(0.0, 1.0))
    error = sqrt(sum((one - value) ** 2 for one in values) / (n - 1) / n)
    return Mean(n, value, _around(value, error, 0.0, 1.0))


def with_interval(n: int, value: float, moves: Iterable[float], widest: float = 1.0) -> Mean:
    """A figure whose derivatives by the weight of each item are `moves`; it lies between `widest` and its negative."""
    return Mean(n, value, _around(value, sqrt(sum(move * move for move in moves)), -widest, widest))


def _around(value: float, error: float, lowest: float, highest: float) -> Interval:
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Interval(max(lowest, value - margin), min(highest, value + margin))


def paired(n: int, gained: int, lost: int) -> Mean:
    """Of `n` pairs, the share gained less the share lost, with the bootstrap interval of `exam compare`."""
    return Mean(n, (gained - lost) / n, paired_bootstrap([Stratum(n, gained, lost)]))


def share_of(
    items: Sequence[Scored],
    holds: Callable[[Scored], bool],
    chance: Callable[[Scored], float] = lambda item: 1 / item.options,
) -> Share:
    """The share of items of which `holds` is true; `chance` is how probable that is by drawing blindly."""
    n, count = len(items), sum(map(holds, items))
    return Share(n, count, count / n, wilson(count, n), fmean(map(chance, items)))


@dataclass(frozen=True, slots=True)
class PositionBias:
    """See `position_bias`. `letters`: how often each was chosen, and how often without a preference."""

    index: float
    guessing: float  # about what a model shows that draws its answers blindly, as often as this one was asked
    favoured: str  # the letter chosen most beyond its share
    letters: dict[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Orders:
    """The items that were asked in several orders; `asked` counts item and order, the published one included."""

    n: int
    asked: int
    published: Share
    every_order: Mean  # accuracy over all orders, each item counted once
    robust: Share
    consistent: Share
    position_bias: PositionBias | None
    memorisation_gap: Mean | None


def orders(items: Sequence[Scored], side: str) -> Orders | None:
    """What the cyclic orders of the options show.

    Each option that may move stands once at each free position, so what an answer owes to the option and what it
    owes to the position come apart (Zheng, C. et al. (2024), "Large Language Models Are Not Robust Multiple Choice
    Selectors", ICLR). Robust accuracy: the share of items right in all orders. Consistency: the share in which the
    same option, right or wrong, was chosen in all. Both after ReMedQA's all-variants accuracy and consistency.
    A model that answers by position alone is robust on no item, one that picks an option for good on 1/k of them.
    """
    several = moved(items)
    if not several:
        return None
    found = {item.item: chosen_in_orders(item, side) for item in several}
    right = [fmean(option == item.key for _, option in found[item.item]) for item in several]
    return Orders(
        n=len(several),
        asked=sum(map(len, found.values())),
        published=share_of(several, lambda item: found[item.item][0][1] == item.key),
        every_order=mean(right),
        robust=share_of(
            several,
            lambda item: robust(item, side),
            chance=lambda item: item.options ** -len(found[item.item]),
        ),
        consistent=share_of(
            several,
            lambda item: len({option for _, option in found[item.item]}) == 1,
            chance=lambda item: item.options ** (1 - len(found[item.item])),
        ),
        position_bias=position_bias(items, side),
        memorisation_gap=memorisation_gap(items, side),
    )


def position_bias(items: Sequence[Scored], side: str) -> PositionBias | None:
    """How far answers follow the position instead of the option: 0 not at all, 1 always the same letter.

    Over all orders, an item with m options that move and c choices among them gives every free position c / m
    choices if position plays no part. The index is the total variation distance between choices seen and choices
    so expected, summed over items, divided by what it would be with all choices at one position:

        sum over positions |seen - expected| / 2  /  sum over items c (1 - 1/m)

    The distance of the choices' shares from equality is the bias that Zheng et al. (2024, above) describe; that it
    is divided by its largest value, so that exams with 4 and with 9 options can be told on one scale, is ours.
    Guessing gives more than 0 in a small exam: `guessing` is the sum of the half-normal means of |seen - expected|.
    None when every choice was of an option that stays in place.
    """
    seen: Counter[int] = Counter()
    expected: defaultdict[int, float] = defaultdict(float)
    variance: defaultdict[int, float] = defaultdict(float)
    largest_distance = 0.0
    for item in moved(items):
        free = [position for position in range(item.options) if position not in item.fixed]
        choices = [position for position, _ in chosen_in_orders(item, side) if position in free]
        each = 1 / len(free)
        seen.update(choices)
        for position in free:
            expected[position] += len(choices) * each
            variance[position] += len(choices) * each * (1 - each)
        largest_distance += len(choices) * (1 - each)
    if not largest_distance:
        return None
    distance = sum(abs(seen[position] - expected[position]) for position in expected) / 2
    by_chance = sum(sqrt(2 * variance[position] / pi) for position in expected) / 2
    favoured = max(sorted(expected), key=lambda position: seen[position] - expected[position])
    return PositionBias(
        index=distance / largest_distance,
        guessing=min(1.0, by_chance / largest_distance),
        favoured=LETTERS[favoured],
        letters={LETTERS[at]: (seen[at], expected[at]) for at in sorted(expected)},
    )


def memorisation_gap(items: Sequence[Scored], side: str) -> Mean | None:
    """Accuracy in the published order less accuracy in the other orders of like items with the key at the same place.

    Who knows the answer finds it in any order; who remembers the published item ("the answer is C") finds it in
    the published one only. That an exam's perturbed form is answered worse than its published one is the sign of
    memory in Bedi, S. et al. (2025), JAMA Network Open 8(8):e2526021, and in ReMedQA. Taken plainly, the difference
    would also count a preference for a letter that is often the key; so the other orders are standardised to the
    published positions of the keys and to the numbers of options:

        gap = mean over items i of ( right_i  -  A(kind of i, position of i's key as published) )
        A(kind, j) = share right among all other orders of items of that kind in which the key stands at position j

    where items are of one kind that have as many options with the same places fixed. 1 for a model that recalls
    published letters alone, 0 for one that always takes one letter or that is right in every order. Items without
    another to be compared with are left out (n says how many remain).
    Interval: normal, with the variance from the gap's derivatives by each item (the infinitesimal jackknife;
    Efron, B. (1982), "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM, chapter 6).
    """
    found = gap(items, side)
    return None if found is None else with_interval(found.n, found.value, found.moves.values())


@dataclass(frozen=True, slots=True)
class Gap:
    """`moves`: the gap's derivative by the weight of each item, which is 1."""

    n: int
    value: float
    moves: dict[str, float]


def gap(items: Sequence[Scored], side: str) -> Gap | None:
    """The memorisation gap and what each item adds to it."""
    several = [item for item in moved(items) if item.key not in item.fixed]
    others = {item.item: _others(item, side) for item in several}
    asked = Counter(place for found in others.values() for place, _ in found)
    right = Counter(place for found in others.values() for place, correct in found if correct)
    share = {place: right[place] / n for place, n in asked.items()}
    taken = [item for item in several if _place(item, item.key) in asked]
    if not taken:
        return None
    n, keys = len(taken), Counter(_place(item, item.key) for item in taken)
    own = {item.item: rights(item, side, PUBLISHED)[0] - share[_place(item, item.key)] for item in taken}
    value = fmean(own.values())
    moves = {}
    for name, found in others.items():
        by_others = sum(keys[at] / asked[at] * (correct - share[at]) for at, correct in found)
        moves[name] = (own.get(name, value) - value - by_others) / n
    return Gap(n, value, moves)


Place = tuple[int, tuple[int, ...], int]


def _place(item: Scored, position: int) -> Place:
    """The item's kind, and a position in it."""
    return item.options, item.fixed, position


def _others(item: Scored, side: str) -> list[tuple[Place, bool]]:
    """(place of the key, whether it was chosen) in each order but the published one."""
    found = rights(item, side, ORDER)
    orders = [variant.order for variant in item.variants if variant.perturbation == ORDER]
    places = [_place(item, order.index(item.key)) for order in orders]
    return list(zip(places, found, strict=True))
