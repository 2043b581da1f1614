"""The command `data`: build training data from raw sources, inspect it, and check it.

Each sub-command imports its modules when it runs, so that `--help` and completion are fast.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .core.cli import (
    ROWS,
    Command,
    Commands,
    CompletedArgument,
    add_command,
    print_json,
    run,
    screen,
    split_keys,
)
from .core.errors import CheckFailed, UserError
from .dataset_page import add_show
from .deid.cli import add_deid, add_trace

EXAMPLES = (
    "data sources                            list the kinds of raw data",
    "data build meadow.yaml out=meadow       build training rows from raw data",
    "data fetch pubmedqa out=raw             download one source",
    "data show meadow --html meadow.html     look at rows, lengths and removals",
    "data explain meadow 3f2a9c417be0d852    show what happened to one row",
    "data diff meadow_old meadow_new         compare two builds",
    "data check rows.json --exam exam_dir    find exam questions in the rows",
    "data rephrase meadow.yaml --estimate    tokens and cost before rephrasing",
    "data deid check rows.jsonl --show 3     count identifiers of patients",
    "data audit rows.json upstream.csv       compare labels with their source",
    "data trace 4711 meadow runs             builds and runs with rows of a case",
)
RECIPE = "recipe: a YAML file, or the name of a built-in recipe"


def entry() -> None:
    """Run the command `data` with the command-line arguments and exit."""
    run(main)


def main(argv: Sequence[str]) -> None:
    """Parse `argv` and run the command. Raises UserError for invalid arguments."""
    (args := parser().parse_args(argv)).run(args)


def parser() -> Command:
    """Return the parser of `data`."""
    description = (
        "Build and check instruction data for supervised fine-tuning (SFT). Each row keeps the record of its origin. "
        "A build cleans rows, removes identifiers of patients, duplicates and exam questions, and writes a Meadow "
        "directory: train.parquet, validation.parquet, a ledger of all rows, the rejected rows and a dataset card."
    )
    main = Command("data", description, EXAMPLES)
    main.add_common("medalpaca-data")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _add_build,
        _add_sources,
        _add_fetch,
        add_show,
        _add_explain,
        _add_diff,
        _add_check,
        _add_audit,
        _add_rephrase,
        add_deid,
    ):
        add(commands)
    add_trace(commands, _trace)
    return main


def _add_recipe(command: Command, *keys: str) -> None:
    own = "".join(f"{key}=..., " for key in keys)
    command.add_argument("recipe", metavar="RECIPE", type=CompletedArgument(_recipe_names), help=RECIPE)
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        type=CompletedArgument(partial(_key_names, *keys, recipe=True)),
        help=own + "keys of the recipe with values that replace those in its file",
    )


def _recipe_names() -> list[str]:
    from .recipe import builtin_recipes as names

    return names()


def _key_names(*own: str, recipe: bool = False) -> list[str]:
    from .recipe import Recipe

    return [f"{key}=" for key in dict.fromkeys((*own, *(Recipe.model_fields if recipe else ())))]


def _print(args: argparse.Namespace, module: Any, result: Any) -> None:
    """Print a result as JSON or as text, by the functions `as_json` and `show` of the module of the command."""
    if args.json:
        print_json(module.as_json(result))
    else:
        module.show(result, screen())


def _add_build(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "build",
        "build a Meadow directory from a recipe",
        (
            "data build pocket out=meadow                      a built-in recipe",
            "data build meadow.yaml out=meadow workers=4       four processes",
            "data build meadow.yaml out=meadow validation=0.1  change one key",
        ),
        "out=DIR is the directory to write. workers=N uses N processes, and engine=ray a Ray cluster. An interrupted "
        "build continues with the same command, and a directory that is up to date is not written again.",
    )
    _add_recipe(command, "out", "workers", "engine")
    command.add_json()
    command.set_defaults(run=_build)


def _build(args: argparse.Namespace) -> None:
    from .build import build
    from .executor import KINDS
    from .recipe import load_recipe
    from .show import ProgressBars, build_as_json, show_build

    own, overrides = split_keys(args.overrides, {"out": "", "engine": "", "workers": ""})
    if not own["out"]:
        raise UserError("data build: no output directory; add out=DIR")
    workers = int(own["workers"]) if own["workers"].isdecimal() else 0 if own["workers"] else 1
    if workers < 1:
        raise UserError(f"workers={own['workers']}: give a whole number of 1 or more")
    engine = own["engine"] or ("serial" if workers == 1 else "processes")
    if engine not in KINDS:
        raise UserError(f"engine={engine}: allowed: {', '.join(KINDS)}")
    recipe, root = load_recipe(args.recipe, overrides)
    console = screen(stderr=args.json)
    with ProgressBars(console) as bars:
        built = build(recipe, root, Path(own["out"]), on_progress=bars.update, engine=engine, workers=workers)
    if args.json:
        print_json(build_as_json(built))
    else:
        show_build(built, console)


def _add_sources(commands: Commands[Command]) -> None:
    def names() -> list[str]:
        from .show import kinds

        return list(kinds())

    command = add_command(
        commands,
        "sources",
        "list the kinds of raw data that recipes can use",
        (
            "data sources",
            "data sources medquad         files, download and recipe keys of one",
            "data sources medquad --json",
        ),
        "With a NAME: the files of one source, where to download them, and its keys in a recipe.",
    )
    command.add_argument(
        "name", nargs="?", metavar="NAME", type=CompletedArgument(names), help="kind of source (default: all)"
    )
    command.add_json()
    command.set_defaults(run=_sources)


def _sources(args: argparse.Namespace) -> None:
    from . import show

    if args.json:
        print_json(show.sources_as_json(args.name))
    elif args.name:
        show.show_source(args.name, screen())
    else:
        show.show_sources(screen())


def _add_fetch(commands: Commands[Command]) -> None:
    def names() -> list[str]:
        from .fetch import downloads

        return sorted({download.kind for download in downloads()})

    command = add_command(
        commands,
        "fetch",
        "download the raw files of a source",
        ("data fetch pubmedqa out=raw",),
        "Only files with a licence that permits it are offered. Each file is compared with its known SHA-256. An "
        "interrupted download continues with the same command.",
    )
    known = CompletedArgument(names)
    command.add_argument("name", metavar="NAME", type=known, help="kind of source, such as pubmedqa")
    command.add_argument(
        "out",
        nargs="?",
        metavar="out=DIR",
        type=CompletedArgument(partial(_key_names, "out")),
        default="out=raw",
        help="directory for the downloaded files (default: raw)",
    )
    command.add_json()
    command.set_defaults(run=_fetch)


def _fetch(args: argparse.Namespace) -> None:
    from .fetch import fetch
    from .show import ProgressBars, about, download_columns

    key, _, directory = args.out.partition("=")
    if key != "out" or not directory:
        raise UserError(f"data fetch: {args.out!r} is not allowed; write out=DIR")
    about(args.name)  # refuses an unknown kind
    console = screen(stderr=args.json)
    with ProgressBars(console, *download_columns()) as bars:
        fetched = fetch(args.name, Path(directory), on_progress=bars.update)
    if args.json:
        print_json({"name": args.name, "files": [str(path) for path in fetched]})
        return
    for path in fetched:
        console.print(f"{path}: downloaded, SHA-256 correct", soft_wrap=True)


def _add_explain(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "explain",
        "show what happened to one row, from its raw file to its final text",
        ("data explain meadow 3f2a9c417be0d852",),
        "For a rejected row, the last line is the stage that rejected it and the reason.",
    )
    meadow = "Meadow directory, written by `data build`"
    command.add_argument("path", type=Path, metavar="MEADOW", help=meadow)
    command.add_argument("row", metavar="ROW_ID", help="id of a kept or rejected row, or an earlier id of it")
    command.add_json()
    command.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> None:
    from . import explain

    _print(args, explain, explain.explain(args.path, args.row))


def _add_diff(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "diff",
        "compare two builds: recipe, raw files, and rows",
        ("data diff meadow_old meadow_new", "data diff meadow_old meadow_new --json"),
        "Lists recipe keys and files that differ, and counts rows that were added, removed, changed or moved.",
    )
    command.add_argument("before", type=Path, metavar="BEFORE", help="Meadow directory of the first build")
    command.add_argument("after", type=Path, metavar="AFTER", help="Meadow directory of the second build")
    command.add_json()
    command.set_defaults(run=_diff)


def _diff(args: argparse.Namespace) -> None:
    from . import diff

    _print(args, diff, diff.diff(args.before, args.after))


def _add_check(commands: Commands[Command]) -> None:
    def exams() -> list[str]:
        from .exams.exam import BUNDLED

        return sorted(BUNDLED)

    command = add_command(
        commands,
        "check",
        "check training rows for contamination with exam questions",
        (
            "data check meadow --exam medalpaca_pocket",
            "data check rows.json --exam exam_dir --fail-over 0.5   exit code 1 at 50 %",
        ),
        "The coverage of an exam question is the share of its word 13-grams that occur in one row. The table counts "
        "the questions by their highest coverage.",
    )
    command.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    command.add_argument(
        "--exam",
        required=True,
        metavar="EXAM",
        type=CompletedArgument(exams),
        help="exam whose questions are searched for in the rows: a file, a directory, or the name of a bundled exam",
    )
    command.add_argument(
        "--fail-over",
        type=float,
        metavar="SHARE",
        help="end with exit code 1 if the coverage of a question is SHARE or more (above 0, up to 1; default: never)",
    )
    command.add_json()
    command.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> None:
    from . import check

    limit = args.fail_over
    if limit is not None and not 0 < limit <= 1:
        raise UserError(f"--fail-over {limit:g}: give a share above 0 and up to 1")
    result = check.check(args.path, args.exam)
    _print(args, check, result)
    if limit is not None and (covered := [item for item in result.items if item.coverage >= limit]):
        raise CheckFailed(
            f"{args.path}: questions of {result.exam.name} with a coverage of {limit:.0%} or more: {len(covered)}; "
            "add the exam to `exams:` of the recipe to reject those rows"
        )


def _add_audit(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "audit",
        "compare the labels of published rows with the corpus they were made from",
        (
            "data audit published.json upstream.csv",
            "data audit published.json a.csv b.csv --encoding causal-language-use",
        ),
        "For the PubMed corpora of causal language and of health advice. Exit code 1 if a label differs.",
    )
    command.add_argument(
        "published", type=Path, metavar="ROWS", help="file of published instruction rows (Alpaca format)"
    )
    command.add_argument("upstream", type=Path, metavar="UPSTREAM", nargs="+", help="CSV files of the corpus")
    command.add_argument(
        "--encoding",
        choices=("causal-language-use", "correlation-to-causation"),
        help="copy of the causal language corpus from which UPSTREAM was taken; the two copies number the labels "
        "differently (default: detected from the number of rows per label, which needs complete files)",
    )
    command.add_json()
    command.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> None:
    from . import audit

    result = audit.audit(args.published, *args.upstream, encoding=args.encoding)
    _print(args, audit, result)
    if result.disagree:
        upstream = ", ".join(map(str, args.upstream))
        raise CheckFailed(f"{args.published}: {result.disagree} labels differ from {upstream}")


def _add_rephrase(commands: Commands[Command]) -> None:
    command = add_command(
        commands,
        "rephrase",
        "estimate requests, tokens and cost of rephrasing the rows of a recipe",
        ("data rephrase meadow.yaml --estimate", "data rephrase meadow.yaml rephrase.tries=1 --estimate"),
        "No model is called. Rephrasing itself is part of `data build` if the recipe has the key `rephrase`.",
    )
    _add_recipe(command)
    command.add_argument(
        "--estimate", action="store_true", required=True, help="required: estimate only, send no request"
    )
    command.add_json()
    command.set_defaults(run=_estimate)


def _estimate(args: argparse.Namespace) -> None:
    from . import cost
    from .build import estimate_rephrasing
    from .recipe import load_recipe
    from .show import ProgressBars

    console = screen(stderr=args.json)
    with ProgressBars(console) as bars:
        estimate = estimate_rephrasing(*load_recipe(args.recipe, args.overrides), bars.update)
    if args.json:
        print_json(cost.estimate_as_json(estimate))
    else:
        cost.show_estimate(estimate, console)


def _trace(args: argparse.Namespace) -> None:
    from . import trace

    _print(args, trace, found := trace.trace(args.value, args.paths, args.secret))
    trace.require_rows(found)
