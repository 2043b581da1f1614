"""From a settled recipe to samples: everything a run needs but the weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medalpaca_data.ground.errors import UserError
from medalpaca_data.prompt import chat_template, render
from medalpaca_data.row import Row

from .material import Material
from .model import pocket as pocket_model
from .model.load import load_tokenizer
from .recipe import Recipe
from .rows.token_cache import cached
from .rows.tokens import Encoded, Rejected, Samples, adds_bos
from .screen import say


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokenizer of a run and its rows as tokens."""

    tokenizer: Any
    train: Samples
    validation: Samples
    rejected: list[Rejected]
    cut: list[Rejected]
    read: int

    def counts(self) -> dict[str, int]:
        """Rows and tokens, for manifest and card. Token counts are of one epoch."""
        return {
            "rows_read": self.read,
            "rows_train": len(self.train),
            "rows_validation": len(self.validation),
            "rows_rejected": len(self.rejected),
            "rows_cut": len(self.cut),
            "tokens": len(self.train.ids),
            "supervised_tokens": self.train.supervised,
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

    def tokens_of(rows: list[Row]) -> Encoded:
        return cached(
            rows, tokenizer, max_tokens=recipe.max_tokens, loss=recipe.loss, overlong=recipe.overlong
        )

    train, held = tokens_of(material.train), tokens_of(material.validation)
    if not train.samples:
        raise UserError(f"{recipe.data}: no row can be trained on; the first: {train.rejected[0].reason}")
    return Prepared(
        tokenizer,
        train.samples,
        held.samples,
        train.rejected + held.rejected,
        train.cut + held.cut,
        material.read,
    )


def say_prepared(prepared: Prepared, console: Console) -> None:
    """How many rows there are, and how many were rejected for what."""
    counts = prepared.counts()
    say(
        console,
        f"{counts['rows_read']:,} rows read: {counts['rows_train']:,} to train on, "
        f"{counts['rows_validation']:,} for validation, {counts['rows_rejected']:,} rejected",
    )
    lengths = np.array(prepared.train.lengths)
    middle, most = np.percentile(lengths, [50, 90]).astype(int)
    say(
        console,
        f"tokens per row: median {middle:,}, nine in ten up to {most:,}, longest {lengths.max():,}; "
        f"{100 * counts['supervised_tokens'] / counts['tokens']:.0f} % are learned",
    )
    if prepared.cut:
        say(console, f"  cut: {len(prepared.cut):,} x longer than max_tokens, end of text kept (cut.jsonl)")
    # "600 tokens, more than max_tokens=512": the first half differs from row to row.
    kinds = Counter(rejected.reason.rpartition(", ")[2] for rejected in prepared.rejected)
    for reason, times in kinds.most_common():
        say(console, f"  rejected: {times:,} x {reason}")
