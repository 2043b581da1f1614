"""Command line of `train`: start a run from a recipe, or one of the commands chat, canary and merge.

Each command's arguments are declared beside its function. Heavy libraries are imported inside the functions, after the
arguments are parsed. This makes `--help` fast, and offline or sealed mode is set before a library is imported.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medalpaca_data.core.cli import Command, Commands, CompletedArgument, add_command, print_json, run, screen
from medalpaca_data.core.errors import UserError

DEFAULT_RECIPE = "pocket"
DESCRIPTION = (
    "Fine-tune a causal language model on instruction rows (supervised fine-tuning with LoRA, QLoRA or all weights). "
    "Reads a base model and rows; writes a run directory with the adapter or model, a manifest and a model card. "
    "The same command continues an interrupted run."
)
EPILOG = """\
built-in recipes:
  pocket               LoRA on the pocket model, on any CPU (default)
  pocket-base          train the pocket model itself from random weights
  lora                 LoRA on a model of your choice
  qlora                LoRA on a model that is held in 4 bits
  full                 all weights of a model
  full-fsdp            all weights, sharded over several GPUs (FSDP2)
  medalpaca-2023       the 2023 project's LoRA on an 8-bit base
  medalpaca-2023-full  the 2023 project's training of all weights

most used keys (the README of medalpaca-train lists all):
  model=   model directory, or id of a model on the Hugging Face hub
  data=    directory written by `data build`, or a file of rows
           (.json, .jsonl, .csv, .parquet)
  out=     run directory to write (default: runs/RECIPE in MEDALPACA_HOME)
  resume=  true (default): continue the run in out=; false: out= must be empty

commands:
  train chat RUN              ask a finished run questions in the terminal
  train canary RECIPE | RUN   measure what a model memorises about patients
  train merge RUN [out=DIR]   merge a LoRA adapter into its base model
  train COMMAND --help        arguments of one command

examples:
  train                                        the pocket model, on any CPU
  train lora model=DIR_OR_HUB_ID data=MEADOW   LoRA on a model of your choice
  train lora model=DIR data=rows.jsonl --preview    show the prepared rows
  train qlora model=DIR_OR_HUB_ID data=MEADOW  base held in 4 bits
  torchrun --nproc-per-node 2 -m medalpaca_train lora model=DIR data=MEADOW"""


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, run `train` or one of its commands, and return 0. Raises UserError for bad input."""
    is_command = bool(arguments) and arguments[0] in COMMANDS
    parse = command_parser().parse_args if is_command else recipe_parser().parse_intermixed_args
    options = parse(arguments)
    options.run(options)
    return 0


def entry() -> NoReturn:
    """Run the console script `train` and exit with its code."""
    run(main)


def recipe_parser() -> Command:
    """Return the parser of `train [RECIPE] [key=value ...]`."""
    parser = Command("train", DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE | key=value",
        help="a built-in recipe (default: pocket) or a YAML file, and key=value for each key to change",
    )
    _add_preview(parser)
    parser.add_common("medalpaca-train", completed=_completion_parser)
    parser.set_defaults(run=_train)
    return parser


