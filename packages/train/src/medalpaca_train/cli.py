"""`train [NAME | FILE.yaml] [key=value ...] [--preview]`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from medalpaca_data.ground.errors import Parser, UserError, run

from . import __version__

DEFAULT = "pocket"
RESERVED = ("merge",)

EPILOG = """\
recipes: pocket (default), pocket-base, lora, full, medalpaca-2023-full, or a YAML file with the same keys
keys every recipe has: model= data= out= seed= resume=; all keys: README of medalpaca-train

  train                                            the pocket model, in minutes on a CPU
  train lora model=DIR_OR_HUB_ID data=MEADOW       a low-rank update of a real model
  train lora model=DIR data=rows.jsonl --preview   see what would be learned, load nothing
  train chat RUN                                   ask a finished run in the terminal
  train canary RUN                                 plant patients, train again: what is memorised?
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. Raises UserError for bad input."""
    from argparse import RawDescriptionHelpFormatter

    parser = Parser(
        prog="train",
        description="Fine-tune a causal language model on instruction rows; continues a run that was cut off.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="*", metavar="NAME | FILE.yaml | key=value", help="a recipe and its changes"
    )
    parser.add_argument(
        "--preview", action="store_true", help="show a few rows with what is learned in colour"
    )
    parser.add_argument(
        "--audit", metavar="FILE", help="with chat: keep an audit log there, of hashes, not of texts"
    )
    parser.add_argument("--version", action="version", version=f"train {__version__}")
    options = parser.parse_args(arguments)
    named = [word for word in options.words if "=" not in word]
    if named and named[0] in RESERVED:
        raise UserError(f"train {named[0]}: reserved, not built yet")
    if named[:1] == ["chat"]:
        return _chat(named[1:], len(options.words) - len(named), options.audit)
    if options.audit:
        raise UserError("train: --audit goes with chat, as in `train chat runs/mine --audit FILE`")
    if named[:1] == ["canary"]:
        return _canary([word for word in options.words if word != "canary"])
    if len(named) > 1:
        raise UserError(
            f"train: one recipe at a time, not {' and '.join(named)}; changes are written key=value"
        )
    return _start(
        named[0] if named else DEFAULT, [word for word in options.words if "=" in word], options.preview
    )


def entry() -> NoReturn:
    """The console script."""
    run(main)


def _chat(named: Sequence[str], others: int, audit: str | None) -> int:
    from pathlib import Path

    if len(named) != 1 or others:
        raise UserError("train chat: name one finished run, as in `train chat runs/mine`")
    from medalpaca_data.ground.files import existing, read_json

    run = existing(Path(named[0]).expanduser().absolute(), "run directory")
    receipt = run / "manifest.json"
    _guard(str(read_json(receipt).get("base", {}).get("path", run)) if receipt.is_file() else str(run))
    from rich.console import Console

    from .chat import chat

    chat(run, Console(), Path(audit) if audit else None)
    return 0


def _canary(words: Sequence[str]) -> int:
    from .canary_settings import read_words

    asked = read_words(words)
    _guard(asked.recipe.model)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from rich.console import Console

    from .canary import canary

    canary(asked, Console())
    return 0


def _start(named: str, overrides: Sequence[str], preview: bool) -> int:
    # Heavy libraries are imported from here on: --help stays instant, and a bad recipe is refused before them.
    from .recipe import find_recipe

    name, recipe = find_recipe(named, overrides)
    _guard(recipe.model)
    # Threads that wait by spinning cost a pocket model three quarters of its speed on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from rich.console import Console

    from . import run as runs

    console = Console()
    if preview:
        runs.preview(name, recipe, console)
    else:
        runs.train(name, recipe, console)
    return 0


def _guard(model: str) -> None:
    """Close the network before any library is imported: always when sealed, and whenever no hub is needed."""
    from pathlib import Path

    from medalpaca_data.ground.sealed import go_offline, is_sealed, seal

    if is_sealed():
        seal()
    elif model in ("pocket", "pocket-base") or Path(model).expanduser().exists():
        go_offline()
