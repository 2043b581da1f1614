"""The figures of a stress run, from what the options scored: pure functions, no model and no exam needed.

Whether a stress result is what it says: its figures computed again, and with the exam at hand, what was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose
from typing import Any

from medalpaca_data.exams.exam import Exam

from ..statistics import mcnemar_exact
from .option_order import (
    Mean,
    Orders,
    Share,
    gap,
    moved,
    orders,
    paired,
    rights,
    robust,
    share_of,
    with_interval,
)
from .perturbations import Perturbed, perturbed, stress_id
from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, PUBLISHED, QUESTION_ONLY, SIDES, Scored, Stress


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


def stress_figures(stress: Stress) -> Figures:
    """Every figure of the run."""
    sides = {side: side_figures(stress.items, side) for side in stress.sides}
    return Figures(sides, difference(stress.items) if tuple(sides) == SIDES else None)


def side_figures(items: Sequence[Scored], side: str) -> SideFigures:
    """Every figure of one side's answers."""
    return SideFigures(
        published=share_of(items, lambda item: rights(item, side, PUBLISHED)[0]),
        orders=orders(items, side),
        none_of_the_above=nota_drop(items, side),
        options_only=accuracy(items, side, OPTIONS_ONLY),
        question_only=accuracy(items, side, QUESTION_ONLY),
    )


def accuracy(items: Sequence[Scored], side: str, perturbation: str) -> Share | None:
    """The share right when asked in that way, of the items that were."""
    asked = [item for item in items if rights(item, side, perturbation)]
    return share_of(asked, lambda item: rights(item, side, perturbation)[0]) if asked else None


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
    return Drop(published, perturbed, paired(len(asked), lost, won), mcnemar_exact(won, lost))


def difference(items: Sequence[Scored]) -> Difference | None:
    """What tuning changed in robust accuracy and in the memorisation gap; None where no item has several orders."""
    several = moved(items)
    if not several:
        return None
    base, tuned = SIDES
    pairs = [(robust(item, base), robust(item, tuned)) for item in several]
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    gaps = [gap(items, side) for side in SIDES]
    change = None
    if gaps[0] is not None and gaps[1] is not None:
        moves = [gaps[1].moves[name] - move for name, move in gaps[0].moves.items()]
        change = with_interval(gaps[0].n, gaps[1].value - gaps[0].value, moves, widest=2.0)
    return Difference(
        paired(len(several), fixed, broken), fixed, broken, mcnemar_exact(fixed, broken), change
    )


def _listed(value: Any) -> Any:
    match value:
        case dict():
            return {key: _listed(one) for key, one in value.items()}
        case list() | tuple():
            return [_listed(one) for one in value]
    return value


def problems(stress: Stress, stated: Mapping[str, Any], exam: Exam | None = None) -> Iterator[str]:
    """What does not match, one line each. `stated` are the figures as they stand in the file.

    With `exam`, items, keys, orders and the hashes of all that was shown are checked as well.
    """
    yield from differing(stress_figures(stress).as_json(), stated, "figures")
    if exam is not None:
        yield from _asked(stress, exam)


def differing(found: Any, stated: Any, where: str) -> Iterator[str]:
    """Where two JSON values differ; numbers by more than rounding."""
    match found, stated:
        case dict(), dict():
            for name in sorted(found.keys() | stated.keys()):
                yield from differing(found.get(name), stated.get(name), f"{where}.{name}")
        case list(), list() if len(found) == len(stated):
            for index, pair in enumerate(zip(found, stated, strict=True)):
                yield from differing(*pair, f"{where}[{index}]")
        case (bool(), _) | (_, bool()):
            if found is not stated:
                yield f"{where} is {stated}, the scores give {found}"
        case (int() | float(), int() | float()):
            if not isclose(found, stated, abs_tol=1e-9):
                yield f"{where} is {stated}, the scores give {found}"
        case (dict() | list(), _) | (_, dict() | list()):
            yield f"{where} is not what the scores give: a part is missing, added or of another kind"
        case _ if found != stated:
            yield f"{where} is {stated}, the scores give {found}"


def _asked(stress: Stress, exam: Exam) -> Iterator[str]:
    if exam.sha256 != stress.exam_sha256:
        yield f"the exam is {exam.sha256[:12]}, asked was {stress.exam_sha256[:12]}"
        return
    if stress.stress_id != stress_id(stress.scoring):
        yield f"this version perturbs as {stress_id(stress.scoring)}, the result is of {stress.stress_id}"
        return
    if stress.exam_items != len(exam.items):
        yield f"the exam has {len(exam.items)} items, the result says {stress.exam_items}"
    asked = exam.items[: len(stress.items)]
    if [scored.item for scored in stress.items] != [item.id for item in asked]:
        yield f"the items are not the first {len(stress.items)} of the exam, in its order"
        return
    for item, scored in zip(asked, stress.items, strict=True):
        if _of(perturbed(item, stress.scoring)) != _seen(scored):
            yield f"item {scored.item}: key, orders or texts are not what the exam gives"


def _of(found: Perturbed) -> tuple[Any, ...]:
    variants = tuple((variant.perturbation, variant.order) for variant in found.variants)
    return found.key, found.fixed, variants, found.asked_sha256


def _seen(scored: Scored) -> tuple[Any, ...]:
    variants = tuple((variant.perturbation, variant.order) for variant in scored.variants)
    return scored.key, scored.fixed, variants, scored.asked_sha256
