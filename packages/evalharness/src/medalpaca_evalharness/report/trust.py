"""The sections of a report on whether its scores can be believed: contamination and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import plots
from .markup import between, by_side, count, ids, paragraph, percent, section, small, text
from .sections import part_table, score_table

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
        f"{plots.reliability(side['bins'], name, 'base' if name == 'base' else 'tuned')}</figure>"
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
