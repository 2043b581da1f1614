"""Every figure of a report, from the logged samples of its runs. The same samples give the same figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..forecast.calibration import calibration
from ..forecast.conformal import answer_sets
from ..forecast.probability import forecasts
from ..logged.run import Run
from ..logged.sample import Answer
from ..logged.summary import part_json, some, summary
from ..statistics.power import power
from ..verdict import clean
from ..verdict.clean import Overlap, is_bundled
from ..verdict.compare import Comparison, as_json, row_json
from ..verdict.family import Family
from ..verdict.flips import picked
from . import identity, left_out, stressed
from .left_out import LeftOut
from .limits import limits, not_tested
from .shown import prompt
from .stressed import Stressed

FORMAT = "medalpaca exam report 2"
# What `compare.as_json` says and a report says once for all comparisons.
SAID_ONCE = ("task", "metric", "exam", "exam_sha256", "prompt_id", "base", "tuned")


def figures(
    family: Family,
    *,
    overlap: Overlap | None = None,
    unscored: LeftOut | None = None,
    stress: Sequence[Stressed] = (),
) -> dict[str, Any]:
    """All that a report says, but for where its files lie."""
    first = family.first
    bundled = is_bundled(first)
    value = {
        "format": FORMAT,
        "exam": identity.exam(first) | {"bundled": bundled},
        "sides": {
            name: identity.side(run)
            | {"scores": [part_json(part) for part in summary(run)], "calibration": _trust(run)}
            for name, run in family.runs.items()
        },
        "comparisons": [_compared(one, bundled) for one in family.comparisons],
        "power": power(len(first.answers))._asdict(),
        "contamination": _contamination(family, overlap) if overlap else None,
        "left_out": left_out.as_json(unscored) if unscored else None,
        "stress": [stressed.as_json(one, family.runs) for one in stress],
        "prompt": prompt(first),
        "limits": limits(first, len(family.runs)),
        "not_tested": not_tested(
            first,
            overlap=overlap is not None,
            unstressed=[name for name in family.runs if not any(name in one.sides for one in stress)],
            models=len(family.runs),
            ordered=all(one.stress.scoring == "letter" for one in stress),
        ),
        "items": _items(family.runs),
    }
    # As it will be read back: lists for tuples, so that a report and its verification compare like with like.
    result: dict[str, Any] = json.loads(json.dumps(value))
    return result


def _compared(comparison: Comparison, bundled: bool) -> dict[str, Any]:
    found = as_json(comparison)
    for name in SAID_ONCE:
        found.pop(name)
    if not bundled and comparison.base.scoring == "text":
        _strip_texts(found)
    return {"name": comparison.name} | found


def _trust(run: Run) -> dict[str, Any] | None:
    """None where the model wrote its answers: there are no probabilities of the options."""
    if run.generated:
        return None
    found = forecasts(run.answers.values())
    measured = calibration(found)
    sets = answer_sets(found)
    return asdict(measured) | {"small": measured.small, "answer_sets": asdict(sets) if sets else None}


def _contamination(family: Family, found: Overlap) -> dict[str, Any]:
    ids = found.ids
    comparisons = []
    for one in family.comparisons:
        parts = zip(("full", "clean", "covered"), (one.pooled, *clean.split(one, ids)), strict=True)
        comparisons.append({"name": one.name} | {name: row_json(row) if row else None for name, row in parts})
    sides = {}
    for name, run in family.runs.items():
        answers = list(run.answers.values())
        sides[name] = {
            "full": _some("Full", answers),
            "clean": _some("Clean", [answer for answer in answers if answer.item_id not in ids]),
            "covered": _some("Covered", [answer for answer in answers if answer.item_id in ids]),
        }
    return clean.overlap_json(found) | {"sides": sides, "comparisons": comparisons}


def _some(label: str, answers: list[Answer]) -> dict[str, Any] | None:
    return part_json(some(label, answers)) if answers else None


def _items(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    first = next(iter(runs.values()))
    return [
        {
            "item": item,
            "step": before.step,
            "key": before.letters[before.key],
            "prompt_sha256": before.asked.split()[0],
            "answers": {
                name: {"answer": picked(run.answers[item]), "sample_sha256": run.answers[item].sha256}
                for name, run in runs.items()
            },
        }
        for item, before in first.answers.items()
    ]


def _strip_texts(compared: dict[str, Any]) -> None:
    """Letters only: the texts of somebody else's exam stay in the samples."""
    for flip in (*compared["fixed"], *compared["broken"]):
        for name in ("key", "base", "tuned"):
            flip[name] = flip[name].split(" ", 1)[0]
