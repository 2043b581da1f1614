"""Compute all data of a report from its inputs: logged samples, exam, training rows and stress results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.core.errors import CheckFailed
from medalpaca_data.core.files import sha256_file
from medalpaca_data.exams.exam import Exam, Excluded, load_exam

from .. import contamination_split
from ..calibration import conformal_sets, make_predictions, measure_calibration
from ..comparison import Comparison, as_json, describe_choice, row_json
from ..contamination_split import Overlap, has_bundled_exam, load_run_exam
from ..plan import Criterion, margin_json
from ..power import power_analysis
from ..results import Run
from ..run_summary import (
    subject_json,
    summarize_items,
    summarize_run,
    summarize_subjects,
    summary_json,
)
from ..runs import Family
from ..samples import Answer
from ..several_runs import figures_json, runs_row
from ..several_runs import row_json as runs_row_json
from ..stress.figures import stress_figures
from ..stress.result import FILE_NAME, PUBLISHED, Side, StressRun, read_stress
from ..task_data import TASKS
from . import run_metadata
from .older_formats import FORMAT_4
from .prompt_excerpt import prompt_excerpt
from .run_metadata import limits, not_tested

FORMAT = "medalpaca exam report 5"
# Formats before: 4 without subjects, groups of items and several runs; 2 and 3 also with other sentences and intervals,
# and without the number of items that are too short to judge. `older_formats.py` computes their figures.
OLDER_FORMATS = (FORMAT_4, "medalpaca exam report 3", "medalpaca exam report 2")
# Keys of `compare.as_json` that a report holds once for all comparisons.
SHARED_KEYS = ("task", "metric", "exam", "exam_sha256", "prompt_id", "base", "tuned")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAccount:
    """Number of items in an exam's files, and where each of them went.

    `read` is the sum of `scored`, `not_in_task`, and the lengths of `excluded` and `not_evaluated`.
    """

    # SHA-256 of the files that the exam was read from.
    source_sha256: str
    read: int
    scored: int
    # Items of the task that cannot be scored.
    excluded: tuple[Excluded, ...]
    # Items of steps or parts outside the task, scorable or not.
    not_in_task: int
    # Scorable items of the task without an answer, because the run was limited.
    not_evaluated: tuple[str, ...]
    # Warnings of the exam's reader.
    warnings: tuple[str, ...]
    # Scored items whose question needs a picture that the model did not receive.
    without_picture: tuple[str, ...]


def account_for_items(run: Run, exam: Exam, location: str | None) -> ItemAccount:
    """Return how many items of `exam` the run has evaluated, and why the others have no score.

    `location` is the path of the exam, from which it is loaded again to find items that need a picture. None means
    the bundled exam of the run.
    """
    tasks = [TASKS[name] for name in run.tasks if name in TASKS]
    excluded = [entry for entry in exam.excluded if not tasks or any(task.includes(entry) for task in tasks)]
    in_task = [item for item in exam.items if not tasks or any(task.includes(item) for task in tasks)]
    # By default, load_exam excludes items that need a picture; a run can have kept them.
    default = load_run_exam(run, location) if location else load_exam(run.exam)
    excluded_by_default = {entry.id for entry in default.excluded}
    return ItemAccount(
        source_sha256=exam.source_sha256,
        read=exam.read,
        scored=len(run.answers),
        excluded=tuple(excluded),
        not_in_task=exam.read - len(excluded) - len(in_task),
        not_evaluated=tuple(item.id for item in in_task if item.id not in run.answers),
        warnings=tuple(warning.removeprefix(f"{location}: ") for warning in exam.warnings),
        without_picture=tuple(item for item in run.answers if item in excluded_by_default),
    )


def item_account_json(account: ItemAccount) -> dict[str, Any]:
    """Return the account as JSON, the value of the report's key `left_out`."""
    return {
        "source_sha256": account.source_sha256,
        "read": account.read,
        "scored": account.scored,
        "reasons": dict(sorted(Counter(entry.reason for entry in account.excluded).items())),
        "excluded": [
            {"item": entry.id, "step": entry.step, "reason": entry.reason} for entry in account.excluded
        ],
        "elsewhere": account.not_in_task,
        "unasked": list(account.not_evaluated),
        "warnings": list(account.warnings),
        "without_picture": list(account.without_picture),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedStress:
    """Result of `exam stress` with its models matched to the runs of a report."""

    file: Path
    stress: StressRun
    # The figures that the file holds, before they are computed again.
    stored_figures: Mapping[str, Any]
    # The report's name of each model -> its name in the stress result.
    sides: Mapping[str, str]


def match_stress_results(paths: Sequence[Path], runs: Mapping[str, Run]) -> tuple[MatchedStress, ...]:
    """Read results of `exam stress`, and return them with each of their models matched to one of `runs`.

    Raises CheckFailed for another exam, for a model that is not among the runs, and for a model in two results.
    Raises UserError for a file that is not a result of `exam stress`.
    """
    matches = [_match_stress_result(path / FILE_NAME if path.is_dir() else path, runs) for path in paths]
    for name, times in Counter(name for match in matches for name in match.sides).items():
        if times > 1:
            raise CheckFailed(f"--stress: {times} results hold the model {name}; pass one result per model")
    return tuple(matches)


def _match_stress_result(file: Path, runs: Mapping[str, Run]) -> MatchedStress:
    stress, stored_figures = read_stress(file)
    first = next(iter(runs.values()))
    if stress.exam_sha256 != first.exam_sha256:
        raise CheckFailed(
            f"{file}: holds exam {stress.exam} {stress.exam_sha256[:12]}, but the results hold "
            f"{first.exam} {first.exam_sha256[:12]}; pass a stress result of the same exam"
        )
    sides: dict[str, str] = {}
    for stress_name, side in stress.sides.items():
        matching = (name for name, run in runs.items() if _is_same_model(run, side) and name not in sides)
        name = next(matching, None)
        if name is None:
            models = ", ".join(run.model for run in runs.values())
            raise CheckFailed(
                f"{file}: its {stress_name} ({side.model}) is none of the reported models ({models}); "
                "pass the stress result of a reported model"
            )
        sides[name] = stress_name
    return MatchedStress(file=file, stress=stress, stored_figures=stored_figures, sides=sides)


def _is_same_model(run: Run, side: Side) -> bool:
    """Return whether base and adapter are the same, by hash if there is one, else by name; False for an unnamed run."""
    return run.base is not None and _model_key(run) == _model_key(side)


def _model_key(model: Run | Side) -> tuple[str | None, str | None]:
    return model.base_sha256 or model.base, model.adapter_sha256 or model.adapter


def stress_json(match: MatchedStress, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Return the figures of a stress result as JSON, computed again from its scores, with the hash of its file."""
    stress = match.stress
    computed = stress_figures(stress).as_json()
    reasons = Counter((entry.perturbation, entry.reason) for entry in stress.excluded)
    same_prompt = stress.prompt_id == next(iter(runs.values())).prompt_id
    return {
        "sha256": sha256_file(match.file),
        "version": stress.version,
        "stress_id": stress.stress_id,
        "scoring": stress.scoring,
        "prompt_id": stress.prompt_id,
        "items": len(stress.items),
        "exam_items": stress.exam_items,
        "left_out": [
            {"perturbation": name, "reason": reason, "n": n} for (name, reason), n in sorted(reasons.items())
        ],
        "sides": {name: computed["sides"][stress_name] for name, stress_name in match.sides.items()},
        "difference": computed["difference"],
        # Results of format 1 have no other instructions.
        **({"instructions": computed["instructions"]} if "instructions" in computed else {}),
        # With the same prompt, an unperturbed item should have the same answer in both.
        "answered_otherwise": {
            name: count_changed_answers(stress, stress_name, runs[name])
            for name, stress_name in match.sides.items()
        }
        if same_prompt
        else None,
    }


def count_changed_answers(stress: StressRun, side: str, run: Run) -> int:
    """Return the number of items whose answer as published differs between stress result and run.

    `side` is the name of the model in the stress result. Items that the run does not have are not counted.
    """
    count = 0
    for item in stress.items:
        index = [variant.perturbation for variant in item.variants].index(PUBLISHED)
        scores, order = item.scores[side][index], item.variants[index].order
        answer = run.answers.get(item.item)
        count += answer is not None and order[scores.index(max(scores))] != answer.chosen
    return count


def report_figures(
    family: Family,
    *,
    overlap: Overlap | None = None,
    account: ItemAccount | None = None,
    stress: Sequence[MatchedStress] = (),
    criterion: Criterion | None = None,
) -> dict[str, Any]:
    """Return all data of a report as JSON values, except the version of the package and the locations of its files."""
    first = family.first
    bundled = has_bundled_exam(first)
    value = {
        "format": FORMAT,
        "exam": run_metadata.exam_metadata(first) | {"bundled": bundled},
        "sides": {
            name: run_metadata.side_metadata(run)
            | {
                "scores": [summary_json(part) for part in summarize_run(run)],
                "subjects": [subject_json(part) for part in summarize_subjects(run)],
                "calibration": _validity(run),
            }
            for name, run in family.runs.items()
        },
        "comparisons": [_comparison_json(one, bundled) for one in family.comparisons],
        "several_runs": figures_json(family.several) if family.several else None,
        "power": power_analysis(len(first.answers))._asdict(),
        "contamination": _contamination(family, overlap) if overlap else None,
        "left_out": item_account_json(account) if account else None,
        "stress": [stress_json(one, family.runs) for one in stress],
        "prompt": prompt_excerpt(first),
        "limits": limits(
            first,
            len(family.runs),
            includes_runs=family.several is not None
            and family.several.pooled.figures.run_variance is not None,
        ),
        "not_tested": not_tested(
            first,
            overlap=overlap is not None,
            without_stress=[name for name in family.runs if not any(name in one.sides for one in stress)],
            models=len(family.runs),
            orders_tested=all(one.stress.scoring == "letter" for one in stress),
        ),
        "items": _items(family.runs),
    }
    if criterion:
        value["margin"] = margin_json(criterion, family.comparisons)
    # As read back from a file: lists for tuples, so that `exam verify` compares values of the same types.
    result: dict[str, Any] = json.loads(json.dumps(value))
    return result


def _comparison_json(comparison: Comparison, bundled: bool) -> dict[str, Any]:
    value = as_json(comparison)
    for name in SHARED_KEYS:
        value.pop(name)
    if not bundled and comparison.base.scoring == "text":
        _strip_option_texts(value)
    return {"name": comparison.name} | value


def _validity(run: Run) -> dict[str, Any] | None:
    """Return the calibration figures; None for generated answers, which have no option probabilities."""
    if run.generated:
        return None
    predictions = make_predictions(run.answers.values())
    measured = measure_calibration(predictions)
    sets = conformal_sets(predictions)
    return asdict(measured) | {"small": measured.small, "answer_sets": asdict(sets) if sets else None}


def _contamination(family: Family, overlap: Overlap) -> dict[str, Any]:
    covered = overlap.ids
    comparisons = []
    for one in family.comparisons:
        parts = zip(
            ("full", "clean", "covered"),
            (one.pooled, *contamination_split.split_rows(one, covered)),
            strict=True,
        )
        comparisons.append({"name": one.name} | {name: row_json(row) if row else None for name, row in parts})
    sides = {}
    for name, run in family.runs.items():
        answers = list(run.answers.values())
        sides[name] = {
            "full": _part_or_none("Full", answers),
            "clean": _part_or_none("Clean", [answer for answer in answers if answer.item_id not in covered]),
            "covered": _part_or_none("Covered", [answer for answer in answers if answer.item_id in covered]),
        }
    found = contamination_split.overlap_json(overlap) | {"sides": sides, "comparisons": comparisons}
    return found | {"several_runs": _several_by_overlap(family, covered)}


def _several_by_overlap(family: Family, covered: Container[str]) -> dict[str, Any] | None:
    """Return the rows of several runs on all, clean and covered items; None without several runs."""
    if family.several is None:
        return None
    base, tuned, items = family.several.base, family.several.tuned, list(family.first.answers)
    parts = {
        "full": items,
        "clean": [item for item in items if item not in covered],
        "covered": [item for item in items if item in covered],
    }
    return {
        name: runs_row_json(runs_row(name.capitalize(), base, tuned, ids)) if ids else None
        for name, ids in parts.items()
    }


def _part_or_none(label: str, answers: list[Answer]) -> dict[str, Any] | None:
    return summary_json(summarize_items(label, answers)) if answers else None


def _items(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    first = next(iter(runs.values()))
    return [
        {
            "item": item,
            "step": answer.step,
            "key": answer.letters[answer.key],
            "prompt_sha256": answer.input_hash.split()[0],
            "answers": {
                name: {
                    "answer": describe_choice(run.answers[item]),
                    "sample_sha256": run.answers[item].sha256,
                }
                for name, run in runs.items()
            },
        }
        for item, answer in first.answers.items()
    ]


def _strip_option_texts(comparison: dict[str, Any]) -> None:
    """Keep letters only: the option texts of an exam that is not bundled may be confidential."""
    for flip in (*comparison["fixed"], *comparison["broken"]):
        for name in ("key", "base", "tuned"):
            flip[name] = flip[name].split(" ", 1)[0]
