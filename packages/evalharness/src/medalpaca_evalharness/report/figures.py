"""Every figure of a report, from the logged samples of its runs. The same samples give the same figures.

What of an exam has no score: items that cannot be scored, of other steps, or that nobody asked.

A result of `exam stress` tied to the runs of a report: the same exam, and the same models by their hashes.

What a report shows of the prompt: one logged prompt verbatim, or, of an exam that is not ours, the template.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.core.files import sha256_file
from medalpaca_data.exams.exam import Exam, Excluded, load_exam
from medalpaca_data.exams.item import Item
from medalpaca_data.exams.prompts import Generated, PromptStyle, Scoring, exam_prompt, exam_prompt_id

from .. import contamination_split
from ..calibration import answer_sets, calibration, forecasts
from ..compare import Comparison, as_json, picked, row_json
from ..contamination_split import Overlap, is_bundled
from ..results import Run, part_json, some, summary
from ..runs import Family
from ..samples import Answer, records
from ..statistics import power
from ..stress.figures import stress_figures
from ..stress.result import NAME, PUBLISHED, Side, Stress, read_stress
from ..task_list import TASKS
from . import run_metadata
from .run_metadata import limits, not_tested

PICTURE = "needs an image"  # as `medalpaca_data.exams.exam` says it


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedItems:
    """An exam's items, accounted for: `read` are the scored, the excluded, those elsewhere and the unasked."""

    source_sha256: str  # of the files that the exam was read from
    read: int
    scored: int
    excluded: tuple[Excluded, ...]  # of what the task asks
    elsewhere: int  # items of steps or parts that the task does not ask, scorable or not
    unasked: tuple[str, ...]  # could have been scored; the run was limited
    warnings: tuple[str, ...]  # of whoever read the exam
    without_picture: tuple[str, ...]  # scored, though their text needs a picture that the model did not get


def excluded(run: Run, exam: Exam, place: str | None) -> ExcludedItems:
    """Hold the run's answers against `exam`, which lies at `place` (None: bundled)."""
    tasks = [TASKS[name] for name in run.tasks if name in TASKS]
    excluded = [entry for entry in exam.excluded if not tasks or any(task.asks(entry) for task in tasks)]
    asked = [item for item in exam.items if not tasks or any(task.asks(item) for task in tasks)]
    plain = load_exam(Path(place).expanduser() if place else run.exam)
    pictures = {entry.id for entry in plain.excluded if entry.reason == PICTURE}
    return ExcludedItems(
        source_sha256=exam.source_sha256,
        read=exam.read,
        scored=len(run.answers),
        excluded=tuple(excluded),
        elsewhere=exam.read - len(excluded) - len(asked),
        unasked=tuple(item.id for item in asked if item.id not in run.answers),
        warnings=tuple(warning.removeprefix(f"{place}: ") for warning in exam.warnings),
        without_picture=tuple(item for item in run.answers if item in pictures),
    )


