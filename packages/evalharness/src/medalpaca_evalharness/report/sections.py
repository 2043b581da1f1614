"""The sections of a report that are about the scores: how many are right, and what changed.

The sections of a report on whether its scores can be believed: contamination and calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..scoring import OUTCOMES
from . import html
from .html import (
    Mark,
    between,
    by_side,
    count,
    ids,
    p_value,
    paragraph,
    percent,
    section,
    signed,
    signed_between,
    small,
    table,
    text,
)

BOTH = '<span class="base">&#9675; base</span> <span class="tuned">&#9632; tuned</span> '
KEY = '<p class="key">{sides}<span class="muted">accuracy in %; lines: 95 % intervals; dashes: chance</span></p>'
WILSON = "Accuracy in percent with 95 % Wilson interval. "
PAIRED = (
    "Difference in points with 95 % paired bootstrap interval. p: how probable so uneven a change would be if both "
    "were equally good (exact McNemar test, two-sided); where a second value stands beneath it, that is "
    "adjusted (Holm) for "
)
OUTCOME_NAMES = {
    "correct": "right",
    "wrong": "wrong",
    "unparsed": "no answer found",
    "refused": "refused",
    "truncated": "cut off",
}


def scores(value: dict[str, Any]) -> str:
    """Accuracy of every model: by step for one or two, over the whole exam for more."""
    sides = value["sides"]
    match len(sides):
        case 1:
            parts = next(iter(sides.values()))["scores"]
            shown = _plot([(part["label"], part["chance"], [_mark("tuned", "", part)]) for part in parts])
            tables = part_table(parts) + paragraph(
                f"{WILSON}Chance: what guessing gets, the mean of one over the number of options.", "muted"
            )
        case 2:
            rows = [*value["comparisons"][0]["steps"], value["comparisons"][0]["all"]]
            shown = _plot([(row["label"], row["chance"], _pair(row)) for row in rows], BOTH)
            tables = score_table(rows) + paragraph(f"{WILSON}{PAIRED}the number of steps.", "muted")
        case _:
            alls = {name: side["scores"][-1] for name, side in sides.items()}
            shown = _plot(
                [
                    (name, part["chance"], [_mark("base" if name == "base" else "tuned", "", part)])
                    for name, part in alls.items()
                ]
            )
            tables = _overview(alls, value["comparisons"]) + paragraph(
                f"{WILSON}{PAIRED}the number of comparisons with the base.", "muted"
            )
    return section("Scores", shown, tables, _outcomes(value) if value["exam"]["generated"] else "")


def _plot(rows: Sequence[tuple[str, float | None, Sequence[Mark]]], sides: str = "") -> str:
    return f'<figure class="wide">{html.accuracies(rows)}{KEY.format(sides=sides)}</figure>'


def _mark(kind: str, name: str, part: dict[str, Any]) -> Mark:
    return Mark(kind, name, part["accuracy"], part["interval"])


def _pair(row: dict[str, Any]) -> list[Mark]:
    return [Mark(side, side, row[f"{side}_accuracy"], row[f"{side}_interval"]) for side in ("base", "tuned")]


def part_table(parts: Sequence[dict[str, Any]]) -> str:
    """One model's accuracy: a line per step, or per set of items."""
    return table(
        ("", "n", "right", "accuracy", "chance"),
        (
            (
                text(part["label"]).replace(" ", "&nbsp;"),
                str(part["n"]),
                str(part["correct"]),
                percent(part["accuracy"]) + small(between(part["interval"])),
                percent(part["chance"]),
            )
            for part in parts
        ),
        "numbers",
    )


def score_table(rows: Sequence[dict[str, Any]], name: str = "tuned") -> str:
    """One line per row of counts of a comparison with the model `name`."""
    return table(
        ("", "n", "base", text(name), "difference", "p"),
        (
            (
                text(row["label"]).replace(" ", "&nbsp;"),
                str(row["n"]),
                percent(row["base_accuracy"]) + small(between(row["base_interval"])),
                percent(row["tuned_accuracy"]) + small(between(row["tuned_interval"])),
                *_change(row),
            )
            for row in rows
        ),
        "numbers",
    )


def _change(row: dict[str, Any]) -> tuple[str, str]:
    adjusted = small(p_value(row["p_holm"])) if row["p_holm"] is not None else ""
    return (
        signed(row["difference"]) + small(signed_between(row["difference_interval"])),
        p_value(row["p_mcnemar_exact"]) + adjusted,
    )


def _overview(alls: dict[str, dict[str, Any]], comparisons: Sequence[dict[str, Any]]) -> str:
    """Every model on the whole exam."""
    changes = {one["name"]: _change(one["all"]) for one in comparisons}
    return table(
        ("", "n", "accuracy", "minus base", "p"),
        (
            (
                text(name).replace(" ", "&nbsp;"),
                str(part["n"]),
                percent(part["accuracy"]) + small(between(part["interval"])),
                *changes.get(name, ("", "")),
            )
            for name, part in alls.items()
        ),
        "numbers",
    )


