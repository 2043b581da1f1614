"""The sections of a report that are about the scores: what changed, and whether it can be believed."""

from __future__ import annotations

from typing import Any

from . import plots
from .markup import (
    between,
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

KEY = (
    '<p class="key"><span class="base">&#9675; base</span> <span class="tuned">&#9632; tuned</span> '
    '<span class="muted">accuracy in %; lines: 95 % intervals; dashes: chance</span></p>'
)


def scores(value: dict[str, Any]) -> str:
    """Accuracy per step and for all items, both sides."""
    rows = [*value["comparison"]["steps"], value["comparison"]["all"]]
    return section(
        "Scores",
        f'<figure class="wide">{plots.accuracies(rows)}{KEY}</figure>',
        score_table(rows),
        paragraph(
            "Accuracy in percent with 95 % Wilson interval. Difference in points with 95 % paired bootstrap interval. "
            "p: exact McNemar test, two-sided; for steps, the second value is adjusted for their number (Holm).",
            "muted",
        ),
    )


def score_table(rows: list[dict[str, Any]]) -> str:
    """One line per row of counts."""
    return table(
        ("", "n", "base", "tuned", "difference", "p"),
        (
            (
                text(row["label"]).replace(" ", "&nbsp;"),
                str(row["n"]),
                percent(row["base_accuracy"]) + small(between(row["base_interval"])),
                percent(row["tuned_accuracy"]) + small(between(row["tuned_interval"])),
                signed(row["difference"]) + small(signed_between(row["difference_interval"])),
                p_value(row["p_mcnemar_exact"])
                + (small(p_value(row["p_holm"])) if row["p_holm"] is not None else ""),
            )
            for row in rows
        ),
        "numbers",
    )


def comparison(value: dict[str, Any]) -> str:
    """The two-by-two table the verdict rests on, and what the exam could have shown."""
    row, power = value["comparison"]["all"], value["power"]
    two_by_two = table(
        ("", "tuned right", "tuned wrong"),
        (
            ("base right", str(row["both_right"]), f"{row['broken']} {small('broken')}"),
            ("base wrong", f"{row['fixed']} {small('fixed')}", str(row["both_wrong"])),
        ),
        "numbers square",
    )
    discordant = row["fixed"] + row["broken"]
    shown = (
        f"With {discordant} of {row['n']} items right on one side only, the smallest difference this exam shows "
        f"with 80 % power is {percent(row['detectable_difference'])} points."
        if discordant
        else f"Both sides have the same of {row['n']} items right."
    )
    before = "".join(
        f"<li>{percent(size)} points when models disagree on {share} % of items</li>"
        for size, share in zip(power["paired"], (10, 20, 30), strict=True)
    )
    return section(
        "Comparison",
        two_by_two,
        paragraph(shown),
        paragraph(
            f"What {power['n']} items can show at all, with 80 % power at an accuracy near 60 %: one score is known to "
            f"&plusmn;{percent(power['half_width'])} points, and the smallest difference found is"
        ),
        f"<ul>{before}<li>{percent(power['unpaired'])} points between models asked different questions</li></ul>",
    )


def flips(value: dict[str, Any]) -> str:
    """The items whose outcome changed. Letters; in full in the JSON, where the exam may be shown."""
    parts = []
    for name in ("broken", "fixed"):
        entries = value["comparison"][name]
        listed = "".join(
            f"<li><b>{text(entry['item'])}</b> {_letter(entry['base'])}&nbsp;&rarr;&nbsp;{_letter(entry['tuned'])}"
            + (f" <small>key&nbsp;{_letter(entry['key'])}</small>" if name == "broken" else "")
            + "</li>"
            for entry in entries
        )
        heading = f"<h3>{name.capitalize()}: {len(entries)}</h3>"
        parts.append(heading + (f'<ul class="flips">{listed}</ul>' if entries else paragraph("None.")))
    return section(
        "Items that changed",
        *parts,
        paragraph("Broken: right before tuning, wrong after. Fixed: the other way round.", "muted"),
    )


def calibration(value: dict[str, Any]) -> str:
    """Reliability, calibration error, what holding back gains, and answer sets."""
    sides = {name: value["calibration"][name] for name in ("base", "tuned")}
    figures = "".join(
        f"<figure><figcaption>{name}</figcaption>{plots.reliability(side['bins'], name)}</figure>"
        for name, side in sides.items()
    )
    n = sides["base"]["n"]
    caution = (
        f"With {n} items, fewer than 300, a calibration error is mostly noise. "
        if sides["base"]["small"]
        else ""
    )
    flat = (
        "Options were compared per character, which makes these probabilities flatter than the model's own. "
        if value["exam"]["metric"] == "acc_norm"
        else ""
    )
    return section(
        "Calibration: can its confidence be trusted?",
        f'<div class="pair">{figures}</div>',
        table(("", *sides), _calibration_rows(list(sides.values())), "numbers"),
        paragraph(
            f"{caution}{flat}Bins hold equal numbers of items. The calibration error (ECE) is never zero by chance "
            "alone: beneath it is what a perfectly calibrated model would show, about, with as many items. "
            "Brier: summed over the options, 0 is perfect, beneath it what guessing gets. Answer sets: split "
            "conformal, calibrated on one half of the items and counted on the other, mean of 50 splits; beneath "
            "it the range of nine tenths of them.",
            "muted",
        ),
    )


def _calibration_rows(sides: list[dict[str, Any]]) -> list[list[str]]:
    rows = [
        ["ECE", *(percent(s["ece"]) + small(f"perfect: {percent(s['ece_of_perfect'])}") for s in sides)],
        ["Brier", *(f"{s['brier']:.3f}" + small(f"guessing: {s['brier_of_guessing']:.3f}") for s in sides)],
    ]
    for i, covered in enumerate(sides[0]["covered"]):
        cells = [s["covered"][i] for s in sides]
        rows.append(
            [
                f"right, surest {covered['coverage']:.0%}",
                *(percent(c["right"] / c["n"]) + small(between(c["interval"])) for c in cells),
            ]
        )
    if all(s["answer_sets"] for s in sides):
        sets = [s["answer_sets"] for s in sides]
        target = f"{sets[0]['target']:.0%}"
        rows.append(
            [
                f"sets meant for {target}: hold the key",
                *(percent(s["held"]) + small(between(s["spread"])) for s in sets),
            ]
        )
        rows.append(["options in a set, mean", *(f"{s['mean_size']:.2f}" for s in sets)])
    return rows


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
    rows = [
        found["full"] | {"label": "Full"},
        *([found["clean"] | {"label": "Clean"}] if found["clean"] else []),
        *([found["touched"] | {"label": "Covered"}] if found["touched"] else []),
    ]
    n, covered = value["exam"]["items"], found["covered"]
    ids = ", ".join(text(entry["item"]) for entry in covered)
    return section(
        "Contamination",
        paragraph(
            f"<strong>{len(covered)} of {n} items</strong> have half or more of their question's word 13-grams in one "
            f"of the {found['rows']:,} rows of {text(found['rows_name'])}."
        ),
        score_table(rows),
        paragraph(f"Covered: {ids}", "ids") if covered else "",
        paragraph(
            "That the model was tuned on these rows, and on no others, is not checked here. Their SHA-256: "
            f"<code>{text(found['rows_sha256'])}</code>",
            "muted",
        ),
    )


def _letter(option: str) -> str:
    return text(option.split(" ", 1)[0])
