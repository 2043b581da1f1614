"""A stress run as a table for the terminal, within 80 columns, with what it means and what was left out.

The figures of a stress run in plain words.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from medalpaca_data.core.cli import screen

from .figures import Difference, Figures, SideFigures
from .option_order import Mean, Share
from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, ORDER, PERTURBATIONS, QUESTION_ONLY, SIDES, Stress

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


SHOWN = 5  # ids of what was left out
CAPTION = (
    "In %, with 95 % intervals; chance: drawing each answer blindly. Memory gap: the\n"
    "published order less other orders with the keys at the same letters, in points."
)
LEFT_OUT = {
    ORDER: "asked in one order only",
    NONE_OF_THE_ABOVE: 'not asked with "None of the above"',
    OPTIONS_ONLY: "not asked without the question",
    QUESTION_ONLY: "not asked without the options",
}
Cell = Share | Mean | float | None


def show(stress: Stress, found: Figures, console: Console | None = None) -> None:
    """Print models and exam, one row per figure, the sentences, and how many items were left out of what and why."""
    console = console or screen(markup=True)

    def say(text: str, *, wrap: bool = True) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=not wrap)

    for name, side in stress.sides.items():
        say(f"{name:<5}  {side.model}", wrap=False)
    say(
        f"exam   {stress.exam} {stress.exam_sha256[:12]}, by {stress.scoring}, {stress.stress_id}", wrap=False
    )
    console.print(_table(found))
    say(CAPTION)
    for name, sentence in sentences(found).items():
        say(f"{name.capitalize()}: {sentence}")
    for line in left_out(stress):
        say(f"Note: {line}.")
    if stress.limited:
        say(f"Note: only {len(stress.items)} of the exam's {stress.exam_items} items were asked (--limit).")


def left_out(stress: Stress) -> list[str]:
    """One line per perturbation and reason: how many items, and the first few by id."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in stress.left_out:
        groups.setdefault((entry.perturbation, entry.reason), []).append(entry.item)
    ordered = sorted(groups.items(), key=lambda pair: PERTURBATIONS.index(pair[0][0]))
    return [
        f"{LEFT_OUT[name]}: {_how_many(ids, len(stress.items))}: {reason}" for (name, reason), ids in ordered
    ]


def _how_many(ids: Sequence[str], items: int) -> str:
    if len(ids) == items:
        return "all items"
    more = ", ..." if len(ids) > SHOWN else ""
    return f"{len(ids)} of {items} items ({', '.join(ids[:SHOWN])}{more})"


def _table(found: Figures) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("")
    for name in ("n", *found.sides, "chance"):
        table.add_column(name, justify="right")
    sides = [_cells(side) for side in found.sides.values()]
    for label in sides[0]:
        cells = [side[label] for side in sides]
        match next((cell for cell in cells if cell is not None), None):
            case None:
                continue
            case float():
                n, chance = "", f"{_guessing(found):.2f}"
            case Mean(n=size):
                n, chance = str(size), ""
            case Share(n=size, chance=guessed):
                n, chance = str(size), f"{100 * guessed:.1f}"
        table.add_row(label, n, *(_text(cell, signed="points" in label) for cell in cells), chance)
    return table


def _cells(found: SideFigures) -> dict[str, Cell]:
    orders, nota = found.orders, found.none_of_the_above
    bias = orders.position_bias if orders else None
    return {
        "as published": found.published,
        "all orders, mean": orders.every_order if orders else None,
        "right in every order": orders.robust if orders else None,
        "same option throughout": orders.consistent if orders else None,
        "position bias, 0 to 1": bias.index if bias else None,
        "memory gap, points": orders.memorisation_gap if orders else None,
        'key "None of the above"': nota.perturbed if nota else None,
        "  these as published": nota.published if nota else None,
        "options only": found.options_only,
        "question only": found.question_only,
    }


def _guessing(found: Figures) -> float:
    biases = [side.orders.position_bias for side in found.sides.values() if side.orders]
    return max(bias.guessing for bias in biases if bias)


def _text(value: Cell, *, signed: bool) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.2f}{'':12}"
    sign = "+" if signed else ""
    low, high = (f"{100 * bound:{sign}.1f}" for bound in value.interval)
    between = f"{low} {high}" if signed else f"{low}-{high}"
    return f"{100 * value.value:{sign}.1f} {between:>11}"