def command_parser(recipes: Sequence[str] = ()) -> Command:
    """Return the parser of `train COMMAND ...`; the names in `recipes` are added as commands, for shell completion."""
    parser = Command("train", DESCRIPTION, epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in COMMANDS.values():
        add(commands)
    for name in recipes:
        recipe = commands.add_parser(name, help=f"the recipe {name}")
        recipe.add_argument("words", nargs="*", metavar="key=value", type=CompletedArgument(_recipe_keys))
        _add_preview(recipe)
    return parser


def _completion_parser() -> Command:
    """Return a parser for shell completion: recipes are commands in it, so that their keys are offered."""
    from .recipe import built_in_recipes

    parser = command_parser(list(built_in_recipes()))
    parser.add_common("medalpaca-train")
    return parser


def _add_preview(parser: Command) -> None:
    parser.add_argument(
        "--preview",
        action="store_true",
        help="print the first three training rows, with prompt and trained tokens in different colours, and a summary "
        "of the data; then exit without training",
    )


def _recipe_keys() -> list[str]:
    from .recipe import Lora, Recipe

    return [f"{key}=" for key in (*Recipe.model_fields, *(f"lora.{key}" for key in Lora.model_fields))]


def _train(options: Namespace) -> None:
    named = [word for word in options.words if "=" not in word]
    changes = [word for word in options.words if "=" in word]
    if named and named[0] in COMMANDS:
        raise UserError(f"train: the command {named[0]} must come first, as in `train {named[0]} runs/mine`")
    if len(named) > 1:
        raise UserError(
            f"train: {len(named)} recipes given ({', '.join(named)}); give one, and write changes as key=value"
        )
    from .process_group import read_process_group
    from .recipe import read_recipe

    group = read_process_group()
    try:
        name, recipe = read_recipe(named[0] if named else DEFAULT_RECIPE, changes)
    except UserError as error:
        # Every process meets the same error; one per node prints it.
        raise error if group.local_rank == 0 else SystemExit(error.exit_code) from None
    _close_network(recipe.model)
    # Busy-waiting threads cost the pocket model three quarters of its speed on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if group.size > 1:
        # Without this, a lost process makes the others print C++ stack traces; `process_group` reports the lost
        # process.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from . import run as runs
    from .process_group import join_process_group

    console = screen(quiet=not group.is_main, force_terminal=None if group.is_main else False)
    if not options.preview:
        with join_process_group(group):
            runs.train(recipe, name=name, console=console, group=group)
    elif group.is_main:
        runs.preview_recipe(name, recipe, console)


def _add_chat(commands: Commands[Command]) -> None:
    parser = add_command(
        commands,
        "chat",
        "ask a finished run questions in the terminal",
        ("train chat runs/mine", "train chat runs/mine --audit log", "train chat runs/mine < questions.txt"),
        "The model answers each question without the earlier ones. An empty line or Ctrl-D ends the chat.",
    )
    parser.add_argument(
        "run_directory",
        metavar="RUN",
        type=CompletedArgument(),
        help="directory of a finished run, or RUN/best for the step with the lowest validation loss",
    )
    parser.add_argument(
        "--audit",
        metavar="FILE",
        type=CompletedArgument(),
        help="append user name, time and the SHA-256 of each prompt and answer to this audit log; no text is stored "
        "(default: no log)",
    )
    parser.set_defaults(run=_chat)


def _chat(options: Namespace) -> None:
    directory = _open_run(options.run_directory)
    from .chat import chat

    chat(directory, screen(), _absolute(options.audit) if options.audit else None)


def _add_canary(commands: Commands[Command]) -> None:
    parser = add_command(
        commands,
        "canary",
        "measure what a model memorises about patients",
        (
            "train canary runs/mine                      same recipe as that run",
            "train canary lora model=DIR data=MEADOW     a recipe not trained yet",
            "train canary runs/mine repeats=[1,10] patients=8",
        ),
        "Adds synthetic patients to a copy of the data, trains on the copy by the same recipe, and tests how well the "
        "model can guess their record numbers. Writes canary.json and a section of the model card.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE | RUN | key=value",
        type=CompletedArgument(_canary_words),
        help="the recipe or finished run to test; then keys of the test or of the recipe. Keys of the test: "
        "repeats=[1,10,100] (copies of a patient's row), patients=4 (patients per number of copies), "
        "candidates=1024 (record numbers that each true one is ranked among, itself included), canary_seed=0 (random "
        "seed of patients and numbers)",
    )
    parser.add_json()
    parser.set_defaults(run=_canary)


def _canary_words() -> list[str]:
    from .recipe import CanaryTest, built_in_recipes

    return [*built_in_recipes(), *(f"{key}=" for key in CanaryTest.model_fields), *_recipe_keys()]


def _canary(options: Namespace) -> None:
    from .recipe import parse_canary_arguments

    request = parse_canary_arguments(options.words)
    _close_network(request.recipe.model)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from .canary import run_canary_test

    directory = run_canary_test(request, screen(stderr=options.json))
    if options.json:
        _print_result(directory, "canary.json")


def _add_merge(commands: Commands[Command]) -> None:
    parser = add_command(
        commands,
        "merge",
        "merge a LoRA adapter into its base model",
        (
            "train merge runs/mine                        writes runs/mine-merged",
            "train merge runs/mine out=runs/merged",
        ),
        "The merged model loads without peft. It is written only if its loss is within 0.005 nats per token of that of "
        "base and adapter.",
    )
    parser.add_argument(
        "run_directory",
        metavar="RUN",
        type=CompletedArgument(),
        help="directory of a finished LoRA run, or RUN/best for the step with the lowest validation loss",
    )
    parser.add_argument(
        "out",
        nargs="?",
        metavar="out=DIR",
        type=CompletedArgument(lambda: ["out="]),
        help="directory to write (default: RUN-merged)",
    )
    parser.add_json()
    parser.set_defaults(run=_merge)


def _merge(options: Namespace) -> None:
    out = str(options.out or "").removeprefix("out=")
    if "=" in out.partition("/")[0]:
        raise UserError(
            f"train merge: unknown argument {out!r}; the only key is out=DIR, as in "
            "`train merge runs/mine out=runs/merged`"
        )
    directory = _open_run(options.run_directory)
    from .merge import merge_run

    merged = merge_run(directory, _absolute(out) if out else None, screen(stderr=options.json))
    if options.json:
        _print_result(merged, "manifest.json")


COMMANDS = {"chat": _add_chat, "canary": _add_canary, "merge": _add_merge}


def _open_run(word: str) -> Path:
    """Return the absolute path of the run directory `word`. Raises UserError if it does not exist.

    Sets libraries to offline mode, unless the base in the run's manifest is not on this machine (a hub id). In sealed
    mode, the network is blocked in any case.
    """
    from medalpaca_data.core.files import existing, read_json

    directory = existing(_absolute(word), "run directory")
    manifests = (folder / "manifest.json" for folder in (directory, directory.parent))
    manifest = next((file for file in manifests if file.is_file()), None)
    content = read_json(manifest) if manifest else {}
    base = content.get("base") if isinstance(content, dict) else None
    _close_network(str(base.get("path", directory) if isinstance(base, dict) else directory))
    return directory


def _print_result(directory: Path, name: str) -> None:
    from medalpaca_data.core.files import read_json

    print_json({"out": str(directory), **read_json(directory / name)})


def _absolute(word: str) -> Path:
    return Path(word).expanduser().absolute()


def _close_network(model: str) -> None:
    """Block the network in sealed mode; otherwise set libraries to offline mode if `model` is local.

    Local are `pocket`, `pocket-base` and a path that exists. A hub id changes nothing outside sealed mode.
    Call this function before libraries are imported, because they read their offline settings once.
    """
    from medalpaca_data.core.offline import go_offline, is_sealed, seal

    if is_sealed():
        seal()
    elif model in ("pocket", "pocket-base") or Path(model).expanduser().exists():
        go_offline()
