"""Compute the figures of a result of `exam stress` from its scores, and check stored figures against them.

No model is loaded, no file is read, and the exam is optional.
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
    OrderFigures,
    Share,
    correct_per_variant,
    gap_with_derivatives,
    is_robust,
    order_figures,
    paired_difference,
    share_of,
    with_jackknife_interval,
    with_several_orders,
)
from .perturbations import PerturbedItem, perturb, stress_id
from .rephrased import ChatPrompt, rephrase, rephrased_id
from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, PUBLISHED, QUESTION_ONLY, SIDES, ScoredItem, StressRun
from .sensitivity import (
    InstructionDifference,
    InstructionFigures,
    instruction_difference,
    instruction_figures,
    swap_figures,
)


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """Accuracy on the same items as published, and with "None of the above" as the correct option.

    `drop` is published minus perturbed; `p` is the p-value of the exact McNemar test.
    """

    published: Share
    perturbed: Share
    drop: Mean
    p: float


@dataclass(frozen=True, slots=True)
class SideFigures:
    """All figures of one model. A figure is None if no item has the perturbation.

    `swaps`: see `swap_figures`. It and `instructions` are not in results of format 1.
    """

    published: Share
    orders: OrderFigures | None
    none_of_the_above: AccuracyDrop | None
    options_only: Share | None
    question_only: Share | None
    instructions: InstructionFigures | None = None
    swaps: dict[str, Share | None] | None = None


@dataclass(frozen=True, slots=True)
class SideDifference:
    """Tuned minus base, over the items that were scored with several orders of their options.

    `robust`: difference of robust accuracy, the share of items that are correct in every order. `fixed` and `broken`:
    number of items that only the tuned, respectively only the base model, answers correctly in every order. `p`:
    p-value of the exact McNemar test on these two numbers. `memorisation_gap`: difference of
    `OrderFigures.memorisation_gap`, None if it is None for a model.
    """

    robust: Mean
    fixed: int
    broken: int
    p: float
    memorisation_gap: Mean | None


@dataclass(frozen=True, slots=True)
class StressFigures:
    """Figures per model; `difference` (tuned minus base) is None for one model, or if no item has several orders.

    `instructions` is tuned minus base under other instructions, None for one model. `format` is that of the result.
    """

    sides: dict[str, SideFigures]
    difference: SideDifference | None
    instructions: InstructionDifference | None = None
    format: int = 2

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values, with lists for tuples, so that they equal those read from a file."""
        value: dict[str, Any] = _lists_for_tuples(asdict(self))
        value.pop("format")
        if self.format == 1:
            value.pop("instructions")
            for side in value["sides"].values():
                side.pop("instructions")
                side.pop("swaps")
        return value


def stress_figures(stress: StressRun) -> StressFigures:
    """Return every figure of a stress result, for each model and for their difference."""
    older = stress.format == 1
    sides = {side: side_figures(stress.items, side, bootstrap=older) for side in stress.sides}
    if tuple(sides) != SIDES:
        return StressFigures(sides, None, format=stress.format)
    return StressFigures(
        sides,
        side_difference(stress.items, bootstrap=older),
        None if older else instruction_difference(stress.items),
        stress.format,
    )


def side_figures(items: Sequence[ScoredItem], side: str, *, bootstrap: bool = False) -> SideFigures:
    """Return every figure of one model; `side` is "base" or "tuned". `bootstrap`: see `paired_difference`."""
    return SideFigures(
        published=share_of(items, lambda item: correct_per_variant(item, side, PUBLISHED)[0]),
        orders=order_figures(items, side),
        none_of_the_above=none_of_the_above_drop(items, side, bootstrap=bootstrap),
        options_only=accuracy(items, side, OPTIONS_ONLY),
        question_only=accuracy(items, side, QUESTION_ONLY),
        instructions=instruction_figures(items, side),
        swaps=swap_figures(items, side),
    )


def accuracy(items: Sequence[ScoredItem], side: str, perturbation: str) -> Share | None:
    """Return the accuracy under one of `PERTURBATIONS`, over the items that allow it; None if there are none."""
    perturbed = [item for item in items if correct_per_variant(item, side, perturbation)]
    if not perturbed:
        return None
    return share_of(perturbed, lambda item: correct_per_variant(item, side, perturbation)[0])


def none_of_the_above_drop(
    items: Sequence[ScoredItem], side: str, *, bootstrap: bool = False
) -> AccuracyDrop | None:
    """Return the accuracy lost when "None of the above" replaces the correct option; None without such items.

    A model that reasons from the question can still exclude the other options; a model that recognises the
    familiar answer cannot. The test is that of Med-HALT (Pal, A. et al. (2023), CoNLL) and of Bedi, S. et al.
    (2025), JAMA Network Open 8(8):e2526021, who measured a loss of 9 to 38 points.
    """
    perturbed = [item for item in items if correct_per_variant(item, side, NONE_OF_THE_ABOVE)]
    before, after = accuracy(perturbed, side, PUBLISHED), accuracy(perturbed, side, NONE_OF_THE_ABOVE)
    if before is None or after is None:
        return None
    pairs = [
        (
            correct_per_variant(item, side, PUBLISHED)[0],
            correct_per_variant(item, side, NONE_OF_THE_ABOVE)[0],
        )
        for item in perturbed
    ]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    drop = paired_difference(len(perturbed), lost, gained, bootstrap=bootstrap)
    return AccuracyDrop(before, after, drop, mcnemar_exact(gained, lost))


