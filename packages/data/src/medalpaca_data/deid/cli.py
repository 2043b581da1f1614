"""Commands for patient text: `data deid check`, `sample`, `bound` and `evaluate`, and `data trace`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..core.cli import ROWS, Command, Commands, CompletedArgument, add_command, print_json, screen, split_keys
from ..core.errors import UserError
from .secret import KEY_FILE


def add_deid(commands: Commands[Command]) -> None:
    """Add `deid` and its sub-commands to the commands of `data`."""
    deid = add_command(
        commands,
        "deid",
        "count identifiers of patients in rows, and measure how many are missed",
        (
            "data deid check rows.jsonl --show 3      identifiers by class, masked",
            "data deid sample meadow out=review.csv   rows for people to review",
            "data deid bound review.csv               upper limit of missed identifiers",
            "data deid evaluate notes.jsonl           recall on annotated notes",
        ),
        "The 18 classes of identifiers are those of HIPAA Safe Harbor, 45 CFR 164.514(b)(2).",
    )
    steps = deid.add_subparsers(dest="step", metavar="STEP", required=True)
    _add_check(steps)
    _add_sample(steps)
    _add_bound(steps)
    _add_evaluate(steps)


def _add_check(steps: Commands[Command]) -> None:
    command = add_command(
        steps,
        "check",
        "count identifiers by class",
        ("data deid check rows.jsonl --show 3", "data deid check meadow --ner --json"),
        "Examples are masked: letters become x and X, digits become 9.",
    )
    command.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    command.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="print up to N masked examples per class (default: 0)",
    )
    _add_ner(command)
    command.add_json()
    command.set_defaults(run=_check)


def _add_ner(command: Command) -> None:
    command.add_argument(
        "--ner",
        nargs="?",
        const="presidio",
        default="",
        metavar="MODEL",
        help="also use named-entity recognition (without this option: rules only). MODEL is presidio, also if it is "
        "omitted, or the directory of a token classification model. presidio needs medalpaca-data[phi] and a spaCy "
        "model, a directory needs medalpaca-data[ner]",
    )


def _check(args: argparse.Namespace) -> None:
    from . import review

    result = review.check(args.path, show=args.show, ner=args.ner)
    if args.json:
        print_json(review.check_as_json(result))
    else:
        review.show_check(result, screen())


def _add_sample(steps: Commands[Command]) -> None:
    command = add_command(
        steps,
        "sample",
        "draw a random sample of rows for people to review",
        ("data deid sample meadow out=review.csv", "data deid sample meadow out=review.csv n=500 seed=1"),
        "Reviewers write the number of identifiers they find beside each row. Then run `data deid bound`.",
    )
    command.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    command.add_argument(
        "keys",
        nargs="*",
        metavar="key=value",
        type=CompletedArgument(lambda: ["out=", "n=", "seed="]),
        help="out=FILE.csv or .jsonl to write (required); n=N rows (default: 300), to which a few rows of rare classes "
        "are added; seed=N of the draw (default: 0)",
    )
    command.add_json()
    command.set_defaults(run=_sample)


def _sample(args: argparse.Namespace) -> None:
    from . import review

    keys, others = split_keys(args.keys, {"out": "", "n": "300", "seed": "0"})
    if others:
        raise UserError(f"data deid sample: {others[0]!r} is not allowed; allowed: out=FILE.csv n=N seed=N")
    if not keys["out"]:
        raise UserError("data deid sample: no output file; add out=FILE.csv")
    for key in ("n", "seed"):
        if not keys[key].isdecimal():
            raise UserError(
                f"data deid sample: {key}={keys[key]} is not a whole number; give one, 1 or more for n"
            )
    sample = review.draw_sample(args.path, Path(keys["out"]), n=int(keys["n"]), seed=int(keys["seed"]))
    if args.json:
        print_json(review.sample_as_json(sample))
    else:
        review.show_sample(sample, screen())


def _add_bound(steps: Commands[Command]) -> None:
    command = add_command(
        steps,
        "bound",
        "compute an upper limit of missed identifiers from a reviewed sample",
        ("data deid bound review.csv",),
        "Prints how many rows in 1,000 still contain an identifier at most, with 95 % confidence.",
    )
    command.add_argument(
        "path",
        type=Path,
        metavar="SAMPLE",
        help="file of `data deid sample`, in whose column leaks reviewers have entered the number of identifiers that "
        "each text contains (0 for none)",
    )
    command.add_json()
    command.set_defaults(run=_bound)


def _bound(args: argparse.Namespace) -> None:
    from . import review

    bound = review.leak_bound(args.path)
    if args.json:
        print_json(review.leak_bound_as_json(bound))
    else:
        review.show_leak_bound(bound, screen())


def _add_evaluate(steps: Commands[Command]) -> None:
    command = add_command(
        steps,
        "evaluate",
        "measure recall and false positives on annotated notes",
        (
            "data deid evaluate notes.jsonl --missed 3      keys: text, spans",
            "data deid evaluate i2b2/ --ner model/          i2b2 2014 XML; with a model",
            "data deid evaluate notes.csv --by ward --json  [[class|identifier]] in text",
        ),
        "An identifier counts as found if every letter and digit of it is in a match, whatever its class. The output "
        "contains no text of the notes.",
    )
    command.add_argument(
        "path",
        type=Path,
        metavar="FILE",
        help="annotated notes: .jsonl, .json, .csv or .tsv (also with .gz), .xml, or a directory of .xml files",
    )
    command.add_argument(
        "--profile",
        choices=["recall", "precise"],
        default="recall",
        help="rules to use: recall finds more, precise has fewer false positives (default: %(default)s)",
    )
    _add_ner(command)
    command.add_argument(
        "--by",
        action="append",
        metavar="FIELD",
        help="also print results by the values of a field of the notes; repeatable (default: style and language, if "
        "present)",
    )
    command.add_argument(
        "--missed",
        type=int,
        default=0,
        metavar="N",
        help="print the N most frequent shapes of missed identifiers per class (default: 0)",
    )
    command.add_json()
    command.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from . import evaluate, evaluation_table
    from .annotated_notes import iter_notes
    from .find import find_identifiers, rules_sha256
    from .ner import load_tagger

    if args.missed < 0:
        raise UserError(f"data deid evaluate: --missed {args.missed} is not allowed; use 0 or more")
    tagger = load_tagger(args.ner) if args.ner else None
    console = screen(stderr=args.json)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} notes"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("notes", total=None)
        result = evaluate.evaluate(
            iter_notes(args.path),
            lambda text: find_identifiers([text], tagger, profile=args.profile)[0],
            by=args.by,
            on_note=lambda: progress.advance(task),
        )
    if args.json:
        about = {
            "path": str(args.path),
            "profile": args.profile,
            "rules": rules_sha256(),
            "ner": tagger.version if tagger else None,
        }
        print_json(about | evaluate.evaluation_as_json(result, args.missed))
    else:
        detector = f"profile {args.profile}, NER: {tagger.version if tagger else 'none'}"
        evaluation_table.show_evaluation(result, args.path, detector, args.missed, console)


def add_trace(commands: Commands[Command], run: Callable[[argparse.Namespace], None]) -> None:
    """Add `trace`, which calls `run`, to the commands of `data`."""
    command = add_command(
        commands,
        "trace",
        "find the rows of a patient, and the builds and runs that have them",
        (
            "data trace 4711 meadow runs                   case number in the raw file",
            "data trace 3f2a9c417be0d852 meadow run        id of a row",
            "data trace 4711 meadow --secret /secure/keys  key in another directory",
        ),
        "A case number is hashed with the key of patient text. Neither the case number nor text is printed. Exit "
        "code 1 if no row is found.",
    )
    command.add_argument("value", metavar="VALUE", help="case number as in the raw file, or id of a row")
    command.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="Meadow and run directories, or directories of them, in any order",
    )
    command.add_argument(
        "--secret",
        type=Path,
        metavar="DIR",
        help=f"directory of {KEY_FILE} (default: MEDALPACA_HOME/secrets)",
    )
    command.add_json()
    command.set_defaults(run=run)
