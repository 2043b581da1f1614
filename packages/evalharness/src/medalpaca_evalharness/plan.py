"""Plan of a comparison, written before the run: exam, metric, margin and tests; and the answer for the margin.

The SHA-256 of a plan is given to lm_eval in `--metadata` and logged with every item, so that results show which plan
they were made under.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medalpaca_data.core.errors import CheckFailed, UserError
from medalpaca_data.core.files import read_json, sha256_bytes, write_text

from .comparison import Comparison, format_interval, format_p, format_points
from .noninferiority import (
    ALPHA,
    MarginTest,
    Test,
    margin_test,
    sample_size,
)
from .power import DISCORDANCES
from .results import STEP_SUFFIX
from .task_data import TASKS, load_task_exam

PLAN_FORMAT = "medalpaca exam plan 1"
PLANNED = "planned before the run"
AFTERWARDS = "given afterwards"


class Criterion(BaseModel):
    """Margin in percentage points, the tests to make, and the one-sided level of each test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]
    tests: tuple[Test, ...] = ("noninferiority", "equivalence")
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = ALPHA


T = TypeVar("T", bound=Criterion)


class Plan(Criterion):
    """Criterion with the exam, the task and the metric that it was written for. `items` is the number of items."""

    format: Literal["medalpaca exam plan 1"] = "medalpaca exam plan 1"
    exam: str
    exam_sha256: str
    items: int
    task: str
    metric: str

    @property
    def text(self) -> str:
        """The content of the plan file."""
        return json.dumps(self.model_dump(), indent=2) + "\n"

    @property
    def sha256(self) -> str:
        """The hash of the plan file."""
        return sha256_bytes(self.text.encode())


def write_plan(out: Path, criterion: Criterion, task: str, exam: str | None) -> Plan:
    """Write the plan file `out` and return the plan. `exam` is the exam of `task`, None for its default.

    Raises UserError if the file exists, the task is unknown or has several exams, or the exam cannot be read.
    """
    if out.exists():
        raise UserError(f"{out}: already exists; a plan is not changed: give another --out")
    names = [name for name in TASKS if task in (name, STEP_SUFFIX.sub("", name))]
    if not names:
        allowed = dict.fromkeys(STEP_SUFFIX.sub("", name) for name in TASKS)
        raise UserError(
            f"--task {task}: no task with one exam; allowed: {', '.join(allowed)}, or one of their steps"
        )
    first = TASKS[names[0]]
    loaded = load_task_exam(names[0], first, exam_metadata(task, exam))
    items = sum(any(TASKS[name].includes(item) for name in names) for item in loaded.items)
    if not items:
        raise UserError(
            f"{task}: exam {loaded.name} has no scorable item of this task; choose another --task"
        )
    plan = Plan(
        **criterion.model_dump(),
        exam=loaded.name,
        exam_sha256=loaded.sha256,
        items=items,
        task=task,
        metric="acc_norm" if first.scoring == "text" else "acc",
    )
    write_text(out, plan.text)
    return plan


def exam_metadata(task: str, exam: str | None) -> dict[str, Any]:
    """Return the value for `--metadata` that gives `exam` to `task`; empty for the task's default."""
    if exam is None:
        return {}
    key = next(found.key for name, found in TASKS.items() if task in (name, STEP_SUFFIX.sub("", name)))
    return {"exam": exam} if key is None else {"exams": {key: exam}}


def read_plan(file: Path) -> Plan:
    """Return the plan in `file`. Raises UserError for another content, and for a file that was written otherwise."""
    value = read_json(file)
    if not isinstance(value, dict) or value.get("format") != PLAN_FORMAT:
        raise UserError(f"{file}: not a plan in the format {PLAN_FORMAT!r}; write one with `exam plan`")
    return parse_criterion(Plan, value, str(file))


def parse_criterion(kind: type[T], value: Mapping[str, Any], place: str) -> T:
    """Return `value` as a criterion or a plan. Raises UserError with `place` if it is invalid."""
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{place}: {key} is {first['input']!r}: {first['msg']}") from None


def plan_text(plan: Plan, file: Path, exam: str | None) -> str:
    """Return the output of `exam plan`: the criterion, the numbers of items needed, and the value for --metadata."""
    lines = [
        f"{file}: {' and '.join(plan.tests)}, margin {plan.margin:g} points, one-sided alpha {plan.alpha:g}",
        f"{plan.task} by {plan.metric}, exam {plan.exam} {plan.exam_sha256[:12]}, {plan.items} items",
    ]
    for discordance in DISCORDANCES:
        needed = sample_size(plan.margin / 100, discordance, alpha=plan.alpha)
        lines.append(
            f"If both models are equally good and {100 * discordance:.0f} % of items differ, not worse is shown with "
            f"80 % power by about {needed:,} items."
        )
    metadata = json.dumps(exam_metadata(plan.task, exam) | {"plan_sha256": plan.sha256})
    return "\n".join([*lines, f"Evaluate both models with --metadata '{metadata}'"])


