"""The figures of a stress run, from what the options scored: pure functions, no model and no exam needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import pi, sqrt
from statistics import NormalDist, fmean
from typing import Any

from medalpaca_data.exam import LETTERS

from .bootstrap import Stratum, paired_bootstrap
from .scoring import largest
from .statistics import CONFIDENCE, Interval, mcnemar_exact, wilson
from .stress_result import (
    NONE_OF_THE_ABOVE,
    OPTIONS_ONLY,
    ORDER,
    PUBLISHED,
    QUESTION_ONLY,
    SIDES,
    Scored,
    Stress,
)


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


@dataclass(frozen=True, slots=True)
class Drop:
    """The same items as published and perturbed. `drop`: published less perturbed; `p`: exact McNemar."""

    published: Share
    perturbed: Share
    drop: Mean
    p: float


@dataclass(frozen=True, slots=True)
class SideFigures:
    """All figures of one model. None: no item could be asked so."""

    published: Share
    orders: Orders | None
    none_of_the_above: Drop | None
    options_only: Share | None
    question_only: Share | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Tuned less base. Robust accuracy with items won and lost and exact McNemar p; the gap with its interval."""

    robust: Mean
    fixed: int
    broken: int
    p: float
    memorisation_gap: Mean | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run: by side, and where there are two, the difference in what all orders show."""

    sides: dict[str, SideFigures]
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        """Lists for tuples, as it will be read back."""
        found: dict[str, Any] = _listed(asdict(self))
        return found


def figures(stress: Stress) -> Figures:
    """Every figure of the run."""
    sides = {side: side_figures(stress.items, side) for side in stress.sides}
    return Figures(sides, difference(stress.items) if tuple(sides) == SIDES else None)


def side_figures(items: Sequence[Scored], side: str) -> SideFigures:
    """Every figure of one side's answers."""
    return SideFigures(
        published=_share(items, lambda item: rights(item, side, PUBLISHED)[0]),
        orders=orders(items, side),
        none_of_the_above=nota_drop(items, side),
        options_only=accuracy(items, side, OPTIONS_ONLY),
        question_only=accuracy(items, side, QUESTION_ONLY),
    )


# One item ---------------------------------------------------------------------------------------------------


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


# All items --------------------------------------------------------------------------------------------------


def accuracy(items: Sequence[Scored], side: str, perturbation: str) -> Share | None:
    """The share right when asked in that way, of the items that were."""
    asked = [item for item in items if rights(item, side, perturbation)]
    return _share(asked, lambda item: rights(item, side, perturbation)[0]) if asked else None


