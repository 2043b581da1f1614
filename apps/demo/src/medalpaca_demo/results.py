"""The examination's own numbers, item by item: read from two results of lm_eval, never made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medalpaca_data.exams.asked import exam_prompt_id
from medalpaca_data.exams.exam import Exam
from medalpaca_data.ground.errors import CheckFailed, UserError
from medalpaca_evalharness.forecast.probability import softmax
from medalpaca_evalharness.logged.run import Run, read_run
from medalpaca_evalharness.logged.sample import Answer
from medalpaca_evalharness.verdict.compare import Comparison, compare

from .endpoint.address import Address
from .load import Pair
from .passes.request import Scoring


@dataclass(frozen=True, slots=True)
class Seen:
    """How one arm did on one item in the examination. `shares` are what the bars show."""

    shares: tuple[float, ...]
    chosen: int


@dataclass(frozen=True, slots=True)
class Results:
    """Both arms on the exam's items, or in `trouble` why there is nothing to show. Items that were not asked
    are in neither mapping."""

    base: Mapping[str, Seen] = field(default_factory=dict)
    tuned: Mapping[str, Seen] = field(default_factory=dict)
    comparison: Comparison | None = None
    trouble: str = ""
    notes: tuple[str, ...] = ()


def load_results(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    """Read and compare two results; what does not belong to this exam is said in `trouble`, in one line."""
    try:
        return _load(base, tuned, exam, scoring, pair)
    except (UserError, CheckFailed) as error:
        return Results(trouble=str(error))


def _load(base: Path, tuned: Path, exam: Exam, scoring: Scoring, pair: Pair) -> Results:
    runs = read_run(base), read_run(tuned)
    comparison = compare(*runs)
    run = runs[0]
    if run.exam_sha256 != exam.sha256:
        raise UserError(
            f"results of another exam: they are of {run.exam} ({run.exam_sha256[:12]}), "
            f"and this is {exam.name} ({exam.sha256[:12]})"
        )
    if run.prompt_id != exam_prompt_id(scoring):
        raise UserError(
            f"results of another way of asking: {run.prompt_id}, and this page asks by "
            f"{exam_prompt_id(scoring)}; see --scoring"
        )
    notes = (*comparison.notes, *_strangers(runs, pair))
    return Results(_seen(runs[0]), _seen(runs[1]), comparison, notes=notes)


def _seen(run: Run) -> dict[str, Seen]:
    return {name: _of(answer) for name, answer in run.answers.items()}


def _of(answer: Answer) -> Seen:
    return Seen(softmax(answer.scores, answer.item_id), answer.scores.index(max(answer.scores)))


def _strangers(runs: tuple[Run, Run], pair: Pair) -> list[str]:
    """Results of other weights than those that answer on Compare."""
    base, tuned = runs
    unknown = [
        f"the {side} answers here come from an endpoint, and whether its weights are those examined is not known"
        for side, source in (("base", pair.base), ("fine-tuned", pair.adapter))
        if isinstance(source, Address)
    ]
    found = [
        f"the {side} results are of other weights ({examined[:8]}) than the ones loaded here ({here[:8]})"
        for side, examined, here in (
            ("base", base.base_sha256, pair.base_sha256),
            ("fine-tuned", tuned.adapter_sha256 or tuned.base_sha256, pair.adapter_sha256),
        )
        if examined and here and examined != here
    ]
    return unknown + found
