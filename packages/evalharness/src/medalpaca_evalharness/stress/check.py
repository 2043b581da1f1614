"""Whether a stress result is what it says: its figures computed again, and with the exam at hand, what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from medalpaca_data.exams.exam import Exam

from .figures import figures
from .perturbations import Perturbed, perturbed, stress_id
from .result import Scored, Stress


def problems(stress: Stress, stated: Mapping[str, Any], exam: Exam | None = None) -> Iterator[str]:
    """What does not match, one line each. `stated` are the figures as they stand in the file.

    With `exam`, items, keys, orders and the hashes of all that was shown are checked as well.
    """
    yield from differing(figures(stress).as_json(), stated, "figures")
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
