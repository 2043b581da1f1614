"""What `train` can be told: a recipe and its changes, or one of three commands; an example of each."""

from __future__ import annotations

from medalpaca_data.command_line import Command, Commands, add_command
from medalpaca_data.offered import Offered

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
    chat.add_argument("run", metavar="RUN", type=Offered(), help="the directory that `train` printed")
    chat.add_argument(
        "--audit", metavar="FILE", type=Offered(), help="keep an audit log there, of hashes, not of texts"
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
        type=Offered(_canary_words),
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
    merge.add_argument("run", metavar="RUN", type=Offered(), help="a finished LoRA run")
    merge.add_argument(
        "out", nargs="?", metavar="out=DIR", type=Offered(_out), help="where to (default: RUN-merged)"
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
        recipe.add_argument("words", nargs="*", metavar="key=value", type=Offered(_keys))
        _add_preview(recipe)
    main.add_common("medalpaca-train")
    return main


def _keys() -> list[str]:
    from .recipe import Lora, Recipe

    return [f"{key}=" for key in (*Recipe.model_fields, *(f"lora.{key}" for key in Lora.model_fields))]


def _canary_words() -> list[str]:
    from .canary.settings import CanaryTest
    from .recipe import built_in

    return [*built_in(), *(f"{key}=" for key in CanaryTest.model_fields), *_keys()]


def _out() -> list[str]:
    return ["out="]
