"""The `exam` command: results shown, compared, reported and verified, exams inspected and imported.

Only `exam ask` and `exam stress` load a model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from medalpaca_data.command_line import print_json, screen, wrapped
from medalpaca_data.ground.command import run
from medalpaca_data.ground.errors import CheckFailed, UserError

from .commands import parser


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
    from .logged.run import read_run
    from .logged.summary import as_json, as_text, summary

    found = read_run(arguments.result, arguments.task)
    parts = summary(found)
    if arguments.json:
        print_json(as_json(found, parts))
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

        print_json(as_json(comparison) | ({"contamination": clean_json(found)} if found else {}))
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
    if arguments.json:
        print_json({"files": [str(file) for file in written]})
    else:
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

    from .inspection import as_text, inspect

    other = load_exam(arguments.overlap, images="keep") if arguments.overlap else None
    report = inspect(load_exam(arguments.exam, images=arguments.images), other)
    if arguments.json:
        print_json(report)
    else:
        sys.stdout.write(wrapped(as_text(report), hang=10) + "\n")


def _import(arguments: argparse.Namespace) -> None:
    from .convert import as_json, as_text, import_exam

    found = import_exam(arguments.exam, arguments.out, images=arguments.images)
    if arguments.json:
        print_json(as_json(found))
    else:
        sys.stdout.write(wrapped(as_text(found), hang=10) + "\n")


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
    with Watched(screen(stderr=True)) as watched:
        made = stress(config, watched.tell)
    found = figures(made)
    if arguments.json:
        print_json(found.as_json())
    else:
        show(made, found)
        sys.stdout.write(f"{arguments.out / NAME}\n")
