"""The commands `data deid check`, `data deid sample` and `data deid bound`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.cli import ROWS, Command, Commands, CompletedArgument, add_command, print_json, screen, split_keys
from ..core.errors import UserError


def add_deid(commands: Commands[Command]) -> None:
    """Add `deid` and its sub-commands to the commands of `data`."""
    deid = add_command(
        commands,
        "deid",
        "count identifiers of patients in rows, and estimate how many were missed",
        (
            "data deid check rows.jsonl --show 3      identifiers by class, masked",
            "data deid sample meadow out=review.csv   rows for people to review",
            "data deid bound review.csv               upper limit of missed identifiers",
        ),
        "The 18 classes of identifiers are those of HIPAA Safe Harbor, 45 CFR 164.514(b)(2).",
    )
    steps = deid.add_subparsers(dest="step", metavar="STEP", required=True)
    _add_check(steps)
    _add_sample(steps)
    _add_bound(steps)


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
    command.add_argument(
        "--ner",
        action="store_true",
        help="also use the names and places that presidio-analyzer finds; needs the extra medalpaca-data[phi]",
    )
    command.add_json()
    command.set_defaults(run=_check)


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
            raise UserError(f"data deid sample: {key}={keys[key]}: give a whole number")
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
    command.add_argument("path", type=Path, metavar="SAMPLE", help="reviewed file of `data deid sample`")
    command.add_json()
    command.set_defaults(run=_bound)


def _bound(args: argparse.Namespace) -> None:
    from . import review

    bound = review.leak_bound(args.path)
    if args.json:
        print_json(review.leak_bound_as_json(bound))
    else:
        review.show_leak_bound(bound, screen())
