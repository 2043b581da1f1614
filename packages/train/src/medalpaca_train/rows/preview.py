"""`--preview`: a few real rows with the loss mask coloured, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from .tokens import Sample

ROWS = 3


def show_preview(samples: Sequence[Sample], tokenizer: Any, console: Console) -> None:
    """Print the first rows token by token: grey is given, green is learned, reversed are special tokens."""
    console.print(
        Text.assemble(("given", "dim"), "  ", ("learned", "bold green"), "  ", ("special token", "reverse"))
    )
    for sample in samples[:ROWS]:
        # A Text: the id is foreign, and rich would read brackets in it.
        said = Text(f"row {sample.row_id}: {sample.length} tokens, {sample.supervised} learned")
        console.print(Rule(said, align="left", style="dim"), width=min(console.width, 80))
        console.print(coloured(sample, tokenizer))


def coloured(sample: Sample, tokenizer: Any) -> Text:
    """The sample's text. Tokens of one colour are decoded together, as a character may be several tokens."""
    special = set(tokenizer.all_special_ids)
    text, run = Text(), list[int]()
    style = ""
    for place, token in enumerate(sample.ids.tolist()):
        new = "bold green" if place >= max(sample.given, 1) else "dim"
        new += " reverse" if token in special else ""
        if run and new != style:
            text.append(tokenizer.decode(run), style)
            run = []
        run, style = [*run, token], new
    text.append(tokenizer.decode(run), style)
    return text
