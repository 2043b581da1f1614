"""`data`: build a Meadow directory, look into it, check it against an exam, audit published labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .command_line import print_json, screen
from .commands import parser
from .ground.command import run
from .ground.errors import CheckFailed, UserError


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
    from .engine import KINDS
    from .progress import Watched
    from .recipe import load_recipe
    from .report import as_json as account
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
    console = screen(stderr=as_json)
    with Watched(console) as watched:
        built = build(
            recipe,
            root,
            Path(ours["out"]),
            tell=watched.tell,
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
    from . import catalogue

    if as_json:
        print_json(catalogue.as_json(name))
    elif name:
        catalogue.show_one(name, screen())
    else:
        catalogue.show(screen())


def _fetch(name: str, out: str, as_json: bool) -> None:
    from .fetch import fetch
    from .progress import Watched, downloading

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
    from .build import estimate_rephrasing
    from .cost import estimate
    from .progress import Watched
    from .recipe import load_recipe

    console = screen(stderr=as_json)
    with Watched(console) as watched:
        found = estimate_rephrasing(*load_recipe(recipe_name, overrides), watched.tell)
    if as_json:
        print_json(estimate.as_json(found))
    else:
        estimate.show(found, console)


def _deid(args: argparse.Namespace) -> None:
    from .deid import bound, check, sample

    console = screen()
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
