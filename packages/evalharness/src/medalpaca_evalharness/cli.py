"""The `exam` command: results shown, compared, reported and verified, exams inspected and imported.

Only `exam ask` and `exam stress` load a model.

What `exam` can be told: its commands, their arguments, an example of each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from medalpaca_data.core.cli import Command, CompletedArgument, add_command, print_json, run, screen, wrapped
from medalpaca_data.core.errors import CheckFailed, UserError

EXAMPLES = (
    "exam show results/tuned                    one result, step by step",
    "exam compare results/base results/tuned    did training change anything?",
    "exam report results/* --out report.html    the same as a page, for others",
    "exam verify report.html                    is the page what the results say?",
    "exam inspect medalpaca_pocket              what an exam holds",
    "exam import exam_dir --out exam.jsonl      any layout as one file",
    "exam ask BASE RUN --tasks medalpaca_usmle --exam exam.jsonl --out results",
    "exam stress BASE RUN --exam exam.jsonl --out stress",
    "exam compare --help                        more of one command",
)
RESULT = "a results_*.json of lm_eval, or a directory with exactly one run"
EXAM = "an exam file or directory, or a bundled name"
MODEL = "a model directory or hub id"


def parser() -> Command:
    """All of `exam`: nothing is imported for it that is not needed to print its help."""
    main = Command("exam", "Show, compare, report and verify exam results; look into exams.", EXAMPLES)
    main.add_common("medalpaca-evalharness")
    commands = main.add_subparsers(dest="command", metavar="COMMAND")
    task_help = "which exam, when the runs asked several, or which step of it"
    show = add_command(
        commands,
        "show",
        "one result per step: score, interval, chance, unanswered items",
        ("exam show results/tuned", "exam show results/tuned --task medalpaca_usmle_step3 --json"),
    )
    show.add_argument("result", metavar="RESULT", type=Path, help=RESULT)
    compare = add_command(
        commands,
        "compare",
        "base against tuned, with exact statistics and a verdict",
        (
            "exam compare results/base results/tuned",
            "exam compare results/base results/tuned --items    every fixed and broken item",
            "exam compare results/base results/tuned --meadow meadow --exam exam.jsonl",
        ),
        "Exit code 0 whatever the verdict; 1 if the two cannot be compared.",
    )
    compare.add_argument("base", metavar="BASE", type=Path, help=RESULT)
    compare.add_argument("tuned", metavar="TUNED", type=Path, help="the same for the tuned model")
    compare.add_argument("--items", action="store_true", help="print every fixed and broken item")
    report = add_command(
        commands,
        "report",
        "one model, or several against the first, as one HTML page, and JSON",
        (
            "exam report results/base results/tuned --out report.html",
            "exam report results/base results/a results/b --out family.html --stress stress",
        ),
    )
    report.add_argument("results", metavar="RESULT", type=Path, nargs="+", help=f"{RESULT}; the base first")
    report.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="the .html file; .json goes beside it"
    )
    verify = add_command(
        commands,
        "verify",
        "compute a report again from its samples, check every hash",
        (
            "exam verify report.html",
            "exam verify report.html moved/base moved/tuned --weights",
        ),
        "Exit code 1 if anything does not match.",
    )
    verify.add_argument("report", metavar="REPORT", type=Path, help="the .html or .json of `exam report`")
    verify.add_argument(
        "results",
        metavar="RESULT",
        type=Path,
        nargs="*",
        help="where the results are now, if they moved: all of them, in the report's order",
    )
    verify.add_argument("--weights", action="store_true", help="hash base and adapter again too")
    for command in (show, compare, report):
        command.add_argument("--task", metavar="TASK", help=task_help)
    for command in (report, verify):
        command.add_argument(
            "--stress",
            type=Path,
            nargs="+",
            default=(),
            metavar="STRESS",
            help="results of `exam stress` on these models: stress.json, or the directory that holds it",
        )
    for command in (compare, report, verify):
        command.add_argument(
            "--meadow", metavar="ROWS", type=Path, help="the training data: rows or a Meadow directory"
        )
        command.add_argument(
            "--exam",
            metavar="EXAM",
            type=CompletedArgument(_exams),
            help="where the exam is, if not where lm_eval was told",
        )
    inspect = add_command(
        commands,
        "inspect",
        "what an exam holds and what of it can be scored",
        ("exam inspect medalpaca_pocket", "exam inspect exam_dir --images keep --json"),
    )
    convert = add_command(
        commands,
        "import",
        "an exam in any layout as one JSONL file, with rejects listed",
        ("exam import exam_dir --out exam.jsonl",),
    )
    for command in (inspect, convert):
        command.add_argument("exam", metavar="EXAM", type=CompletedArgument(_exams), help=EXAM)
    inspect.add_argument(
        "--overlap",
        metavar="EXAM",
        type=CompletedArgument(_exams),
        help="another exam: which questions stand in it too",
    )
    convert.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="the .jsonl file; rejects go beside it"
    )
    ask = add_command(
        commands,
        "ask",
        "base and tuned asked an exam in one pass, as lm_eval would twice",
        (
            "exam ask models/base runs/mine --tasks medalpaca_usmle \\\n      --exam exam.jsonl --out results",
            "exam compare results/base results/tuned    then",
        ),
    )
    ask.add_argument("base", metavar="BASE", type=CompletedArgument(), help=MODEL)
    ask.add_argument(
        "adapter",
        metavar="ADAPTER",
        type=CompletedArgument(),
        help="an adapter of it, such as a run directory",
    )
    ask.add_argument(
        "--tasks",
        metavar="TASK,...",
        type=CompletedArgument(_tasks),
        required=True,
        help="tasks of this package, separated by commas",
    )
    ask.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets base/ and tuned/ with a result of lm_eval each",
    )
    ask.add_argument(
        "--exam",
        metavar="EXAM",
        type=CompletedArgument(_exams),
        help="where the exam is, if not where lm_eval looks for it",
    )
    stress = add_command(
        commands,
        "stress",
        "an exam in other orders, without its key, its question, its options: what holds",
        (
            "exam stress models/base runs/mine --exam exam.jsonl --out stress",
            "exam stress runs/mine --exam exam.jsonl --out stress    one model alone",
            "exam report results/* --out report.html --stress stress",
        ),
    )
    stress.add_argument(
        "base", metavar="BASE", type=CompletedArgument(), help=f"{MODEL}; or an adapter, which names its base"
    )
    stress.add_argument(
        "tuned",
        metavar="TUNED",
        type=CompletedArgument(),
        nargs="?",
        help="an adapter of BASE, or another model",
    )
    stress.add_argument(
        "--exam", metavar="EXAM", type=CompletedArgument(_exams), help=f"{EXAM} (or MEDALPACA_EXAM)"
    )
    stress.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="gets stress.json; run again to go on after a stop",
    )
    stress.add_argument(
        "--scoring",
        choices=("letter", "text"),
        help="how options are scored (default: letter, or text for medalpaca_pocket)",
    )
    for command in (inspect, convert, stress):
        command.add_argument(
            "--images", choices=("exclude", "keep"), default="exclude", help="items that need a picture"
        )
    for command in (ask, stress):
        command.add_argument(
            "--model_args", default="", metavar="KEY=VALUE,...", help="as lm_eval's, for both sides"
        )
        command.add_argument("--device", metavar="DEVICE", help="cuda where there is a GPU, else cpu")
    ask.add_argument("--batch_size", metavar="N", default="1", help="of what is generated (default: 1)")
    ask.add_argument("--limit", metavar="N", type=float, help="only so many items per task, for a test")
    ask.add_argument("--apply_chat_template", action="store_true", help="as lm_eval's")
    stress.add_argument("--limit", metavar="N", type=int, help="only the first so many items, for a test")
    for command in (show, compare, report, verify, inspect, convert, stress):
        command.add_json()
    return main


def _exams() -> tuple[str, ...]:
    from medalpaca_data.exams.exam import BUNDLED

    return BUNDLED


def _tasks() -> list[str]:
    from .task_list import GROUPS, TASKS

    return [*GROUPS, *TASKS]


def entry() -> None:
    """The console script."""
    run(main)


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when done, whatever the verdict; 1 when a comparison is refused, 2 on bad input."""
    arguments = parser().parse_args(argv)
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