def excluded_as_json(found: ExcludedItems) -> dict[str, Any]:
    """For a report."""
    return {
        "source_sha256": found.source_sha256,
        "read": found.read,
        "scored": found.scored,
        "reasons": dict(sorted(Counter(entry.reason for entry in found.excluded).items())),
        "excluded": [
            {"item": entry.id, "step": entry.step, "reason": entry.reason} for entry in found.excluded
        ],
        "elsewhere": found.elsewhere,
        "unasked": list(found.unasked),
        "warnings": list(found.warnings),
        "without_picture": list(found.without_picture),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressed:
    """One stress result. `sides` maps a report's names of models to the names in the result."""

    file: Path
    stress: Stress
    stated: Mapping[str, Any]  # the figures as they stand in the file
    sides: Mapping[str, str]


def stressed(paths: Sequence[Path], runs: Mapping[str, Run]) -> tuple[Stressed, ...]:
    """Read stress results and find each of their models among `runs`.

    Raises CheckFailed for another exam, a model that is not among the runs, or one that stands in two results;
    UserError for what is no stress result.
    """
    found = [_stressed(path / NAME if path.is_dir() else path, runs) for path in paths]
    for name, times in Counter(name for one in found for name in one.sides).items():
        if times > 1:
            raise CheckFailed(f"{name} stands in {times} stress results; name one per model")
    return tuple(found)


def _stressed(file: Path, runs: Mapping[str, Run]) -> Stressed:
    stress, stated = read_stress(file)
    first = next(iter(runs.values()))
    if stress.exam_sha256 != first.exam_sha256:
        raise CheckFailed(
            f"{file}: is of exam {stress.exam} {stress.exam_sha256[:12]}, "
            f"the results are of {first.exam} {first.exam_sha256[:12]}"
        )
    sides: dict[str, str] = {}
    for theirs, side in stress.sides.items():
        ours = next((name for name, run in runs.items() if _same(run, side) and name not in sides), None)
        if ours is None:
            raise CheckFailed(f"{file}: its {theirs} ({side.model}) is none of the models that are reported")
        sides[ours] = theirs
    return Stressed(file=file, stress=stress, stated=stated, sides=sides)


def _same(run: Run, side: Side) -> bool:
    """By hash where there is one, else by name. A model that nobody named is no other's equal."""
    return run.base is not None and _named(run) == _named(side)


def _named(model: Run | Side) -> tuple[str | None, str | None]:
    return model.base_sha256 or model.base, model.adapter_sha256 or model.adapter


def stress_as_json(found: Stressed, runs: Mapping[str, Run]) -> dict[str, Any]:
    """For a report: the figures, computed again from the scores, and what they were computed from."""
    stress = found.stress
    computed = stress_figures(stress).as_json()
    reasons = Counter((entry.perturbation, entry.reason) for entry in stress.left_out)
    first = next(iter(runs.values()))
    alike = stress.prompt_id == first.prompt_id
    return {
        "sha256": sha256_file(found.file),
        "version": stress.version,
        "stress_id": stress.stress_id,
        "scoring": stress.scoring,
        "prompt_id": stress.prompt_id,
        "items": len(stress.items),
        "exam_items": stress.exam_items,
        "left_out": [
            {"perturbation": name, "reason": reason, "n": n} for (name, reason), n in sorted(reasons.items())
        ],
        "sides": {ours: computed["sides"][theirs] for ours, theirs in found.sides.items()},
        "difference": computed["difference"],
        # Asked in the same way, an item as published should get the same answer in both.
        "answered_otherwise": {
            ours: answered_otherwise(stress, theirs, runs[ours]) for ours, theirs in found.sides.items()
        }
        if alike
        else None,
    }


def answered_otherwise(stress: Stress, side: str, run: Run) -> int:
    """How many items, asked as published, got another answer in the stress result than in the run."""
    count = 0
    for item in stress.items:
        at = [variant.perturbation for variant in item.variants].index(PUBLISHED)
        scores, order = item.scores[side][at], item.variants[at].order
        answer = run.answers.get(item.item)
        count += answer is not None and order[scores.index(max(scores))] != answer.chosen
    return count


def prompt(run: Run) -> dict[str, Any]:
    """The first logged item's prompt. An exam that is not bundled may be confidential: no text of it is shown.

    Raises CheckFailed when the logged prompt does not follow the template that its prompt_id names.
    """
    _, record = next(records(run.samples[0]))
    doc, asked = record["doc"], record["arguments"]["gen_args_0"]["arg_0"]
    bundled = is_bundled(run)
    shown = {
        "item": str(doc["item_id"]),
        "verbatim": bundled,
        "wrapped": asked != doc["prompt"],
        "writing": record["arguments"]["gen_args_0"]["arg_1"] if run.generated else None,
    }
    if bundled:
        return shown | {"text": asked}
    every: tuple[PromptStyle, ...] = (*get_args(Scoring), *get_args(Generated))
    scoring = next((known for known in every if known == run.scoring), None)
    if scoring is None or exam_prompt_id(scoring) != run.prompt_id:
        return shown | {"text": None}
    marked = Item(
        id="",
        question="{question}",
        options={letter: f"{{option {letter}}}" for letter in doc["letters"]},
        answer=doc["letters"][0],
    )
    text = exam_prompt(marked, scoring).prompt
    start, _, rest = text.partition("{question}")
    end = rest.rpartition("}")[2]
    if not (doc["prompt"].startswith(start) and doc["prompt"].endswith(end)):
        raise CheckFailed(
            f"{run.samples[0]}: item {shown['item']} was not asked with the prompt {run.prompt_id} that it names"
        )
    return shown | {"text": text}


FORMAT = "medalpaca exam report 2"
# What `compare.as_json` says and a report says once for all comparisons.
SAID_ONCE = ("task", "metric", "exam", "exam_sha256", "prompt_id", "base", "tuned")


def figures(
    family: Family,
    *,
    overlap: Overlap | None = None,
    unscored: ExcludedItems | None = None,
    stress: Sequence[Stressed] = (),
) -> dict[str, Any]:
    """All that a report says, but for where its files lie."""
    first = family.first
    bundled = is_bundled(first)
    value = {
        "format": FORMAT,
        "exam": run_metadata.exam(first) | {"bundled": bundled},
        "sides": {
            name: run_metadata.side(run)
            | {"scores": [part_json(part) for part in summary(run)], "calibration": _trust(run)}
            for name, run in family.runs.items()
        },
        "comparisons": [_compared(one, bundled) for one in family.comparisons],
        "power": power(len(first.answers))._asdict(),
        "contamination": _contamination(family, overlap) if overlap else None,
        "left_out": excluded_as_json(unscored) if unscored else None,
        "stress": [stress_as_json(one, family.runs) for one in stress],
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
        parts = zip(
            ("full", "clean", "covered"), (one.pooled, *contamination_split.split(one, ids)), strict=True
        )
        comparisons.append({"name": one.name} | {name: row_json(row) if row else None for name, row in parts})
    sides = {}
    for name, run in family.runs.items():
        answers = list(run.answers.values())
        sides[name] = {
            "full": _some("Full", answers),
            "clean": _some("Clean", [answer for answer in answers if answer.item_id not in ids]),
            "covered": _some("Covered", [answer for answer in answers if answer.item_id in ids]),
        }
    return contamination_split.overlap_json(found) | {"sides": sides, "comparisons": comparisons}


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
