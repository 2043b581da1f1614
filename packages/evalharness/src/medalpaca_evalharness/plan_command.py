"""The command `exam plan`, and the options `--plan` and `--margin` of `exam compare` and `exam report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medalpaca_data.core.cli import Command, Commands, CompletedArgument, add_command

from .arguments import EXAM, EXAMS, add_option, select_options, task_names, write_output

if TYPE_CHECKING:
    from .plan import Criterion

MARGIN = "largest loss of accuracy that is acceptable, in percentage points, such as 3"


def add_plan(commands: Commands[Command]) -> None:
    """Add the command `exam plan`."""
    command = add_command(
        commands,
        "plan",
        "write a plan before the run: exam, metric, and the margin of a non-inferiority or equivalence test",
        (
            "exam plan --margin 3 --task medalpaca_usmle --exam exam.jsonl --out plan.json",
            "exam compare results/base results/tuned --plan plan.json    next step",
        ),
        "Prints the SHA-256 of the plan for --metadata of lm_eval, and the number of items that such a test needs.",
    )
    add_option(command, "--margin POINTS", MARGIN, float, required=True)
    add_option(
        command,
        "--task TASK",
        "task with one exam, such as medalpaca_usmle",
        CompletedArgument(task_names),
        required=True,
    )
    add_option(command, "--exam EXAM", f"{EXAM} (default: MEDALPACA_EXAM; for usmle, else the hub)", EXAMS)
    add_option(command, "--out FILE", "the .json file to write; it must not exist", Path, required=True)
    tests = "test only non-inferiority, or non-inferiority and then equivalence (default: both)"
    command.add_argument("--tests", choices=("noninferiority", "both"), default="both", help=tests)
    add_option(
        command, "--alpha SHARE", "one-sided level of each test (default: 0.025)", float, default=0.025
    )
    command.add_json()
    command.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    from .plan import Criterion, parse_criterion, plan_text, write_plan

    tests = ("noninferiority",) if arguments.tests == "noninferiority" else ("noninferiority", "equivalence")
    value = select_options(arguments, "margin", "alpha") | {"tests": tests}
    plan = write_plan(
        arguments.out, parse_criterion(Criterion, value, "exam plan"), arguments.task, arguments.exam
    )
    write_output(
        arguments, plan.model_dump() | {"sha256": plan.sha256}, plan_text(plan, arguments.out, arguments.exam)
    )


def add_margin(command: Command) -> None:
    """Add `--plan` and `--margin`, of which one can be given."""
    group = command.add_mutually_exclusive_group()
    plan = "plan that `exam plan` wrote before the run: answer whether tuned is not worse, or equivalent"
    group.add_argument("--plan", metavar="FILE", type=Path, help=plan)
    group.add_argument("--margin", metavar="POINTS", type=float, help=f"{MARGIN}, given after the run")


def read_criterion(arguments: argparse.Namespace) -> Criterion | None:
    """Return the plan or the criterion of `--plan` and `--margin`, or None without them."""
    if arguments.plan is None and arguments.margin is None:
        return None
    from .plan import Criterion, parse_criterion, read_plan

    if arguments.plan is not None:
        return read_plan(arguments.plan)
    return parse_criterion(Criterion, {"margin": arguments.margin}, "--margin")
