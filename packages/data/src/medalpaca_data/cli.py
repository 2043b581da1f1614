"""`data`: build a Meadow directory, check it against an exam, audit published labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .ground.errors import CheckFailed, Parser, UserError, run

EXAMPLES = """examples:
  data build meadow.yaml out=meadow          raw sources -> rows, ledger, rejects, card
  data build pocket out=meadow               a built-in recipe
  data check rows.json --exam exam_dir       how much of the exam stands in the rows?
  data check meadow --exam medalpaca_pocket --json
  data audit published.json upstream.csv     do published labels agree with upstream's?
"""


def main(argv: Sequence[str]) -> None:
    """Parse and hand over; every command imports what it needs and no more."""
    import argparse
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
    build.add_argument("overrides", nargs="*", metavar="key=value", help="out=DIR, and any key of the recipe")

    check = commands.add_parser("check", help="report how much of an exam stands in the rows")
    check.add_argument("path", type=Path, help="rows (.json .jsonl .csv .parquet) or a Meadow directory")
    check.add_argument("--exam", required=True, help="an exam file or directory, or a bundled name")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--fail-over", type=float, metavar="SHARE", help="exit 1 if an item's coverage reaches SHARE"
    )

    audit = commands.add_parser("audit", help="compare published causal labels with upstream's")
    audit.add_argument("published", type=Path, help="the published rows")
    audit.add_argument("upstream", type=Path, help="upstream's CSV")
    audit.add_argument("--encoding", choices=("causal-language-use", "correlation-to-causation"))
    audit.add_argument("--json", action="store_true", help="print JSON")

    args = parser.parse_args(argv)
    match args.command:
        case "build":
            _build(args.recipe, args.overrides)
        case "check":
            _check(args.path, args.exam, args.json, args.fail_over)
        case "audit":
            _audit(args.published, args.upstream, args.encoding, args.json)


def entry() -> None:
    """The console script."""
    run(main)


def _build(recipe_name: str, overrides: Sequence[str]) -> None:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from .build import build
    from .recipe import load_recipe
    from .report import show_build

    outs = [text.removeprefix("out=") for text in overrides if text.startswith("out=")]
    if not outs or not outs[-1]:
        raise UserError("data build: name the directory to make, out=DIR")
    recipe, root = load_recipe(recipe_name, [text for text in overrides if not text.startswith("out=")])
    console = Console(markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} records"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        tasks = {source.name: progress.add_task(source.name, total=None) for source in recipe.sources}
        built = build(
            recipe,
            root,
            Path(outs[-1]),
            progress=lambda source, count: progress.update(tasks[source], completed=count),
        )
    show_build(built, console)


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


def _audit(published: Path, upstream: Path, encoding: str | None, as_json: bool) -> None:
    from rich.console import Console

    from . import audit

    result = audit.audit(published, upstream, encoding)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(audit.as_json(result), indent=2))  # noqa: T201 - output for scripts
    else:
        audit.show(result, Console(markup=False))
    if result.agree < result.rows - result.unmatched:
        raise CheckFailed(
            f"{published}: {result.rows - result.unmatched - result.agree} labels disagree with {upstream}"
        )
