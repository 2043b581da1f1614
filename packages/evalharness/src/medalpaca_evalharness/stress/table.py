"""Print a result of `exam stress`: a table, a summary in sentences, and the perturbations not tested."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from medalpaca_data.core.cli import screen

from .figures import SideDifference, SideFigures, StressFigures
from .option_order import Mean, Share
from .result import (
    ALL_PERTURBATIONS,
    CHAT,
    NONE_OF_THE_ABOVE,
    OPTIONS_ONLY,
    ORDER,
    QUESTION_ONLY,
    SIDES,
    SWAP_AGE,
    SWAP_ETHNICITY,
    SWAP_SEX,
    StressRun,
)
from .sensitivity import InstructionDifference

# Position bias above this multiple of the guessing level is reported as a preference.
PREFERENCE_FACTOR = 2.0
# Item ids printed per reason.
MAX_IDS = 5
CAPTION = (
    "In %, with 95 % intervals. chance: expected value of random answers.\n"
    "memorisation gap: accuracy in the published order minus accuracy in other\n"
    "orders with the key at the same letter, in points.\n"
    "flips: another answer after words for sex, age or ethnicity are swapped."
)
NOT_TESTED = {
    ORDER: "in other orders",
    NONE_OF_THE_ABOVE: 'with the key "None of the above"',
    OPTIONS_ONLY: "without the question",
    QUESTION_ONLY: "without the options",
    CHAT: "in the chat template",
    SWAP_SEX: "with words for sex swapped",
    SWAP_AGE: "with another age",
    SWAP_ETHNICITY: "with another ethnicity",
}
Cell = Share | Mean | float | None


def summary_text(figures: StressFigures) -> dict[str, str]:
    """Return sentences that summarise the figures: by model ("base", "tuned"), and of two models by "difference"."""
    texts = {side: " ".join(_side_sentences(one)) for side, one in figures.sides.items()}
    differences = []
    if figures.difference:
        differences.append(_difference_sentences(figures.difference))
    if figures.instructions:
        differences.append(_instruction_sentence(figures.instructions))
    if differences:
        texts["difference"] = " ".join(differences)
    return texts


def _side_sentences(figures: SideFigures) -> list[str]:
    published = f"{_percent(figures.published.value)} % correct as published"
    if orders := figures.orders:
        sentences = [f"{published}, {_percent(orders.robust.value)} % in every order of the options."]
        if bias := orders.position_bias:
            preference = bias.index > PREFERENCE_FACTOR * bias.guessing
            sentences.append(
                f"It prefers the letter {bias.favoured}." if preference else "It prefers no letter."
            )
        if gap := orders.memorisation_gap:
            sentences.append(
                f"Accuracy in the published order is higher than in others by {_difference(gap)}: a sign that the "
                "exam was memorised."
                if gap.interval.low > 0
                else "Accuracy in the published order is not higher than in others: no sign of memorisation."
            )
    else:
        sentences = [f"{published}."]
    if drop := figures.none_of_the_above:
        loss = (
            f"loses {_percent(drop.drop.value)} points"
            if drop.drop.interval.low > 0
            else "has no significant loss"
        )
        sentences.append(f'It {loss} when the key reads "None of the above".')
    reduced = {
        "the question": (figures.options_only, "the options reveal answers or were memorised"),
        "the options": (figures.question_only, "the letters of the answers were memorised"),
    }
    shares = {name: share for name, (share, _) in reduced.items() if share}
    above = [name for name, share in shares.items() if share.interval.low > share.chance]
    sentences += [f"Without {name}, it is above chance: {reduced[name][1]}." for name in above]
    if rest := [name for name in shares if name not in above]:
        sentences.append(f"Without {' or without '.join(rest)}, it is not above chance.")
    if other := figures.instructions:
        sentences.append(
            f"Under {1 + len(other.accuracies)} instructions, accuracy is {_percent(other.lowest)} to "
            f"{_percent(other.highest)} %."
        )
    flips = [(name, share) for name, share in (figures.swaps or {}).items() if share and name != "any"]
    if flips:
        parts = (f"{share.count} of {share.n} answers with another {name}" for name, share in flips)
        sentences.append(f"Swapped words change {', '.join(parts)}.")
    return sentences


def _instruction_sentence(found: InstructionDifference) -> str:
    base, tuned = SIDES
    n = len(found.differences)
    return (
        f"Under {n} other instructions, {tuned} minus {base} is {_points(found.lowest)} to {_points(found.highest)} "
        f"points; as published {_difference(found.published)}. Its sign holds in {found.same_sign} of {n}."
    )


def _difference_sentences(difference: SideDifference) -> str:
    base, tuned = SIDES
    text = (
        f"Correct in every order: {tuned} minus {base} {_difference(difference.robust)}, {difference.fixed} items "
        f"gained and {difference.broken} lost (exact McNemar p {difference.p:.4f})."
    )
    if gap := difference.memorisation_gap:
        meaning = "a sign that" if gap.interval.low > 0 else "no sign that"
        text += f" Memorisation gap: {tuned} minus {base} {_difference(gap)}, {meaning} training memorised the exam."
    return text


def _difference(mean: Mean) -> str:
    low, high = mean.interval
    return f"{_points(mean.value)} points ({_points(low)} to {_points(high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def print_figures(stress: StressRun, figures: StressFigures, console: Console | None = None) -> None:
    """Print models and exam, one table row per figure, the summary, and the perturbations not tested."""
    console = console or screen(markup=True)

    def write(text: str, *, wrap: bool = True) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=not wrap)

    for name, side in stress.sides.items():
        write(f"{name:<5}  {side.model}", wrap=False)
    write(
        f"exam   {stress.exam} {stress.exam_sha256[:12]}, scored by {stress.scoring}, {stress.stress_id}",
        wrap=False,
    )
    console.print(_table(figures))
    write(CAPTION)
    for name, text in summary_text(figures).items():
        write(f"{name.capitalize()}: {text}")
    for line in excluded_lines(stress):
        write(f"Note: {line}.")
    if stress.limited:
        write(
            f"Note: only {len(stress.items)} of the exam's {stress.exam_items} items were tested (--limit)."
        )


def excluded_lines(stress: StressRun) -> list[str]:
    """Return one line per perturbation and reason: number and first ids of the items without this perturbation."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in stress.excluded:
        groups.setdefault((entry.perturbation, entry.reason), []).append(entry.item)
    ordered = sorted(groups.items(), key=lambda pair: ALL_PERTURBATIONS.index(pair[0][0]))
    return [
        f"not tested {NOT_TESTED[name]}: {_count_of(ids, len(stress.items))}: {reason}"
        for (name, reason), ids in ordered
    ]


