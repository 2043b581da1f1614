"""`data`: build a Meadow directory, look into it, check it against an exam, audit published labels."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .ground.command import Parser, run
from .ground.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from rich.progress import TaskID

EXAMPLES = """examples:
  data sources                               what can be built from, and where to get it
  data build meadow.yaml out=meadow          raw sources -> rows, ledger, rejects, card
  data build pocket out=meadow               a built-in recipe
  data fetch pubmedqa to=raw                 download one that is free to download
  data explain meadow 3f2a9c417be0d852       one row's life, from raw file to final text
  data diff meadow_old meadow_new            what changed between two builds
  data check rows.json --exam exam_dir       how much of the exam stands in the rows?
  data check meadow --exam medalpaca_pocket --json
  data rephrase meadow.yaml --estimate       requests, tokens and cost, before anything is asked
  data deid check rows.jsonl --show 3        patients' identifiers by class, masked
  data audit published.json upstream.csv     do published labels agree with upstream's?
"""


def main(argv: Sequence[str]) -> None:
    """Parse and hand over; every command imports what it needs and no more."""
    from importlib.metadata import version

    parser = Parser(
        prog="data",
        description="Rebuild medical instruction rows from raw sources, every row with its origin.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medalpaca-data {version('medalpaca-data')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    build = commands.add_parser("build", help="build a Meadow directory from a recipe")
    build.add_argument("recipe", help="a YAML file, or a built-in name")
    build.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="out=DIR; workers=N processes, or engine=ray; and any key of the recipe",
    )

    sources = commands.add_parser("sources", help="list the sources, or say where to get one")
    sources.add_argument("name", nargs="?", help="a kind of source")
    sources.add_argument("--json", action="store_true", help="print JSON")

    fetch = commands.add_parser("fetch", help="download the raw files of a source that is free to download")
    fetch.add_argument("name", help="a kind of source")
    fetch.add_argument(
        "to", nargs="?", metavar="to=DIR", default="to=raw", help="where to put them (default: raw)"
    )

    explain = commands.add_parser("explain", help="tell one row's life, from raw file to final text")
    explain.add_argument("path", type=Path, metavar="DIR", help="a Meadow directory")
    explain.add_argument("row", metavar="ROW_ID", help="the row's id, kept or rejected")
    explain.add_argument("--json", action="store_true", help="print JSON")

    diff = commands.add_parser("diff", help="say what changed between two builds")
    diff.add_argument("before", type=Path, metavar="A", help="a Meadow directory")
    diff.add_argument("after", type=Path, metavar="B", help="another")
    diff.add_argument("--json", action="store_true", help="print JSON")

    check = commands.add_parser("check", help="report how much of an exam stands in the rows")
    check.add_argument("path", type=Path, help="rows (.json .jsonl .csv .parquet) or a Meadow directory")
    check.add_argument("--exam", required=True, help="an exam file or directory, or a bundled name")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--fail-over", type=float, metavar="SHARE", help="exit 1 if an item's coverage reaches SHARE"
    )

    audit = commands.add_parser(
        "audit", help="compare published labels (causal, health advice) with upstream's"
    )
    audit.add_argument("published", type=Path, help="the published rows")
    audit.add_argument("upstream", type=Path, nargs="+", help="upstream's CSV, or several")
    audit.add_argument(
        "--encoding", choices=("causal-language-use", "correlation-to-causation"), help="of causal labels"
    )
    audit.add_argument("--json", action="store_true", help="print JSON")

    words = commands.add_parser("rephrase", help="estimate what rephrasing a recipe's rows will take")
    words.add_argument("recipe", help="a YAML file, or a built-in name")
    words.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the recipe")
    words.add_argument(
        "--estimate", action="store_true", required=True, help="count requests and tokens; ask nobody"
    )
    words.add_argument("--json", action="store_true", help="print JSON")

    deid = commands.add_parser("deid", help="check rows for patients' identifiers, and bound what was missed")
    steps = deid.add_subparsers(dest="step", metavar="STEP", required=True)
    look = steps.add_parser("check", help="count identifiers by class")
    look.add_argument("path", type=Path, help="rows or a Meadow directory")
    look.add_argument("--show", type=int, default=0, metavar="N", help="show N finds a class, masked")
    look.add_argument(
        "--ner", action="store_true", help="ask presidio-analyzer too (extra medalpaca-data[phi])"
    )
    draw = steps.add_parser("sample", help="draw rows for people to read and mark")
    draw.add_argument("path", type=Path, help="rows or a Meadow directory")
    draw.add_argument("keys", nargs="*", metavar="key=value", help="out=FILE.csv; n=300; seed=0")
    marks = steps.add_parser("bound", help="bound the leaks per 1,000 rows from a marked sample")
    marks.add_argument("path", type=Path, help="the marked sample")
    for step in (look, draw, marks):
        step.add_argument("--json", action="store_true", help="print JSON")

    args = parser.parse_args(argv)
    match args.command:
        case "rephrase":
            _estimate(args.recipe, args.overrides, args.json)
        case "deid":
            _deid(args)
        case "build":
            _build(args.recipe, args.overrides)
        case "sources":
            _sources(args.name, args.json)
        case "fetch":
            _fetch(args.name, args.to)
        case "explain":
            _explain(args.path, args.row, args.json)
        case "diff":
            _diff(args.before, args.after, args.json)
        case "check":
            _check(args.path, args.exam, args.json, args.fail_over)
        case "audit":
            _audit(args.published, args.upstream, args.encoding, args.json)


def entry() -> None:
    """The console script."""
    run(main)


def _build(recipe_name: str, overrides: Sequence[str]) -> None:
    from rich.console import Console

    from .build import build
    from .engine import KINDS
    from .progress import Watched
    from .recipe import load_recipe
    from .report import show_build

    ours, keys = _ours(overrides, {"out": "", "engine": "", "workers": ""})
    if not ours["out"]:
        raise UserError("data build: name the directory to make, out=DIR")
    workers = int(ours["workers"]) if ours["workers"].isdecimal() else 0 if ours["workers"] else 1
    if workers < 1:
        raise UserError(f"workers={ours['workers']}: a number of 1 or more")
    engine = ours["engine"] or ("serial" if workers == 1 else "processes")
    if engine not in KINDS:
        raise UserError(f"engine={engine}: one of {', '.join(KINDS)}")
    recipe, root = load_recipe(recipe_name, keys)
    console = Console(markup=False)
    with Watched(console) as watched:
        built = build(
            recipe,
            root,
            Path(ours["out"]),
            tell=watched.tell,
            engine=engine,
            workers=workers,
        )
    show_build(built, console)


def _ours(overrides: Sequence[str], keys: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(the values of `keys`, which are the command's own; the other overrides, which are the recipe's)."""
    found = dict(keys)
    others = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key in keys:
            found[key] = value
        else:
            others.append(text)
    return found, others


