"""From the words of a recipe to what lies on disk: the run directory, the base, the rows and how they are split.

From a settled recipe to samples: everything a run needs but the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medalpaca_data.clearance import Clearance, clear
from medalpaca_data.core import paths
from medalpaca_data.core.errors import UserError
from medalpaca_data.core.files import existing
from medalpaca_data.core.prompt import chat_template, render
from medalpaca_data.core.records import read_rows, read_split, rows_sha256
from medalpaca_data.core.row import Row

from . import model as pocket_model
from .model import load_tokenizer
from .progress import say
from .recipe import Recipe
from .tokenize import Encoded, Rejected, Samples, adds_bos, cached

POCKET_DATA = {"pocket", "pocket-language"}  # `data:` words for the built-in Meadows
POCKET_BASE = "pocket-base"  # the `model:` word for the quickstart's base
POCKET_SEED = 0  # the embedded material is the same whatever the run's own seed


@dataclass(frozen=True, slots=True)
class Material:
    """The rows of a run: what is learned, what is only measured, and the name of the data."""

    train: list[Row]
    validation: list[Row]
    read: int
    sha256: str


def settle(recipe: Recipe, name: str) -> Recipe:
    """The recipe with its words replaced by absolute places. Builds a built-in Meadow that is not there yet."""
    return recipe.model_copy(
        update={
            "out": str(Path(recipe.out).expanduser().absolute() if recipe.out else paths.runs() / name),
            "data": str(_data(recipe.data)),
            "model": _model(recipe.model),
            "validation": _validation(recipe.validation),
        }
    )


def read_material(recipe: Recipe) -> Material:
    """The rows of a settled recipe. Raises UserError, naming file and row, for anything that cannot be read."""
    path = Path(recipe.data)
    rows = read_rows(path)
    files = [path]
    if isinstance(recipe.validation, str):
        train, held = rows, read_rows(recipe.validation)
        files.append(Path(recipe.validation))
    elif recipe.validation == 0:
        train, held = rows, []
    elif (
        path.is_dir()
        and (path / "validation.parquet").is_file()
        and (built := read_split(path, "validation"))
    ):
        train, held = rows, built
    else:
        train, held = split(rows, recipe.validation, recipe.seed)
    return Material(train, held, len(train) + len(held), rows_sha256(*files))


def clear_rows(recipe: Recipe, material: Material) -> Clearance:
    """Why the rows of a settled recipe may be trained on. Raises UserError where they may not, before any model."""
    apart = isinstance(recipe.validation, str)
    rows = material.train if apart else [*material.train, *material.validation]
    stated, accepted = recipe.patient_text, recipe.accept_patient_text
    cleared = clear(Path(recipe.data), rows, patient_text=stated, accepted=accepted)
    if apart:
        held = Path(str(recipe.validation))
        also = clear(held, material.validation, patient_text=stated, accepted=accepted)
        said, evidence = f"{cleared.said}; for validation: {also.said}", {"validation": also.as_json()}
        notes = cleared.notes + also.notes
        cleared = replace(cleared, said=said, evidence={**cleared.evidence, **evidence}, notes=notes)
    return cleared


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, validation): whole groups are drawn until they hold `share` of the rows, or one group more.

    A group (a disease, a thread) is never cut, since rows of one group answer each other. Rows without a group
    stand alone; rows with the same text stay together. With fewer than two groups nothing is held out.
    """
    groups = sorted({row.group or row.id for row in rows})
    if len(groups) < 2:
        return list(rows), []
    sizes: dict[str, int] = dict.fromkeys(groups, 0)
    for row in rows:
        sizes[row.group or row.id] += 1
    held: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(groups))[: len(groups) - 1]:
        if count >= share * len(rows):
            break
        held.add(groups[index])
        count += sizes[groups[index]]
    return (
        [row for row in rows if (row.group or row.id) not in held],
        [row for row in rows if (row.group or row.id) in held],
    )


def _data(word: str) -> Path:
    if word in POCKET_DATA:
        from medalpaca_data.build import ensure_meadow

        # The quickstart examines what was learned from this Meadow, so that one has its fixed place.
        out = paths.quickstart().meadow if word == "pocket" else paths.cache() / word
        return Path(ensure_meadow(word, out, POCKET_SEED)).absolute()
    return existing(Path(word).expanduser().absolute(), "data file or directory")


def _model(word: str) -> str:
    if word == POCKET_BASE:
        return str(paths.quickstart().base)
    local = Path(word).expanduser()
    return str(local.absolute()) if word != "pocket" and local.exists() else word


def _validation(value: float | str) -> float | str:
    return str(existing(Path(value).expanduser().absolute())) if isinstance(value, str) else value


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
