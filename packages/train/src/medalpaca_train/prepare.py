"""From a settled recipe to samples: everything a run needs but the weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from medalpaca_data.ground.errors import UserError
from medalpaca_data.prompt import chat_template, render

from . import pocket_model
from .material import Material
from .model import load_tokenizer
from .recipe import Recipe
from .screen import say
from .tokens import Rejected, Sample, adds_bos, encode


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokenizer of a run and its rows as tokens."""

    tokenizer: Any
    train: list[Sample]
    validation: list[Sample]
    rejected: list[Rejected]
    read: int

    def counts(self) -> dict[str, int]:
        """Rows and tokens, for manifest and card. Token counts are of one epoch."""
        return {
            "rows_read": self.read,
            "rows_train": len(self.train),
            "rows_validation": len(self.validation),
            "rows_rejected": len(self.rejected),
            "tokens": sum(sample.length for sample in self.train),
            "supervised_tokens": sum(sample.supervised for sample in self.train),
        }


def prepare(recipe: Recipe, base: Path | None, material: Material) -> Prepared:
    """Tokenise `material` with the tokenizer of `base`, or with one trained on it when there is no base.

    Raises UserError when not a single row is left to train on.
    """
    if base is None:
        texts = [render(row.instruction, row.input) + row.output.strip() for row in material.train]
        tokenizer = pocket_model.make_tokenizer(texts)
    else:
        tokenizer = load_tokenizer(base)
    tokenizer.chat_template = chat_template(add_bos=adds_bos(tokenizer))
    train, rejected = encode(material.train, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss)
    if not train:
        raise UserError(f"{recipe.data}: no row can be trained on; the first: {rejected[0].reason}")
    held, more = encode(material.validation, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss)
    return Prepared(tokenizer, train, held, rejected + more, material.read)


def say_prepared(prepared: Prepared, console: Console) -> None:
    """How many rows there are, and how many were rejected for what."""
    counts = prepared.counts()
    say(
        console,
        f"{counts['rows_read']:,} rows read: {counts['rows_train']:,} to train on, "
        f"{counts['rows_validation']:,} for validation, {counts['rows_rejected']:,} rejected",
    )
    # "600 tokens, more than max_tokens=512": the first half differs from row to row.
    kinds = Counter(rejected.reason.rpartition(", ")[2] for rejected in prepared.rejected)
    for reason, times in kinds.most_common():
        say(console, f"  rejected: {times:,} x {reason}")
