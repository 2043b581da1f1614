"""Arguments and help texts that several commands of `exam` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from medalpaca_data.core.cli import Command, CompletedArgument, device_name, print_json, print_text
from medalpaca_data.core.errors import UserError

# Argument type: a text, for which the shell completes file names and the names of the bundled exams.
EXAMS = CompletedArgument(lambda: import_module("medalpaca_data.exams.exam").BUNDLED)

# Help texts of arguments that several commands have.
RESULT = "result of lm_eval with --log_samples: its results_*.json, or a directory with only this result"
EXAM = "exam file or directory, or bundled exam (medalpaca_pocket, medalpaca_vignettes)"
EXAM_OF_RESULT = f"{EXAM} (default: as recorded in the results, else MEDALPACA_EXAM)"
MODEL = "model directory or Hugging Face hub id"
TASK = "task to read, if the results hold several exams; or one exam step, such as medalpaca_usmle_step1"
STRESS = "results of `exam stress` for models of the report: stress.json or its directory"
MEADOW = "training rows (file or directory of `data build`): also score the items in them separately"


def add_option(
    command: Command, name: str, help: str, type: Callable[[str], Any] = str, **settings: Any
) -> None:
    """Add one argument; `name` is "argument METAVAR" or "--option METAVAR"."""
    argument, metavar = name.split()
    command.add_argument(argument, metavar=metavar, help=help, type=type, **settings)


def add_images(command: Command, *, fields: bool = False) -> None:
    """Add `--images`, and `--fields` if `fields` is set."""
    choice = "exclude or keep items that need an image (default: exclude)"
    command.add_argument("--images", choices=("exclude", "keep"), default="exclude", help=choice)
    if fields:
        names = (
            "question, options (a list, or one), answer, context, id, step, subject, group, image, "
            "answer_base (0 or 1)"
        )
        add_option(
            command, "--fields COLUMNS", f"columns of a file with other headings, as YAML or JSON: {names}"
        )


def add_model_options(command: Command) -> None:
    """Add the options of commands that load a model."""
    model_args = "model arguments of lm_eval, such as dtype=float16, for every model"
    add_option(command, "--model_args KEY=VALUE,...", model_args, default="")
    add_option(command, "--device DEVICE", "cuda or cpu (default: cuda if there is a GPU)", device_name)


def select_options(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the named arguments as keyword arguments."""
    return {name: getattr(arguments, name) for name in names}


def write_output(arguments: argparse.Namespace, value: Any, text: str) -> None:
    """Print `value` as JSON with --json, else `text`."""
    if arguments.json:
        print_json(value)
    else:
        print_text(text)


def task_names() -> list[str]:
    """Return the names of all groups and tasks."""
    from .task_data import GROUPS, TASKS

    return [*GROUPS, *TASKS]


def add_sides(command: Command) -> None:
    """Add `--base` and `--tuned`, each with one or more results."""
    several = "of {}, one or more runs that count as one model (training seeds, repeated generations)"
    for side in ("base", "tuned"):
        text = f"results {several.format(side)}"
        add_option(command, f"--{side} RESULT", text, Path, nargs="+", dest=f"{side}_runs", default=())


def sides(arguments: argparse.Namespace, given: Sequence[Path]) -> tuple[Sequence[Path], Sequence[Path]]:
    """Return the results of base and tuned, named by --base and --tuned or by position; the rest by position is tuned.

    Raises UserError if both ways are used, or only one of the two options.
    """
    base, tuned = arguments.base_runs, arguments.tuned_runs
    if given and (base or tuned):
        raise UserError(f"{given[0]}: give results by position, or with --base and --tuned, not both")
    if bool(base) != bool(tuned):
        raise UserError(f"--{'base' if base else 'tuned'} without --{'tuned' if base else 'base'}: give both")
    return (base, tuned) if base else (given[:1], given[1:])
