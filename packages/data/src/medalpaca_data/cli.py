"""`data`: build a Meadow directory, look into it, check it against an exam, audit published labels.

What `data` can be told: its commands, their arguments, an example of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .core.cli import Command, Offered, add_command, print_json, run, screen
from .core.errors import CheckFailed, UserError

EXAMPLES = (
    "data sources                            what can be built, and where it is",
    "data build meadow.yaml out=meadow       raw sources to rows and ledger",
    "data fetch pubmedqa out=raw             download one that is free to download",
    "data explain meadow 3f2a9c417be0d852    one row's life, from raw file to text",
    "data diff meadow_old meadow_new         what changed between two builds",
    "data check rows.json --exam exam_dir    does the exam stand in the rows?",
    "data rephrase meadow.yaml --estimate    requests, tokens, cost; asks nobody",
    "data deid check rows.jsonl --show 3     identifiers by class, masked",
    "data audit rows.json upstream.csv       do labels agree with upstream's?",
    "data check --help                       more of one command, with examples",
)
ROWS = "rows (.json .jsonl .csv .parquet) or a Meadow directory"


def parser() -> Command:
    """All of `data`: nothing is imported for it that is not needed to print its help."""
    main = Command(
        "data", "Rebuild medical instruction rows from raw sources, every row with its origin.", EXAMPLES
    )
    main.add_common("medalpaca-data")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    build = add_command(
        commands,
        "build",
        "build a Meadow directory from a recipe",
        (
            "data build pocket out=meadow                      a built-in recipe",
            "data build meadow.yaml out=meadow workers=4       in four processes",
            "data build meadow.yaml out=meadow validation=0.1  a key of the recipe changed",
            "data build meadow.yaml out=meadow --json          the account, for a script",
        ),
        "A build that was cut off continues; one that is up to date is left as it is.",
    )
    build.add_argument(
        "recipe", metavar="RECIPE", type=Offered(_recipes), help="a YAML file, or a built-in name"
    )
    build.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        type=Offered(partial(_keys, "out", "workers", "engine", recipe=True)),
        help="out=DIR; workers=N processes, or engine=ray; and any key of the recipe",
    )

    sources = add_command(
        commands,
        "sources",
        "list the sources, or say where to get one",
        (
            "data sources",
            "data sources medquad         where to get it, its settings in a recipe",
            "data sources medquad --json",
        ),
    )
    sources.add_argument(
        "name", nargs="?", metavar="NAME", type=Offered(_sources_known), help="a kind of source"
    )

    fetch = add_command(
        commands,
        "fetch",
        "download the raw files of a source that is free to download",
        ("data fetch pubmedqa out=raw",),
        "What arrives is checked against the SHA-256 it should have.",
    )
    fetch.add_argument("name", metavar="NAME", type=Offered(_fetched), help="a kind of source")
    fetch.add_argument(
        "out",
        nargs="?",
        metavar="out=DIR",
        type=Offered(partial(_keys, "out")),
        default="out=raw",
        help="where to put them (default: raw)",
    )

    explain = add_command(
        commands,
        "explain",
        "tell one row's life, from raw file to final text",
        ("data explain meadow 3f2a9c417be0d852",),
    )
    explain.add_argument("path", type=Path, metavar="MEADOW", help="a Meadow directory")
    explain.add_argument("row", metavar="ROW_ID", help="the row's id, kept or rejected")

    diff = add_command(
        commands,
        "diff",
        "say what changed between two builds",
        ("data diff meadow_old meadow_new", "data diff meadow_old meadow_new --json"),
    )
    diff.add_argument("before", type=Path, metavar="BEFORE", help="a Meadow directory")
    diff.add_argument("after", type=Path, metavar="AFTER", help="another")

    check = add_command(
        commands,
        "check",
        "report how much of an exam stands in the rows",
        (
            "data check meadow --exam medalpaca_pocket",
            "data check rows.json --exam exam_dir --json",
            "data check rows.json --exam exam_dir --fail-over 0.5   exit 1 if half is there",
        ),
        "Coverage of an item: the share of its question's word 13-grams found in one row.",
    )
    check.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    check.add_argument(
        "--exam",
        required=True,
        metavar="EXAM",
        type=Offered(_exams),
        help="an exam file or directory, or a bundled name",
    )
    check.add_argument(
        "--fail-over", type=float, metavar="SHARE", help="exit 1 if an item's coverage reaches SHARE"
    )

    audit = add_command(
        commands,
        "audit",
        "compare published labels (causal, health advice) with upstream's",
        (
            "data audit published.json upstream.csv",
            "data audit published.json a.csv b.csv --encoding causal-language-use",
        ),
        "Exit code 1 if a label disagrees.",
    )
    audit.add_argument("published", type=Path, metavar="ROWS", help="the published rows")
    audit.add_argument(
        "upstream", type=Path, metavar="UPSTREAM", nargs="+", help="upstream's CSV, or several"
    )
    audit.add_argument(
        "--encoding", choices=("causal-language-use", "correlation-to-causation"), help="of causal labels"
    )

    words = add_command(
        commands,
        "rephrase",
        "estimate what rephrasing a recipe's rows will take",
        ("data rephrase meadow.yaml --estimate", "data rephrase meadow.yaml rephrase.tries=1 --estimate"),
        "Rephrasing itself is done by `data build` of a recipe that has a `rephrase:`.",
    )
    words.add_argument(
        "recipe", metavar="RECIPE", type=Offered(_recipes), help="a YAML file, or a built-in name"
    )
    words.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        type=Offered(partial(_keys, recipe=True)),
        help="any key of the recipe",
    )
    words.add_argument(
        "--estimate", action="store_true", required=True, help="count requests and tokens; ask nobody"
    )

    deid = add_command(
        commands,
        "deid",
        "check rows for patients' identifiers, and bound what was missed",
        (
            "data deid check rows.jsonl --show 3      identifiers by class, masked",
            "data deid sample meadow out=review.csv   rows for people to read and mark",
            "data deid bound review.csv               at most so many leaks per 1,000 rows",
        ),
    )
    steps = deid.add_subparsers(dest="step", metavar="STEP", required=True)
    look = add_command(
        steps,
        "check",
        "count identifiers by class",
        ("data deid check rows.jsonl --show 3", "data deid check meadow --ner --json"),
    )
    look.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    look.add_argument("--show", type=int, default=0, metavar="N", help="show N finds a class, masked")
    look.add_argument(
        "--ner", action="store_true", help="ask presidio-analyzer too (extra medalpaca-data[phi])"
    )
    draw = add_command(
        steps,
        "sample",
        "draw rows for people to read and mark",
        ("data deid sample meadow out=review.csv", "data deid sample meadow out=review.csv n=500 seed=1"),
    )
    draw.add_argument("path", type=Path, metavar="ROWS", help=ROWS)
    draw.add_argument(
        "keys",
        nargs="*",
        metavar="key=value",
        type=Offered(partial(_keys, "out", "n", "seed")),
        help="out=FILE.csv; n=300; seed=0",
    )
    marks = add_command(
        steps,
        "bound",
        "bound the leaks per 1,000 rows from a marked sample",
        ("data deid bound review.csv",),
    )
    marks.add_argument("path", type=Path, metavar="SAMPLE", help="the marked sample")

    for command in (build, sources, fetch, explain, diff, check, audit, words, look, draw, marks):
        command.add_json()
    return main


def _recipes() -> list[str]:
    from .recipe import builtin_recipes

    return builtin_recipes()


def _keys(*ours: str, recipe: bool = False) -> list[str]:
    """What a shell offers before a `=`: keys of the command, and of recipes."""
    from .recipe import Recipe

    return [f"{key}=" for key in dict.fromkeys((*ours, *(Recipe.model_fields if recipe else ())))]


def _sources_known() -> list[str]:
    from .show import kinds

    return list(kinds())


def _fetched() -> list[str]:
    from .fetch import downloads

    return sorted({download.kind for download in downloads()})


def _exams() -> list[str]:
    from .exams.exam import BUNDLED

    return sorted(BUNDLED)


def main(argv: Sequence[str]) -> None:
    """Parse and hand over; every command imports what it needs and no more."""
    args = parser().parse_args(argv)
    match args.command:
        case "rephrase":
            _estimate(args.recipe, args.overrides, args.json)
        case "deid":
            _deid(args)
        case "build":
            _build(args.recipe, args.overrides, args.json)
        case "sources":
            _sources(args.name, args.json)
        case "fetch":
            _fetch(args.name, args.out, args.json)
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


def _build(recipe_name: str, overrides: Sequence[str], as_json: bool) -> None:
    from .build import build
    from .executor import KINDS
    from .recipe import load_recipe
    from .show import Watched, show_build
    from .show import build_as_json as account

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
    console = screen(stderr=as_json)
    with Watched(console) as watched:
        built = build(
            recipe,
            root,
            Path(ours["out"]),
            on_progress=watched.tell,
            engine=engine,
            workers=workers,
        )
    if as_json:
        print_json(account(built))
    else:
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
    from . import show

    if as_json:
        print_json(show.sources_as_json(name))
    elif name:
        show.show_source(name, screen())
    else:
        show.show_sources(screen())


def _fetch(name: str, out: str, as_json: bool) -> None:
    from .fetch import fetch
    from .show import Watched, downloading

    key, _, place = out.partition("=")
    if key not in ("out", "to") or not place:
        raise UserError(f"data fetch: {out!r} is not out=DIR")
    console = screen(stderr=as_json)
    with Watched(console, *downloading()) as watched:
        fetched = fetch(name, Path(place), told=watched.tell)
    if as_json:
        print_json({"name": name, "files": [str(path) for path in fetched]})
        return
    for path in fetched:
        console.print(f"{path}: fetched and verified", soft_wrap=True)


def _explain(path: Path, row: str, as_json: bool) -> None:
    from . import explain

    life = explain.explain(path, row)
    if as_json:
        print_json(explain.as_json(life))
    else:
        explain.show(life, screen())


def _diff(before: Path, after: Path, as_json: bool) -> None:
    from . import diff

    found = diff.diff(before, after)
    if as_json:
        print_json(diff.as_json(found))
    else:
        diff.show(found, screen())


def _check(path: Path, exam: str, as_json: bool, fail_over: float | None) -> None:
    from . import check

    if fail_over is not None and not 0 < fail_over <= 1:
        raise UserError(f"--fail-over {fail_over:g}: a share above 0 and up to 1 was expected")
    result = check.check(path, exam)
    if as_json:
        print_json(check.as_json(result))
    else:
        check.show(result, screen())
    if fail_over is not None and (covered := [item for item in result.items if item.coverage >= fail_over]):
        raise CheckFailed(
            f"{path}: {len(covered)} items of {result.exam.name} are covered by {fail_over:.0%} or more"
        )


def _estimate(recipe_name: str, overrides: Sequence[str], as_json: bool) -> None:
    from . import cost
    from .build import estimate_rephrasing
    from .recipe import load_recipe
    from .show import Watched

    console = screen(stderr=as_json)
    with Watched(console) as watched:
        found = estimate_rephrasing(*load_recipe(recipe_name, overrides), watched.tell)
    if as_json:
        print_json(cost.estimate_as_json(found))
    else:
        cost.show_estimate(found, console)


def _deid(args: argparse.Namespace) -> None:
    from .deid import review

    console = screen()
    match args.step:
        case "check":
            found = review.check(args.path, show=args.show, ner=args.ner)
            told: object = review.check_as_json(found)
            show = partial(review.show_check, found, console)
        case "sample":
            ours, others = _ours(args.keys, {"out": "", "n": "300", "seed": "0"})
            if others or not ours["out"] or not (ours["n"].isdecimal() and ours["seed"].isdecimal()):
                raise UserError(
                    "data deid sample: expected PATH out=FILE.csv, and perhaps n=NUMBER seed=NUMBER"
                )
            drawn = review.draw_sample(args.path, Path(ours["out"]), n=int(ours["n"]), seed=int(ours["seed"]))
            told = review.sample_as_json(drawn)
            show = partial(review.show_sample, drawn, console)
        case _:
            bounded = review.leak_bound(args.path)
            told = review.leak_bound_as_json(bounded)
            show = partial(review.show_leak_bound, bounded, console)
    if args.json:
        print_json(told)
    else:
        show()


def _audit(published: Path, upstream: Sequence[Path], encoding: str | None, as_json: bool) -> None:
    from . import audit

    result = audit.audit(published, *upstream, encoding=encoding)  # type: ignore[arg-type]
    if as_json:
        print_json(audit.as_json(result))
    else:
        audit.show(result, screen())
    if result.disagree:
        places = ", ".join(map(str, upstream))
        raise CheckFailed(f"{published}: {result.disagree} labels disagree with {places}")
