"""Every figure of a report, from the logged samples of two runs. The same samples give the same figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from . import clean, identity
from .calibration import calibration
from .clean import Contamination, is_bundled
from .compare import Comparison, as_json
from .conformal import answer_sets
from .flips import picked
from .power import power
from .probability import forecasts
from .results import Run
from .shown import prompt

FORMAT = "medalpaca exam report 1"
LIMITS = (
    "An exam score is no clinical validation. Nothing here says that a model may be used on patients.",
    "The verdict is about this exam, asked in this way. Another prompt, or the options in another order, "
    "can move scores by more than tuning did.",
    "Exams contain wrong keys; a share of the items may be scored against a wrong answer, on both sides alike.",
    "The interval and the test treat the items as drawn at random from the questions that could be asked.",
)
NOT_TESTED = (
    "other orders of the options, and whether letters are preferred by their position",
    "the options without the question, and the question without the options",
    "free-text answers: options were scored by their log-likelihood, nothing was generated",
    "safety, refusals, privacy, bias between groups of patients, and languages other than the exam's",
    "whether the exam was part of the base model's own training data",
)
NO_ROWS = "overlap of the exam with the data that the model was tuned on (no --meadow was given)"


def figures(comparison: Comparison, contamination: Contamination | None = None) -> dict[str, Any]:
    """All that a report says, but for where its files lie."""
    base, tuned = comparison.base, comparison.tuned
    bundled = is_bundled(base)
    compared = as_json(comparison)
    for name in ("base", "tuned"):
        compared.pop(name)
    if not bundled:
        _strip_texts(compared)
    value = {
        "format": FORMAT,
        "exam": identity.exam(base) | {"bundled": bundled},
        "base": identity.side(base),
        "tuned": identity.side(tuned),
        "comparison": compared,
        "power": power(comparison.pooled.n)._asdict(),
        "calibration": {"base": _trust(base), "tuned": _trust(tuned)},
        "contamination": clean.as_json(contamination) if contamination else None,
        "prompt": prompt(base),
        "limits": LIMITS,
        "not_tested": NOT_TESTED if contamination else (*NOT_TESTED, NO_ROWS),
        "items": _items(base, tuned),
    }
    # As it will be read back: lists for tuples, so that a report and its verification compare like with like.
    result: dict[str, Any] = json.loads(json.dumps(value))
    return result


def _trust(run: Run) -> dict[str, Any]:
    found = forecasts(run.answers.values())
    measured = calibration(found)
    sets = answer_sets(found)
    return asdict(measured) | {"small": measured.small, "answer_sets": asdict(sets) if sets else None}


def _items(base: Run, tuned: Run) -> list[dict[str, Any]]:
    return [
        {
            "item": item,
            "step": before.step,
            "key": before.letters[before.key],
            "prompt_sha256": before.asked.split()[0],
            "base": picked(before),
            "base_sample_sha256": before.sha256,
            "tuned": picked(tuned.answers[item]),
            "tuned_sample_sha256": tuned.answers[item].sha256,
        }
        for item, before in base.answers.items()
    ]


def _strip_texts(compared: dict[str, Any]) -> None:
    """Letters only: the texts of somebody else's exam stay in the samples."""
    for flip in (*compared["fixed"], *compared["broken"]):
        for name in ("key", "base", "tuned"):
            flip[name] = flip[name].split(" ", 1)[0]
