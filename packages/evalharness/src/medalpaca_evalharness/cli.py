"""The `exam` command: compare two results, or look into an exam. Needs no model and no GPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medalpaca_data.ground.errors import Parser, UserError, run


def entry() -> None:
    """The console script."""
    run(main)


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when done, whatever the verdict; 1 when a comparison is refused, 2 on bad input."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "compare":
        _compare(arguments)
    elif arguments.command == "inspect":
        _inspect(arguments)
    else:
        raise UserError("exam: say what to do: `exam compare BASE TUNED` or `exam inspect EXAM`")
    return 0


def _parser() -> Parser:
    parser = Parser(prog="exam", description="Compare two exam results, or look into an exam.")
    parser.add_argument("--version", action="version", version=f"exam {version('medalpaca-evalharness')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    compare = commands.add_parser("compare", help="base against tuned, with exact statistics and a verdict")
    result = "a results_*.json of lm_eval, or a directory with exactly one run"
    compare.add_argument("base", metavar="BASE", type=Path, help=result)
    compare.add_argument("tuned", metavar="TUNED", type=Path, help="the same for the tuned model")
    compare.add_argument("--task", help="which exam, when the runs asked several, or which step of it")
    inspect = commands.add_parser("inspect", help="what an exam holds and what of it can be scored")
    inspect.add_argument("exam", metavar="EXAM", help="a directory, a file, or medalpaca_pocket")
    inspect.add_argument(
        "--images", choices=("exclude", "keep"), default="exclude", help="items that need a picture"
    )
    for command in (compare, inspect):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _compare(arguments: argparse.Namespace) -> None:
    from .compare import as_json, compare
    from .results import read_run

    comparison = compare(read_run(arguments.base, arguments.task), read_run(arguments.tuned, arguments.task))
    if arguments.json:
        _print_json(as_json(comparison))
    else:
        from .table import show

        show(comparison)


def _inspect(arguments: argparse.Namespace) -> None:
    from medalpaca_data.exam import load_exam

    from .inspection import as_text, inspect

    report = inspect(load_exam(arguments.exam, images=arguments.images))
    if arguments.json:
        _print_json(report)
    else:
        sys.stdout.write(as_text(report) + "\n")


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
