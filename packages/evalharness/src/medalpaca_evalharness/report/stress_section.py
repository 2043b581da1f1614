"""The section of a report on stress: whether answers hold when the same exam is asked in other ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import html
from .html import (
    Mark,
    between,
    by_side,
    count,
    p_value,
    paragraph,
    percent,
    section,
    signed,
    signed_between,
    small,
    text,
)
from .sections import BOTH, KEY

HEADING = "Stress: do answers hold when the exam is asked otherwise?"
PLOT_LEFT = 96
# What each figure means, said where it is shown.
ABOUT = {
    "orders": (
        "The options were asked in every cyclic order (those like 'all of the above' stay in place). Robust: "
        "right in all of them. Consistent: the same option in all of them, right or wrong. Position bias: how "
        "far answers follow the position instead of the option, 0 not at all, 1 always the same letter; "
        "beneath it about what blind guessing shows. Memorisation gap: accuracy in the published order less "
        "accuracy in the others, of items with as many options and the key at the same position; "
        "an interval above zero is a sign that the "
        "published exam is remembered; none does not show that the exam was never seen, for whoever remembers "
        "an option's text finds it in any order."
    ),
    "none_of_the_above": "'None of the above': these words stand in place of the right option, and are the key.",
    "options_only": "Options alone: without the question; above chance, options give answers away or are remembered.",
    "question_only": "Question alone: without the options; above chance, the exam's letters are remembered.",
}
OTHERWISE = {
    "order": "in other orders of the options",
    "none_of_the_above": "with 'none of the above' as the key",
    "options_only": "with the options alone",
    "question_only": "with the question alone",
}
Figures = dict[str, Any]
# Label in the table and in the plot, and where the figure is.
SHARES: tuple[tuple[str, str, Callable[[Figures], Figures | None]], ...] = (
    ("right as published, %", "published", lambda side: side["published"]),
    ("right, mean of all orders, %", "any order", lambda side: _orders(side, "every_order")),
    ("robust: right in every order, %", "every order", lambda side: _orders(side, "robust")),
    ("consistent: one option in every order, %", "", lambda side: _orders(side, "consistent")),
    ("key is 'none of the above', %", "none of above", lambda side: _nota(side, "perturbed")),
    ("the same items as published, %", "", lambda side: _nota(side, "published")),
    ("options alone, %", "options alone", lambda side: side["options_only"]),
    ("question alone, %", "question alone", lambda side: side["question_only"]),
)


def stress(value: dict[str, Any]) -> str:
    """Robust accuracy, consistency, position bias, memorisation gap and the rest, of every model that was tried."""
    found = value["stress"]
    if not found:
        return section(
            HEADING,
            paragraph(
                "Not tested: stress. The report was made without a result of <code>exam stress</code> "
                "(<code>--stress</code>).",
                "warning",
            ),
        )
    order = [name for name in value["sides"] if any(name in one["sides"] for one in found)]
    sides = {name: next(one["sides"][name] for one in found if name in one["sides"]) for name in order}
    notes = [note for one in found for note in _notes(one, value)]
    about = [said for name, said in ABOUT.items() if any(side[name] for side in sides.values())]
    left = dict.fromkeys(line for one in found for line in _left_out(one))
    return section(
        HEADING,
        _plots(sides),
        by_side(list(sides), _rows(list(sides.values()))),
        *(_difference(one) for one in found if one["difference"]),
        *(paragraph(f"Note: {text(note)}.", "warning") for note in notes),
        paragraph(text(" ".join((*left, *about, "Dashes: chance. Intervals are 95 %."))), "muted"),
    )


def _orders(side: Figures, name: str) -> Figures | None:
    return side["orders"][name] if side["orders"] else None


def _nota(side: Figures, name: str) -> Figures | None:
    return side["none_of_the_above"][name] if side["none_of_the_above"] else None


def _plots(sides: dict[str, Figures]) -> str:
    if len(sides) > 2:
        figures = "".join(
            f"<figure><figcaption>{text(name)}</figcaption>{_plot({name: side})}</figure>"
            for name, side in sides.items()
        )
        return f'<div class="pair broad">{figures}</div>{KEY.format(sides="")}'
    key = KEY.format(sides=BOTH if list(sides) == ["base", "tuned"] else "")
    return f'<figure class="wide">{_plot(sides)}{key}</figure>'


def _plot(sides: dict[str, Figures]) -> str:
    rows = []
    for _, label, find in SHARES:
        shown = {name: part for name, side in sides.items() if label and (part := find(side))}
        if shown:
            marks = [
                Mark("base" if name == "base" else "tuned", name, part["value"], part["interval"])
                for name, part in shown.items()
            ]
            rows.append((label, next(iter(shown.values())).get("chance"), marks))
    return html.accuracies(rows, left=PLOT_LEFT)


def _rows(sides: Sequence[Figures]) -> list[list[str]]:
    rows = []
    for label, _, find in SHARES:
        if any(find(side) for side in sides):
            show = _against_chance if label.endswith("alone, %") else _share
            rows.append(_row(label, [find(side) for side in sides], show))
    biases = [_orders(side, "position_bias") for side in sides]
    if any(biases):
        rows.append(["position bias, 0 to 1", *map(_bias, biases)])
    gaps = [_orders(side, "memorisation_gap") for side in sides]
    if any(gaps):
        rows.append(_row("memorisation gap, points", gaps, _points))
    return rows


def _row(label: str, found: Sequence[Figures | None], show: Callable[[Figures], str]) -> list[str]:
    sizes = {part["n"] for part in found if part}
    n = small(count(next(iter(sizes)), "item")) if len(sizes) == 1 else ""
    return [text(label) + n, *(show(part) if part else "not asked" for part in found)]


def _share(part: Figures) -> str:
    return percent(part["value"]) + small(between(part["interval"]))


def _against_chance(part: Figures) -> str:
    return _share(part) + small(f"chance: {percent(part['chance'])}")


def _points(part: Figures) -> str:
    return signed(part["value"]) + small(signed_between(part["interval"]))


def _bias(part: Figures | None) -> str:
    if part is None:
        return "not asked"
    leans = small(f"leans to {text(part['favoured'])}") if part["index"] > part["guessing"] else ""
    return f"{part['index']:.2f}" + small(f"guessing: {part['guessing']:.2f}") + leans


def _difference(one: dict[str, Any]) -> str:
    found, (base, tuned) = one["difference"], one["sides"]
    robust, gap = found["robust"], found["memorisation_gap"]
    p = p_value(found["p"])
    said = (
        f"Right in every order: {text(tuned)} less {text(base)} {signed(robust['value'])} points (95 % interval "
        f"{signed_between(robust['interval'])}; {count(found['fixed'], 'item')} won, {found['broken']} lost, exact "
        f"McNemar p {p if p.startswith('&lt;') else f'= {p}'})."
    )
    if gap:
        low, high = gap["interval"]
        meaning = (
            "a sign that tuning taught this exam by heart"
            if low > 0
            else "the gap shrank"
            if high < 0
            else "no sign that tuning taught this exam by heart"
        )
        said += f" Memorisation gap: {signed(gap['value'])} points ({signed_between(gap['interval'])}), {meaning}."
    return paragraph(said)


def _notes(one: dict[str, Any], value: dict[str, Any]) -> list[str]:
    """What a reader has to know about one stress result."""
    notes = []
    if one["items"] < one["exam_items"]:
        notes.append(
            f"the stress test asked only {one['items']} of the exam's {count(one['exam_items'], 'item')}"
        )
    if one["prompt_id"] != value["exam"]["prompt_id"]:
        notes.append(
            f"the stress test asked by {one['scoring']}, in another way than the scores above were made"
        )
    notes += (
        f"as published, {name} answered {count(n, 'item')} otherwise in the stress test than in the results above"
        for name, n in (one["answered_otherwise"] or {}).items()
        if n
    )
    return notes


def _left_out(one: dict[str, Any]) -> list[str]:
    """What was not asked otherwise, and why."""
    return [
        f"Not asked {OTHERWISE[left['perturbation']]}: {count(left['n'], 'item')} ({left['reason']})."
        for left in one["left_out"]
    ]
