"""The command `exam`: evaluate, compare, report and verify exam results; inspect and import exams.

Heavy imports are inside the functions, so that `--help` is fast. Only `exam ask` and `exam stress` load a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medalpaca_data.core.cli import (
    Command,
    Commands,
    CompletedArgument,
    add_command,
    print_json,
    print_text,
    run,
    wrapped,
)
from medalpaca_data.core.cli import screen as make_console
from medalpaca_data.core.errors import CheckFailed, UserError

from .arguments import (
    EXAM,
    EXAM_OF_RESULT,
    EXAMS,
    MEADOW,
    MODEL,
    RESULT,
    STRESS,
    TASK,
    add_images,
    add_model_options,
    add_option,
    add_sides,
    select_options,
    sides,
    write_output,
)
from .ask_command import add_ask
from .plan_command import add_margin, add_plan, read_criterion

EXAMPLES = (
    "exam show results/tuned                    accuracy per exam step",
    "exam compare results/base results/tuned    did fine-tuning change the score?",
    "exam report results/* --out report.html    the comparison as an HTML page",
    "exam verify report.html                    recompute the page from its results",
    "exam plan --margin 3 --task medalpaca_usmle --exam exam.jsonl --out plan.json",
    "exam inspect medalpaca_pocket              statistics of an exam",
    "exam import exam_dir --out exam.jsonl      convert an exam to JSONL",
    "exam ask BASE RUN --tasks medalpaca_usmle --exam exam.jsonl --out results",
    "exam stress BASE RUN --exam exam.jsonl --out stress",
)


def parser() -> Command:
    """Return the parser of `exam` with all its commands."""
    description = "Evaluate models on medical exams, compare and report the results, and inspect exams."
    main = Command("exam", description, EXAMPLES)
    main.add_common("medalpaca-evalharness")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    results = (_add_show, _add_compare, _add_report, _add_verify)
    for add in (*results, add_plan, _add_inspect, _add_import, add_ask, _add_stress):
        add(commands)
    return main


def entry() -> None:
    """Run the console script `exam`."""
    run(main)


def main(argv: Sequence[str]) -> int:
    """Run one command and return 0, whatever its verdict. Raises CheckFailed (exit code 1) and UserError (2)."""
    arguments = parser().parse_args(argv)
    arguments.run(arguments)
    return 0


def _add_show(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "show",
        "print the accuracy of one result per exam step and over all items",
        ("exam show results/tuned", "exam show results/tuned --task medalpaca_usmle_step3 --json"),
        "Columns: accuracy, 95 % Wilson interval, chance (guessing), items without an answer, accuracy of the others.",
    )
    add_option(command, "result RESULT", RESULT, Path)
    add_option(command, "--task TASK", TASK)
    command.add_json()
    command.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> None:
    from .results import read_run
    from .run_summary import as_json, as_text, summarize_run

    result = read_run(arguments.result, arguments.task)
    summaries = summarize_run(result)
    write_output(arguments, as_json(result, summaries), as_text(result, summaries))


def _add_compare(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "compare",
        "compare the base model with the fine-tuned model, item by item",
        (
            "exam compare results/base results/tuned",
            "exam compare results/base results/tuned --items    also list each changed item",
            "exam compare results/base results/tuned --meadow meadow --exam exam.jsonl",
            "exam compare --base results/base --tuned results/seed*    several runs, one model",
        ),
        "Prints accuracies with 95 % intervals, the exact McNemar test, and a verdict on statistical significance. "
        "The exit code is 0 for every verdict, and 1 if the two results are not comparable.",
    )
    add_option(command, "base BASE", f"base model: {RESULT}", Path, nargs="?")
    add_option(command, "tuned TUNED", "result of the fine-tuned model, in the same form", Path, nargs="?")
    add_sides(command)
    changed = "also list each item that only one of the two models answers correctly"
    command.add_argument("--items", action="store_true", help=changed)
    add_option(command, "--task TASK", TASK)
    add_option(command, "--meadow ROWS", MEADOW, Path)
    add_option(command, "--exam EXAM", f"with --meadow: {EXAM_OF_RESULT}", EXAMS)
    add_margin(command)
    command.add_json()
    command.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    from .compare_table import print_comparison
    from .comparison import as_json, compare
    from .contamination_split import as_json as contamination_as_json
    from .contamination_split import measure_contamination
    from .plan import margin_json
    from .results import read_run

    criterion = read_criterion(arguments)
    base, tuned = sides(arguments, [one for one in (arguments.base, arguments.tuned) if one])
    if not tuned:
        raise UserError(
            f"{len(base)} result given; give BASE and TUNED, or --base RESULT ... --tuned RESULT ..."
        )
    runs = [[read_run(path, arguments.task) for path in side] for side in (base, tuned)]
    if any(len(side) > 1 for side in runs):
        _compare_several(arguments, *runs)
        return
    comparison = compare(runs[0][0], runs[1][0])
    found = None
    if arguments.meadow:
        found = measure_contamination(comparison, arguments.meadow, arguments.exam)
    margin = margin_json(criterion, [comparison]) if criterion else None
    if arguments.json:
        more = {"contamination": contamination_as_json(found)} if found else {}
        print_json(as_json(comparison) | more | ({"margin": margin} if margin else {}))
    else:
        answer = margin["answers"][comparison.name]["sentence"] if margin else ""
        print_comparison(comparison, contamination=found, items=arguments.items, margin=answer)


def _compare_several(arguments: argparse.Namespace, base: list[Any], tuned: list[Any]) -> None:
    from .runs_table import print_runs
    from .several_runs import as_json, compare_several

    for name in ("meadow", "items", "plan", "margin"):
        if getattr(arguments, name):
            raise UserError(
                f"--{name}: not available for several runs of a side; compare one run of each side"
            )
    compared = compare_several(base, tuned)
    if arguments.json:
        print_json(as_json(compared))
    else:
        print_runs(compared)


def _add_report(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "report",
        "write an HTML report, and the same data as JSON",
        (
            "exam report results/base results/tuned --out report.html",
            "exam report results/base results/a results/b --out family.html --stress stress",
            "exam report --base results/base --tuned results/seed* --out seeds.html",
        ),
        "One result: a description of that model. Several results: each one is compared with the first.",
    )
    add_option(command, "results RESULT", f"the base model first; each is a {RESULT}", Path, nargs="*")
    add_sides(command)
    add_option(
        command,
        "--out FILE",
        "the .html file to write; a .json file is written beside it",
        Path,
        required=True,
    )
    add_option(command, "--task TASK", TASK)
    add_option(command, "--stress STRESS", STRESS, Path, nargs="+", default=())
    add_option(command, "--meadow ROWS", MEADOW, Path)
    add_option(command, "--exam EXAM", EXAM_OF_RESULT, EXAMS)
    add_margin(command)
    command.add_json()
    command.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from .report.write import write_report

    options = select_options(arguments, "task", "meadow", "exam", "stress")
    options["criterion"] = read_criterion(arguments)
    base, tuned = sides(arguments, arguments.results)
    if not base:
        raise UserError("no result given; give RESULT ..., or --base RESULT ... --tuned RESULT ...")
    several = len(base) if arguments.base_runs else None
    if options["criterion"] and len(base) + len(tuned) > 2 and several:
        raise UserError(
            "--plan and --margin: not available for several runs of a side; compare one of each side"
        )
    written = write_report([*base, *tuned], arguments.out, base_runs=several, **options)
    files = [str(file) for file in written]
    write_output(arguments, {"files": files}, "\n".join(files))


def _add_verify(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "verify",
        "recompute a report from its results and compare every figure and hash",
        ("exam verify report.html", "exam verify report.html moved/base moved/tuned --weights"),
        "The exit code is 1 if anything differs.",
    )
    add_option(command, "report REPORT", "the .html or .json file that `exam report` wrote", Path)
    moved = "all results, in the order of the report, if they were moved (default: as named in the report)"
    add_option(command, "results RESULT", moved, Path, nargs="*")
    weights = "also recompute the SHA-256 of base models and adapters, which must be local (slow if large)"
    command.add_argument("--weights", action="store_true", help=weights)
    moved = "all stress results, in the order of the report, if they were moved"
    add_option(command, "--stress STRESS", moved, Path, nargs="+", default=())
    add_option(command, "--meadow ROWS", "the training rows of the report, if they were moved", Path)
    add_option(command, "--exam EXAM", "the exam of the report, if it was moved", EXAMS)
    command.add_json()
    command.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> None:
    from .report.verify import Locations, verify

    locations = Locations(**select_options(arguments, "results", "stress", "meadow", "exam", "weights"))
    checks = verify(arguments.report, locations)
    if arguments.json:
        print_json({"report": str(arguments.report), "matches": not checks.problems, **asdict(checks)})
    else:
        print_text(*(f"does not match: {problem}" for problem in checks.problems))
    if checks.problems:
        n = len(checks.problems)
        raise CheckFailed(f"{arguments.report}: {n} mismatch{'' if n == 1 else 'es'}")
    if arguments.json:
        return
    print_text(*(f"checked: {line}" for line in checks.checked))
    print_text(*(f"not checked: {line}" for line in checks.unchecked))
    left = f", {len(checks.unchecked)} not checked" if checks.unchecked else ""
    print_text(f"{arguments.report}: verified, no mismatch{left}")


def _add_inspect(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "inspect",
        "print statistics of an exam: items, exclusions with reasons, answer key, suspicious items",
        ("exam inspect medalpaca_pocket", "exam inspect exam_dir --images keep --json"),
        "Needs no model, and prints no text of an item.",
    )
    add_option(command, "exam EXAM", EXAM, EXAMS)
    add_option(
        command, "--overlap EXAM", "also list items with half or more of the question in this exam", EXAMS
    )
    add_images(command, fields=True)
    command.add_json()
    command.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> None:
    from .inspect import inspect_file, inspection_as_text, require_scorable

    inspection = inspect_file(**select_options(arguments, "exam", "overlap", "images", "fields"))
    write_output(arguments, inspection, wrapped(inspection_as_text(inspection), hang=10))
    require_scorable(inspection)


def _add_import(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "import",
        "convert an exam in any known layout to one JSONL file",
        ("exam import exam_dir --out exam.jsonl",),
        "The converted exam has the same SHA-256. NAME.rejects.jsonl lists what cannot be scored, with reasons.",
    )
    add_option(command, "exam EXAM", EXAM, EXAMS)
    add_option(command, "--out FILE", "the .jsonl file to write; it must not exist", Path, required=True)
    add_images(command, fields=True)
    command.add_json()
    command.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> None:
    from .inspect import import_as_json, import_as_text, import_exam

    result = import_exam(arguments.exam, arguments.out, **select_options(arguments, "images", "fields"))
    write_output(arguments, import_as_json(result), wrapped(import_as_text(result), hang=10))


def _add_stress(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "stress",
        "measure robustness: re-score each item with its options in other orders, with its correct option replaced "
        "by 'None of the above', without the question, and without the options",
        (
            "exam stress models/base runs/mine --exam exam.jsonl --out stress",
            "exam stress runs/mine --exam exam.jsonl --out stress    BASE from the adapter",
            "exam report results/* --out report.html --stress stress",
        ),
        "If it is interrupted, run the same command again: it continues where it stopped.",
    )
    add_option(
        command, "base BASE", f"{MODEL}; or a local adapter, measured with its base", CompletedArgument()
    )
    tuned = "an adapter of BASE, or another model directory; omit it for BASE alone, or if BASE is an adapter"
    add_option(command, "tuned TUNED", tuned, CompletedArgument(), nargs="?")
    add_option(command, "--exam EXAM", f"{EXAM} (default: MEDALPACA_EXAM)", EXAMS)
    add_option(
        command, "--out DIR", "directory for DIR/stress.json, which must not exist", Path, required=True
    )
    scoring = "score the letter or the text of each option (default: letter; text for medalpaca_pocket)"
    command.add_argument("--scoring", choices=("letter", "text"), help=scoring)
    add_images(command)
    add_model_options(command)
    add_option(command, "--limit N", "measure only the first N items of the exam", int)
    command.add_json()
    command.set_defaults(run=_stress)


def _stress(arguments: argparse.Namespace) -> None:
    from lm_eval.utils import simple_parse_args_string

    from .stress.figures import stress_figures
    from .stress.progress import StressProgress
    from .stress.result import FILE_NAME
    from .stress.run import StressConfig, run_stress
    from .stress.table import print_figures

    config = StressConfig(
        **select_options(arguments, "base", "tuned", "exam", "out", "scoring", "images", "device", "limit"),
        model_args=simple_parse_args_string(arguments.model_args),
    )
    with StressProgress(make_console(stderr=True)) as progress:
        result = run_stress(config, progress.update)
    figures = stress_figures(result)
    if arguments.json:
        print_json(figures.as_json())
    else:
        print_figures(result, figures)
        print_text(str(arguments.out / FILE_NAME))
