"""A result of `exam stress` tied to the runs of a report: the same exam, and the same models by their hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import CheckFailed
from medalpaca_data.ground.files import sha256_file

from ..logged.run import Run
from ..stress.figures import figures
from ..stress.result import NAME, PUBLISHED, Side, Stress, read_stress


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


def as_json(found: Stressed, runs: Mapping[str, Run]) -> dict[str, Any]:
    """For a report: the figures, computed again from the scores, and what they were computed from."""
    stress = found.stress
    computed = figures(stress).as_json()
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
