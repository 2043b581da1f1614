"""`train [NAME | FILE.yaml] [key=value ...] [--preview]`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from medalpaca_data.command_line import print_json, screen
from medalpaca_data.ground.command import run
from medalpaca_data.ground.errors import UserError

from .commands import COMMANDS, DEFAULT, command_parser, recipe_parser

if TYPE_CHECKING:
    from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. Raises UserError for bad input."""
    match list(arguments):
        case [word, *_] if word in COMMANDS:
            options = command_parser().parse_args(arguments)
            {"canary": _canary, "chat": _chat, "merge": _merge}[word](options)
        case _:
            options = recipe_parser().parse_intermixed_args(arguments)
            named = [word for word in options.words if "=" not in word]
            if named and named[0] in COMMANDS:
                raise UserError(f"train: {named[0]} comes first, as in `train {named[0]} runs/mine`")
            if len(named) > 1:
                raise UserError(
                    f"train: one recipe at a time, not {' and '.join(named)}; changes are written key=value"
                )
            changes = [word for word in options.words if "=" in word]
            _start(named[0] if named else DEFAULT, changes, options.preview)
    return 0


def entry() -> NoReturn:
    """The console script."""
    run(main)


def _chat(options: Namespace) -> None:
    run = _finished(options.run)
    from .chat import chat

    chat(run, screen(), _absolute(options.audit) if options.audit else None)


def _canary(options: Namespace) -> None:
    from .canary.settings import read_words

    asked = read_words(options.words)
    _guard(asked.recipe.model)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from .canary.run import canary

    folder = canary(asked, screen(stderr=options.json))
    if options.json:
        from medalpaca_data.ground.files import read_json

        print_json({"out": str(folder), **read_json(folder / "canary.json")})


def _merge(options: Namespace) -> None:
    out = str(options.out or "").removeprefix("out=")
    if "=" in out.partition("/")[0]:
        raise UserError(f"train merge: {out!r} is not out=DIR, as in `train merge runs/mine out=runs/merged`")
    run = _finished(options.run)
    from .merged.merge import merge

    made = merge(run, _absolute(out) if out else None, screen(stderr=options.json))
    if options.json:
        from medalpaca_data.ground.files import read_json

        from .record.manifest import FILE

        print_json({"out": str(made), **read_json(made / FILE)})


def _finished(word: str) -> Path:
    """The directory of a finished run, with the network closed unless its base is on a hub."""
    from medalpaca_data.ground.files import existing, read_json

    run = existing(_absolute(word), "run directory")
    receipts = (folder / "manifest.json" for folder in (run, run.parent))
    receipt = next((file for file in receipts if file.is_file()), None)
    _guard(str(read_json(receipt).get("base", {}).get("path", run)) if receipt else str(run))
    return run


def _absolute(word: str) -> Path:
    from pathlib import Path

    return Path(word).expanduser().absolute()


def _start(named: str, overrides: Sequence[str], preview: bool) -> None:
    # Heavy libraries are imported from here on: --help stays instant, and a bad recipe is refused before them.
    from .processes.world import find_world
    from .recipe import find_recipe

    world = find_world()
    try:
        name, recipe = find_recipe(named, overrides)
    except UserError as error:
        # All read the same; one on each node says what is wrong with it.
        raise error if world.local_rank == 0 else SystemExit(error.exit_code) from None
    _guard(recipe.model)
    # Threads that wait by spinning cost a pocket model three quarters of its speed on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if world.size > 1:
        # Where a process has gone, the others would print their C++ stacks; one line of ours says it.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from . import run as runs
    from .processes.together import joined

    console = screen(quiet=not world.first, force_terminal=None if world.first else False)
    if not preview:
        with joined(world):
            runs.train(name, recipe, console, world)
    elif world.first:
        runs.preview(name, recipe, console)


def _guard(model: str) -> None:
    """Close the network before any library is imported: always when sealed, and whenever no hub is needed."""
    from pathlib import Path

    from medalpaca_data.ground.sealed import go_offline, is_sealed, seal

    if is_sealed():
        seal()
    elif model in ("pocket", "pocket-base") or Path(model).expanduser().exists():
        go_offline()