def side_difference(items: Sequence[ScoredItem], *, bootstrap: bool = False) -> SideDifference | None:
    """Return tuned minus base in robust accuracy and memorisation gap; None if no item has several orders."""
    several = with_several_orders(items)
    if not several:
        return None
    base, tuned = SIDES
    pairs = [(is_robust(item, base), is_robust(item, tuned)) for item in several]
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    base_gap, tuned_gap = (gap_with_derivatives(items, side) for side in SIDES)
    change = None
    if base_gap is not None and tuned_gap is not None:
        derivatives = [tuned_gap.derivatives[item] - value for item, value in base_gap.derivatives.items()]
        change = with_jackknife_interval(base_gap.n, tuned_gap.value - base_gap.value, derivatives, limit=2.0)
    return SideDifference(
        robust=paired_difference(len(several), fixed, broken, bootstrap=bootstrap),
        fixed=fixed,
        broken=broken,
        p=mcnemar_exact(fixed, broken),
        memorisation_gap=change,
    )


def _lists_for_tuples(value: Any) -> Any:
    match value:
        case dict():
            return {key: _lists_for_tuples(one) for key, one in value.items()}
        case list() | tuple():
            return [_lists_for_tuples(one) for one in value]
    return value


def find_problems(
    stress: StressRun, stored_figures: Mapping[str, Any], exam: Exam | None = None
) -> Iterator[str]:
    """Yield one line per mismatch between the stored figures and those computed from the scores.

    With `exam`, also for mismatches of its hash, items, keys, option orders, and hashes of all prompts and options.
    """
    yield from find_differences(dict(stored_figures), stress_figures(stress).as_json(), "figures")
    if exam is not None:
        yield from _find_exam_problems(stress, exam)


def find_differences(stored: Any, computed: Any, path: str = "") -> Iterator[str]:
    """Yield one line per difference of two JSON values, with its path. Floats may differ in their last bits."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for name in {**stored, **computed}:
            inner = f"{path}.{name}".lstrip(".")
            if name not in stored:
                yield f"{inner}: missing in the file, but recomputed"
            elif name not in computed:
                yield f"{inner}: in the file, but not recomputed"
            else:
                yield from find_differences(stored[name], computed[name], inner)
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{path}: {len(stored)} entries in the file, {len(computed)} recomputed"
            return
        for i, (one, other) in enumerate(zip(stored, computed, strict=True)):
            yield from find_differences(one, other, f"{path}[{i}]")
    elif not _is_equal(stored, computed):
        yield f"{path}: {stored!r} in the file, {computed!r} recomputed"


def _is_equal(stored: Any, computed: Any) -> bool:
    if isinstance(stored, float) and isinstance(computed, float):
        return isclose(stored, computed, rel_tol=1e-9, abs_tol=1e-12)
    return type(stored) is type(computed) and bool(stored == computed)


def _find_exam_problems(stress: StressRun, exam: Exam) -> Iterator[str]:
    if exam.sha256 != stress.exam_sha256:
        yield f"the SHA-256 of the exam is {exam.sha256[:12]}, the result holds {stress.exam_sha256[:12]}"
        return
    current = stress_id(stress.scoring) if stress.format == 1 else rephrased_id(stress.scoring)
    if stress.stress_id != current:
        yield f"stress_id is {stress.stress_id}, that of this package version is {current}"
        return
    if stress.exam_items != len(exam.items):
        yield f"exam_items is {stress.exam_items}, the exam has {len(exam.items)} items"
    expected = exam.items[: len(stress.items)]
    if [scored.item for scored in stress.items] != [item.id for item in expected]:
        yield f"items are not the first {len(stress.items)} items of the exam, in its order"
        return
    chat = stress.chat and ChatPrompt(*stress.chat)
    for item, scored in zip(expected, stress.items, strict=True):
        perturbed = perturb(item, stress.scoring)
        if stress.format > 1:
            perturbed = rephrase(perturbed, chat)
        if _expected_item(perturbed) != _stored_item(scored):
            yield f"item {scored.item}: correct option, orders or texts differ from the exam"


def _expected_item(item: PerturbedItem) -> tuple[Any, ...]:
    variants = tuple((variant.perturbation, variant.order) for variant in item.variants)
    return item.key, item.fixed, variants, item.prompts_sha256


def _stored_item(item: ScoredItem) -> tuple[Any, ...]:
    variants = tuple((variant.perturbation, variant.order) for variant in item.variants)
    return item.key, item.fixed, variants, item.asked_sha256
