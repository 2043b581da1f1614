"""The figures of a stress run in plain words."""

from __future__ import annotations

from .figures import Difference, Figures, SideFigures
from .result import SIDES
from .shares import Mean

LEANS = 2.0  # a preference is spoken of from so many times what blind guessing shows


def sentences(found: Figures) -> dict[str, str]:
    """By side, what its figures say; under "difference", what tuning changed, where there are two sides."""
    said = {side: " ".join(_of_side(figures)) for side, figures in found.sides.items()}
    return said | ({"difference": _of_difference(found.difference)} if found.difference else {})


def _of_side(figures: SideFigures) -> list[str]:
    said = [f"{_percent(figures.published.value)} % right as published."]
    if orders := figures.orders:
        said[0] = f"{said[0][:-1]}, {_percent(orders.robust.value)} % in every order of the options."
        if bias := orders.position_bias:
            leans = bias.index > LEANS * bias.guessing
            said.append(f"It leans to {bias.favoured}." if leans else "It prefers no letter.")
        if gap := orders.memorisation_gap:
            said.append(
                f"The published order is answered better than others, by {_interval(gap)}: a sign that it may remember "
                "the exam."
                if gap.interval.low > 0
                else "The published order is answered no better than others: no sign of memory in that."
            )
    if drop := figures.none_of_the_above:
        lost = (
            f"loses {_percent(drop.drop.value)} points"
            if drop.drop.interval.low > 0
            else "loses nothing that shows"
        )
        said.append(f'It {lost} when the key reads "None of the above".')
    alone = {
        "the question": (figures.options_only, "the options give answers away, or it remembers them"),
        "the options": (figures.question_only, "it remembers letters of this exam"),
    }
    shown = {name: share for name, (share, _) in alone.items() if share}
    beyond = [name for name, share in shown.items() if share.interval.low > share.chance]
    said += [f"Without {name} it still does better than guessing: {alone[name][1]}." for name in beyond]
    if rest := [name for name in shown if name not in beyond]:
        said.append(f"Without {' or without '.join(rest)} it does no better than guessing.")
    return said


def _of_difference(found: Difference) -> str:
    base, tuned = SIDES
    said = (
        f"Right in every order: {tuned} less {base} {_interval(found.robust)}, {found.fixed} items won and "
        f"{found.broken} lost (exact McNemar p {found.p:.4f})."
    )
    if gap := found.memorisation_gap:
        grew = (
            "tuning made it remember the exam"
            if gap.interval.low > 0
            else "no sign that tuning taught it the exam"
        )
        said += f" Memory gap: {tuned} less {base} {_interval(gap)}, {grew}."
    return said


def _interval(mean: Mean) -> str:
    low, high = mean.interval
    return f"{_points(mean.value)} points ({_points(low)} to {_points(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