def _outcomes(value: dict[str, Any]) -> str:
    """What became of the items, of models that wrote their answers."""
    alls = {name: side["scores"][-1] for name, side in value["sides"].items()}
    rows = [
        [
            OUTCOME_NAMES[outcome],
            *(
                str(part[outcome]) + small(f"{percent(part[outcome] / part['n'])} %")
                for part in alls.values()
            ),
        ]
        for outcome in OUTCOMES
    ]
    rows.append(["all items", *(str(part["n"]) for part in alls.values())])
    answered = [part["accuracy_of_answered"] for part in alls.values()]
    rows.append(
        ["right, % of answered", *("none" if share is None else percent(share) for share in answered)]
    )
    return (
        "<h3>What became of the items</h3>"
        + by_side(list(alls), rows)
        + paragraph(
            "What is no answer counts as wrong in every score and test here. The share of those answered is shown so "
            "that both can be seen; on its own it would favour a model that answers only what it knows.",
            "muted",
        )
    )


def comparisons(value: dict[str, Any]) -> str:
    """The two-by-two tables that the verdicts rest on; of several comparisons, their steps too."""
    parts = []
    several = len(value["comparisons"]) > 1
    for one in value["comparisons"]:
        name, row = one["name"], one["all"]
        discordant = row["fixed"] + row["broken"]
        shown = (
            f"With {discordant} of {count(row['n'], 'item')} right on one side only, the smallest difference that such "
            f"an exam shows four times in five (80 % power) is about {percent(row['detectable_difference'])} points."
            if discordant
            else f"Both sides have the same of {count(row['n'], 'item')} right."
        )
        two_by_two = table(
            ("", f"{text(name)} right", f"{text(name)} wrong"),
            (
                ("base right", str(row["both_right"]), f"{row['broken']} {small('broken')}"),
                ("base wrong", f"{row['fixed']} {small('fixed')}", str(row["both_wrong"])),
            ),
            "numbers square",
        )
        steps = score_table(one["steps"], name) if several and one["steps"] else ""
        note = (
            paragraph("p beneath: adjusted (Holm) for all steps of all comparisons.", "muted")
            if steps
            else ""
        )
        heading = f"Comparison: {name} against base" if several else "Comparison"
        parts.append(section(heading, two_by_two, paragraph(shown), steps, note))
    return "".join(parts)


def power(value: dict[str, Any]) -> str:
    """What so many items can show at all."""
    found = value["power"]
    listed = "".join(
        f"<li>{percent(size)} points when two models disagree on {share}&nbsp;% of items</li>"
        for size, share in zip(found["paired"], (10, 20, 30), strict=True)
    )
    return section(
        "What this exam can show",
        paragraph(
            f"With {count(found['n'], 'item')}, a score near 60 % is known to &plusmn;{percent(found['half_width'])} "
            "points (95 %), and the smallest difference that is found four times in five (80 % power) is about"
        ),
        f"<ul>{listed}<li>{percent(found['unpaired'])} points between models asked different questions</li></ul>",
    )


def flips(value: dict[str, Any]) -> str:
    """The items whose outcome changed. Letters; in full in the JSON, where the exam may be shown."""
    several, parts = len(value["comparisons"]) > 1, []
    texts = value["exam"]["scoring"] == "text"
    for one in value["comparisons"]:
        for name in ("broken", "fixed"):
            listed = "".join(_flip(entry, name, texts) for entry in one[name])
            which = f"{name.capitalize()} by {one['name']}" if several else name.capitalize()
            parts.append(f"<h3>{text(which)}: {len(one[name])}</h3>")
            parts.append(f'<ul class="flips">{listed}</ul>' if listed else paragraph("None."))
    if not parts:
        return ""
    return section(
        "Items that changed",
        *parts,
        paragraph("Broken: right in the base, wrong after. Fixed: the other way round.", "muted"),
    )


def _flip(entry: dict[str, Any], name: str, texts: bool) -> str:
    """Of compared texts, the letter only."""
    base, tuned, key = (
        text(entry[part].split(" ", 1)[0] if texts else entry[part]).replace(" ", "&nbsp;")
        for part in ("base", "tuned", "key")
    )
    ending = f" <small>key&nbsp;{key}</small>" if name == "broken" else ""
    return f"<li><b>{text(entry['item'])}</b> {base}&nbsp;&rarr;&nbsp;{tuned}{ending}</li>"


PARTS = (("full", "Full"), ("clean", "Clean"), ("covered", "Covered"))


