"""A stress run as a table for the terminal, within 80 columns, with what it means and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from medalpaca_data.command_line import screen

from .figures import Figures, SideFigures
from .result import NONE_OF_THE_ABOVE, OPTIONS_ONLY, ORDER, PERTURBATIONS, QUESTION_ONLY, Stress
from .shares import Mean, Share
from .words import sentences

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