def _show(arguments: argparse.Namespace) -> None:
    from .results import as_json, as_text, read_run, summarize_run

    found = read_run(arguments.result, arguments.task)
    parts = summarize_run(found)
    if arguments.json:
        print_json(as_json(found, parts))
    else:
        sys.stdout.write(as_text(found, parts) + "\n")


def _compare(arguments: argparse.Namespace) -> None:
    from .comparison import as_json, compare
    from .results import read_run

    comparison = compare(read_run(arguments.base, arguments.task), read_run(arguments.tuned, arguments.task))
    found = None
    if arguments.meadow:
        from .contamination_split import measure_contamination

        found = measure_contamination(comparison, arguments.meadow, arguments.exam)
    if arguments.json:
        from .contamination_split import as_json as clean_json

        print_json(as_json(comparison) | ({"contamination": clean_json(found)} if found else {}))
    else:
        from .compare_table import print_comparison

        print_comparison(comparison, contamination=found, items=arguments.items)


def _report(arguments: argparse.Namespace) -> None:
    from .report.write import write_report

    written = write_report(
        arguments.results,
        arguments.out,
        task=arguments.task,
        meadow=arguments.meadow,
        exam=arguments.exam,
        stress=arguments.stress,
    )
    if arguments.json:
        print_json({"files": [str(file) for file in written]})
    else:
        sys.stdout.write("".join(f"{file}\n" for file in written))


