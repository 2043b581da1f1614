"""Figures of reports of the formats 2 to 4, so that `exam verify` can recompute them.

Format 4 has no subjects, no groups of items and no comparison of several runs. In the formats 2
and 3, the interval of a difference is a bootstrap within exam steps, and the power is a normal approximation.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from math import sqrt
from statistics import NormalDist
from typing import Any

from ..comparison import NOT_SHOWN
from ..power import DISCORDANCES, POWER, TYPICAL
from ..statistics import CONFIDENCE, Stratum, paired_bootstrap

Figures = dict[str, Any]
FORMAT_4 = "medalpaca exam report 4"
OLDER_NOT_SHOWN = "no difference detectable at this n"


def in_older_form(figures: Figures) -> Figures:
    """Return the figures of a report with the intervals, the power and the verdicts of the formats 2 and 3."""
    figures = in_form_4(figures)
    items = figures["items"]
    comparisons = []
    for one in figures["comparisons"]:
        value = _without(one, "outcome_difference")
        value["verdict"] = _older_verdict(one["verdict"])
        value["all"] = _older_row(one["all"], items, one["name"])
        value["steps"] = [
            _older_row(row, [item for item in items if item["step"] == step], one["name"])
            for row, step in zip(one["steps"], _steps(items), strict=False)
        ]
        comparisons.append(value)
    return figures | {
        "comparisons": comparisons,
        "power": _older_power(figures["power"]["n"]),
        "contamination": _older_contamination(figures["contamination"], items),
    }


def in_form_4(figures: Figures) -> Figures:
    """Return the figures of a report without what format 5 added; none of its results had groups of items."""
    found = figures["contamination"]
    return _without(figures, "several_runs") | {
        "sides": {name: _without(side, "subjects") for name, side in figures["sides"].items()},
        "comparisons": [
            _without(one, "subjects")
            | {"all": _row_4(one["all"]), "steps": [_row_4(row) for row in one["steps"]]}
            for one in figures["comparisons"]
        ],
        "contamination": found
        and _without(found, "several_runs")
        | {
            "comparisons": [
                one | {name: one[name] and _row_4(one[name]) for name in ("full", "clean", "covered")}
                for one in found["comparisons"]
            ]
        },
    }


def _row_4(row: Figures) -> Figures:
    return _without(row, "p", "groups")


def without_sentences(figures: Figures) -> Figures:
    """Return a report without its sentences, which differ between formats, but with every figure, id and hash."""
    kept = _without(figures, "format", "limits", "not_tested")
    kept["comparisons"] = [_without(one, "sentence", "notes") for one in figures["comparisons"]]
    if account := kept.get("left_out"):
        kept["left_out"] = _without(account, "reasons", "warnings") | {
            "excluded": [_without(entry, "reason") for entry in account["excluded"]]
        }
    return kept


def _older_contamination(found: Figures | None, items: list[Figures]) -> Figures | None:
    if found is None:
        return None
    covered = {entry["item"] for entry in found["covered"]}
    parts: dict[str, Container[str]] = {
        "full": {item["item"] for item in items},
        "clean": {item["item"] for item in items} - covered,
        "covered": covered,
    }
    return _without(found, "too_short") | {
        "comparisons": [
            one
            | {
                name: row and _older_row(row, [item for item in items if item["item"] in ids], one["name"])
                for name, ids in parts.items()
                for row in (one[name],)
            }
            for one in found["comparisons"]
        ]
    }


def _older_row(row: Figures, items: list[Figures], name: str) -> Figures:
    """Return the figures of the comparison of base and `name` on `items`, with the bootstrap interval."""
    strata = [_stratum([item for item in items if item["step"] == step], name) for step in _steps(items)]
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + CONFIDENCE) / 2) + normal.inv_cdf(POWER)
    return row | {
        "difference_interval": list(paired_bootstrap(strata)),
        "verdict": _older_verdict(row["verdict"]),
        "detectable_difference": quantiles * sqrt((row["fixed"] + row["broken"]) / row["n"] / row["n"]),
    }


def _stratum(items: list[Figures], name: str) -> Stratum:
    right = [[item["answers"][side]["answer"] == item["key"] for side in ("base", name)] for item in items]
    return Stratum(len(items), right.count([False, True]), right.count([True, False]))


def _steps(items: Iterable[Figures]) -> list[int | None]:
    return sorted({item["step"] for item in items}, key=lambda step: (step is None, step or 0))


def _older_verdict(verdict: str) -> str:
    return OLDER_NOT_SHOWN if verdict == NOT_SHOWN else verdict


def _older_power(n: int) -> Figures:
    """Return the power table by the normal approximation of Miller, E. (2024), arXiv 2411.00640, section 5."""
    normal = NormalDist()
    z, z_power = normal.inv_cdf((1 + CONFIDENCE) / 2), normal.inv_cdf(POWER)
    error = sqrt(TYPICAL * (1 - TYPICAL) / n)
    return {
        "n": n,
        "half_width": z * error,
        "paired": [(z + z_power) * sqrt(share * n / n / n) for share in DISCORDANCES],
        "unpaired": (z + z_power) * sqrt(2) * error,
    }


def _without(value: Figures, *names: str) -> Figures:
    return {key: one for key, one in value.items() if key not in names}
