"""The `exam` command: results shown, compared, reported and verified, exams inspected and imported.

Only `exam ask` and `exam stress` load a model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medalpaca_data.ground.command import Parser, run
from medalpaca_data.ground.errors import CheckFailed, UserError


def entry() -> None:
    """The console script."""
    run(main)


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when done, whatever the verdict; 1 when a comparison is refused, 2 on bad input."""
    arguments = _parser().parse_args(argv)
    match arguments.command:
        case "show":
            _show(arguments)
        case "compare":
            _compare(arguments)
        case "report":
            _report(arguments)
        case "verify":
            _verify(arguments)
        case "inspect":
            _inspect(arguments)
        case "import":
            _import(arguments)
        case "ask":
            _ask(arguments)
        case "stress":
            _stress(arguments)
        case _:
            raise UserError(
                "exam: say what to do: `exam show RESULT`, `exam compare BASE TUNED`, "
                "`exam report RESULTS --out report.html`, `exam verify report.html`, `exam inspect EXAM`, "
                "`exam import EXAM --out exam.jsonl`, `exam ask BASE ADAPTER --tasks TASK --out results` or "
                "`exam stress BASE TUNED --exam EXAM --out DIR`"
            )
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="exam", description="Show, compare, report and verify exam results; look into exams."
    )
    parser.add_argument("--version", action="version", version=f"exam {version('medalpaca-evalharness')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    result = "a results_*.json of lm_eval, or a directory with exactly one run"
    task_help = "which exam, when the runs asked several, or which step of it"
    show = commands.add_parser("show", help="one result per step: score, interval, chance, unanswered items")
    show.add_argument("result", metavar="RESULT", type=Path, help=result)
    show.add_argument("--task", help=task_help)
    compare = commands.add_parser("compare", help="base against tuned, with exact statistics and a verdict")
    report = commands.add_parser(
        "report", help="one model, or several against the first, as one HTML page, and JSON"
    )
    compare.add_argument("base", metavar="BASE", type=Path, help=result)
    compare.add_argument("tuned", metavar="TUNED", type=Path, help="the same for the tuned model")
    report.add_argument("results", metavar="RESULT", type=Path, nargs="+", help=f"{result}; the base first")
    for command in (compare, report):
        command.add_argument("--task", help=task_help)
    compare.add_argument("--items", action="store_true", help="print every fixed and broken item")
    report.add_argument("--out", type=Path, required=True, help="the .html file; .json goes beside it")
    verify = commands.add_parser("verify", help="compute a report again from its samples, check every hash")
    verify.add_argument("report", metavar="REPORT", type=Path, help="the .html or .json of `exam report`")
    verify.add_argument(
        "results",
        metavar="RESULT",
        type=Path,
        nargs="*",
        help="where the results are now, if they moved: all of them, in the report's order",
    )
    verify.add_argument("--weights", action="store_true", help="hash base and adapter again too")
    for command in (report, verify):
        command.add_argument(
            "--stress",
            type=Path,
            nargs="+",
            default=(),
            metavar="RESULT",
            help="results of `exam stress` on these models: stress.json, or the directory that holds it",
        )
    for command in (compare, report, verify):
        command.add_argument("--meadow", type=Path, help="the training data: a Meadow directory or rows")
        command.add_argument("--exam", help="where the exam is, if not where lm_eval was told")
    inspect = commands.add_parser("inspect", help="what an exam holds and what of it can be scored")
    convert = commands.add_parser(
        "import", help="an exam in any layout as one JSONL file, with rejects listed"
    )
    for command in (inspect, convert):
        command.add_argument(
            "exam", metavar="EXAM", help="a directory, a file, or the name of a bundled exam"
        )
        command.add_argument(
            "--images", choices=("exclude", "keep"), default="exclude", help="items that need a picture"
        )
    inspect.add_argument("--overlap", metavar="EXAM", help="another exam: which questions stand in it too")
    convert.add_argument("--out", type=Path, required=True, help="the .jsonl file; rejects go beside it")
    ask = commands.add_parser("ask", help="base and tuned asked an exam in one pass, as lm_eval would twice")
    ask.add_argument("base", metavar="BASE", help="a model directory or hub id")
    ask.add_argument("adapter", metavar="ADAPTER", help="an adapter of it")
    ask.add_argument("--tasks", required=True, help="tasks of this package, separated by commas")
    ask.add_argument(
        "--out", type=Path, required=True, help="gets base/ and tuned/ with a result of lm_eval each"
    )
    ask.add_argument("--exam", help="where the exam is, if not where lm_eval looks for it")
    ask.add_argument("--model_args", default="", metavar="KEY=VALUE,...", help="as lm_eval's, for both sides")
    ask.add_argument("--device", help="cuda where there is a GPU, else cpu")
    ask.add_argument("--batch_size", default="1", help="of what is generated")
    ask.add_argument("--limit", type=float, help="only so many items per task, for a test")
    ask.add_argument("--apply_chat_template", action="store_true", help="as lm_eval's")
    stress = commands.add_parser(
        "stress", help="an exam in other orders, without its key, its question, its options: what holds"
    )
    stress.add_argument(
        "base", metavar="BASE", help="a model directory or hub id; or an adapter, which names its base"
    )
    stress.add_argument("tuned", metavar="TUNED", nargs="?", help="an adapter of BASE, or another model")
    stress.add_argument(
        "--exam", help="a directory, a file, or the name of a bundled exam (or MEDALPACA_EXAM)"
    )
    stress.add_argument(
        "--out", type=Path, required=True, help="gets stress.json; run again to go on after a stop"
    )
    stress.add_argument(
        "--scoring",
        choices=("letter", "text"),
        help="how options are scored (default: letter, or text for medalpaca_pocket)",
    )
    stress.add_argument(
        "--images", choices=("exclude", "keep"), default="exclude", help="items that need a picture"
    )
    stress.add_argument(
        "--model_args", default="", metavar="KEY=VALUE,...", help="as lm_eval's, for both sides"
    )
    stress.add_argument("--device", help="cuda where there is a GPU, else cpu")
    stress.add_argument("--limit", type=int, help="only the first so many items, for a test")
    for command in (show, compare, inspect, convert, stress):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _show(arguments: argparse.Namespace) -> None:
    from .logged.run import read_run
    from .logged.summary import as_json, as_text, summary

    found = read_run(arguments.result, arguments.task)
    parts = summary(found)
    if arguments.json:
        _print_json(as_json(found, parts))
    else:
        sys.stdout.write(as_text(found, parts) + "\n")


def _compare(arguments: argparse.Namespace) -> None:
    from .logged.run import read_run
    from .verdict.compare import as_json, compare

    comparison = compare(read_run(arguments.base, arguments.task), read_run(arguments.tuned, arguments.task))
    found = None
    if arguments.meadow:
        from .verdict.clean import contamination

        found = contamination(comparison, arguments.meadow, arguments.exam)
    if arguments.json:
        from .verdict.clean import as_json as clean_json

        _print_json(as_json(comparison) | ({"contamination": clean_json(found)} if found else {}))
    else:
        from .verdict.table import show

        show(comparison, contamination=found, items=arguments.items)


def _report(arguments: argparse.Namespace) -> None:
    from .report.write import make

    written = make(
        arguments.results,
        arguments.out,
        task=arguments.task,
        meadow=arguments.meadow,
        exam=arguments.exam,
        stress=arguments.stress,
    )
    sys.stdout.write("".join(f"{file}\n" for file in written))


def _verify(arguments: argparse.Namespace) -> None:
    from .report.verify import Places, verify

    found = verify(
        arguments.report,
        Places(
            results=arguments.results,
            stress=arguments.stress,
            meadow=arguments.meadow,
            exam=arguments.exam,
            weights=arguments.weights,
        ),
    )
    for problem in found.problems:
        sys.stdout.write(f"does not match: {problem}\n")
    if found.problems:
        things = "1 thing does" if len(found.problems) == 1 else f"{len(found.problems)} things do"
        raise CheckFailed(f"{arguments.report}: {things} not match")
    sys.stdout.write("".join(f"checked: {line}\n" for line in found.checked))
    sys.stdout.write("".join(f"not checked: {line}\n" for line in found.unchecked))
    all_of_it = "what was checked" if found.unchecked else "all of it"
    sys.stdout.write(f"{arguments.report}: {all_of_it} matches\n")


def _inspect(arguments: argparse.Namespace) -> None:
    from medalpaca_data.exams.exam import load_exam

    from .inspection import as_text, inspect

    other = load_exam(arguments.overlap, images="keep") if arguments.overlap else None
    report = inspect(load_exam(arguments.exam, images=arguments.images), other)
    if arguments.json:
        _print_json(report)
    else:
        sys.stdout.write(as_text(report) + "\n")


def _import(arguments: argparse.Namespace) -> None:
    from .convert import as_json, as_text, import_exam

    found = import_exam(arguments.exam, arguments.out, images=arguments.images)
    if arguments.json:
        _print_json(as_json(found))
    else:
        sys.stdout.write(as_text(found) + "\n")


def _ask(arguments: argparse.Namespace) -> None:
    from lm_eval.utils import simple_parse_args_string

    from .model.both_sides import ask_both

    places = ask_both(
        arguments.base,
        arguments.adapter,
        arguments.tasks.split(","),
        arguments.out,
        model_args=simple_parse_args_string(arguments.model_args),
        device=arguments.device,
        batch_size=arguments.batch_size,
        metadata={"exam": arguments.exam} if arguments.exam else {},
        limit=arguments.limit,
        apply_chat_template=arguments.apply_chat_template,
    )
    sys.stdout.write("".join(f"{place}\n" for place in places))


def _stress(arguments: argparse.Namespace) -> None:
    from lm_eval.utils import simple_parse_args_string
    from rich.console import Console

    from .stress.figures import figures
    from .stress.progress import Watched
    from .stress.result import NAME
    from .stress.run import Config, stress
    from .stress.table import show

    config = Config(
        base=arguments.base,
        tuned=arguments.tuned,
        exam=arguments.exam,
        out=arguments.out,
        scoring=arguments.scoring,
        images=arguments.images,
        model_args=simple_parse_args_string(arguments.model_args),
        device=arguments.device,
        limit=arguments.limit,
    )
    with Watched(Console(stderr=True)) as watched:
        made = stress(config, watched.tell)
    found = figures(made)
    if arguments.json:
        _print_json(found.as_json())
    else:
        show(made, found)
        sys.stdout.write(f"{arguments.out / NAME}\n")


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