def _verify(arguments: argparse.Namespace) -> None:
    from .report.verify import Locations, verify

    found = verify(
        arguments.report,
        Locations(
            results=arguments.results,
            stress=arguments.stress,
            meadow=arguments.meadow,
            exam=arguments.exam,
            weights=arguments.weights,
        ),
    )
    if arguments.json:
        print_json({"report": str(arguments.report), "matches": not found.problems, **asdict(found)})
    else:
        sys.stdout.write("".join(f"does not match: {problem}\n" for problem in found.problems))
    if found.problems:
        things = "1 thing does" if len(found.problems) == 1 else f"{len(found.problems)} things do"
        raise CheckFailed(f"{arguments.report}: {things} not match")
    if arguments.json:
        return
    sys.stdout.write("".join(f"checked: {line}\n" for line in found.checked))
    sys.stdout.write("".join(f"not checked: {line}\n" for line in found.unchecked))
    all_of_it = "what was checked" if found.unchecked else "all of it"
    sys.stdout.write(f"{arguments.report}: {all_of_it} matches\n")


def _inspect(arguments: argparse.Namespace) -> None:
    from medalpaca_data.exams.exam import load_exam

    from .inspect import inspect_exam, inspection_as_text

    other = load_exam(arguments.overlap, images="keep") if arguments.overlap else None
    report = inspect_exam(load_exam(arguments.exam, images=arguments.images), other)
    if arguments.json:
        print_json(report)
    else:
        sys.stdout.write(wrapped(inspection_as_text(report), hang=10) + "\n")


def _import(arguments: argparse.Namespace) -> None:
    from .inspect import import_as_json, import_as_text, import_exam

    found = import_exam(arguments.exam, arguments.out, images=arguments.images)
    if arguments.json:
        print_json(import_as_json(found))
    else:
        sys.stdout.write(wrapped(import_as_text(found), hang=10) + "\n")


def _ask(arguments: argparse.Namespace) -> None:
    from lm_eval.utils import simple_parse_args_string

    from .model.both_sides import evaluate_both

    places = evaluate_both(
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

    from .stress.figures import stress_figures
    from .stress.result import FILE_NAME
    from .stress.run import StressConfig, StressProgress, run_stress
    from .stress.table import print_figures

    config = StressConfig(
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
    with StressProgress(screen(stderr=True)) as watched:
        made = run_stress(config, watched.update)
    found = stress_figures(made)
    if arguments.json:
        print_json(found.as_json())
    else:
        print_figures(made, found)
        sys.stdout.write(f"{arguments.out / FILE_NAME}\n")
