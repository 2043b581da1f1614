"""The command `exam ask`: base and tuned model on an exam, from local weights or behind a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medalpaca_data.core.cli import Command, Commands, CompletedArgument, add_command, print_text
from medalpaca_data.core.cli import screen as make_console
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.offline import api_key

from .arguments import EXAM, EXAMS, MODEL, add_model_options, task_names
from .endpoint import Endpoint, check_hosts, parse_source


def add_ask(commands: Commands[Command]) -> None:
    """Add the command `ask`."""
    command = add_command(
        commands,
        "ask",
        "evaluate the base model and its adapter on an exam in one pass",
        (
            "exam ask models/base runs/mine --tasks medalpaca_usmle \\\n      --exam exam.jsonl --out results",
            "exam ask http://127.0.0.1:8000/v1#base http://127.0.0.1:8000/v1#mine \\\n"
            "      --tasks medalpaca_usmle_gen --exam exam.jsonl --out results",
            "exam compare results/base results/tuned    next step",
        ),
        "Writes the same results as two lm_eval runs. With servers, run the same command again if it is interrupted: "
        "it continues where it stopped.",
    )
    add = command.add_argument
    add("base", metavar="BASE", help=f"{MODEL}; or URL#MODEL of a server", type=CompletedArgument())
    adapter = "LoRA adapter of BASE: directory (a run) or hub id; or URL#MODEL of a server"
    add("adapter", metavar="ADAPTER", help=adapter, type=CompletedArgument())
    tasks = "tasks or groups, such as medalpaca_usmle, separated by commas"
    add("--tasks", metavar="TASK,...", help=tasks, type=CompletedArgument(task_names), required=True)
    out = "directory for the two results, DIR/base and DIR/tuned"
    add("--out", metavar="DIR", help=out, type=Path, required=True)
    default = "for medalpaca_usmle* and medalpaca_exam* (default: MEDALPACA_EXAM; for usmle, else the hub)"
    add("--exam", metavar="EXAM", help=f"{EXAM}, {default}", type=EXAMS)
    add_model_options(command)
    batch_size = (
        "batch size for generated answers, and for models whose options `--model hf` must score (default: 1)"
    )
    add("--batch_size", metavar="N", help=batch_size, default="1")
    limit = "evaluate the first N items of each task; if N < 1, this share of them"
    add("--limit", metavar="N", help=limit, type=float)
    add("--plan", metavar="FILE", help="plan of `exam plan`; its hash is logged with every item", type=Path)
    template = "apply the tokenizer's chat template, as in lm_eval"
    add("--apply_chat_template", action="store_true", help=template)
    trusted = "allow a URL on this other machine, to which every question is sent; may be repeated"
    add("--trusted-host", metavar="HOST", help=trusted, action="append", default=[])
    key = "environment variable that contains the API key of the URLs"
    add("--api-key-env", metavar="NAME", help=key)
    concurrent = "number of requests that a server gets at the same time (default: 4)"
    add("--num_concurrent", metavar="N", help=concurrent, type=int, default=4)
    command.set_defaults(run=_ask)


def _ask(arguments: argparse.Namespace) -> None:
    names = arguments.tasks.split(",")
    metadata = {"exam": arguments.exam} if arguments.exam else {}
    if arguments.plan:
        from .plan import read_plan

        metadata["plan_sha256"] = read_plan(arguments.plan).sha256
    if "://" in arguments.base or "://" in arguments.adapter:
        directories = _ask_servers(arguments, names, metadata)
    else:
        directories = _ask_local(arguments, names, metadata)
    print_text(*map(str, directories))


def _ask_local(
    arguments: argparse.Namespace, names: list[str], metadata: dict[str, Any]
) -> tuple[Path, Path]:
    from lm_eval.utils import simple_parse_args_string

    from .model.both_sides import evaluate_both

    if arguments.trusted_host or arguments.api_key_env:
        raise UserError(
            "--trusted-host and --api-key-env are for servers; give BASE and ADAPTER as URL#MODEL"
        )
    options = ("device", "batch_size", "limit", "apply_chat_template")
    return evaluate_both(
        arguments.base,
        arguments.adapter,
        names,
        arguments.out,
        model_args=simple_parse_args_string(arguments.model_args),
        metadata=metadata,
        **{name: getattr(arguments, name) for name in options},
    )


def _ask_servers(
    arguments: argparse.Namespace, names: list[str], metadata: dict[str, Any]
) -> tuple[Path, Path]:
    base, tuned = parse_source(arguments.base), parse_source(arguments.adapter)
    if not (isinstance(base, Endpoint) and isinstance(tuned, Endpoint)):
        path = tuned if isinstance(base, Endpoint) else base
        raise UserError(f"{path} is a path, and the other model a URL; give both as URL#MODEL")
    defaults = {"model_args": "", "device": None, "batch_size": "1", "apply_chat_template": False}
    for name, default in defaults.items():
        if getattr(arguments, name) != default:
            raise UserError(f"--{name} is for local models; a server has its own settings; remove --{name}")
    if arguments.num_concurrent < 1:
        raise UserError(f"--num_concurrent {arguments.num_concurrent}: give a number of at least 1")
    check_hosts([base, tuned], arguments.trusted_host)
    variable = arguments.api_key_env
    key = api_key(variable, "--api-key-env", "exam ask") if variable else None
    from .ask_served import AskSettings, RequestProgress, evaluate_served

    settings = AskSettings(
        tasks=tuple(names), metadata=metadata, limit=arguments.limit, concurrent=arguments.num_concurrent
    )
    with RequestProgress(make_console(stderr=True)) as progress:
        return evaluate_served(base, tuned, arguments.out, settings, key=key, on_progress=progress.update)
