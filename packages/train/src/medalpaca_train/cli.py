"""`train [NAME | FILE.yaml] [key=value ...] [--preview]`.

What `train` can be told: a recipe and its changes, or one of three commands; an example of each.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from medalpaca_data.core.cli import Command, Commands, CompletedArgument, add_command, print_json, run, screen
from medalpaca_data.core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


DEFAULT = "pocket"
COMMANDS = ("canary", "chat", "merge")  # no recipe may be called so
TITLE = "Fine-tune a causal language model on instruction rows; continues a run that was cut off."
EXAMPLES = """\
commands:
  train chat RUN              ask a finished run in the terminal
  train canary RECIPE | RUN   plant patients, train again: what is memorised?
  train merge RUN [out=DIR]   a LoRA run as one model, without peft
  train chat --help           more of one command

recipes:
  pocket (default), pocket-base, lora, qlora, full, full-fsdp, medalpaca-2023,
  medalpaca-2023-full, or a YAML file with the same keys
  keys every recipe has: model= data= out= seed= resume=
  all keys: README of medalpaca-train

examples:
  train                                        the pocket model, on any CPU
  train lora model=DIR_OR_HUB_ID data=MEADOW   a low-rank update of a real model
  train lora model=DIR data=rows.jsonl --preview    what would be learned
  train qlora model=DIR_OR_HUB_ID data=MEADOW  on a base held in 4 bits
  torchrun --nproc-per-node 2 -m medalpaca_train lora model=DIR data=MEADOW
                                               on two GPUs; more nodes: README"""


def recipe_parser() -> Command:
    """`train` with a recipe, or with nothing."""
    main = Command("train", TITLE, epilog=EXAMPLES)
    main.add_argument(
        "words", nargs="*", metavar="RECIPE | key=value", help="a built-in recipe or a YAML file; its changes"
    )
    _add_preview(main)
    main.add_common("medalpaca-train", completed=_completed)
    return main


def command_parser() -> Command:
    """`train` with one of its commands in front."""
    return _with_commands()[0]


def _with_commands() -> tuple[Command, Commands[Command]]:
    main = Command("train", TITLE, epilog=EXAMPLES)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chat = add_command(
        commands,
        "chat",
        "ask a finished run in the terminal",
        ("train chat runs/mine", "train chat runs/mine --audit log", "train chat runs/mine < questions.txt"),
        "Each question stands alone; an empty line or Ctrl-D ends.",
    )
    chat.add_argument(
        "run", metavar="RUN", type=CompletedArgument(), help="the directory that `train` printed"
    )
    chat.add_argument(
        "--audit",
        metavar="FILE",
        type=CompletedArgument(),
        help="keep an audit log there, of hashes, not of texts",
    )
    canary = add_command(
        commands,
        "canary",
        "plant synthetic patients in a copy of the data, train again, and see what is memorised",
        (
            "train canary runs/mine                      as that run was trained",
            "train canary lora model=DIR data=MEADOW     as such a run would be",
            "train canary runs/mine repeats=[1,10] patients=8",
        ),
    )
    canary.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE | RUN | key=value",
        type=CompletedArgument(_canary_words),
        help="what is tested, and changes: repeats=[1,10,100] patients=4 candidates=1024 canary_seed=0, keys of "
        "the recipe",
    )
    merge = add_command(
        commands,
        "merge",
        "write a LoRA run as one model, which loads without peft",
        (
            "train merge runs/mine                        to runs/mine-merged",
            "train merge runs/mine out=runs/merged",
        ),
        "What it says is compared with what the run says before it is kept.",
    )
    merge.add_argument("run", metavar="RUN", type=CompletedArgument(), help="a finished LoRA run")
    merge.add_argument(
        "out",
        nargs="?",
        metavar="out=DIR",
        type=CompletedArgument(_out),
        help="where to (default: RUN-merged)",
    )
    for command in (canary, merge):
        command.add_json()
    return main, commands


def _add_preview(parser: Command) -> None:
    parser.add_argument(
        "--preview", action="store_true", help="show a few rows with what is learned in colour"
    )


def _completed() -> Command:
    """What a shell completes: each recipe as if it were a command, so that its keys come after it."""
    from .recipe import built_in

    main, commands = _with_commands()
    for name in built_in():
        recipe = commands.add_parser(name, help=f"the recipe {name}")
        recipe.add_argument("words", nargs="*", metavar="key=value", type=CompletedArgument(_keys))
        _add_preview(recipe)
    main.add_common("medalpaca-train")
    return main


def _keys() -> list[str]:
    from .recipe import Lora, Recipe

    return [f"{key}=" for key in (*Recipe.model_fields, *(f"lora.{key}" for key in Lora.model_fields))]


def _canary_words() -> list[str]:
    from .recipe import CanaryTest, built_in

    return [*built_in(), *(f"{key}=" for key in CanaryTest.model_fields), *_keys()]


def _out() -> list[str]:
    return ["out="]


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
    from .recipe import read_words

    asked = read_words(options.words)
    _guard(asked.recipe.model)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from .canary import canary

    folder = canary(asked, screen(stderr=options.json))
    if options.json:
        from medalpaca_data.core.files import read_json

        print_json({"out": str(folder), **read_json(folder / "canary.json")})


def _merge(options: Namespace) -> None:
    out = str(options.out or "").removeprefix("out=")
    if "=" in out.partition("/")[0]:
        raise UserError(f"train merge: {out!r} is not out=DIR, as in `train merge runs/mine out=runs/merged`")
    run = _finished(options.run)
    from .merge import merge

    made = merge(run, _absolute(out) if out else None, screen(stderr=options.json))
    if options.json:
        from medalpaca_data.core.files import read_json

        from .run_dir import FILE

        print_json({"out": str(made), **read_json(made / FILE)})


def _finished(word: str) -> Path:
    """The directory of a finished run, with the network closed unless its base is on a hub."""
    from medalpaca_data.core.files import existing, read_json

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
    from .process_group import find_world
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
    from .process_group import joined

    console = screen(quiet=not world.first, force_terminal=None if world.first else False)
    if not preview:
        with joined(world):
            runs.train(name, recipe, console, world)
    elif world.first:
        runs.preview(name, recipe, console)


def _guard(model: str) -> None:
    """Close the network before any library is imported: always when sealed, and whenever no hub is needed."""
    from pathlib import Path

    from medalpaca_data.core.offline import go_offline, is_sealed, seal

    if is_sealed():
        seal()
    elif model in ("pocket", "pocket-base") or Path(model).expanduser().exists():
        go_offline()