def _sources(name: str | None, as_json: bool) -> None:
    from rich.console import Console

    from . import catalogue

    if as_json:
        print(json.dumps(catalogue.as_json(name), indent=2))  # noqa: T201 - output for scripts
    elif name:
        catalogue.show_one(name, Console(markup=False))
    else:
        catalogue.show(Console(markup=False))


def _fetch(name: str, to: str) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from .fetch import fetch

    if not to.startswith("to=") or to == "to=":
        raise UserError(f"data fetch: {to!r} is not to=DIR")
    console = Console(markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def told(file: str, done: int, of: int) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=of)
            progress.update(bars[file], completed=done)

        for path in fetch(name, Path(to.removeprefix("to=")), told=told):
            console.print(f"{path}: fetched and verified", soft_wrap=True)


def _explain(path: Path, row: str, as_json: bool) -> None:
    from rich.console import Console

    from . import explain

    life = explain.explain(path, row)
    if as_json:
        print(json.dumps(explain.as_json(life), indent=2, ensure_ascii=False))  # noqa: T201 - output for scripts
    else:
        explain.show(life, Console(markup=False))


def _diff(before: Path, after: Path, as_json: bool) -> None:
    from rich.console import Console

    from . import diff

    found = diff.diff(before, after)
    if as_json:
        print(json.dumps(diff.as_json(found), indent=2))  # noqa: T201 - output for scripts
    else:
        diff.show(found, Console(markup=False))


def _check(path: Path, exam: str, as_json: bool, fail_over: float | None) -> None:
    from rich.console import Console

    from . import check

    if fail_over is not None and not 0 < fail_over <= 1:
        raise UserError(f"--fail-over {fail_over:g}: a share above 0 and up to 1 was expected")
    result = check.check(path, exam)
    if as_json:
        print(json.dumps(check.as_json(result), indent=2))  # noqa: T201 - output for scripts
    else:
        check.show(result, Console(markup=False))
    if fail_over is not None and (covered := [item for item in result.items if item.coverage >= fail_over]):
        raise CheckFailed(
            f"{path}: {len(covered)} items of {result.exam.name} are covered by {fail_over:.0%} or more"
        )


def _estimate(recipe_name: str, overrides: Sequence[str], as_json: bool) -> None:
    from rich.console import Console

    from .build import estimate_rephrasing
    from .cost import estimate
    from .progress import Watched
    from .recipe import load_recipe

    console = Console(markup=False)
    with Watched(console) as watched:
        found = estimate_rephrasing(*load_recipe(recipe_name, overrides), watched.tell)
    if as_json:
        print(json.dumps(estimate.as_json(found), indent=2))  # noqa: T201 - output for scripts
    else:
        estimate.show(found, console)


def _deid(args: argparse.Namespace) -> None:
    from rich.console import Console

    from .deid import bound, check, sample

    console = Console(markup=False)
    match args.step:
        case "check":
            found = check.check(args.path, show=args.show, ner=args.ner)
            told: object = check.as_json(found)
            show = partial(check.show, found, console)
        case "sample":
            ours, others = _ours(args.keys, {"out": "", "n": "300", "seed": "0"})
            if others or not ours["out"] or not (ours["n"].isdecimal() and ours["seed"].isdecimal()):
                raise UserError(
                    "data deid sample: expected PATH out=FILE.csv, and perhaps n=NUMBER seed=NUMBER"
                )
            drawn = sample.sample(args.path, Path(ours["out"]), n=int(ours["n"]), seed=int(ours["seed"]))
            told = sample.as_json(drawn)
            show = partial(sample.show, drawn, console)
        case _:
            bounded = bound.bound(args.path)
            told = bound.as_json(bounded)
            show = partial(bound.show, bounded, console)
    if args.json:
        print(json.dumps(told, indent=2))  # noqa: T201 - output for scripts
    else:
        show()


def _audit(published: Path, upstream: Sequence[Path], encoding: str | None, as_json: bool) -> None:
    from rich.console import Console

    from . import audit

    result = audit.audit(published, *upstream, encoding=encoding)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(audit.as_json(result), indent=2))  # noqa: T201 - output for scripts
    else:
        audit.show(result, Console(markup=False))
    if result.disagree:
        places = ", ".join(map(str, upstream))
        raise CheckFailed(f"{published}: {result.disagree} labels disagree with {places}")
