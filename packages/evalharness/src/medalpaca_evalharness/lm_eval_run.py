"""Parts of a run of lm-eval inside `exam ask`: names of tasks, their manager, and files of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalpaca_data.core.errors import UserError, nearest

from . import tasks as task_files
from .task_data import GROUPS, TASKS

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def check_task_names(names: Sequence[str]) -> None:
    """Raise UserError if a name is neither a task nor a group of this package."""
    for name in names:
        if name not in TASKS and name not in GROUPS:
            hint = f"; did you mean {near}?" if (near := nearest(name, [*TASKS, *GROUPS])) else ""
            raise UserError(f"--tasks {name}: not a MedAlpaca task or group{hint}")


def make_task_manager(metadata: Mapping[str, Any]) -> TaskManager:
    """Return a manager of this package's tasks only, because listing all tasks of lm-eval takes ten seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_defaults=False, include_path=next(iter(task_files.__path__)), metadata=dict(metadata)
    )


def evaluate_side(
    lm: Any, name: str, directory: Path, tasks: Sequence[str], metadata: Mapping[str, Any], **options: Any
) -> None:
    """Evaluate the lm-eval model `lm` and write results and samples to `directory`; `name` is its model type.

    `metadata` is that of the tasks. `options` are arguments of `simple_evaluate`.
    """
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    tracker = EvaluationTracker(output_path=str(directory))
    results = simple_evaluate(
        model=lm,
        tasks=list(tasks),
        task_manager=make_task_manager(metadata),
        evaluation_tracker=tracker,
        **options,
    )
    results["config"]["model"] = name
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