def orders(items: Sequence[Scored], side: str) -> Orders | None:
    """What the cyclic orders of the options show.

    Each option that may move stands once at each free position, so what an answer owes to the option and what it
    owes to the position come apart (Zheng, C. et al. (2024), "Large Language Models Are Not Robust Multiple Choice
    Selectors", ICLR). Robust accuracy: the share of items right in all orders. Consistency: the share in which the
    same option, right or wrong, was chosen in all. Both after ReMedQA's all-variants accuracy and consistency.
    A model that answers by position alone is robust on no item, one that picks an option for good on 1/k of them.
    """
    moved = _moved(items)
    if not moved:
        return None
    found = {item.item: chosen_in_orders(item, side) for item in moved}
    right = [fmean(option == item.key for _, option in found[item.item]) for item in moved]
    return Orders(
        n=len(moved),
        asked=sum(map(len, found.values())),
        published=_share(moved, lambda item: found[item.item][0][1] == item.key),
        every_order=mean(right),
        robust=_share(
            moved,
            lambda item: robust(item, side),
            chance=lambda item: item.options ** -len(found[item.item]),
        ),
        consistent=_share(
            moved,
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
    for item in _moved(items):
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
    """Accuracy in the published order less accuracy in the other orders with the key at the same positions.

    Who knows the answer finds it in any order; who remembers the published item ("the answer is C") finds it in
    the published one only. That an exam's perturbed form is answered worse than its published one is the sign of
    memory in Bedi, S. et al. (2025), JAMA Network Open 8(8):e2526021, and in ReMedQA. Taken plainly, the difference
    would also count a preference for a letter that is often the key; so the other orders are standardised to the
    published positions of the keys:

        gap = mean over items i of ( right_i  -  A(position of i's key as published) )
        A(j) = share right among all other orders, of all items, in which the key stands at position j

    1 for a model that recalls published letters alone, 0 for one that always takes one letter or that is right in
    every order. Items at whose key's position no other order has a key are left out (n says how many remain).
    Interval: normal, with the variance from the gap's derivatives by each item (the infinitesimal jackknife;
    Efron, B. (1982), "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM, chapter 6).
    """
    found = _gap(items, side)
    return None if found is None else _with_interval(found.n, found.value, found.moves.values())


@dataclass(frozen=True, slots=True)
class _Gap:
    """`moves`: the gap's derivative by the weight of each item, which is 1."""

    n: int
    value: float
    moves: dict[str, float]


def _gap(items: Sequence[Scored], side: str) -> _Gap | None:
    moved = [item for item in _moved(items) if item.key not in item.fixed]
    others = {item.item: _others(item, side) for item in moved}
    asked = Counter(position for found in others.values() for position, _ in found)
    right = Counter(position for found in others.values() for position, correct in found if correct)
    share = {position: right[position] / n for position, n in asked.items()}
    taken = [item for item in moved if item.key in asked]
    if not taken:
        return None
    n, keys = len(taken), Counter(item.key for item in taken)
    own = {item.item: rights(item, side, PUBLISHED)[0] - share[item.key] for item in taken}
    value = fmean(own.values())
    moves = {}
    for name, found in others.items():
        by_others = sum(keys[at] / asked[at] * (correct - share[at]) for at, correct in found)
        moves[name] = (own.get(name, value) - value - by_others) / n
    return _Gap(n, value, moves)


def _others(item: Scored, side: str) -> list[tuple[int, bool]]:
    """(position of the key, whether it was chosen) in each order but the published one."""
    found = rights(item, side, ORDER)
    orders = [variant.order for variant in item.variants if variant.perturbation == ORDER]
    return [(order.index(item.key), correct) for order, correct in zip(orders, found, strict=True)]


def nota_drop(items: Sequence[Scored], side: str) -> Drop | None:
    """How much is lost when the right option reads "None of the above" instead.

    Who reasons from the question can still exclude the others; who recognises the familiar answer cannot. The test
    is that of Med-HALT (Pal, A. et al. (2023), CoNLL) and of Bedi et al. (2025, above), who saw 9 to 38 points lost.
    """
    asked = [item for item in items if rights(item, side, NONE_OF_THE_ABOVE)]
    published, perturbed = accuracy(asked, side, PUBLISHED), accuracy(asked, side, NONE_OF_THE_ABOVE)
    if published is None or perturbed is None:
        return None
    pairs = [(rights(item, side, PUBLISHED)[0], rights(item, side, NONE_OF_THE_ABOVE)[0]) for item in asked]
    won, lost = pairs.count((False, True)), pairs.count((True, False))
    return Drop(published, perturbed, _paired(len(asked), lost, won), mcnemar_exact(won, lost))


def difference(items: Sequence[Scored]) -> Difference | None:
    """What tuning changed in robust accuracy and in the memorisation gap; None where no item has several orders."""
    moved = _moved(items)
    if not moved:
        return None
    base, tuned = SIDES
    pairs = [(robust(item, base), robust(item, tuned)) for item in moved]
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    gaps = [_gap(items, side) for side in SIDES]
    gap = None
    if gaps[0] is not None and gaps[1] is not None:
        moves = [gaps[1].moves[name] - move for name, move in gaps[0].moves.items()]
        gap = _with_interval(gaps[0].n, gaps[1].value - gaps[0].value, moves, widest=2.0)
    return Difference(_paired(len(moved), fixed, broken), fixed, broken, mcnemar_exact(fixed, broken), gap)


# Shares and means -------------------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> Mean:
    """Mean of one value per item, with the normal interval of Miller, E. (2024), arXiv 2411.00640, section 2.

    The variance has n - 1 in it; of one item nothing is known, and its interval is everything, 0 to 1.
    """
    n, value = len(values), fmean(values)
    if n == 1:
        return Mean(n, value, Interval(0.0, 1.0))
    error = sqrt(sum((one - value) ** 2 for one in values) / (n - 1) / n)
    return Mean(n, value, _around(value, error, 0.0, 1.0))


def _with_interval(n: int, value: float, moves: Iterable[float], widest: float = 1.0) -> Mean:
    return Mean(n, value, _around(value, sqrt(sum(move * move for move in moves)), -widest, widest))


def _around(value: float, error: float, lowest: float, highest: float) -> Interval:
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Interval(max(lowest, value - margin), min(highest, value + margin))


def _paired(n: int, gained: int, lost: int) -> Mean:
    """Of `n` pairs, the share gained less the share lost, with the bootstrap interval of `exam compare`."""
    return Mean(n, (gained - lost) / n, paired_bootstrap([Stratum(n, gained, lost)]))


def _share(
    items: Sequence[Scored],
    holds: Callable[[Scored], bool],
    chance: Callable[[Scored], float] = lambda item: 1 / item.options,
) -> Share:
    n, count = len(items), sum(map(holds, items))
    return Share(n, count, count / n, wilson(count, n), fmean(map(chance, items)))


def _moved(items: Sequence[Scored]) -> list[Scored]:
    return [item for item in items if any(variant.perturbation == ORDER for variant in item.variants)]


def _listed(value: Any) -> Any:
    match value:
        case dict():
            return {key: _listed(one) for key, one in value.items()}
        case list() | tuple():
            return [_listed(one) for one in value]
    return value
