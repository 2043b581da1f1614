"""`train [NAME | FILE.yaml] [key=value ...] [--preview]`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from medalpaca_data.ground.command import Parser, run
from medalpaca_data.ground.errors import UserError

from . import __version__

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "pocket"

EPILOG = """\
recipes: pocket (default), pocket-base, lora, qlora, full, full-fsdp, medalpaca-2023, medalpaca-2023-full, or a YAML
file with the same keys
keys every recipe has: model= data= out= seed= resume=; all keys: README of medalpaca-train

  train                                            the pocket model, in minutes on a CPU
  train lora model=DIR_OR_HUB_ID data=MEADOW       a low-rank update of a real model
  train lora model=DIR data=rows.jsonl --preview   see what would be learned, load nothing
  train qlora model=DIR_OR_HUB_ID data=MEADOW      the same on a base held in 4 bits
  train chat RUN                                   ask a finished run in the terminal
  train canary RUN                                 plant patients, train again: what is memorised?
  train merge RUN [OUT]                            a LoRA run as one model, without peft
  torchrun --nproc-per-node 2 -m medalpaca_train lora model=DIR data=MEADOW      on two GPUs; several nodes: README
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
    if options.audit and named[:1] != ["chat"]:
        raise UserError("train: --audit goes with chat, as in `train chat runs/mine --audit FILE`")
    if named and named[0] in COMMANDS:
        options.words.remove(named[0])
        return COMMANDS[named[0]](options.words, options.audit)
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


def _chat(words: Sequence[str], audit: str | None) -> int:
    if len(words) != 1 or "=" in words[0]:
        raise UserError("train chat: name one finished run, as in `train chat runs/mine`")
    run = _finished(words[0])
    from rich.console import Console

    from .chat import chat

    chat(run, Console(), _absolute(audit) if audit else None)
    return 0


def _canary(words: Sequence[str], _: str | None) -> int:
    from .canary.settings import read_words

    asked = read_words(words)
    _guard(asked.recipe.model)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from rich.console import Console

    from .canary.run import canary

    canary(asked, Console())
    return 0


def _merge(words: Sequence[str], _: str | None) -> int:
    if len(words) not in (1, 2) or any("=" in word for word in words):
        raise UserError(
            "train merge: name one finished run and where to, as in `train merge runs/mine runs/merged`"
        )
    run = _finished(words[0])
    from rich.console import Console

    from .merged.merge import merge

    merge(run, _absolute(words[1]) if len(words) == 2 else None, Console())
    return 0


# Words that are no recipe; each gets the words that came with it, and where an audit log is to be kept.
COMMANDS: dict[str, Callable[[Sequence[str], str | None], int]] = {
    "canary": _canary,
    "chat": _chat,
    "merge": _merge,
}


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


def _start(named: str, overrides: Sequence[str], preview: bool) -> int:
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
    from rich.console import Console

    from . import run as runs
    from .processes.together import joined

    console = Console(quiet=not world.first, force_terminal=None if world.first else False)
    if not preview:
        with joined(world):
            runs.train(name, recipe, console, world)
    elif world.first:
        runs.preview(name, recipe, console)
    return 0


def _guard(model: str) -> None:
    """Close the network before any library is imported: always when sealed, and whenever no hub is needed."""
    from pathlib import Path

    from medalpaca_data.ground.sealed import go_offline, is_sealed, seal

    if is_sealed():
        seal()
    elif model in ("pocket", "pocket-base") or Path(model).expanduser().exists():
        go_offline()
