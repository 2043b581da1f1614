"""What is said at the end: a table, and the command that comes next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medalpaca_data.ground import places

from .model.quantization import settings
from .recipe import Recipe
from .record.card import show
from .screen import say


def next_command(recipe: Recipe, run: Path, dtype: torch.dtype) -> str:
    """The command that examines a finished run, on a base quantised as it was, computing in `dtype`."""
    model = f"pretrained={recipe.model},peft={run}" if recipe.method == "lora" else f"pretrained={run}"
    words = settings(recipe.quantization, dtype)
    # lm_eval's own class cannot quantise with transformers 5; the plugin's can.
    kind = "medalpaca" if words else "hf"
    model = ",".join((model, *(f"{key}={value}" for key, value in words.items())))
    task = "medalpaca_pocket" if recipe.data == str(places.quickstart().meadow) else "medalpaca_usmle"
    return (
        f"lm_eval --model {kind} --model_args {shlex.quote(model)} --tasks {task} "
        f"--log_samples --output_path {shlex.quote(str(run / 'results'))}"
    )


def show_outcome(manifest: dict[str, Any], run: Path, command: str, console: Console) -> None:
    """Print the run's numbers, where it lies, and what to do with it."""
    data, loss = manifest["data"], manifest["validation_loss"]
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for label, value in (
        ("rows trained on", f"{data['rows_train']:,} of {data['rows_read']:,}"),
        ("tokens per epoch", f"{data['tokens']:,}, {data['supervised_tokens']:,} learned"),
        ("steps", f"{manifest['steps']:,}"),
        *(
            [("validation loss", f"{show(loss['before'])} -> {show(loss['after'])}")]
            if loss["before"]
            else []
        ),
        ("time", f"{manifest['seconds']:.0f} s"),
        ("run", str(run)),
    ):
        table.add_row(label, Text(value))
    console.print(table)
    say(console, f"next: uv run {command}")