def describe_timing(criterion: Criterion, comparison: Comparison) -> tuple[str, str]:
    """Return whether the criterion was "planned before the run" or "given afterwards", and why not planned, else "".

    It was planned if the logged documents of both results hold the hash of the plan, and all its items were compared.
    Raises CheckFailed if the plan is for another exam, task or metric.
    """
    base, tuned = comparison.base, comparison.tuned
    logged = {base.plan_sha256, tuned.plan_sha256}
    if not isinstance(criterion, Plan):
        holds = logged != {None}
        return AFTERWARDS, "the results were made under a plan: give it with --plan" if holds else ""
    pairs = (("exam_sha256", base.exam_sha256), ("task", base.task), ("metric", base.metric))
    for name, value in pairs:
        if (planned := getattr(criterion, name)) != value:
            raise CheckFailed(
                f"--plan: {name} is {planned} in the plan, {value} in the results; "
                "give the plan of these results, or choose the planned task with --task"
            )
    if logged == {None}:
        return AFTERWARDS, "the results hold no hash of a plan"
    if logged != {criterion.sha256}:
        held = ", ".join(sorted(value[:12] if value else "none" for value in logged))
        return (
            AFTERWARDS,
            f"the results hold the hash of another plan: {held}, the file's is {criterion.sha256[:12]}",
        )
    if comparison.pooled.n != criterion.items:
        return AFTERWARDS, f"the plan is for {criterion.items} items, {comparison.pooled.n} were compared"
    return PLANNED, ""


def margin_json(criterion: Criterion, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return the criterion and the answer of each comparison as JSON values, for `compare --json` and the report."""
    return {
        "criterion": criterion.model_dump(mode="json"),
        "plan_sha256": criterion.sha256 if isinstance(criterion, Plan) else None,
        "answers": {one.name: answer_json(criterion, one) for one in comparisons},
    }


def answer_json(criterion: Criterion, comparison: Comparison) -> dict[str, Any]:
    """Return the answer of one comparison as JSON values, with its sentence."""
    row = comparison.pooled
    result = margin_test(
        row.n, row.fixed, row.broken, criterion.margin / 100, tests=criterion.tests, alpha=criterion.alpha
    )
    timing, reason = describe_timing(criterion, comparison)
    start = f"{timing[0].upper()}{timing[1:]}{f' ({reason})' if reason else ''}"
    return {
        "timing": timing,
        "reason": reason,
        **result._asdict(),
        "sentence": f"{start}: {_describe_answer(criterion, comparison, result)}",
    }


def read_margin(value: Any, place: str) -> Criterion | None:
    """Return the criterion of a report's key `margin`, or None without it. Raises UserError if it is invalid."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not isinstance(found := value.get("criterion"), Mapping):
        raise UserError(f"{place}: margin.criterion is missing or not an object")
    return parse_criterion(Plan if "exam_sha256" in found else Criterion, found, f"{place}: margin.criterion")


def _describe_answer(criterion: Criterion, comparison: Comparison, result: MarginTest) -> str:
    name, margin = comparison.name, f"{criterion.margin:g} points"
    row = comparison.pooled
    shown = f"{format_points(row.difference)} points, 95 % interval {format_interval(row.interval)}"
    method = "exact unconditional test" if result.exact else "Tango's score test"
    family = "" if row.p_holm is None else ", unadjusted"
    level = f"{method}, one-sided alpha {criterion.alpha:g}{family}"
    not_worse = f"not worse: {format_p(result.p_not_worse)}"
    needed = _describe_needed(result)
    match result.answer:
        case "equivalent":
            both = f"{not_worse}, not better: {format_p(result.p_not_better)}"
            return f"{name} and base are equivalent within {margin} ({shown}; {both}; {level})."
        case "not worse":
            p = format_p(result.p_not_worse)
            text = f"{name} is not worse than base by more than {margin} ({shown}; {p}; {level})."
            if "equivalence" in criterion.tests:
                text += f" Equivalence is not shown ({format_p(result.p_not_better)}); {needed}."
            return text
        case "worse":
            p = format_p(result.p_worse)
            return f"{name} is worse than base by more than {margin} ({shown}; {p}; {level})."
    question = f"cannot tell whether {name} is worse than base by more than {margin}"
    return f"{question} ({shown}; {not_worse}; {level}); {needed}."


def _describe_needed(result: MarginTest) -> str:
    if result.items_needed is None:
        return "if the true difference is the observed one, no number of items would be enough"
    return f"about {result.items_needed:,} items would be needed (80 % power, if the observed shares are the true ones)"