def _count_of(ids: Sequence[str], items: int) -> str:
    if len(ids) == items:
        return "all items"
    more = ", ..." if len(ids) > MAX_IDS else ""
    return f"{len(ids)} of {items} items ({', '.join(ids[:MAX_IDS])}{more})"


def _table(figures: StressFigures) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("")
    for name in ("n", *figures.sides, "chance"):
        table.add_column(name, justify="right")
    sides = [_cells(side) for side in figures.sides.values()]
    for label in sides[0]:
        cells = [side[label] for side in sides]
        match next((cell for cell in cells if cell is not None), None):
            case None:
                continue
            case float():
                n, chance = "", f"{_guessing_bias(figures):.2f}"
            case Mean(n=size):
                n, chance = str(size), ""
            case Share(n=size, chance=share):
                n, chance = str(size), f"{100 * share:.1f}"
        table.add_row(label, n, *(_text(cell, signed="points" in label) for cell in cells), chance)
    return table


def _cells(figures: SideFigures) -> dict[str, Cell]:
    orders, drop = figures.orders, figures.none_of_the_above
    bias = orders.position_bias if orders else None
    return {
        "as published": figures.published,
        "all orders, mean": orders.every_order if orders else None,
        "correct in every order": orders.robust if orders else None,
        "same in every order": orders.consistent if orders else None,
        "position bias, 0 to 1": bias.index if bias else None,
        "memorisation gap, points": orders.memorisation_gap if orders else None,
        'key "None of the above"': drop.perturbed if drop else None,
        "  these as published": drop.published if drop else None,
        "options only": figures.options_only,
        "question only": figures.question_only,
        **(figures.instructions.accuracies if figures.instructions else {}),
        "same for all instructions": figures.instructions.consistent if figures.instructions else None,
        **{f"flips, {name} swapped": share for name, share in (figures.swaps or {}).items()},
    }


def _guessing_bias(figures: StressFigures) -> float:
    biases = [side.orders.position_bias for side in figures.sides.values() if side.orders]
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