def contamination(value: dict[str, Any]) -> str:
    """Full and clean score side by side."""
    found = value["contamination"]
    if found is None:
        return section(
            "Contamination",
            paragraph(
                "Not checked: the report was made without the tuning data (<code>--meadow</code>).", "warning"
            ),
        )
    n, covered = value["exam"]["items"], found["covered"]
    return section(
        "Contamination",
        paragraph(
            f"<strong>{len(covered)} of {count(n, 'item')} {'is' if len(covered) == 1 else 'are'} covered</strong>: "
            "half or more of the question's word 13-grams stand in one of the rows of "
            f"{text(found['rows_name'])} ({count(found['rows'], 'row')})."
        ),
        _full_and_clean(found),
        paragraph("No item is left without them, so there is no clean score.", "warning")
        if len(covered) == n
        else "",
        ids((entry["item"] for entry in covered), "Covered: ") if covered else "",
        paragraph(
            "That a model was tuned on these rows, and on no others, is not checked here. Their SHA-256: "
            f"<code>{text(found['rows_sha256'])}</code>",
            "muted",
        ),
    )


def _full_and_clean(found: dict[str, Any]) -> str:
    if not found["comparisons"]:
        (side,) = found["sides"].values()
        return part_table([side[name] for name, _ in PARTS if side[name]])
    tables = []
    for one in found["comparisons"]:
        # Adjusted p-values belong to the whole exam; these are the plain ones of each part.
        rows = [one[name] | {"label": label, "p_holm": None} for name, label in PARTS if one[name]]
        several = len(found["comparisons"]) > 1
        heading = f"<h3>{text(one['name']).capitalize()} against base</h3>" if several else ""
        tables.append(heading + score_table(rows, one["name"]))
    return "".join(tables)


def calibration(value: dict[str, Any]) -> str:
    """Reliability, calibration error, what holding back gains, and answer sets."""
    heading = "Calibration: can confidence be trusted?"
    sides = {name: side["calibration"] for name, side in value["sides"].items()}
    if not all(sides.values()):
        return section(
            heading,
            paragraph(
                "Not possible here: the answers were written, so there are no probabilities of the options to hold "
                "against what was right.",
                "warning",
            ),
        )
    figures = "".join(
        f"<figure><figcaption>{text(name)}</figcaption>"
        f"{html.reliability(side['bins'], name, 'base' if name == 'base' else 'tuned')}</figure>"
        for name, side in sides.items()
    )
    first = next(iter(sides.values()))
    n = first["n"]
    caution = (
        f"With {count(n, 'item')}, fewer than 300, a calibration error is mostly noise. "
        if first["small"]
        else ""
    )
    flat = (
        "Options were compared per character, which makes these probabilities flatter than the model's own. "
        if value["exam"]["metric"] == "acc_norm"
        else ""
    )
    sets = (
        "Answer sets: split conformal, calibrated on one half of the items and counted on the other, mean of "
        f"{first['answer_sets']['splits']} splits; beneath it the range of nine tenths of them."
        if first["answer_sets"]
        else "There are too few items to try answer sets on."
    )
    return section(
        heading,
        f'<div class="pair">{figures}</div>',
        by_side(list(sides), _rows(list(sides.values()))),
        paragraph(
            f"{caution}{flat}Confidence is the probability of the option that was chosen; on the dashed line a model "
            "is right as often as it is confident. Each mark stands for equally many items, with a 95 % interval. "
            "Calibration error (ECE): the mean distance from that line, in points; it is never zero by chance alone: "
            "beneath it is about what a perfectly calibrated model would show with as many items. Brier score: over "
            f"all options, 0 is perfect; beneath it what guessing gets. {sets}",
            "muted",
        ),
    )


def _rows(sides: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = [
        [
            "calibration error",
            *(percent(s["ece"]) + small(f"perfect: {percent(s['ece_of_perfect'])}") for s in sides),
        ],
        [
            "Brier score",
            *(f"{s['brier']:.3f}" + small(f"guessing: {s['brier_of_guessing']:.3f}") for s in sides),
        ],
    ]
    for i, covered in enumerate(sides[0]["covered"]):
        cells = [s["covered"][i] for s in sides]
        share = covered["coverage"]
        label = (
            "right, all items, %"
            if share == 1
            else f"right, surest {share:.0%} of items, %".replace("%", " %", 1)
        )
        rows.append([label, *(percent(c["right"] / c["n"]) + small(between(c["interval"])) for c in cells)])
    if all(s["answer_sets"] for s in sides):
        sets = [s["answer_sets"] for s in sides]
        target = f"{100 * sets[0]['target']:.0f}"
        rows.append(
            [
                f"answer sets made for {target} %: hold the key, %",
                *(percent(s["held"]) + small(between(s["spread"])) for s in sets),
            ]
        )
        rows.append(["options in an answer set, mean", *(f"{s['mean_size']:.2f}" for s in sets)])
    return rows
